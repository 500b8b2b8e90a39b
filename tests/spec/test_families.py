"""The built-in families against SciPy, mpmath, statsmodels and the formulas of the textbooks."""

from __future__ import annotations

import functools
import pickle
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pytensor.tensor as pt
import pytest
import statsmodels.genmod.families as sm
from scipy import special, stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError, DeclarationError
from expfam_glm.spec.verify import verify
from tests import exact
from tests.tolerances import ROUNDING

EPS = np.finfo(float).eps
ALPHAS = (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3)
nb = functools.cache(eg.families.negative_binomial)


def grid(*axes: Any) -> list[np.ndarray]:
    """All combinations of the axes, each flat."""
    return [a.ravel() for a in np.meshgrid(*(np.asarray(a, float) for a in axes), indexing="ij")]


def allowed(value: np.ndarray, size: np.ndarray | float) -> np.ndarray:
    """1e-12, relative to the value where it is above one, and the rounding of the largest term.

    `size` is the largest of the terms whose sum is the log-density. No sum of doubles is better
    than a few units in the last place of its largest term; that exceeds 1e-12 only where the
    terms are in the hundreds, and SciPy is then no nearer to the truth.
    """
    return ROUNDING * np.maximum(1.0, np.abs(value)) + 8 * EPS * size


def assert_log_density(ours: np.ndarray, reference: np.ndarray, size: np.ndarray | float) -> None:
    gap = np.abs(ours - reference) / allowed(reference, size)
    assert np.isfinite(ours).all()
    assert gap.max() <= 1, f"{gap.max()} times the tolerance at point {int(gap.argmax())}"


# ---- log-densities -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Density:
    """A grid of (y, μ, φ, w), SciPy's and mpmath's log-densities, and the size of their terms."""

    family: eg.Family
    exact: Any
    scipy: Any
    y: np.ndarray
    mu: np.ndarray
    phi: np.ndarray
    w: np.ndarray
    size: np.ndarray | float
    scipy_holds: np.ndarray | bool = True  # where SciPy itself keeps the digits

    @property
    def ours(self) -> np.ndarray:
        return self.family.logpdf(self.y, self.mu, self.phi, weights=self.w)


def _normal() -> Density:
    y, mu, phi, w = grid(
        [-1e8, -1, 0, 1e-9, 2, 2.0001, 1e5], [-1e8, -3, 0, 1e-3, 2, 1e5],
        [1e-10, 1e-3, 1, 10, 1e6], [0.3, 1, 7],
    )  # fmt: skip
    return Density(
        eg.families.normal, exact.normal,
        lambda y, mu, phi, w: stats.norm.logpdf(y, mu, np.sqrt(phi / w)), y, mu, phi, w, 0.0,
    )  # fmt: skip


def _poisson() -> Density:
    counts = [0, 1, 2, 3, 10, 30, 100, 1e3, 1e4, 1e6, 1e9]
    k, mu, w = grid(
        counts, [1e-300, 1e-12, 1e-3, 0.1, 0.5, 1, 3.3, 100, 1e3, 1e6, 1e9], [0.5, 1, 2]
    )
    rate = mu * w
    size = np.maximum(np.abs(special.xlogy(k, mu)), np.maximum(rate, special.gammaln(k + 1)))
    return Density(
        eg.families.poisson, exact.poisson,
        lambda y, mu, phi, w: stats.poisson.logpmf(np.round(y * w), mu * w),
        k / w, mu, np.ones_like(mu), w, size,
    )  # fmt: skip


def _binomial() -> Density:
    part, mu, n = grid(
        [0, 0.001, 1 / 3, 0.5, 0.999, 1],
        [1e-300, 1e-12, 1e-3, 0.1, 0.5, 0.7, 0.999, 1 - 1e-12],
        [1, 2, 5, 12, 100, 1e3, 1e5, 1e7],
    )
    k = np.round(part * n)
    theta = np.maximum(np.abs(np.log(mu)), np.abs(np.log1p(-mu)))
    size = np.maximum(n * theta, special.gammaln(n + 1))
    return Density(
        eg.families.binomial, exact.binomial,
        lambda y, mu, phi, w: stats.binom.logpmf(np.round(y * w), w, mu),
        k / n, mu, np.ones_like(mu), n, size,
    )  # fmt: skip


