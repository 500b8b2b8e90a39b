"""Links against statsmodels, closed forms and mpmath: values, inverses, slopes and both tails."""

from __future__ import annotations

import pickle
from functools import partial

import cloudpickle
import mpmath as mp
import numpy as np
import pytensor.tensor as pt
import pytest
import statsmodels.genmod.families.links as theirs

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec import links
from tests import exact
from tests.tolerances import DEFAULT

EPS = np.finfo(float).eps
# One function call of a few operations: a few units in the last place, and in the argument of
# exp, erfc and the like one unit of |η| more.
CLOSE = 1e-14

UNIT = np.concatenate([np.geomspace(1e-12, 0.5, 25), 1 - np.geomspace(1e-6, 0.5, 25)])
WIDE = np.geomspace(1e-9, 1e9, 37)

# name: means, statsmodels' link, the closed form of g in mpmath
LINKS = {
    "identity": (np.r_[-WIDE, 0, WIDE], theirs.Identity(), lambda m: m),
    "log": (WIDE, theirs.Log(), mp.log),
    "logit": (UNIT, theirs.Logit(), lambda m: mp.log(m / (1 - m))),
    "probit": (UNIT, theirs.Probit(), lambda m: -mp.sqrt(2) * mp.erfinv(1 - 2 * m)),
    "cloglog": (UNIT, theirs.CLogLog(), lambda m: mp.log(-mp.log(1 - m))),
    "loglog": (UNIT, theirs.LogLog(), lambda m: -mp.log(-mp.log(m))),
    "cauchit": (UNIT, theirs.Cauchy(), lambda m: mp.tan(mp.pi * (m - mp.mpf(1) / 2))),
    "inverse": (WIDE, theirs.InversePower(), lambda m: 1 / m),
    "inverse_squared": (WIDE, theirs.InverseSquared(), lambda m: 1 / m**2),
    "sqrt": (WIDE, theirs.Sqrt(), mp.sqrt),
    "power(3.0)": (WIDE, theirs.Power(3.0), lambda m: m**3),
    "power(-0.7)": (WIDE, theirs.Power(-0.7), lambda m: m ** -exact.number(0.7)),
}


