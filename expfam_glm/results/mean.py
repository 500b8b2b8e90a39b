"""The mean at a linear predictor: g⁻¹, its derivatives, and where it has a value."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from expfam_glm.errors import DataError, show_rows
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.link import Link


def mean_of(link: Link, eta: np.ndarray) -> np.ndarray:
    """μ = g⁻¹(η)."""
    with np.errstate(all="ignore"):
        return link.inverse(eta)


def slope_of(link: Link, eta: np.ndarray) -> np.ndarray:
    """dμ/dη."""
    with np.errstate(all="ignore"):
        return _derivative(link.inverse)(eta)


def bend_of(link: Link, eta: np.ndarray) -> np.ndarray:
    """d²μ/dη²."""
    with np.errstate(all="ignore"):
        return _derivative(_derivative(link.inverse))(eta)


@lru_cache(maxsize=64)
def _derivative(function: Expression) -> Expression:
    """The derivative of a function of η, compiled once."""

    def make() -> Expression:
        from expfam_glm.spec.simplify import simplify

        raw = function.derivative(function.names[0])
        return Expression(raw.variables, simplify([raw.output], raw.variables)[0])

    return Expression.late(function.names, make, function.home and function.home.part("slope"))


def check_domain(eta: np.ndarray, link: Link, space: Domain) -> None:
    """Refuse linear predictors (m,) or (m, S) at which the model has no mean."""
    image = link.image(space)
    outside = ~((eta > image.low) & (eta < image.high))
    bad = outside if eta.ndim == 1 else outside.any(axis=1)
    if not bad.any():
        return
    worst = eta if eta.ndim == 1 else np.take_along_axis(
        eta, outside.argmax(axis=1)[:, None], axis=1
    )[:, 0]  # fmt: skip
    raise DataError(
        f"the link {link.name!r} has a mean for linear predictors in {image} only; found "
        f"{show_rows(worst, bad)}. The model does not reach so far; kind='link' shows how far."
    )


def checked_mean(eta: np.ndarray, link: Link, space: Domain) -> np.ndarray:
    """μ at linear predictors (m,) or (m, S), of which the model has a mean that is a number."""
    check_domain(eta, link, space)
    mu = mean_of(link, eta)
    lost = ~np.isfinite(mu)
    bad = lost if mu.ndim == 1 else lost.any(axis=1)
    if bad.any():
        worst = eta if eta.ndim == 1 else np.max(eta, axis=1)
        raise DataError(
            f"the mean overflows at linear predictors of {show_rows(worst, bad)}. The model does "
            "not reach so far; check the values of the variables."
        )
    return mu


def mean_at_ends(ends: np.ndarray, link: Link, space: Domain) -> np.ndarray:
    """g⁻¹ of the ends of intervals; beyond the image of the means, the edge of the mean space."""
    image = link.image(space)
    low, high = max(space.low, link.domain.low), min(space.high, link.domain.high)
    near, far = (low, high) if _rises(link, low, high) else (high, low)
    result = np.where(ends <= image.low, near, np.where(ends >= image.high, far, np.nan))
    inside = (ends > image.low) & (ends < image.high)
    result[inside] = mean_of(link, ends[inside])
    return result


def _rises(link: Link, low: float, high: float) -> bool:
    """Whether g increases between these means."""
    if np.isfinite(low) and np.isfinite(high):
        first, second = low + 0.25 * (high - low), low + 0.75 * (high - low)
    elif np.isfinite(low):
        first, second = low + 1.0, low + 2.0
    else:
        second = high - 1.0 if np.isfinite(high) else 1.0
        first = second - 1.0
    return float(link(second)) > float(link(first))