def _gamma() -> Density:
    y, mu, phi, w = grid(
        [1e-300, 1e-10, 1e-3, 0.5, 1, 1.0001, 30, 1e8], [1e-8, 1e-3, 0.5, 1, 30, 1e6],
        [1e-6, 1e-3, 0.5, 1, 2, 100, 1e4], [0.3, 1, 7],
    )  # fmt: skip
    r = w / phi
    terms = [r * np.log(y), r * y / mu, r * np.log(mu), r * np.log(r), special.gammaln(r)]
    return Density(
        eg.families.gamma, exact.gamma,
        lambda y, mu, phi, w: stats.gamma.logpdf(y, w / phi, scale=mu * phi / w),
        y, mu, phi, w, np.max(np.abs(terms), axis=0),
    )  # fmt: skip


def _inverse_gaussian() -> Density:
    y, mu, phi, w = grid(
        [1e-300, 1e-10, 1e-3, 0.5, 1, 1.0001, 30, 1e8], [1e-3, 0.5, 1, 30, 1e6],
        [1e-6, 1e-3, 0.5, 1, 10, 1e4], [0.3, 1, 7],
    )  # fmt: skip
    return Density(
        eg.families.inverse_gaussian, exact.inverse_gaussian,
        lambda y, mu, phi, w: stats.invgauss.logpdf(y, mu * phi / w, scale=w / phi),
        y, mu, phi, w, 0.0,
        phi >= 1e-3,  # below, the product μφ/w that SciPy is given carries 6e-12 of rounding
    )  # fmt: skip


def _negative_binomial(alpha: float) -> Density:
    k, mu, w = grid(
        [0, 1, 2, 5, 30, 100, 1e3, 1e6], [1e-8, 1e-3, 0.1, 1, 3.3, 100, 1e4, 1e6], [0.5, 1, 3]
    )
    size_parameter = w / alpha
    terms = [
        special.gammaln(k + size_parameter), special.gammaln(size_parameter),
        k * np.log(alpha * mu / (1 + alpha * mu)), size_parameter * np.log1p(alpha * mu),
    ]  # fmt: skip
    return Density(
        nb(alpha), exact.negative_binomial(alpha),
        lambda y, mu, phi, w: stats.nbinom.logpmf(np.round(y * w), w / alpha, 1 / (1 + alpha * mu)),
        k / w, mu, np.ones_like(mu), w, np.max(np.abs(terms), axis=0),
        # elsewhere the probability 1/(1 + αμ) that SciPy is given has lost the digits of αμ
        (alpha * mu >= 0.05) & (alpha * mu <= 1e3) & (alpha >= 0.1),
    )  # fmt: skip


DENSITIES = {
    "normal": _normal,
    "poisson": _poisson,
    "binomial": _binomial,
    "gamma": _gamma,
    "inverse_gaussian": _inverse_gaussian,
    **{f"negative_binomial({a:g})": (lambda a=a: _negative_binomial(a)) for a in ALPHAS},
}


@pytest.fixture(params=DENSITIES, scope="module")
def density(request: pytest.FixtureRequest) -> Density:
    return DENSITIES[request.param]()


def test_log_density_is_exact(density):
    reference = exact.exactly(density.exact, density.y, density.mu, density.phi, density.w)
    assert_log_density(density.ours, reference, density.size)


def test_log_density_is_that_of_scipy(density):
    holds = np.broadcast_to(density.scipy_holds, density.y.shape)
    y, mu, phi, w, size, ours = (
        np.broadcast_to(v, holds.shape)[holds]
        for v in (density.y, density.mu, density.phi, density.w, density.size, density.ours)
    )
    if holds.any():
        # twice: SciPy's terms are rounded as ours are
        assert_log_density(ours, density.scipy(y, mu, phi, w), 2 * size)
    else:
        assert density.family.fixed["alpha"] < 0.1


def test_scipy_loses_digits_where_mpmath_is_asked_instead():
    value = exact.exactly(exact.negative_binomial(1e-6), 1.0, 1e-8, 1.0, 1.0)
    assert abs(stats.nbinom.logpmf(1, 1e6, 1 / (1 + 1e-14)) - value) > 1e-6
    assert abs(eg.families.negative_binomial(1e-6).logpdf(1, 1e-8) - value) < ROUNDING * 20


