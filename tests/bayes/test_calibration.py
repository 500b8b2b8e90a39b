"""Simulation-based calibration: parameters drawn from the priors rank uniformly among the draws.

References: Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based
calibration; Modrák et al. (2025), Bayesian Analysis 20, 461-488 (the likelihood as a quantity).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.numerics.random import draw
from tests.declared import DECLARED

pytestmark = [
    pytest.mark.slow,
    # one short chain each: its size is chosen here, and what it says of itself is not news
    pytest.mark.filterwarnings("ignore::expfam_glm.errors.SamplingWarning"),
]

ROWS, REPLICATES, KEPT = 25, 40, 49
# Of a right sampler one family in a thousand or so has a smaller one of its few ranks.
SMALLEST_P = 1e-3 / 4
FAMILIES: dict[str, tuple[Any, str | None]] = {
    "normal": (eg.families.normal, None),
    "poisson": (eg.families.poisson, None),
    "binomial": (eg.families.binomial, None),
    "gamma": (eg.families.gamma, "log"),
    "inverse_gaussian": (eg.families.inverse_gaussian, "log"),
    "negative_binomial": ("negative_binomial", "log"),
    "hyperbolic_secant": (eg.families.hyperbolic_secant, "identity"),
    "tweedie": (eg.families.tweedie(power=1.5), "log"),
    "zero_truncated_poisson": (DECLARED["zero_truncated_poisson"], None),
    "continuous_bernoulli": (DECLARED["continuous_bernoulli"], None),
}
OWN = {
    "beta": eg.Prior("Normal", mu=0.2, sigma=0.5),
    "phi": eg.Prior("LogNormal", mu=-1, sigma=0.4),
    "alpha": eg.Prior("LogNormal", mu=-0.5, sigma=0.5),
}


def ranks(name: str, seed: int) -> dict[str, int]:
    """How many draws lie below the truth, for each parameter and for the log-likelihood."""
    rng = np.random.default_rng([seed, 7])
    given, link = FAMILIES[name]
    x = rng.normal(size=ROWS)
    beta = 0.2 + 0.5 * rng.standard_normal(2)
    truth = {}
    anything = np.full(ROWS, 0.5 if name == "continuous_bernoulli" else 1.0)
    start = eg.GLM("y ~ x", {"y": anything, "x": x}, family=given, link=link)
    family, g = start.family, start.link
    mu = g.inverse(beta[0] + beta[1] * x)
    shapes = {}
    if "alpha" in family.shape:
        shapes["alpha"] = truth["alpha"] = float(np.exp(-0.5 + 0.5 * rng.standard_normal()))
    phi = family.phi
    if phi is None:
        phi = truth["phi"] = float(np.exp(-1 + 0.4 * rng.standard_normal()))
    y = draw(family, mu, phi, rng, **shapes)
    model = eg.GLM("y ~ x", {"y": y, "x": x}, family=given, link=link)
    priors = {key: OWN[key] for key in ("beta", *truth)}
    tree = model.sample(
        draws=3 * KEPT, tune=150, chains=1, random_seed=seed, priors=priors, progressbar=False,
        road="kernels", posterior_predictive=False,
    )  # fmt: skip
    kept = tree["posterior"].isel(chain=0, draw=slice(0, None, 3))
    found = {f"beta{j}": int((kept["beta"].values[:, j] < beta[j]).sum()) for j in range(2)}
    found |= {key: int((kept[key].values < value).sum()) for key, value in truth.items()}
    own = float(family.logpdf(y, mu, phi, **shapes).sum())
    total = tree["log_likelihood"]["y"].isel(chain=0, draw=slice(0, None, 3)).sum("obs_id").values
    return found | {"log_likelihood": int((total < own).sum())}


@pytest.mark.parametrize("name", FAMILIES)
def test_ranks_are_uniform(name: str) -> None:
    table = [ranks(name, seed) for seed in range(REPLICATES)]
    for key in table[0]:
        own = np.array([row[key] for row in table])
        counts = np.bincount(own * 5 // (KEPT + 1), minlength=5)
        assert stats.chisquare(counts).pvalue > SMALLEST_P, (name, key, counts)
        # the middle: too narrow and too wide posteriors pile up ranks at the ends or away from them
        away = np.abs((own + 0.5) / (KEPT + 1) - 0.5)
        assert stats.kstest(away, "uniform", (0, 0.5)).pvalue > SMALLEST_P, (name, key, counts)
