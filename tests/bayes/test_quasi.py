"""The quasi-posterior: its density written out, its two roads, and its draws beside the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.quasi import hold_dispersion
from expfam_glm.errors import ArgumentError, SamplingError
from tests.tolerances import DEFAULT

QUINE = eg.load_data("quine")
MODELS: dict[str, dict[str, Any]] = {
    "quasi_poisson": {"family": "quasi_poisson"},
    "power": {"family": eg.families.quasi(lambda mu: mu**1.5)},
    "divergent": {"family": eg.families.quasi(lambda mu: mu**2)},  # some responses are zero
    "canonical": {"family": eg.families.quasi(lambda mu: mu + mu**2 / 5), "link": "log"},
    "freq_weights": {
        "family": eg.families.quasi(lambda mu: mu**1.5),
        "freq_weights": 1 + np.arange(len(QUINE)) % 3,
    },
    "weights": {"family": "quasi_poisson", "weights": 1 / (1 + np.arange(len(QUINE)) % 3)},
}


def model_of(name: str) -> eg.GLM:
    return eg.GLM("days ~ sex + age", QUINE, **MODELS[name])


def quasi_likelihood(name: str, beta: np.ndarray, phi: float) -> float:
    """Σ f w ∫ (y − t)/(φ V(t)) dt from 1 to μ, in closed form."""
    own = model_of(name).problem
    mu, y = np.exp(own.X @ beta), own.y
    if name in ("quasi_poisson", "weights"):
        rows = y * np.log(mu) - mu
    elif name in ("power", "freq_weights"):
        rows = y * (-2 / np.sqrt(mu)) - 2 * np.sqrt(mu)
    elif name == "divergent":
        rows = -y / mu - np.log(mu)
    else:
        rows = y * np.log(mu / (1 + mu / 5)) - 5 * np.log1p(mu / 5)
    w = 1.0 if own.w is None else own.w
    f = 1.0 if own.f is None else own.f
    return float(np.sum(rows * w * f) / phi)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_prior_times_quasi_likelihood(name):
    model = model_of(name)
    phi = float(model.fit()["fit"]["phi"]) if name != "divergent" else None
    if phi is None:
        with pytest.warns(UserWarning, match="deviance is infinite"):
            phi = float(model.fit()["fit"]["phi"])
    pymc = to_pymc(model.problem, "flat")
    assert [v.name for v in pymc.free_RVs] == ["beta"]
    assert not pymc.observed_RVs
    logp = pymc.compile_logp(mode="FAST_COMPILE")
    first = np.array([2.5, 0.1, -0.2, 0.3, 0.3])
    second = np.array([2.8, 0.0, 0.1, 0.2, 0.5])
    rise = float(logp({"beta": first}) - logp({"beta": second}))
    expected = quasi_likelihood(name, first, phi) - quasi_likelihood(name, second, phi)
    assert rise == pytest.approx(expected, rel=1e-7)  # φ̂ is that near to its limit


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_row_kernels_and_graph_are_the_same_function(name):
    own = hold_dispersion(model_of(name).problem)
    applied = apply(own, "default")
    model, posterior = build(own, applied), LogPosterior(own, applied)
    logp = model.compile_logp(mode="FAST_COMPILE")
    dlogp = model.compile_dlogp(mode="FAST_COMPILE")
    rng = np.random.default_rng(4)
    for _ in range(5):
        beta = np.array([2.6, 0.1, -0.2, 0.3, 0.3]) + 0.2 * rng.standard_normal(5)
        value, gradient = posterior(beta)
        np.testing.assert_allclose(value, logp({"beta": beta}), rtol=DEFAULT, atol=DEFAULT)
        np.testing.assert_allclose(gradient, dlogp({"beta": beta}), rtol=1e-8, atol=1e-8)


def test_the_canonical_link_of_a_quasi_family():
    family = eg.families.quasi(lambda mu: mu**1.5)
    own = eg.GLM("days ~ sex", QUINE, family=family, link=family.canonical_link)
    logp = own.to_pymc("flat").compile_logp(mode="FAST_COMPILE")
    theta = own.problem.X @ (beta := np.array([-0.6, 0.05]))
    mu = (-theta / 2) ** -2.0
    other = own.problem.X @ (start := np.array([-0.7, 0.0]))
    nu = (-other / 2) ** -2.0
    phi, y = float(own.fit()["fit"]["phi"]), own.problem.y
    expected = np.sum(y * (theta - other) - 2 * (np.sqrt(mu) - np.sqrt(nu))) / phi
    rise = float(logp({"beta": beta}) - logp({"beta": start}))
    assert rise == pytest.approx(expected, rel=1e-6)
    assert np.isneginf(logp({"beta": np.array([0.1, 0.0])}))  # θ is negative


@pytest.mark.slow
def test_draws_agree_with_the_fit():
    model = model_of("power")
    mle = model.fit()
    bayes = model.sample(draws=1000, tune=300, chains=4, random_seed=1, progressbar=False)
    se = mle["fit"]["se"].values
    draws = bayes["posterior"]["beta"].values.reshape(-1, se.size)
    assert np.max(np.abs(draws.mean(0) - mle["fit"]["beta"].values) / se) < 0.25
    np.testing.assert_allclose(draws.std(0), se, rtol=0.15)
    assert bayes.attrs["held_phi"] == pytest.approx(float(mle["fit"]["phi"]), rel=1e-6)
    assert bayes.attrs["family_digest"] == mle.attrs["family_digest"]
    assert not {"log_likelihood", "posterior_predictive"} & set(bayes.children)
    table = eg.compare({"MLE": mle, "Bayes": bayes})
    assert table.sizes["model"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::expfam_glm.errors.SamplingWarning")  # few draws
@pytest.mark.parametrize("sampler", [{"road": "graph"}, {"nuts_sampler": "pymc", "cores": 1}])
def test_the_other_roads_sample_it_too(sampler):
    model = model_of("power")
    bayes = model.sample(draws=200, tune=200, chains=2, random_seed=1, progressbar=False, **sampler)
    mle = model.fit()
    gap = bayes["posterior"]["beta"].mean(("chain", "draw")) - mle["fit"]["beta"]
    assert float(np.max(np.abs(gap / mle["fit"]["se"]))) < 0.5


def test_what_has_no_dispersion_or_gives_it_a_prior_is_refused():
    perfect = eg.GLM("y ~ x", {"y": [1.0, 2.0], "x": [1.0, 2.0]}, family="quasi_poisson")
    with (
        pytest.warns(UserWarning, match="perfect"),
        pytest.raises(SamplingError, match="cannot be estimated: the fit is perfect"),
    ):
        perfect.to_pymc()
    with pytest.raises(ArgumentError, match="'phi' takes no prior"):
        model_of("power").to_pymc({"phi": eg.Prior("HalfNormal", sigma=1)})


@pytest.mark.slow
def test_quasi_posterior_covers_where_poisson_does_not() -> None:
    """Counts with variance 4μ: the quasi-posterior covers nominally, the Poisson posterior not."""
    rng = np.random.default_rng(6)
    rounds, n, slope, nominal = 240, 120, 0.5, 0.9
    covered = {"poisson": 0, "quasi_poisson": 0}
    for seed in range(rounds):
        x = rng.uniform(-1, 1, n)
        mu = np.exp(1.0 + slope * x)
        y = rng.negative_binomial(mu / 3, 1 / 4)  # mean μ, variance 4μ
        for family in covered:
            model = eg.GLM("y ~ x", {"y": y, "x": x}, family=family)
            tree = model.laplace(random_seed=seed, log_likelihood=False, posterior_predictive=False)
            draws = tree["posterior"]["beta"].sel(coef="x").values
            low, high = np.quantile(draws, [(1 - nominal) / 2, (1 + nominal) / 2])
            covered[family] += low < slope < high
    error = np.sqrt(nominal * (1 - nominal) / rounds)
    assert abs(covered["quasi_poisson"] / rounds - nominal) < 3 * error
    assert covered["poisson"] / rounds < nominal - 5 * error
