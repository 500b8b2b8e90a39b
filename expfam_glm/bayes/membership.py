"""Whether responses and parameters are possible, in symbols."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.scalar import math as psm

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


_POSITIVE = (ps.Exp, ps.Cosh, ps.Sqr, ps.Abs, psm.Sigmoid, psm.Softplus, psm.Erfc, psm.Erfcx)
_ODD = (ps.Log1p, ps.Expm1, ps.Sqrt, ps.Identity, ps.Reciprocal, ps.ArcTan, ps.Sinh, ps.Tanh)


def sign_of(v: Variable, positive: Collection[Variable]) -> int:
    """1 or −1 where v > 0 or v < 0 whenever the variables `positive` are, 0 where that is open."""
    if v in positive:
        return 1
    if isinstance(v, Constant):
        return int(np.sign(np.nan_to_num(v.data)))
    op = getattr(v.owner, "op", None)
    op = getattr(op, "scalar_op", op)
    if isinstance(op, _POSITIVE):
        return 1
    signs = [sign_of(w, positive) for w in v.owner.inputs] if v.owner is not None else [0]
    if isinstance(op, _ODD):
        return signs[0]
    if isinstance(op, ps.Neg):
        return -signs[0]
    if isinstance(op, ps.Mul | ps.TrueDiv):
        return int(np.prod(signs))
    if isinstance(op, ps.Add):
        return signs[0] if len(set(signs)) == 1 else 0
    return 0


def holds(test: Variable, positive: Collection[Variable]) -> bool:
    """Whether a comparison is true by the sign of its left side, or because its bound is ∞."""
    if test.owner is None or len(test.owner.inputs) != 2:
        return False
    left, right = test.owner.inputs
    if not isinstance(right, Constant):
        return False
    bound, op = float(right.data), test.owner.op.scalar_op
    if np.isinf(bound):
        return True
    if isinstance(op, ps.GT | ps.GE):
        return bound <= 0 and sign_of(left, positive) == 1
    if isinstance(op, ps.LE | ps.LT) and bound == 1 and left.owner is not None:
        return isinstance(getattr(left.owner.op, "scalar_op", None), psm.Sigmoid)
    return bound >= 0 and sign_of(left, positive) == -1