@pytest.fixture(params=LINKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_built_in_link_is_tested():
    assert {link.name for link in links.built_in()} <= set(LINKS)
    assert {*dir(eg.links)} - {"power"} <= set(LINKS)


def test_link_is_its_closed_form(name):
    mu, _, g = LINKS[name]
    reference = exact.exactly(g, mu)
    # relative to η, except near its zero, where the rounding of μ itself is left: |μ g′(μ)| ε
    with np.errstate(all="ignore"):
        slack = CLOSE * np.abs(reference) + 8 * EPS * np.abs(exact.exactly(partial(slope, g), mu))
    assert np.all(np.abs(links.named(name)(mu) - reference) <= slack)


def slope(g, mu):
    """|μ| g′(μ), in (0, 1) where that is less with 1 − μ in place of μ."""
    return mu * mp.diff(g, mu, h=mp.mpf(10) ** -25)


def test_link_inverse_and_slope_are_those_of_statsmodels(name):
    mu, other, _ = LINKS[name]
    mu = mu[(np.abs(mu) < 0.999) & (np.abs(mu) > 1e-3)]  # statsmodels clips beyond
    link = links.named(name)
    np.testing.assert_allclose(link(mu), other(mu), rtol=1e-12, atol=1e-14)
    eta = link(mu)
    np.testing.assert_allclose(link.inverse(eta), other.inverse(eta), rtol=1e-12)
    family = eg.families.normal if name == "identity" or "po" in name else eg.families.poisson
    (dmu,) = row_kernel(family, link, ("slope",))(eta, mu, 1.0)
    np.testing.assert_allclose(dmu, np.broadcast_to(other.inverse_deriv(eta), eta.shape), rtol=1e-9)


def test_inverse_inverts(name):
    mu, _, _ = LINKS[name]
    link = links.named(name)
    # η is rounded once, which moves μ by |η| dμ/dη ε; the closed forms add a few units
    eta = link(mu)
    moved = np.abs(eta) / np.maximum(np.abs(link.link.derivative("mu")(mu)), 1e-300)
    slack = 4 * EPS * (np.abs(mu) + moved) + (EPS if name == "probit" else 0.0)
    assert np.all(np.abs(link.inverse(eta) - mu) <= 4 * slack)


def test_slope_is_the_derivative_of_the_inverse(name):
    mu, _, g = LINKS[name]
    mu = mu[::3]
    link = links.named(name)
    family = eg.families.normal if mu.min() < 0 else eg.families.poisson
    (ours,) = row_kernel(family, link, ("slope",))(link(mu), mu, 1.0)

    def reference(m):
        return 1 / mp.diff(g, m, h=mp.mpf(10) ** -25)

    np.testing.assert_allclose(
        np.broadcast_to(ours, mu.shape), exact.exactly(reference, mu), rtol=DEFAULT
    )


# ---- both tails of the binomial links ------------------------------------------------------------

ETAS = {
    "logit": [-700, -300, -37, -30, -10, -1, 0, 1e-8, 1, 10, 30, 37, 300, 700],
    "probit": [-37, -30, -20, -8, -5, -1, 0, 1e-8, 1, 5, 8, 20, 30, 37],
    "cloglog": [-700, -300, -37, -30, -5, -1, 0, 1e-8, 1, 2, 3, 3.5, 4, 5, 6, 6.5],
    "loglog": [-6.5, -6, -5, -4, -3.5, -3, -1, 0, 1e-8, 1, 5, 30, 37, 300, 700],
    "cauchit": [-1e15, -1e10, -1e6, -30, -1, 0, 1e-8, 1, 30, 1e6, 1e10, 1e15],
}
# exp, erfcx and their arguments: |η| or η² units in the last place of the argument
TAIL = 1e-12


def binomial(link: str, output: str, y: float) -> tuple[np.ndarray, np.ndarray]:
    eta = np.array(ETAS[link], float)
    kernel = row_kernel(eg.families.binomial, links.named(link), (output,))
    (values,) = kernel(eta, np.full_like(eta, y), 1.0)
    return eta, np.broadcast_to(values, eta.shape)


@pytest.mark.parametrize("link", ETAS)
def test_the_canonical_parameter_in_both_tails(link):
    eta, theta = binomial(link, "theta", 0.0)
    reference = exact.exactly(partial(exact.log_odds, link), eta)
    np.testing.assert_allclose(theta, reference, rtol=TAIL, atol=4 * EPS)
    assert np.all(np.abs(theta[np.abs(eta) >= 30]) > 3)


@pytest.mark.parametrize("link", ETAS)
@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ("mu", lambda link, eta: exact.TAILS[link][0](eta)[0]),
        ("slope", exact.link_slope),
        ("variance", lambda link, eta: mp.fprod(exact.TAILS[link][0](eta))),
        ("weight", exact.binomial_weight),
    ],
)
def test_mean_slope_variance_and_weight_in_both_tails(link, output, reference):
    eta, ours = binomial(link, output, 0.0)
    values = exact.exactly(partial(reference, link), eta)
    assert np.all(values > 0)
    np.testing.assert_allclose(ours, values, rtol=TAIL)


@pytest.mark.parametrize("link", ETAS)
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_score_in_both_tails(link, y):
    eta, ours = binomial(link, "score", y)
    values = exact.exactly(lambda e: exact.binomial_score(link, e, mp.mpf(y)), eta)
    rate = exact.exactly(partial(exact.log_odds_slope, link), eta)
    # y − μ is exact where it is not small; near y = μ one unit in the last place of y is left
    assert np.all(np.abs(ours - values) <= TAIL * np.abs(values) + 2 * EPS * rate)
    lost = (y - 0.5) * eta < 0  # the tail away from y, which pulls
    np.testing.assert_allclose(ours[lost], values[lost], rtol=TAIL)
    assert np.isfinite(ours).all()


@pytest.mark.parametrize("link", ETAS)
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_log_likelihood_in_both_tails(link, y):
    eta, ours = binomial(link, "loglik", y)
    values = exact.exactly(lambda e: exact.binomial_loglik(link, e, mp.mpf(y)), eta)
    theta = exact.exactly(partial(exact.log_odds, link), eta)
    assert np.all(np.abs(ours - values) <= TAIL * np.abs(values) + 2 * EPS * np.abs(theta))


@pytest.mark.parametrize("link", ETAS)
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_observed_weight(link, y):
    eta, ours = binomial(link, "observed_weight", y)
    middle = np.abs(eta) < 9
    values = exact.exactly(
        lambda e: exact.binomial_observed_weight(link, e, mp.mpf(y)), eta[middle]
    )
    rate = exact.exactly(partial(exact.log_odds_slope, link), eta[middle])
    slack = DEFAULT * np.abs(values) + 1e-14 * (1 + rate**2)
    np.testing.assert_array_less(np.abs(ours[middle] - values), slack)


