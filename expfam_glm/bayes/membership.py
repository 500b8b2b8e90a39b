"""Whether responses and parameters are possible, in symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytensor.tensor as pt

from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family


def between(value: Any, domain: Domain) -> list[Any]:
    """Membership in an interval, one condition for each finite bound."""
    tests = []
    if np.isfinite(domain.low):
        tests.append(value >= domain.low if domain.closed in ("left", "both")
                     else value > domain.low)  # fmt: skip
    if np.isfinite(domain.high):
        tests.append(value <= domain.high if domain.closed in ("right", "both")
                     else value < domain.high)  # fmt: skip
    return tests


def in_support(family: Family, y: Any, a: Any, on_unit_lattice: bool) -> list[Any]:
    """`Family.contains` in symbols."""
    if not family.support.discrete or on_unit_lattice:
        return between(y, family.support)
    tests = [_near_integer(y / a)]
    for bound, sign in ((family.support.low, 1.0), (family.support.high, -1.0)):
        if np.isfinite(bound):
            tests.append(sign * (pt.round(y / a) - pt.round(bound / a)) >= 0)
            if bound != 0:
                tests.append(_near_integer(bound / a))
    return tests


def _near_integer(count: Any) -> Any:
    return pt.abs(count - pt.round(count)) <= 1e-9 * pt.maximum(1.0, pt.abs(count))


def possible_parameters(
    family: Family, mu: Any, theta: Any, a: Any, shapes: Mapping[str, Any]
) -> list[Any]:
    """θ in its open domain, μ in the closed mean space, a positive and finite, shapes in theirs."""
    domain, means = family.theta_domain, family.mean_space
    return [
        theta > domain.low,
        theta < domain.high,
        *between(mu, Domain(means.low, means.high, "both", False)),
        a > 0,
        a < np.inf,
        *(test for name, value in shapes.items() for test in between(value, family.shape[name])),
    ]
