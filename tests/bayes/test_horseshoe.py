"""The regularised horseshoe: its density written out with SciPy, on both roads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.horseshoe import Horseshoe, draw
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.prior import QUICK
from expfam_glm.bayes.priors import Applied, apply
from expfam_glm.bayes.shrunk_density import ShrunkPosterior
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError

DENSITY = 1e-10
LOG_2 = 2e-9  # the error of log 2 in single precision, as PyMC's HalfCauchy has it
P, NONZERO, SLAB = 6, 2.0, 1.5
# of the variables in the value space of the kernels
ORDER = ("z_beta", "lambda_beta_log__", "tau_beta_log__", "slab_beta_log__", "beta_Normal_mu_sigma")
PRIORS = {
    "beta": eg.Prior("Horseshoe", nonzero=NONZERO, slab=SLAB),
    "x1": eg.Prior("Normal", mu=0.5, sigma=2),
}


def problem(family: str = "poisson") -> Problem:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(40, P)) * [1, 2, 0.5, 1, 1, 10]
    columns = {f"x{j}": X[:, j] for j in range(P)}
    mu = np.exp(0.3 + 0.5 * X[:, 0])
    columns["y"] = rng.poisson(mu) if family == "poisson" else rng.gamma(2, mu / 2)
    return eg.GLM("y ~ " + " + ".join(f"x{j}" for j in range(P)), columns, family=family,
                  link="log").problem  # fmt: skip


def expected(own: Problem, applied: Applied, point: dict[str, np.ndarray]) -> float:
    """log π + log f at a point of the value space of the PyMC model, Poisson responses."""
    where = [1, 3, 4, 5, 6]  # not the intercept, not x1
    z, local = point["z_beta"], np.exp(point["lambda_beta_log__"])
    tau, slab = np.exp(point["tau_beta_log__"]), np.exp(point["slab_beta_log__"])
    # σ̃ = 1/√ȳ for counts under the log link
    tau_0 = NONZERO / (len(where) - NONZERO) / np.sqrt(own.y.mean()) / np.sqrt(own.row_count)
    beta = np.empty(P + 1)
    regular = np.sqrt(slab * local**2 / (slab + tau**2 * local**2))
    beta[where] = z * tau * regular / own.X[:, where].std(axis=0)
    beta[[0, 2]] = point["beta_Normal_mu_sigma"]
    intercept = apply(own, "default").beta[0].parameters
    return float(
        stats.norm.logpdf(z).sum()
        + (stats.halfcauchy.logpdf(local) + np.log(local)).sum()
        + stats.halfcauchy.logpdf(tau, scale=tau_0) + np.log(tau)
        + stats.invgamma.logpdf(slab, 2, scale=2 * SLAB**2) + np.log(slab)
        + stats.norm.logpdf(beta[0], intercept["mu"], intercept["sigma"])
        + stats.norm.logpdf(beta[2], 0.5, 2)
        + stats.poisson.logpmf(own.y, np.exp(own.X @ beta)).sum()
    )  # fmt: skip


def test_the_model_has_the_density_written_by_hand() -> None:
    own = problem()
    applied = apply(own, PRIORS)
    model = build(own, applied)
    logp = model.compile_logp(mode=QUICK)
    rng = np.random.default_rng(1)
    for _ in range(3):
        point = {
            name: np.asarray(value + 0.4 * rng.standard_normal(np.shape(value)))
            for name, value in model.initial_point().items()
        }
        wanted = expected(own, applied, point)
        room = LOG_2 * (1 + len(point["lambda_beta_log__"]))
        assert float(logp(point)) == pytest.approx(wanted, rel=DENSITY, abs=room)
        z = np.concatenate([np.atleast_1d(point[name]) for name in ORDER])
        assert ShrunkPosterior(own, applied)(z)[0] == pytest.approx(wanted, rel=DENSITY)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_kernels_are_the_model(family: str) -> None:
    own = problem(family)
    applied = apply(own, PRIORS)
    model, density = build(own, applied), ShrunkPosterior(own, applied)
    logp, dlogp = model.compile_logp(mode=QUICK), model.compile_dlogp(mode=QUICK)
    k = applied.shrunk.size
    places = {
        "z_beta": np.arange(k), "lambda_beta_log__": np.arange(k, 2 * k),
        "tau_beta_log__": np.array([2 * k]), "slab_beta_log__": np.array([2 * k + 1]),
        "beta_Normal_mu_sigma": np.array([2 * k + 2, 2 * k + 3]),
        "phi_log__": np.array([2 * k + 4]),
    }  # fmt: skip
    rng = np.random.default_rng(2)
    start = model.initial_point()
    for _ in range(3):
        z = 0.3 * rng.standard_normal(density.n_dim)
        z[2 * k] += np.log(applied.shrunk.tau)
        point = {name: z[places[name]].reshape(np.shape(v)) for name, v in start.items()}
        value, gradient = density(z)
        assert value == pytest.approx(float(logp(point)), rel=DENSITY, abs=(k + 1) * LOG_2)
        slope = np.empty(z.size)
        slope[np.concatenate([places[v.name] for v in model.value_vars])] = dlogp(point)
        np.testing.assert_allclose(gradient, slope, rtol=DENSITY, atol=DENSITY)


def test_gradient_is_the_difference_of_the_value() -> None:
    own = apply(problem(), PRIORS).shrunk
    horseshoe, rng = Horseshoe(own), np.random.default_rng(3)
    v, slope = 0.5 * rng.standard_normal(horseshoe.n_dim), rng.standard_normal(own.size)

    def value(at: np.ndarray) -> float:
        return horseshoe.log_density(at, slope)[0] + slope @ horseshoe.coefficients(at)

    step = 1e-6 * np.eye(v.size)
    differences = [(value(v + h) - value(v - h)) / 2e-6 for h in step]
    np.testing.assert_allclose(
        horseshoe.log_density(v, slope)[1], differences, rtol=1e-6, atol=1e-7
    )


def test_draws_of_the_prior_have_its_distribution() -> None:
    own = apply(problem(), PRIORS).shrunk
    drawn = draw(own, 20_000, np.random.default_rng(5))
    rng = np.random.default_rng(6)
    tau = stats.halfcauchy.rvs(scale=own.tau, size=20_000, random_state=rng)
    local = stats.halfcauchy.rvs(size=20_000, random_state=rng)
    slab = stats.invgamma.rvs(2, scale=2 * SLAB**2, size=20_000, random_state=rng)
    width = tau * local * np.sqrt(slab / (slab + tau**2 * local**2)) * own.scale[0]
    other = width * rng.standard_normal(20_000)
    assert stats.ks_2samp(drawn[:, 0], other).pvalue > 1e-4


def test_what_cannot_be() -> None:
    own = problem()
    with pytest.raises(ArgumentError, match="fewer coefficients"):
        apply(own, eg.Prior("Horseshoe", nonzero=6))
    with pytest.raises(ArgumentError, match="give nonzero"):
        eg.Prior("Horseshoe")
    with pytest.raises(ArgumentError, match="far from normal"):
        eg.GLM("y ~ x", {"y": [1, 2, 3], "x": [0.0, 1, 3]}, family="poisson").laplace(
            priors=eg.Prior("Horseshoe", nonzero=0.5)
        )
    columns = {"y": [1, 2, 3, 1], "x": [0.0, 1, 3, 2], "g": [0, 0, 1, 1]}
    grouped = eg.GLM("y ~ x + (1 | g)", columns, family="poisson").problem
    with pytest.raises(ArgumentError, match="without group effects"):
        to_pymc(grouped, eg.Prior("Horseshoe", nonzero=0.5))