@pytest.mark.parametrize("n", [1, 2, 7, 300])
@pytest.mark.parametrize("mu", [1e-9, 0.3, 0.999999])
def test_binomial_at_no_and_all_successes(n, mu):
    ours = eg.families.binomial.logpdf([0.0, 1.0], mu, weights=n)
    np.testing.assert_allclose(ours, [n * np.log1p(-mu), n * np.log(mu)], rtol=1e-11, atol=1e-12)


def test_counts_at_zero():
    assert eg.families.poisson.logpdf(0, 3.5) == -3.5
    np.testing.assert_allclose(
        eg.families.negative_binomial(0.5).logpdf(0, 3.5), -2 * np.log1p(1.75), rtol=ROUNDING
    )


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("poisson", [-1.0, 0.5, np.inf]),
        ("binomial", [-1.0, 0.5, 2.0]),
        ("gamma", [-1.0, 0.0, np.inf]),
        ("inverse_gaussian", [-1.0, 0.0, np.inf]),
        ("normal", [np.inf, -np.inf]),
    ],
)
def test_log_density_is_minus_infinity_outside_the_support(name, outside):
    family = getattr(eg.families, name)
    phi = 1.0 if family.phi is None else None
    assert np.all(family.logpdf(outside, 0.4, phi) == -np.inf)
    assert isinstance(family.logpdf(outside[0], 0.4, phi), float)


def test_the_lattice_of_a_discrete_family_is_that_of_y_times_w():
    binomial = eg.families.binomial
    assert np.isfinite(binomial.logpdf(1 / 3, 0.4, weights=3))
    assert binomial.logpdf(1 / 3, 0.4, weights=2) == -np.inf
    assert binomial.logpdf(0.5, 0.4, weights=2.5) == -np.inf  # no whole number of trials
    assert np.isfinite(eg.families.poisson.logpdf(2.5, 0.4, weights=2))
    assert eg.families.negative_binomial(1.0).logpdf(0.5, 2.0) == -np.inf


@pytest.mark.parametrize("name", ["poisson", "binomial"])
def test_a_mean_at_the_edge_has_its_mass_there(name):
    family = getattr(eg.families, name)
    assert family.logpdf([0, 1], 0.0).tolist() == [0.0, -np.inf]


@pytest.mark.parametrize(
    ("name", "mu", "phi", "w", "words"),
    [
        ("poisson", -1.0, None, 1.0, "means of 'poisson'"),
        ("binomial", 1.5, None, 1.0, "means of 'binomial'"),
        ("gamma", np.nan, 1.0, 1.0, "nan"),
        ("inverse_gaussian", -2.0, 1.0, 1.0, "-2.0"),
        ("gamma", 1.0, -1.0, 1.0, "dispersion"),
        ("normal", 1.0, 0.0, 1.0, "dispersion"),
        ("normal", 1.0, 1.0, 0.0, "weights"),
        ("poisson", 1.0, None, -1.0, "weights"),
    ],
)
def test_parameters_that_are_none_are_refused(name, mu, phi, w, words):
    with pytest.raises(DataError, match=words):
        getattr(eg.families, name).logpdf(1.0, mu, phi, weights=w)


def test_a_free_dispersion_has_to_be_given():
    with pytest.raises(ArgumentError, match=r"dispersion of 'gamma' is free; give phi="):
        eg.families.gamma.logpdf(1.0, 2.0)


@pytest.mark.parametrize("name", ["quasi_poisson", "quasi_binomial"])
def test_quasi_families_refuse_a_density(name):
    family = getattr(eg.families, name)
    assert family.is_quasi
    for phi in (None, 2.0):
        with pytest.raises(ArgumentError, match="declares no density"):
            family.logpdf(1.0, 0.5, phi)


def test_symbols_in_symbols_out():
    y, mu = pt.dscalar("y"), pt.dscalar("mu")
    graph = eg.families.gamma.logpdf(y, mu, 0.5)
    np.testing.assert_allclose(
        graph.eval({y: 2.0, mu: 3.0}, mode="FAST_COMPILE"),
        eg.families.gamma.logpdf(2.0, 3.0, 0.5),
        rtol=ROUNDING,
    )
    assert eg.families.poisson.mean(pt.dvector("theta")).ndim == 1


# ---- what follows from b -------------------------------------------------------------------------


WIDE = np.geomspace(1e-9, 1e9, 37)
INSIDE = np.concatenate([np.geomspace(1e-12, 0.5, 20), 1 - np.geomspace(1e-12, 0.5, 20)])

