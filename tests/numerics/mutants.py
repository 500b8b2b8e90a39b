"""Wrong declarations, made from every built-in family by one slip each, and the part it is in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytensor.tensor as pt

from expfam_glm import Family, Integers, Interval, Link, Positive, Real, UnitInterval
from expfam_glm.spec.expression import Expression
from tests.declared import DECLARED

_LOG_2PI = math.log(2 * math.pi)
NEGATIVE = Interval(None, 0)
ALPHA = 0.7

# The built-in families as a user would write them, without closed forms.
RIGHT: dict[str, dict[str, Any]] = {
    "normal": {
        "b": lambda theta: theta**2 / 2,
        "c": lambda y, a: -(y**2) / (2 * a) - 0.5 * (_LOG_2PI + pt.log(a)),
        "support": Real,
        "link": "identity",
    },
    "poisson": {
        "b": pt.exp,
        "c": lambda y, a: -y / a * pt.log(a) - pt.gammaln(y / a + 1),
        "support": Integers(0, None),
        "phi": 1.0,
        "link": "log",
    },
    "binomial": {
        "b": pt.softplus,
        "c": lambda y, a: (
            pt.gammaln(1 / a + 1) - pt.gammaln(y / a + 1) - pt.gammaln((1 - y) / a + 1)
        ),
        "support": Integers(0, 1),
        "phi": 1.0,
        "link": "logit",
    },
    "gamma": {
        "b": lambda theta: -pt.log(-theta),
        "c": lambda y, a: -pt.log(a) / a + (1 / a - 1) * pt.log(y) - pt.gammaln(1 / a),
        "support": Positive,
        "theta_domain": NEGATIVE,
        "link": "inverse",
    },
    "inverse_gaussian": {
        "b": lambda theta: -pt.sqrt(-2 * theta),
        "c": lambda y, a: -1 / (2 * y * a) - 0.5 * (_LOG_2PI + 3 * pt.log(y) + pt.log(a)),
        "support": Positive,
        "theta_domain": NEGATIVE,
        "link": "inverse_squared",
    },
    "negative_binomial": {
        "b": lambda theta: -pt.log1mexp(theta) / ALPHA,
        "c": lambda y, a: (
            pt.gammaln((y + 1 / ALPHA) / a) - pt.gammaln(1 / (a * ALPHA)) - pt.gammaln(y / a + 1)
        ),
        "support": Integers(0, None),
        "theta_domain": NEGATIVE,
        "phi": 1.0,
        "link": "log",
    },
    "quasi_poisson": {
        "b": pt.exp,
        "c": None,
        "support": Interval(0, None, closed="left"),
        "link": "log",
    },
    "quasi_binomial": {
        "b": pt.softplus,
        "c": None,
        "support": Interval(0, 1, closed="both"),
        "link": "logit",
    },
    "zero_truncated_poisson": {
        "b": DECLARED["zero_truncated_poisson"].b,
        "c": lambda y, a: -pt.gammaln(y + 1),
        "support": Integers(1, None),
        "phi": 1.0,
        "link": "identity",
    },
    "logarithmic": {
        "b": DECLARED["logarithmic"].b,
        "c": lambda y, a: -pt.log(y),
        "support": Integers(1, None),
        "theta_domain": NEGATIVE,
        "phi": 1.0,
        "link": "identity",
    },
    "continuous_bernoulli": {
        "b": DECLARED["continuous_bernoulli"].b,
        "c": lambda y, a: 0.0 * y,
        "support": UnitInterval,
        "phi": 1.0,
        "link": "logit",
    },
}


type Change = dict[str, Any] | Callable[[], dict[str, Any]]


def _plus(name: str, part: str, extra: Callable[..., Any]) -> dict[str, Any]:
    """A change that adds a term to b or c."""
    right = RIGHT[name][part]
    return {part: lambda *arguments: right(*arguments) + extra(*arguments)}


def _times(name: str, factor: float) -> dict[str, Any]:
    right = RIGHT[name]["b"]
    return {"b": lambda theta: factor * right(theta)}


def _dispersion(name: str, h: Callable[[Any], Any]) -> dict[str, Any]:
    """A change that puts h(a) where a stands in c."""
    right = RIGHT[name]["c"]
    return {"c": lambda y, a: right(y, h(a))}


def _link(g: Callable[..., Any], inverse: Callable[..., Any], domain: Any) -> Change:
    """A link that is declared when the mutant is."""
    return lambda: {"link": Link("wrong", g, inverse, domain=domain)}


def _traced_link(g: Callable[..., Any], inverse: Callable[..., Any], domain: Any) -> Change:
    """A link made of traced functions, which are taken as they are."""
    mu = Expression.trace(g, ["mu"], [], "g")
    return {"link": Link("wrong", mu, Expression.trace(inverse, ["eta"], [], "h"), domain=domain)}


# (family, slip): (change, part or parts that may be named). A pair of parts means that only their
# contradiction can be seen, as between b and a theta(mu) that is declared with it.
MUTANTS: dict[tuple[str, str], tuple[Change, set[str]]] = {
    # ---- wrong sign in b
    **{
        (name, "b: sign"): (_times(name, -1.0), {"b"})
        for name in RIGHT
    },
    # ---- factor 2, constant, linear term, another function in b
    **{
        (name, "b: twice"): (_times(name, 2.0), {"b"})
        for name in ("normal", "poisson", "gamma", "inverse_gaussian", "negative_binomial")
    },
    ("normal", "b: without ½"): ({"b": lambda theta: theta**2}, {"b"}),
    ("binomial", "b: twice"): (_times("binomial", 2.0), {"support"}),
    **{
        (name, "b: + 1"): (_plus(name, "b", lambda theta: 1.0), {"b"})
        for name in ("normal", "poisson", "binomial", "gamma", "inverse_gaussian",
                     "negative_binomial")
    },
    **{
        (name, "b: + θ"): (_plus(name, "b", lambda theta: theta), {"b", "support"})
        for name in ("normal", "poisson", "gamma", "negative_binomial")
    },
    ("poisson", "b: exp(2θ)/2"): ({"b": lambda theta: pt.exp(2 * theta) / 2}, {"b"}),
    ("poisson", "b: exp(θ) + θ²"): ({"b": lambda theta: pt.exp(theta) + theta**2}, {"support"}),
    ("gamma", "b: log(−2θ)"): ({"b": lambda theta: -pt.log(-2 * theta)}, {"b"}),
    ("inverse_gaussian", "b: √(−θ)"): ({"b": lambda theta: -pt.sqrt(-theta)}, {"b"}),
    ("normal", "b: not convex"): (
        {"b": lambda theta: theta**2 / 2 + pt.cos(2 * theta)}, {"b"}
    ),
    ("zero_truncated_poisson", "b: of 2θ"): (
        {"b": lambda theta: DECLARED["zero_truncated_poisson"].b(2 * theta) / 2}, {"b"}
    ),
    ("continuous_bernoulli", "b: softplus"): ({"b": pt.softplus}, {"b", "support"}),
    # ---- c: forgotten terms
    ("poisson", "c: no −lnΓ"): ({"c": lambda y, a: -y / a * pt.log(a)}, {"c"}),
    ("poisson", "c: zero"): ({"c": lambda y, a: 0.0 * y}, {"c"}),
    ("poisson", "c: +lnΓ"): ({"c": lambda y, a: pt.gammaln(y + 1)}, {"c"}),
    ("poisson", "c: lnΓ(y)"): ({"c": lambda y, a: -y / a * pt.log(a) - pt.gammaln(y / a)}, {"c"}),
    ("poisson", "c: lnΓ(y + 2)"): ({"c": lambda y, a: -pt.gammaln(y + 2)}, {"c"}),
    ("poisson", "c: half"): ({"c": lambda y, a: -0.5 * pt.gammaln(y + 1)}, {"c"}),
    ("binomial", "c: lnΓ(y)"): (
        {"c": lambda y, a: pt.gammaln(1 / a + 1) - pt.gammaln(y / a) - pt.gammaln((1 - y) / a + 1)},
        {"c"},
    ),
    ("negative_binomial", "c: no −lnΓ(y + 1)"): (
        _plus("negative_binomial", "c", lambda y, a: pt.gammaln(y / a + 1)), {"c"}
    ),
    ("negative_binomial", "c: no lnΓ(1/α)"): (
        _plus("negative_binomial", "c", lambda y, a: pt.gammaln(1 / (ALPHA * a))), {"c"}
    ),
    ("negative_binomial", "c: no lnΓ(y + 1/α)"): (
        _plus("negative_binomial", "c", lambda y, a: -pt.gammaln((y + 1 / ALPHA) / a)), {"c"}
    ),
    ("gamma", "c: no −lnΓ(1/a)"): (
        _plus("gamma", "c", lambda y, a: pt.gammaln(1 / a)), {"c"}
    ),
    ("gamma", "c: +lnΓ(1/a)"): (
        _plus("gamma", "c", lambda y, a: 2 * pt.gammaln(1 / a)), {"c"}
    ),
    ("gamma", "c: no log(a)/a"): (_plus("gamma", "c", lambda y, a: pt.log(a) / a), {"c"}),
    ("gamma", "c: no −log y"): (_plus("gamma", "c", lambda y, a: pt.log(y)), {"c"}),
    ("normal", "c: no 2π"): (_plus("normal", "c", lambda y, a: 0.5 * _LOG_2PI), {"c"}),
    ("normal", "c: no log a"): (_plus("normal", "c", lambda y, a: 0.5 * pt.log(a)), {"c"}),
    ("normal", "c: log a without ½"): (_plus("normal", "c", lambda y, a: -0.5 * pt.log(a)), {"c"}),
    ("normal", "c: +y²"): (_plus("normal", "c", lambda y, a: y**2 / a), {"c"}),
    ("normal", "c: y² without ½"): (_plus("normal", "c", lambda y, a: -(y**2) / (2 * a)), {"c"}),
    ("normal", "c: no y²"): (_plus("normal", "c", lambda y, a: y**2 / (2 * a)), {"c"}),
    ("inverse_gaussian", "c: no 2π"): (
        _plus("inverse_gaussian", "c", lambda y, a: 0.5 * _LOG_2PI), {"c"}
    ),
    ("inverse_gaussian", "c: y² for y³"): (
        _plus("inverse_gaussian", "c", lambda y, a: 0.5 * pt.log(y)), {"c"}
    ),
    ("inverse_gaussian", "c: no −1/(2ya)"): (
        _plus("inverse_gaussian", "c", lambda y, a: 1 / (2 * y * a)), {"c"}
    ),
    ("logarithmic", "c: zero"): ({"c": lambda y, a: 0.0 * y}, {"c"}),
    ("logarithmic", "c: +log y"): ({"c": lambda y, a: pt.log(y)}, {"c"}),
    ("zero_truncated_poisson", "c: lnΓ(y)"): ({"c": lambda y, a: -pt.gammaln(y)}, {"c"}),
    **{
        (name, "c: + log 2"): (_plus(name, "c", lambda y, a: math.log(2)), {"c"})
        for name in ("normal", "poisson", "binomial", "gamma", "inverse_gaussian",
                     "negative_binomial", "continuous_bernoulli", "zero_truncated_poisson")
    },
    # ---- φ in the wrong place
    **{
        (name, f"c: {text} for a"): (_dispersion(name, h), {"c"})
        for name in ("normal", "gamma", "inverse_gaussian")
        for text, h in (("1/a", lambda a: 1 / a), ("a²", lambda a: a**2), ("1", lambda a: 1.0),
                        ("√a", pt.sqrt))
    },
    ("normal", "c: y²a for y²/a"): (
        {"c": lambda y, a: -(y**2) * a / 2 - 0.5 * (_LOG_2PI + pt.log(a))}, {"c"}
    ),
    ("gamma", "c: log y without a"): (
        {"c": lambda y, a: -pt.log(a) / a - pt.gammaln(1 / a)}, {"c"}
    ),
    ("normal", "a: −φ"): ({"a": lambda phi: -phi}, {"a"}),
    ("gamma", "a: 1/φ"): ({"a": lambda phi: 1 / phi}, {"a"}),
    ("inverse_gaussian", "a: log φ"): ({"a": pt.log}, {"a"}),
    ("quasi_poisson", "a: 1/φ"): ({"a": lambda phi: 1 / phi}, {"a"}),
    # ---- wrong support
    ("poisson", "support: from 1"): ({"support": Integers(1, None)}, {"support"}),
    ("poisson", "support: from −1"): ({"support": Integers(-1, None)}, {"support"}),
    ("poisson", "support: all integers"): ({"support": Integers(None, None)}, {"support"}),
    ("poisson", "support: to 20"): ({"support": Integers(0, 20)}, {"support"}),
    ("poisson", "support: continuous"): ({"support": Positive}, {"support"}),
    ("binomial", "support: to 2"): ({"support": Integers(0, 2)}, {"support"}),
    ("binomial", "support: continuous"): ({"support": UnitInterval}, {"support"}),
    ("gamma", "support: the real line"): ({"support": Real}, {"support"}),
    ("gamma", "support: counts"): ({"support": Integers(0, None)}, {"support"}),
    ("gamma", "support: with 0"): ({"support": Interval(0, None, closed="left")}, {"support"}),
    ("gamma", "support: the unit interval"): ({"support": UnitInterval}, {"support"}),
    ("normal", "support: positive"): ({"support": Positive}, {"support"}),
    ("normal", "support: integers"): ({"support": Integers(None, None)}, {"support"}),
    ("inverse_gaussian", "support: shifted"): ({"support": Interval(-1, None)}, {"support"}),
    ("inverse_gaussian", "support: with 0"): (
        {"support": Interval(0, None, closed="left")}, {"support"}
    ),
    ("negative_binomial", "support: from 1"): ({"support": Integers(1, None)}, {"support"}),
    ("zero_truncated_poisson", "support: from 0"): ({"support": Integers(0, None)}, {"support"}),
    ("logarithmic", "support: from 2"): ({"support": Integers(2, None)}, {"support"}),
    ("continuous_bernoulli", "support: 0 and 1"): ({"support": Integers(0, 1)}, {"support"}),
    ("continuous_bernoulli", "support: to 2"): ({"support": Interval(0, 2)}, {"support"}),
    ("quasi_poisson", "support: the real line"): ({"support": Real}, {"support"}),
    ("quasi_binomial", "support: to 100"): ({"support": Interval(0, 100)}, {"support"}),
    # ---- wrong θ-domain
    ("gamma", "theta_domain: real"): ({"theta_domain": Real}, {"theta_domain"}),
    ("gamma", "theta_domain: narrow"): ({"theta_domain": Interval(None, -1)}, {"theta_domain"}),
    ("negative_binomial", "theta_domain: real"): ({"theta_domain": Real}, {"theta_domain"}),
    ("poisson", "theta_domain: positive"): ({"theta_domain": Positive}, {"theta_domain"}),
    # ---- wrong θ(μ)
    ("normal", "theta: 2μ"): ({"theta": lambda mu: 2 * mu}, {"theta"}),
    ("poisson", "theta: −log μ"): ({"theta": lambda mu: -pt.log(mu)}, {"theta"}),
    ("binomial", "theta: log μ"): ({"theta": pt.log}, {"theta"}),
    ("gamma", "theta: 1/μ"): ({"theta": lambda mu: 1 / mu}, {"theta"}),
    ("inverse_gaussian", "theta: −1/μ²"): ({"theta": lambda mu: -1 / mu**2}, {"theta"}),
    ("negative_binomial", "theta: log μ"): ({"theta": pt.log}, {"theta"}),
    ("quasi_poisson", "theta: √μ"): ({"theta": pt.sqrt}, {"theta"}),
    # ---- wrong link
    ("poisson", "link: log2 with exp"): (
        _traced_link(pt.log2, pt.exp, Positive), {"link"}
    ),
    ("normal", "link: off by 1e-5"): (
        _traced_link(lambda mu: mu, lambda eta: eta * (1 + 1e-5), Real), {"link"}
    ),
    ("inverse_gaussian", "link: turns, unseen"): (
        _traced_link(lambda mu: (mu - 2) ** 2, lambda eta: 2 + pt.sqrt(eta), Positive), {"link"}
    ),
    ("gamma", "link: turns"): (
        _link(lambda mu: mu + 1 / mu, lambda eta: eta, Positive), {"link"}
    ),
    ("binomial", "link: does not invert"): (
        _link(lambda mu: pt.log(mu) - pt.log1p(-mu), pt.exp, UnitInterval), {"link"}
    ),
    ("gamma", "link: no common means"): (
        _link(lambda mu: pt.log(-mu), lambda eta: -pt.exp(eta), NEGATIVE), {"link"}
    ),
    # ---- wrong closed forms
    ("poisson", "deviance: half"): (
        {"deviance": lambda y, mu: y * pt.log(y / mu) - (y - mu)}, {"deviance"}
    ),
    ("normal", "conjugate: y²"): ({"conjugate": lambda y: y**2}, {"conjugate"}),
    ("quasi_binomial", "deviance: of the normal"): (
        {"deviance": lambda y, mu: (y - mu) ** 2}, {"deviance"}
    ),
}  # fmt: skip


def declare(name: str, change: Change) -> Family:
    """A family with one slip."""
    made = change() if callable(change) else change
    return Family("mutant", **{**RIGHT[name], **made})
