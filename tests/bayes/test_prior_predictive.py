"""What the priors say before the data do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy import stats

from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.prior_predictive import prior_predictive
from expfam_glm.bayes.priors import apply
from expfam_glm.errors import ArgumentError, SamplingError
from tests.problems import problem

SUSPICIOUS = 1e-4  # p-value of a Kolmogorov-Smirnov test


def test_draws_are_those_of_the_priors() -> None:
    own = problem("gamma-log")
    priors = {"lot": Prior("StudentT", nu=4, mu=1, sigma=2), "log(u)": pm.Normal.dist(0.0, 0.5),
              "sqrt(phi)": Prior("Exponential", lam=2)}  # fmt: skip
    tree = prior_predictive(own, draws=2000, random_seed=3, priors=priors)
    beta, phi = (tree["prior"][name].values[0] for name in ("beta", "phi"))
    assert stats.kstest(beta[:, 2], stats.t(4, 1, 2).cdf).pvalue > SUSPICIOUS
    assert stats.kstest(beta[:, 1], stats.norm(0, 0.5).cdf).pvalue > SUSPICIOUS
    default = apply(own, "default").beta[0].parameters
    assert stats.kstest(beta[:, 0], stats.norm(default["mu"], default["sigma"]).cdf).pvalue > (
        SUSPICIOUS
    )
    assert stats.kstest(np.sqrt(phi), stats.expon(scale=0.5).cdf).pvalue > SUSPICIOUS
    mu = np.exp(beta @ own.X.T)
    y = tree["prior_predictive"]["y"].values[0]
    u = stats.gamma(1 / phi[:, None], scale=mu * phi[:, None]).cdf(y)
    sound = phi < 5  # beyond it most draws are zero in double precision
    assert stats.kstest(u[sound, 0], "uniform").pvalue > SUSPICIOUS


def test_draws_stay_in_the_domain_of_the_link() -> None:
    own = problem("poisson-sqrt")
    tree = prior_predictive(own, draws=200, random_seed=1)
    assert np.all(tree["prior"]["beta"].values[0] @ own.X.T > 0)
    assert tree["prior_predictive"]["y"].dtype.kind == "i"


@pytest.mark.parametrize(
    ("name", "priors", "error", "message"),
    [
        ("poisson", "flat", ArgumentError, "flat prior of Intercept"),
        ("poisson", "jeffreys", ArgumentError, "only up to a constant"),
        ("gamma", {"phi": "flat"}, ArgumentError, "flat prior of phi"),
        ("poisson-sqrt", {"beta": Prior("Normal", mu=-9, sigma=1e-3)}, SamplingError, "inside"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    name: str, priors: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prior_predictive(problem(name), draws=10, priors=priors)
