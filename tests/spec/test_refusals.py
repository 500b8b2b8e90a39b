"""Declarations that cannot hold: each is refused at once, by name and with what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import special

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError

POISSON = {
    "b": pt.exp,
    "c": lambda y, a: -pt.gammaln(y + 1),
    "support": eg.Integers(0, None),
    "phi": 1.0,
}
ALPHA = {"alpha": eg.Positive}


def declare(**changes: Any) -> eg.Family:
    """A Poisson family with changes."""
    return eg.Family("trial", **{**POISSON, **changes})


def test_the_base_of_the_changes_is_sound():
    np.testing.assert_allclose(declare().logpdf(2, 3.0), eg.families.poisson.logpdf(2, 3.0))


# ---- b, a and the closed forms -------------------------------------------------------------------


@pytest.mark.parametrize(
    "b",
    [
        lambda theta: -pt.exp(theta),
        lambda theta: theta**3,
        pt.sin,
        lambda theta: 2 * theta,
        lambda theta: 3.0,
        lambda theta: 7 * theta - 0.5 * theta**2,
    ],
    ids=["concave", "cubic", "sine", "linear", "constant", "parabola"],
)
def test_b_that_is_not_convex(b):
    with pytest.raises(DeclarationError, match=r"family 'trial': b is not convex; b″"):
        declare(b=b)


def test_where_b_is_not_convex_is_said():
    with pytest.raises(DeclarationError, match=r"b″ = -96 at θ = -16.*theta_domain"):
        declare(b=lambda theta: theta**3)


def test_b_that_is_nowhere_finite():
    with pytest.raises(DeclarationError, match=r"not finite anywhere on the θ-domain \(0, inf\)"):
        declare(b=lambda theta: -pt.log(-theta), theta_domain=eg.Positive, support=eg.Positive)


def test_functions_of_too_few_arguments():
    with pytest.raises(DeclarationError, match=r"c is called with \(y, a\), .* lambda y, a: …"):
        declare(c=lambda y: -pt.gammaln(y + 1))
    with pytest.raises(DeclarationError, match=r"b is called with \(theta\)"):
        declare(b=lambda: 1.0)
    with pytest.raises(DeclarationError, match=r"takes \(theta, other\)"):
        declare(b=lambda theta, other: pt.exp(theta))


def test_digits_that_cancel_near_an_end_of_the_domain():
    geometric = {"c": lambda y, a: 0.0 * y, "theta_domain": eg.Interval(None, 0)}
    with pytest.raises(DeclarationError, match=r"loses its digits near an end.*pt.log1mexp"):
        declare(b=lambda t: -pt.log(1 - pt.exp(t)), **geometric)
    assert declare(b=lambda t: -pt.log1mexp(t), **geometric).mean(-np.log(2)) == pytest.approx(1)


@pytest.mark.parametrize("support", [eg.Interval(-2, -1), eg.Integers(0, 1), eg.UnitInterval])
def test_means_outside_the_support(support):
    with pytest.raises(DeclarationError, match=r"mean b′\(θ\) = .* lies outside the support"):
        declare(support=support, link="log")


@pytest.mark.parametrize(
    "theta", [lambda mu: pt.log(mu) + 1, lambda mu: -pt.log(mu), lambda mu: pt.log(-mu), pt.sqrt]
)
def test_theta_that_does_not_invert_the_mean(theta):
    with pytest.raises(DeclarationError, match=r"theta\(mu\) does not invert b′: at θ ="):
        declare(theta=theta)


@pytest.mark.parametrize(
    "deviance",
    [
        lambda y, mu: (y - mu) ** 2,
        lambda y, mu: y * pt.log(y / mu) - (y - mu),
        lambda y, mu: -2 * (y * pt.log(y / mu) - (y - mu)),
        lambda y, mu: pt.log(-mu),
    ],
    ids=["normal", "half", "negative", "nan"],
)
def test_a_wrong_closed_deviance(deviance):
    with pytest.raises(DeclarationError, match=r"closed form of deviance does not follow from b"):
        declare(theta=pt.log, deviance=deviance)


@pytest.mark.parametrize("with_deviance", [True, False])
def test_a_wrong_closed_conjugate(with_deviance):
    right = {"deviance": lambda y, mu: 2 * (y * pt.log(y / mu) - (y - mu))} if with_deviance else {}
    with pytest.raises(DeclarationError, match=r"conjugate\(y\) = .* but b\*\(y\) ="):
        declare(theta=pt.log, conjugate=lambda y: y * pt.log(y), **right)


def test_right_closed_forms_pass():
    family = declare(
        theta=pt.log,
        deviance=lambda y, mu: 2 * (y * pt.log(y / mu) - (y - mu)),
        conjugate=lambda y: y * pt.log(y) - y,
    )
    assert family.deviance(3.0, 2.0) == pytest.approx(eg.families.poisson.deviance(3.0, 2.0))


@pytest.mark.parametrize(
    ("a", "phi"), [(lambda phi: -phi, 1.0), (lambda phi: 1 / phi, None), (pt.log, None)]
)
def test_a_dispersion_function_that_is_none(a, phi):
    with pytest.raises(DeclarationError, match="dispersion function must be positive and incr"):
        declare(a=a, phi=phi)


@pytest.mark.parametrize("phi", [0, -1.0, np.inf, np.nan, "free", [1.0, 2.0]])
def test_phi_must_be_a_positive_number_or_none(phi):
    with pytest.raises(DeclarationError, match=r"phi=.* must be a positive number, or None"):
        declare(phi=phi)


def test_a_density_that_is_not_declared():
    quasi = declare(c=None, phi=None)
    assert quasi.is_quasi
    for ask in (lambda: quasi.logpdf(1.0, 2.0, 1.0), lambda: quasi.base_measure(1.0, 1.0)):
        with pytest.raises(ArgumentError, match=r"'trial' declares no density \(c=None\)"):
            ask()


# ---- names, and functions that change ------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "", "  ", 3, ["poisson"]])
def test_a_family_without_a_name(name):
    with pytest.raises(DeclarationError, match="name of a family must be text that is not empty"):
        eg.Family(name, **POISSON)


@pytest.mark.parametrize("name", ["normal", "gaussian", "binomial", "gamma", "negative_binomial"])
def test_the_name_of_a_built_in_family_for_another_declaration(name):
    with pytest.raises(
        DeclarationError, match=f"{name!r}: this is the name .*'my_{name}'"
    ) as error:
        eg.Family(name, **POISSON)
    assert error.value.part == "name"


def test_the_name_of_a_built_in_family_for_the_same_declaration():
    original = eg.families.poisson
    same = eg.Family("poisson", original.b, original.c, support=original.support, phi=1.0)
    assert same.digest == original.digest
    assert eg.families.negative_binomial(0.3).fix().name == "negative_binomial"


@pytest.mark.parametrize("part", ["b", "c", "a", "theta"])
def test_functions_that_change_from_call_to_call(part):
    right = {**POISSON, "a": lambda phi: phi, "theta": pt.log}[part]
    rng = np.random.default_rng(1)

    def random(*arguments):
        return right(*arguments) * (1 + rng.random())

    with pytest.raises(DeclarationError, match=rf"'trial': {part} gives another expression when"):
        declare(**{part: random})


# ---- supports and θ-domains that do not fit b ----------------------------------------------------


@pytest.mark.parametrize(
    ("support", "bound"),
    [
        (eg.Integers(0, None), "inf"),
        (eg.Integers(0, 5), "5"),
        (eg.Interval(0, 2), "2"),
        (eg.Integers(-1, 1), "-1"),
        (eg.Real, "-inf"),
    ],
)
def test_a_support_beyond_the_means(support, bound):
    words = rf"the means b′\(θ\) end at [01] where θ → -?inf, but the support .* to {bound}, .*"
    with pytest.raises(DeclarationError, match=words + r"Let support= end at [01]") as error:
        declare(b=pt.softplus, support=support)
    assert error.value.part == "support"


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_a_theta_domain_that_is_cut_too_short(low):
    with pytest.raises(DeclarationError, match=r"Widen theta_domain to all θ") as error:
        declare(theta_domain=eg.Interval(low, None))
    assert error.value.part == "theta_domain"


@pytest.mark.parametrize(
    "b",
    [
        lambda theta: -pt.log(-theta),
        lambda theta: -pt.sqrt(-theta),
        lambda theta: -pt.log1mexp(theta),
    ],
    ids=["log", "sqrt", "log1mexp"],
)
def test_a_theta_domain_where_b_is_no_number(b):
    words = r"b\(θ\) is not a number at θ = .* of the θ-domain \(-inf, inf\); .*Narrow theta_domain"
    with pytest.raises(DeclarationError, match=words) as error:
        declare(b=b)
    assert error.value.part == "theta_domain"


def test_an_overflow_of_b_is_no_end_of_its_domain():
    family = declare(
        b=lambda theta: pt.log(pt.exp(pt.exp(theta)) - 1), support=eg.Integers(1, None)
    )
    assert family.mean(0.0) == pytest.approx(1 / (1 - math.exp(-1)))


def test_refusals_name_the_part():
    for change, part in (
        ({"b": lambda theta: -pt.exp(theta)}, "b"),
        ({"theta": pt.sqrt}, "theta"),
        ({"a": lambda phi: -phi}, "a"),
        ({"theta": pt.log, "conjugate": lambda y: y}, "conjugate"),
        ({"theta": pt.log, "deviance": lambda y, mu: (y - mu) ** 2}, "deviance"),
    ):
        with pytest.raises(DeclarationError) as error:
            declare(**change)
        assert error.value.part == part


# ---- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["mu", "theta", "phi", "eta", "beta", "y", "a", "r", "weights", "trials", "size", "rng"],
)
def test_a_shape_with_a_name_that_clashes(name):
    with pytest.raises(DeclarationError, match=f"shape parameter '{name}' clashes with a name"):
        declare(b=lambda theta, **shapes: pt.exp(theta), shape={name: eg.Positive}, link="log")


@pytest.mark.parametrize("name", ["1a", "two words", "lambda", "", 1])
def test_a_shape_whose_name_is_none(name):
    with pytest.raises(DeclarationError, match="no name of an argument"):
        declare(shape={name: eg.Positive}, link="log")


@pytest.mark.parametrize("domain", [None, (0, 1), "positive", 1.0])
def test_a_shape_without_a_domain(domain):
    with pytest.raises(DeclarationError, match="'alpha' needs a domain, such as Positive; got"):
        declare(shape={"alpha": domain}, link="log")


@pytest.mark.parametrize("shape", [["alpha"], "alpha", {"alpha"}])
def test_shapes_must_be_a_mapping(shape):
    with pytest.raises(DeclarationError, match="shape must map names to domains"):
        declare(shape=shape, link="log")


def test_a_shape_that_has_no_value_yet():
    family = declare(b=lambda theta, alpha: alpha * pt.exp(theta / alpha), shape=ALPHA, link="log")
    with pytest.raises(DeclarationError, match="a value is needed for alpha"):
        family.mean(0.3)


def test_shapes_are_checked_once_they_have_values():
    family = declare(b=lambda theta, alpha: -alpha * pt.exp(theta), shape=ALPHA, link="log")
    with pytest.raises(DeclarationError, match="b is not convex"):
        family.fix(alpha=2.0)


# ---- functions that cannot be traced -------------------------------------------------------------


def branch(theta):
    if theta > 0:
        return pt.exp(theta)
    return theta


UNTRACEABLE = {
    "if": branch,
    "conditional": lambda theta: pt.exp(theta) if theta > 0 else theta,
    "and": lambda theta: (theta > 0) and theta,
    "max": lambda theta: max(theta, 0),
    "math.exp": lambda theta: math.exp(theta),
    "float": lambda theta: float(theta),
    "np.maximum": lambda theta: np.maximum(theta, 0),
    "np.where": lambda theta: np.where(theta > 0, theta, 0),
    "scipy": lambda theta: special.expit(theta),
    "text": lambda theta: theta + "a",
    "attribute": lambda theta: theta.logarithm(),
}


@pytest.mark.parametrize("b", UNTRACEABLE.values(), ids=UNTRACEABLE)
def test_untraceable_functions(b):
    words = r"family 'trial': b cannot be traced: .*functions of pytensor\.tensor.*without if"
    with pytest.raises(DeclarationError, match=words) as caught:
        declare(b=b)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("part", "function"),
    [
        ("c", lambda y, a: math.lgamma(y + 1)),
        ("theta", lambda mu: math.log(mu)),
        ("a", lambda phi: math.sqrt(phi)),
        ("deviance", lambda y, mu: max(y, mu)),
        ("conjugate", lambda y: math.log(y)),
    ],
)
def test_every_part_is_traced(part, function):
    with pytest.raises(DeclarationError, match=f"'trial': {part} cannot be traced"):
        declare(**{part: function})


@pytest.mark.parametrize("b", [3.0, None, "exp", [pt.exp]])
def test_b_must_be_a_function(b):
    with pytest.raises(DeclarationError, match="b must be a function of theta"):
        declare(b=b)


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (lambda theta: None, "must return an expression; it returned None"),
        (lambda theta: "a", "must return an expression; it returned 'a'"),
        (lambda theta: True, "must return an expression; it returned True"),
        (lambda theta: theta > 0, r"must return a real number; it returned .*bool"),
        (lambda theta: pt.exp(theta) * 1j, r"must return a real number; it returned .*complex"),
        (lambda theta: pt.stack([theta, theta]), r"must return a scalar; it returned .*Vector"),
        (lambda theta: theta * pt.arange(3), r"must return a scalar"),
        (lambda theta: pt.sum(pt.stack([theta, theta])), "uses MakeVector.* not elementwise"),
        (lambda theta: pt.exp(theta) * pt.dscalar("x"), r"uses the symbol\(s\) x that are not"),
        (lambda theta: pt.exp(theta) * pytensor.shared(2.0, "s"), r"uses the symbol\(s\) s that"),
    ],
    ids=["none", "text", "bool", "comparison", "complex", "vector", "range", "sum", "symbol",
         "shared"],
)  # fmt: skip
def test_results_that_are_no_scalar_expression(b, words):
    with pytest.raises(DeclarationError, match=f"'trial': b {words}"):
        declare(b=b)


def test_numpy_functions_that_pytensor_understands_are_the_same():
    assert declare(b=lambda theta: np.exp(theta)) == declare()


# ---- domains -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["support", "theta_domain"])
@pytest.mark.parametrize("domain", [None, (0, 1), "positive", [0, 1, 2]])
def test_supports_and_theta_domains_must_be_domains(label, domain):
    with pytest.raises(DeclarationError, match=f"{label} must be a domain such as Real"):
        declare(**{label: domain})


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (np.nan, 1), (0, np.nan), (np.inf, None)])
def test_empty_intervals(bounds):
    with pytest.raises(DeclarationError, match="is empty; give low < high"):
        eg.Interval(*bounds)


@pytest.mark.parametrize("bounds", [(1, 1), (3, 2), (np.nan, None)])
def test_too_few_integers(bounds):
    with pytest.raises(DeclarationError, match="fewer than two"):
        eg.Integers(*bounds)


def test_bounds_that_are_no_integers():
    with pytest.raises(DeclarationError, match=r"bound 0\.5 of a set of integers"):
        eg.Integers(0.5, 3)


@pytest.mark.parametrize("domain", [eg.Interval, eg.Integers])
@pytest.mark.parametrize("bound", ["a", [0], True])
def test_bounds_that_are_no_numbers(domain, bound):
    with pytest.raises(DeclarationError, match=r"bound .* must be a number or None"):
        domain(bound, 3)


def test_unknown_kinds_of_closure():
    with pytest.raises(DeclarationError, match="closed='yes' is not known"):
        eg.Interval(0, 1, closed="yes")


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (eg.Real, [-1e300, 0], [np.nan, np.inf, -np.inf]),
        (eg.Positive, [1e-300, 1e300], [0.0, -1.0, np.inf, np.nan]),
        (eg.UnitInterval, [1e-300, 0.5, 1 - 1e-16], [0.0, 1.0]),
        (eg.Interval(0, 1, closed="both"), [0.0, 1.0], [-1e-16, 1 + 1e-15]),
        (eg.Interval(0, 1, closed="left"), [0.0], [1.0]),
        (eg.Interval(0, 1, closed="right"), [1.0], [0.0]),
        (eg.Integers(0, None), [0, 7, 1e15], [-1, 0.5, np.inf]),
        (eg.Integers(None, 3), [-5, 3], [4, 2.5]),
        (eg.Integers(0, np.inf), [0, 3], [-1]),
    ],
)
def test_membership(domain, inside, outside):
    assert domain.contains(inside).all() and not domain.contains(outside).any()
    assert not domain.interior.discrete and domain.interior.closed == "neither"


def test_domains_read_as_they_are_written():
    written = [str(d) for d in (eg.Real, eg.UnitInterval, eg.Interval(0, None, closed="left"))]
    assert written == ["(-inf, inf)", "(0, 1)", "[0, inf)"]
    assert str(eg.Integers(0, 1)) == "integers in [0, 1]"


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["lgo", 3, ["log"], pt.log])
def test_unknown_default_links(link):
    with pytest.raises(ArgumentError, match=r"link=.* is not known; use one of 'identity', 'log'"):
        declare(link=link)


@pytest.mark.parametrize(
    ("g", "inverse", "words"),
    [
        (math.log, None, "the link 'mine' cannot be traced"),
        (pt.log, math.exp, "the inverse of the link 'mine' cannot be traced"),
        (lambda mu: pt.stack([mu, mu]), None, "the link 'mine' must return a scalar"),
        (3.0, None, "the link 'mine' must be a function of mu"),
        (pt.log, 3.0, "the inverse of the link 'mine' must be a function of eta"),
        (lambda mu: 1.0, None, "not strictly monotone"),
        (pt.log, pt.log, "does not invert"),
    ],
)
def test_links_that_cannot_hold(g, inverse, words):
    with pytest.raises(DeclarationError, match=words):
        eg.Link("mine", g, inverse, domain=eg.Positive)


def test_a_link_without_a_common_mean():
    family = declare(support=eg.Integers(0, None))
    beyond = eg.Link("beyond", lambda mu: pt.log(-mu), domain=eg.Interval(None, 0))
    with pytest.raises(DeclarationError, match="no point in common with the means"):
        eg.GLM.from_arrays([1, 2], [1.0, 1.0], family=family, link=beyond)


@pytest.mark.parametrize("family", ["possion", 3, None, ["poisson"], "_negative_binomial"])
def test_unknown_families(family):
    with pytest.raises(ArgumentError, match=r"family=.* is not known; use one of 'normal'"):
        eg.GLM.from_arrays([1, 2], [1.0, 1.0], family=family)


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, np.inf, "a", [1], True, np.array([1.0]), 1j])
def test_an_alpha_that_is_none(alpha):
    with pytest.raises(ArgumentError, match=r"alpha=.* must be a number in \(0, inf\)"):
        eg.families.negative_binomial(alpha)


@pytest.mark.parametrize(
    "ask",
    [
        lambda family: family.logpdf(1.0, 2.0, weight=3.0),
        lambda family: family.mean(1.0, weight=3.0),
        lambda family: family.variance(1.0, weight=3.0),
        lambda family: family.theta_of(1.0, weight=3.0),
        lambda family: family.deviance(1.0, 2.0, weight=3.0),
    ],
)
def test_an_unknown_argument_is_not_taken_for_a_shape(ask):
    with pytest.raises(ArgumentError, match="weight is no argument here"):
        ask(eg.families.poisson)
