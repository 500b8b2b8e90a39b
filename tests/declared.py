"""Families that are not built in, declared as a user would."""

from __future__ import annotations

import pytensor.tensor as pt

from expfam_glm import Family, Integers, Interval, Positive, UnitInterval

zero_truncated_poisson = Family(
    "zero_truncated_poisson",
    b=lambda theta: pt.log(pt.expm1(pt.exp(theta))),
    c=lambda y, a: -pt.gammaln(y + 1),
    support=Integers(1, None),
    phi=1.0,
)
logarithmic = Family(
    "logarithmic",
    b=lambda theta: pt.log(-pt.log1mexp(theta)),
    c=lambda y, a: -pt.log(y),
    support=Integers(1, None),
    theta_domain=Interval(None, 0),
    phi=1.0,
)


def _continuous_bernoulli_b(theta):
    """log{(e^θ − 1)/θ}, near 0 by its series; the other branch is kept away from 0 there."""
    small = pt.abs(theta) < 1e-2
    size = pt.switch(small, 1.0, pt.abs(theta))
    series = theta / 2 + theta**2 / 24 - theta**4 / 2880 + theta**6 / 181440
    away = pt.maximum(theta, 0.0) + pt.log(-pt.expm1(-size)) - pt.log(size)
    return pt.switch(small, series, away)


continuous_bernoulli = Family(
    "continuous_bernoulli",
    b=_continuous_bernoulli_b,
    c=lambda y, a: 0.0 * y,
    support=UnitInterval,
    phi=1.0,
)

# The negative binomial with θ(μ) found by iteration; not in DECLARED, whose members have no shape.
counts_with_alpha = Family(
    "counts_with_alpha",
    b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
    c=lambda y, a, alpha: pt.gammaln(y + 1 / alpha) - pt.gammaln(1 / alpha) - pt.gammaln(y + 1),
    support=Integers(0, None),
    theta_domain=Interval(None, 0),
    phi=1.0,
    shape={"alpha": Positive},
    link="log",
)

DECLARED = {f.name: f for f in (zero_truncated_poisson, logarithmic, continuous_bernoulli)}