@pytest.mark.parametrize("eta", [-800.0, 800.0])
def test_pearson_residual_where_the_variance_underflows(eta):
    y = float(eta > 0)
    kernel = row_kernel(eg.families.binomial, eg.links.logit, ("pearson", "weight", "deviance"))
    pearson, weight, deviance = (v.item() for v in kernel(np.array([eta]), np.array([y]), 1.0))
    assert pearson == weight == 0.0 and abs(deviance) < 1e-300
    other, *_ = kernel(np.array([eta]), np.array([1 - y]), 1.0)
    assert other[0] == np.inf  # as it is: 1/V is beyond the largest double


# ---- power(λ) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 1 / 3])
def test_power(lam):
    link = eg.links.power(lam)
    mu = np.array([1e-3, 0.5, 1.0, 7.0])
    np.testing.assert_allclose(link(mu), mu**lam, rtol=CLOSE)
    np.testing.assert_allclose(link.inverse(mu**lam), mu, rtol=1e-13)
    assert links.named(f"power({lam})") == link


def test_power_zero_is_the_log():
    assert eg.links.power(0) is eg.links.log
    assert links.named("power(0)") == eg.links.log


@pytest.mark.parametrize("lam", [np.inf, np.nan])
def test_power_must_be_finite(lam):
    with pytest.raises(ArgumentError, match="the exponent must be 0"):
        eg.links.power(lam)


@pytest.mark.parametrize("text", ["power(x)", "power()", "power(nan)", "lgo", "", 3, None, ["log"]])
def test_unknown_links(text):
    with pytest.raises(ArgumentError, match=r"link=|exponent"):
        links.named(text)


@pytest.mark.parametrize(
    ("power", "name", "mu"),
    [(-1.0, "inverse", 0.3), (-2.0, "inverse_squared", 0.3), (0.5, "sqrt", 4.0)],
)
def test_named_powers_are_the_power_links(power, name, mu):
    assert links.named(name)(mu) == pytest.approx(eg.links.power(power)(mu), rel=1e-15)


# ---- a user's own link ---------------------------------------------------------------------------


def aranda(inverse: bool) -> eg.Link:
    """Aranda-Ordaz with λ = 2: η = log{((1 − μ)⁻² − 1)/2}."""
    return eg.Link(
        "aranda",
        lambda mu: pt.log(((1 - mu) ** -2 - 1) / 2),
        (lambda eta: 1 - (1 + 2 * pt.exp(eta)) ** -0.5) if inverse else None,
        domain=eg.UnitInterval,
    )


def test_an_undeclared_inverse_is_found_numerically():
    ours, closed = aranda(False), aranda(True)
    mu = np.array([1e-8, 0.01, 0.3, 0.9, 1 - 1e-6])
    np.testing.assert_allclose(ours.inverse(ours(mu)), mu, rtol=1e-8, atol=1e-15)
    middle = mu[1:-1]
    np.testing.assert_allclose(ours.inverse(closed(middle)), middle, rtol=1e-13)
    eta = np.linspace(-3, 3, 13)
    for output in ("mu", "slope", "theta", "score", "weight", "observed_weight", "loglik"):
        pair = [
            row_kernel(eg.families.binomial, link, (output,))(eta, np.ones_like(eta), 1.0)[0]
            for link in (ours, closed)
        ]
        np.testing.assert_allclose(*pair, rtol=DEFAULT)


def test_a_fit_with_an_undeclared_inverse():
    beetles = eg.load_data("beetles")
    roles = {c: list(beetles.columns)[i] for i, c in enumerate(("x", "trials", "y"))}
    fits = [
        eg.GLM(f"{roles['y']} ~ {roles['x']}", beetles, family="binomial", trials=roles["trials"],
               link=link).fit()["fit"]
        for link in (aranda(False), aranda(True))
    ]  # fmt: skip
    gap = np.abs(fits[0]["beta"] - fits[1]["beta"]) / fits[1]["se"]
    assert float(gap.max()) < 1e-8
    np.testing.assert_allclose(fits[0]["se"], fits[1]["se"], rtol=1e-9)


