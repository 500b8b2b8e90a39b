"""Wald tests and intervals against mpmath and SciPy."""

from __future__ import annotations

import subprocess
import sys

import mpmath
import numpy as np
import pytest
from scipy import stats

from expfam_glm.numerics.wald import wald_interval, wald_p_value

TAIL = 1e-11  # relative: the exponent of a p-value of 1e-300 carries 700 times rounding


def exact_p(statistic: float, df: float) -> float:
    """Two-sided p-value to 40 digits."""
    with mpmath.workdps(40):
        t = mpmath.mpf(statistic)
        if df == np.inf:
            return float(mpmath.erfc(abs(t) / mpmath.sqrt(2)))
        half = mpmath.mpf(df) / 2
        return float(
            mpmath.betainc(half, mpmath.mpf(1) / 2, 0, df / (df + t * t), regularized=True)
        )


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0, 300.0, np.inf])
@pytest.mark.parametrize("statistic", [0.0, 1e-3, -1.0, 5.0, -20.0, 35.0])
def test_p_values_far_into_the_tails(statistic: float, df: float) -> None:
    found = wald_p_value(np.array([statistic]), np.array([df]))
    np.testing.assert_allclose(found, exact_p(statistic, df), rtol=TAIL)


@pytest.mark.parametrize("df", [1.0, 4.5, 231.0, np.inf])
@pytest.mark.parametrize("prob", [0.01, 0.5, 0.89, 0.999999])
def test_intervals_are_those_of_scipy(df: float, prob: float) -> None:
    beta, se = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    law = stats.norm(beta, se) if df == np.inf else stats.t(df, beta, se)
    tail = (1 - prob) / 2
    np.testing.assert_allclose(
        wald_interval(beta, se, np.full(2, df), prob),
        np.transpose([law.ppf(tail), law.isf(tail)]),
        rtol=1e-10,
    )


@pytest.mark.slow
def test_the_setting_of_arviz_with_and_without_arviz() -> None:
    """Before ArviZ is imported its initial setting holds, afterwards the one in force."""
    code = (
        "import sys\n"
        "from expfam_glm.numerics.wald import default_ci_prob\n"
        "before = default_ci_prob(None)\n"
        "assert 'arviz_base' not in sys.modules\n"
        "import arviz_base\n"
        "assert before == arviz_base.rcParams['stats.ci_prob']\n"
        "arviz_base.rcParams['stats.ci_prob'] = 0.5\n"
        "assert default_ci_prob(None) == 0.5\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