# name: family, means, θ(μ), V(μ), b*(y) at y = μ
FORMS = {
    "normal": (eg.families.normal, np.r_[-WIDE, 0, WIDE], lambda m: m, lambda m: 1 + 0 * m,
               lambda y: y**2 / 2),
    "poisson": (eg.families.poisson, WIDE, np.log, lambda m: m, lambda y: y * np.log(y) - y),
    "binomial": (eg.families.binomial, INSIDE, special.logit, lambda m: m * (1 - m),
                 lambda y: special.xlogy(y, y) + special.xlog1py(1 - y, -y)),
    "gamma": (eg.families.gamma, WIDE, lambda m: -1 / m, lambda m: m**2, lambda y: -1 - np.log(y)),
    "inverse_gaussian": (eg.families.inverse_gaussian, WIDE, lambda m: -1 / (2 * m**2),
                         lambda m: m**3, lambda y: 1 / (2 * y)),
    "quasi_poisson": (eg.families.quasi_poisson, WIDE, np.log, lambda m: m,
                      lambda y: y * np.log(y) - y),
    "quasi_binomial": (eg.families.quasi_binomial, INSIDE, special.logit, lambda m: m * (1 - m),
                       lambda y: special.xlogy(y, y) + special.xlog1py(1 - y, -y)),
    **{
        f"negative_binomial({a:g})": (
            nb(a), WIDE, lambda m, a=a: -np.log1p(1 / (a * m)), lambda m, a=a: m + a * m**2,
            lambda y, a=a: -y * np.log1p(1 / (a * y)) - np.log1p(a * y) / a,
        )
        for a in ALPHAS
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [*FORMS, "hyperbolic_secant", "tweedie"])
def test_the_built_in_families_pass_what_a_declaration_must(name):
    """They are not verified when they are built."""
    others = {
        "hyperbolic_secant": eg.families.hyperbolic_secant,
        "tweedie": eg.families.tweedie(1.5),
    }
    verify(FORMS[name][0] if name in FORMS else others[name])


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Any:
    return FORMS[request.param]


def test_theta_of_the_mean_and_the_mean_of_theta(form):
    family, mu, theta, _, _ = form
    np.testing.assert_allclose(family.theta_of(mu), theta(mu), rtol=1e-13, atol=1e-15)
    # θ is rounded once: its last place moves the mean by |θ| V(μ) ε, relative to μ
    there = family.theta_of(mu)
    slack = 8 * EPS * (np.abs(mu) + np.abs(there) * family.variance(mu))
    assert np.all(np.abs(family.mean(there) - mu) <= slack)


def test_variance_function(form):
    family, mu, theta, variance, _ = form
    assert family.variance(0.3) == pytest.approx(float(variance(np.float64(0.3))), rel=1e-14)
    # through θ, whose rounding moves μ as above: relative error |θ| b‴/b″ ε, at most 4 |θ| ε here
    slack = 1e-14 + 8 * EPS * np.abs(theta(mu)) * np.where(np.abs(theta(mu)) < 1e-3, 1, 4)
    if family.name == "negative_binomial":  # V′(μ)/V · dμ = (1 + 2αμ)|θ| ε, and θ → −0 as −1/(αμ)
        slack = slack + 8 * EPS * (1 + 2 * family.fixed["alpha"] * mu) * np.abs(theta(mu))
    assert np.all(np.abs(family.variance(mu) / variance(mu) - 1) <= slack)


def test_conjugate(form):
    family, y, _, _, conjugate = form
    size = np.maximum(np.abs(y * family.theta_of(y)), np.abs(family.b(family.theta_of(y))))
    assert np.all(np.abs(family.conjugate(y) - conjugate(y)) <= 8 * EPS * (size + 1e-300))


def test_conjugate_at_the_edges_of_the_support():
    # the limit is taken at θ = ±700: e^−700 is left over
    assert abs(eg.families.poisson.conjugate(0.0)) < 1e-300
    assert np.all(np.abs(eg.families.binomial.conjugate(np.array([0.0, 1.0]))) < 1e-300)
    assert abs(nb(0.5).conjugate(0.0)) < 1e-300


STATSMODELS = {
    "normal": sm.Gaussian(),
    "poisson": sm.Poisson(),
    "binomial": sm.Binomial(),
    "gamma": sm.Gamma(),
    "inverse_gaussian": sm.InverseGaussian(),
    "quasi_poisson": sm.Poisson(),
    "quasi_binomial": sm.Binomial(),
    **{f"negative_binomial({a:g})": sm.NegativeBinomial(alpha=a) for a in ALPHAS},
}
DEVIANCES = {
    "normal": exact.normal_deviance,
    "poisson": exact.poisson_deviance,
    "binomial": exact.binomial_deviance,
    "gamma": exact.gamma_deviance,
    "inverse_gaussian": exact.inverse_gaussian_deviance,
    "quasi_poisson": exact.poisson_deviance,
    "quasi_binomial": exact.binomial_deviance,
    **{f"negative_binomial({a:g})": exact.negative_binomial_deviance(a) for a in ALPHAS},
}


def responses(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Responses, at the edges too, and means, some of them very near to the responses."""
    if "binomial" in name and "negative" not in name:
        return tuple(grid([0, 1e-3, 0.2, 0.5, 0.9, 1], [1e-9, 1e-3, 0.2, 0.2000001, 0.5, 1 - 1e-9]))
    if name == "normal":
        return tuple(grid([-1e5, -1, 0, 1e-3, 2], [-1e5, -1.0001, 0, 1, 2, 1e6]))
    if name in ("gamma", "inverse_gaussian"):
        return tuple(grid([1e-8, 1e-3, 0.5, 1, 3, 1e6], [1e-6, 0.5, 0.500001, 1, 3, 1e6]))
    return tuple(grid([0, 1, 2, 10, 1e3, 1e6], [1e-8, 0.1, 1, 1.000001, 10, 1e3, 1e6]))


@pytest.mark.parametrize("name", DEVIANCES)
def test_unit_deviance(name):
    family = FORMS[name][0]
    y, mu = responses(name)
    ours, reference = family.deviance(y, mu), exact.exactly(DEVIANCES[name], y, mu)
    theta = family.theta_of(mu)
    size = np.maximum(np.abs(y * theta), np.abs(family.b(theta))) + np.abs(family.conjugate(y))
    # derived, b*(y) − yθ + b(θ) cancels; a closed form may leave the linear part, of size √d
    lost = np.sqrt(reference) if family.closed_deviance else size
    slack = ROUNDING * reference + 8 * EPS * lost
    assert np.all(np.abs(ours - reference) <= slack)
    assert np.all(ours >= -slack)


@pytest.mark.parametrize("name", STATSMODELS)
def test_unit_deviance_is_that_of_statsmodels(name):
    family = FORMS[name][0]
    y, mu = (np.array(v) for v in responses(name))
    # statsmodels clips means and responses near the edges, and cancels where αμ is small
    plain = (mu > 1e-3) & (mu < 1e4) & (y < 1e4) & (mu != 1 - 1e-9)
    if family.support.low == 0 and not family.support.contains(0.0):
        plain &= y > 1e-3
    theirs = STATSMODELS[name].resid_dev(y[plain], mu[plain]) ** 2
    np.testing.assert_allclose(family.deviance(y, mu)[plain], theirs, rtol=1e-8, atol=1e-8)
    assert plain.sum() >= 10


def test_deviance_refuses_responses_outside_the_closed_mean_space():
    with pytest.raises(DataError, match=r"deviance of 'gamma'.*row 1: -1\.0"):
        eg.families.gamma.deviance([1.0, -1.0], 2.0)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        eg.families.binomial.deviance(np.nan, 0.5)


@pytest.mark.parametrize("name", [k for k in FORMS if "quasi" not in k])
def test_saturated_is_the_log_density_at_the_response(name):
    family = FORMS[name][0]
    y = np.array([1.0, 2.0, 7.0]) if family.support.high > 1 else np.array([0.25, 0.5, 0.75])
    a = 0.25 if family.name == "binomial" else 0.5
    if family.support.discrete and family.name != "binomial":
        a = 1.0
    ours = family.saturated(y, a)
    phi, weights = (a, 1.0) if family.phi is None else (None, 1 / a)
    np.testing.assert_allclose(ours, family.logpdf(y, y, phi, weights=weights), rtol=1e-10)


# ---- the negative binomial's α -------------------------------------------------------------------


def test_small_alpha_is_nearly_poisson():
    y, mu = grid([0, 1, 5, 20], [0.1, 1, 10])
    gap = nb(1e-6).logpdf(y, mu) - eg.families.poisson.logpdf(y, mu)
    # first order in α: ((y − μ)² − y) α/2
    np.testing.assert_allclose(gap, 0.5e-6 * ((y - mu) ** 2 - y), atol=1e-8, rtol=1e-3)


def test_unknown_shapes_cannot_be_fixed():
    with pytest.raises(ArgumentError, match="'power' is no shape parameter"):
        eg.families.poisson.fix(power=2.0)


def test_alpha_makes_another_family():
    assert nb(0.5) == eg.families.negative_binomial(0.5) and nb(0.5) != nb(0.6)
    assert nb(0.5).fixed == {"alpha": 0.5} and "alpha=0.5" in repr(nb(0.5))


# ---- a family is a value -------------------------------------------------------------------------

VALUES = {name: form[0] for name, form in FORMS.items()}


@pytest.fixture(params=VALUES)
def value(request: pytest.FixtureRequest) -> eg.Family:
    return VALUES[request.param]


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_pickling_gives_an_equal_family(value, library):
    again = library.loads(library.dumps(value))
    assert again is not value
    assert again == value and hash(again) == hash(value) and again.digest == value.digest
    assert again.link == value.link and dict(again.fixed) == dict(value.fixed)
    assert again.mean_space == value.mean_space
    phi = None if value.phi is not None or value.is_quasi else 0.7
    if not value.is_quasi:
        assert again.logpdf(1.0, 0.4, phi) == value.logpdf(1.0, 0.4, phi)


def test_families_differ(value):
    others = [f for f in VALUES.values() if f == value]
    assert len(others) == 1
    assert value != "poisson" and len({*VALUES.values()}) == len(VALUES)


def test_equality_goes_by_graph_not_by_lambda():
    def declare(scale: float) -> eg.Family:
        return eg.Family(
            "poisson_again",
            b=lambda theta: scale * pt.exp(theta),
            c=lambda y, a: -pt.gammaln(y + 1),
            support=eg.Integers(0, None),
            phi=1.0,
            link="log",
        )

    assert declare(1.0) == declare(1.0)
    assert declare(1.0) != declare(2.0)


@pytest.mark.parametrize("attribute", ["name", "b", "phi", "link", "_cache", "new"])
def test_a_family_cannot_be_changed(value, attribute):
    with pytest.raises(AttributeError):
        setattr(value, attribute, None)
    with pytest.raises(AttributeError):
        delattr(value, attribute)
    with pytest.raises(TypeError):
        value.fixed["alpha"] = 3.0
    assert value == VALUES[next(k for k, f in VALUES.items() if f is value)]


def test_names_reach_the_same_families():
    assert eg.families.gaussian is eg.families.normal
    assert eg.GLM.from_arrays([1.0, 2, 4], [1.0, 1, 1], family="gaussian").family.name == "normal"
    assert set(dir(eg.families)) >= {"poisson", "negative_binomial", "quasi_binomial"}
    with pytest.raises(AttributeError):
        _ = eg.families.weibull


@pytest.mark.parametrize(
    ("name", "default", "canonical"),
    [
        ("normal", "identity", "identity"),
        ("poisson", "log", "log"),
        ("binomial", "logit", "logit"),
        ("gamma", "inverse", "inverse"),
        ("inverse_gaussian", "inverse_squared", "inverse_squared"),
        ("quasi_poisson", "log", "log"),
        ("quasi_binomial", "logit", "logit"),
    ],
)
def test_default_and_canonical_links(name, default, canonical):
    family = getattr(eg.families, name)
    assert family.link.name == default
    assert family.canonical_link.name == canonical


def test_the_canonical_link_of_the_negative_binomial_is_not_its_default():
    family = nb(0.5)
    assert family.link.name == "log" and family.canonical_link.name != "log"
    mu = np.array([0.1, 1.0, 30.0])
    np.testing.assert_allclose(family.canonical_link(mu), np.log(0.5 * mu / (1 + 0.5 * mu)))
    np.testing.assert_allclose(family.canonical_link.inverse(family.canonical_link(mu)), mu)
    with pytest.raises(DeclarationError, match="depends on alpha"):
        eg.Family(
            "open",
            b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
            c=None,
            support=eg.Integers(0, None),
            theta_domain=eg.Interval(None, 0),
            theta=lambda mu, alpha: -pt.log1p(1 / (alpha * mu)),
            shape={"alpha": eg.Positive},
        )