def test_outside_the_range_the_numerical_inverse_is_nan():
    halved = eg.Link("halved", lambda mu: mu / 2, domain=eg.UnitInterval)
    assert np.isnan(halved.inverse(0.6)) and halved.inverse(0.25) == pytest.approx(0.5, rel=1e-15)


# ---- image ---------------------------------------------------------------------------------------

INF = np.inf


@pytest.mark.parametrize(
    ("link", "means", "low", "high"),
    [
        ("identity", eg.Real, -INF, INF),
        ("identity", eg.Positive, 0, INF),
        ("identity", eg.UnitInterval, 0, 1),
        ("log", eg.Positive, -INF, INF),
        ("log", eg.Real, -INF, INF),
        ("log", eg.UnitInterval, -INF, 0),
        ("log", eg.Interval(1, None), 0, INF),
        ("logit", eg.UnitInterval, -INF, INF),
        ("probit", eg.UnitInterval, -INF, INF),
        ("cloglog", eg.UnitInterval, -INF, INF),
        ("loglog", eg.UnitInterval, -INF, INF),
        ("cauchit", eg.UnitInterval, -INF, INF),
        ("cauchit", eg.Positive, -INF, INF),
        ("inverse", eg.Positive, 0, INF),
        ("inverse", eg.UnitInterval, 1, INF),
        ("inverse_squared", eg.Positive, 0, INF),
        ("sqrt", eg.Positive, 0, INF),
        ("power(3)", eg.Interval(2, 3), 8, 27),
        ("power(-1)", eg.Interval(2, 4), 0.25, 0.5),
    ],
)
def test_image(link, means, low, high):
    image = links.named(link).image(means)
    assert (image.low, image.high, image.closed, image.discrete) == (low, high, "neither", False)


def test_no_common_mean_is_refused():
    with pytest.raises(DeclarationError, match=r"'log' is defined on \(0, inf\).*\(-2, -1\)"):
        links.named("log").image(eg.Interval(-2, -1))


# ---- a link is a value ---------------------------------------------------------------------------


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_pickling_gives_an_equal_link(name, library):
    link = links.named(name)
    again = library.loads(library.dumps(link))
    assert again == link and hash(again) == hash(link) and again.name == link.name
    assert again != eg.Link("negative", lambda mu: -mu, lambda eta: -eta)


def test_pickling_keeps_a_numerical_inverse():
    link = aranda(False)
    again = pickle.loads(pickle.dumps(link))
    assert again == link == aranda(False) and link != aranda(True)
    assert again.inverse(0.2) == link.inverse(0.2)


def test_links_differ():
    assert len(set(links.built_in())) == len(links.built_in())
    assert eg.links.power(2) != eg.links.power(2.5)


@pytest.mark.parametrize("attribute", ["name", "link", "inverse", "domain", "new"])
def test_a_link_cannot_be_changed(attribute):
    with pytest.raises(AttributeError):
        setattr(eg.links.log, attribute, None)
    with pytest.raises(AttributeError):
        delattr(eg.links.log, attribute)


def test_an_inverse_that_does_not_invert_is_refused():
    with pytest.raises(DeclarationError, match="does not invert"):
        eg.Link("wrong", pt.log, lambda eta: pt.exp(2 * eta), domain=eg.Positive)


@pytest.mark.parametrize("link", [lambda mu: (mu - 0.3) ** 2, lambda mu: 0.0 * mu, pt.sin])
def test_a_link_that_is_not_monotone_is_refused(link):
    domain = eg.Real if link is pt.sin else eg.UnitInterval
    with pytest.raises(DeclarationError, match=r"'bent' is not strictly monotone.*domain"):
        eg.Link("bent", link, domain=domain)


def test_where_a_link_turns_is_said():
    with pytest.raises(DeclarationError, match=r"turns near μ = 0\.[23]"):
        eg.Link("bent", lambda mu: (mu - 0.3) ** 2, domain=eg.UnitInterval)


@pytest.mark.parametrize("lam", [-200.0, -50.0, -1e-3, 1e-3, 50.0, 200.0])
def test_steep_and_flat_powers_are_not_refused(lam):
    assert eg.links.power(lam).domain == eg.Positive


def test_the_domain_of_a_link_must_be_one():
    with pytest.raises(DeclarationError, match=r"'half': domain must be a domain.*\(0, 1\)"):
        eg.Link("half", pt.log, domain=(0, 1))
