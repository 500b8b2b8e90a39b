"""The fast lane: the log-posterior by row kernels is the PyMC model's, value and gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytest

import expfam_glm as eg
from expfam_glm.bayes import prior_terms
from expfam_glm.bayes.density import LogPosterior, has_fast_lane
from expfam_glm.bayes.model import build
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import PHI_SCALES, apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.data.response import Problem
from expfam_glm.errors import DeclarationError
from tests.problems import NAMES, problem

QUICK = {"mode": "FAST_COMPILE"}
POINTS = 20
DENSITY = 1e-10  # relative to the terms that add up to the value

OWN = {
    "normal": Prior("Normal", mu=0.3, sigma=2),
    "student": Prior("StudentT", nu=4, mu=0, sigma=2),
    "laplace": Prior("Laplace", mu=0, b=1.5),
    "cauchy": Prior("Cauchy", alpha=0, beta=2),
    "logistic": Prior("Logistic", mu=0, s=2),
}
DISPERSIONS = {
    "half normal": Prior("HalfNormal", sigma=2),
    "exponential": Prior("Exponential", lam=0.7),
    "gamma": Prior("Gamma", alpha=2, beta=1),
    "log-normal": Prior("LogNormal", mu=0, sigma=1),
    "inverse gamma": Prior("InverseGamma", alpha=3, beta=1),
    "half Cauchy": Prior("HalfCauchy", beta=1),
    "half t": Prior("HalfStudentT", nu=3, sigma=1),
    "flat": "flat",
}


def compare(own: Problem, priors: Any, power: float = 1.0) -> None:
    """Value and gradient at points around the mode, against the compiled model."""
    applied = apply(own, priors)
    assert has_fast_lane(applied)
    model, posterior = build(own, applied), LogPosterior(own, applied)
    logp, dlogp = model.compile_logp(**QUICK), model.compile_dlogp(**QUICK)
    names = [v.name for v in model.value_vars]
    start = near_mode(own, applied)
    rng, tried = np.random.default_rng(8), 0
    while tried < POINTS:
        beta = start.beta + 0.5 * start.root @ rng.standard_normal(start.beta.size)
        z = np.append(beta, np.log(start.phi) + 0.3 * rng.standard_normal())[: posterior.n_dim]
        value, gradient = posterior(z)
        if np.isneginf(value):
            assert not np.isfinite(logp(_point(names, z, beta.size, power)))
            continue
        tried += 1
        point = _point(names, z, beta.size, power)
        np.testing.assert_allclose(value, logp(point), rtol=DENSITY, atol=DENSITY)
        slope = dlogp(point) * np.append(np.ones(beta.size), power)[: z.size]
        scale = np.abs(slope) + 1 / np.append(np.sqrt(np.sum(start.root**2, 1)), 1.0)[: z.size]
        assert np.max(np.abs(gradient - slope) / scale) < DENSITY


def _point(names: list[str], z: np.ndarray, p: int, power: float = 1.0) -> dict[str, np.ndarray]:
    return dict(zip(names, (z[:p], *(power * z[p:])), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("priors", ["default", "flat"])
def test_families_under_default_and_flat_priors(name: str, priors: str) -> None:
    compare(problem(name), priors)


@pytest.mark.slow
@pytest.mark.parametrize("prior", OWN.values(), ids=OWN.keys())
def test_priors_of_coefficients(prior: Prior) -> None:
    compare(problem("binomial-probit"), {"beta": prior})


@pytest.mark.slow
@pytest.mark.parametrize("prior", DISPERSIONS.values(), ids=DISPERSIONS.keys())
def test_priors_of_the_dispersion(prior: Any) -> None:
    compare(problem("gamma-log"), {"phi": prior})


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["sqrt(phi)", "1/phi"])
@pytest.mark.parametrize(
    "prior", [Prior("Exponential", lam=0.7), Prior("LogNormal", mu=0, sigma=1)]
)
def test_priors_of_the_dispersion_on_another_scale(scale: str, prior: Prior) -> None:
    compare(problem("gamma-log"), {scale: prior}, PHI_SCALES[scale][0])


@pytest.mark.slow
def test_distributions_of_pymc() -> None:
    three, two = np.float64(3), np.float64(2)  # PyTensor would take bare numbers for float32
    priors = {"beta": pm.StudentT.dist(three, mu=two, sigma=two), "phi": pm.HalfNormal.dist(two)}
    compare(problem("gamma-log"), priors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prior"),
    [
        ("binomial", "jeffreys"),
        ("binomial-cloglog", "jeffreys"),
        ("poisson-exposure", "jeffreys"),
        ("gamma", "jeffreys"),
        ("negative_binomial", "jeffreys"),
        ("binomial-probit", Prior("Conjugate", kappa=4)),
        ("poisson", Prior("Conjugate", kappa=2, mean=5)),
        ("poisson-exposure", Prior("Conjugate", kappa=2)),
        ("logarithmic", Prior("Conjugate", kappa=2)),
    ],
)
def test_priors_of_all_coefficients(name: str, prior: Any) -> None:
    own = problem(name)
    compare(own, {"beta": prior})
    compare(replace(own, f=1.0 + np.arange(own.row_count) % 3), {"beta": prior})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "normal"])
def test_frequency_weights_repeat_rows(name: str) -> None:
    own = problem(name)
    f = 1.0 + np.arange(own.row_count) % 3
    weighted = replace(own, f=f)
    compare(weighted, "default")
    rows = np.repeat(np.arange(own.row_count), f.astype(int))
    stacked = replace(own, y=own.y[rows], matrix=np.ascontiguousarray(own.X[rows]))
    priors = {label: Prior("Normal", mu=0, sigma=3) for label in own.labels}
    priors |= {} if own.family.phi else {"phi": Prior("Exponential", lam=1)}
    once, again = (LogPosterior(q, apply(q, priors)) for q in (weighted, stacked))
    z = np.append(near_mode(own, apply(own, priors)).beta, 0.1)[: once.n_dim]
    np.testing.assert_allclose(once(z)[0], again(z)[0], rtol=1e-12)
    np.testing.assert_allclose(once(z)[1], again(z)[1], rtol=1e-9)


@pytest.mark.slow
def test_a_dispersion_function_of_ones_own() -> None:
    import pytensor.tensor as pt

    family = eg.Family(
        "normal_by_standard_deviation",
        b=lambda theta: theta**2 / 2,
        c=lambda y, a: -(y**2) / (2 * a) - 0.5 * (np.log(2 * np.pi) + pt.log(a)),
        support=eg.Real,
        a=lambda phi: phi**2,
    )
    own = eg.GLM("time ~ log(u)", eg.load_data("clotting"), family=family).problem
    compare(own, "default")


def test_blocks_change_nothing() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100_000, 3))
    own = eg.GLM.from_arrays(rng.poisson(2, 100_000), x, family="poisson").problem
    posterior = LogPosterior(own, apply(own, "flat"))
    assert len(posterior.sums.blocks) > 1
    beta = np.array([0.1, -0.2, 0.05])
    expected = own.family.logpdf(own.y, np.exp(x @ beta)).sum()
    np.testing.assert_allclose(posterior(beta)[0], expected, rtol=1e-11)
    np.testing.assert_allclose(posterior(beta)[1], x.T @ (own.y - np.exp(x @ beta)), rtol=1e-9)


def test_what_cannot_take_the_fast_lane() -> None:
    own = problem("gamma-log")
    for priors in (
        {"beta": pm.MvNormal.dist(np.zeros(3), np.eye(3))},
        {"lot": Prior("HalfNormal", sigma=1)},
        {"phi": Prior("Uniform", lower=0, upper=3)},
    ):
        assert not has_fast_lane(apply(own, priors))


def test_terms_that_are_not_known_are_zero_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise DeclarationError("no NumPy counterpart")

    known, strange = Prior("Normal", mu=0, sigma=2), Prior("Gumbel", mu=0.25, beta=1)
    assert PriorTerms([known]).complete
    monkeypatch.setattr(prior_terms, "lower", refuse)
    prior_terms._prior_kernel.cache_clear()
    assert not PriorTerms([strange]).complete
    monkeypatch.undo()
    terms = PriorTerms([known, strange])
    assert not terms.complete
    value, slope = terms(np.array([2.0, 0.5]))
    np.testing.assert_allclose(value, [-0.5 - np.log(2 * np.sqrt(2 * np.pi)), 0.0])
    np.testing.assert_allclose(slope, [-0.5, 0.0])
    np.testing.assert_allclose(terms.curvature(np.array([2.0, 0.5])), [-0.25, 0.0])
    prior_terms._prior_kernel.cache_clear()
