"""Maximum likelihood against R, converged to the limit, on real data."""

import warnings

import numpy as np
import pytest

from expfam_glm.errors import AliasWarning
from tests.references import array, cases, model_of
from tests.tolerances import BETA_IN_SE, RELATIVE


@pytest.mark.parametrize("case", cases("glm"), ids=lambda case: case["id"])
def test_fit_agrees_with_r(case):
    model = model_of("glm", case)
    beta = array(case["beta"])
    with warnings.catch_warnings():
        if np.isnan(beta).any():
            warnings.simplefilter("ignore", AliasWarning)
        tree = model.fit()
    fit, stats = tree["fit"], tree["fit_stats"]
    assert fit["coef"].values.tolist() == case["coef"]
    kept = ~np.isnan(beta)
    assert np.array_equal(np.isnan(fit["beta"].values), ~kept)
    se = array(case["se"])
    gap = np.abs(fit["beta"].values - beta)[kept] / se[kept]
    assert gap.max() < BETA_IN_SE
    np.testing.assert_allclose(fit["se"].values, se, rtol=RELATIVE)
    covariance = fit["covariance"].values[0]
    scale = np.outer(se, se)
    np.testing.assert_allclose(covariance / scale, array(case["covariance"]) / scale,
                               atol=RELATIVE, rtol=0)  # fmt: skip
    np.testing.assert_allclose(float(fit["phi"]), case["phi"], rtol=RELATIVE)
    size = max(case["null_deviance"], case["deviance"])
    assert float(stats["deviance"]) == pytest.approx(case["deviance"], rel=1e-10, abs=1e-12 * size)
    assert float(stats["null_deviance"]) == pytest.approx(case["null_deviance"], rel=RELATIVE)
    assert float(stats["pearson_chi2"]) == pytest.approx(
        case["pearson_chi2"], rel=RELATIVE, abs=1e-12 * size
    )
    assert float(stats["df_residual"]) == case["df_residual"]
    assert float(stats["n_observations"]) == case["n"]
    for name in ("loglik", "aic", "bic"):
        expected = np.nan if case[name] is None else case[name]
        assert float(stats[name]) == pytest.approx(expected, rel=1e-10, nan_ok=True)
