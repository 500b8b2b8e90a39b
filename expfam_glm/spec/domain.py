"""Supports of responses and domains of parameters: values that know what they contain."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.errors import DeclarationError

Closed = Literal["neither", "left", "right", "both"]


@dataclass(frozen=True)
class Domain:
    """An interval of the real line, perhaps with an atom at its low end, or the integers in one."""

    low: float
    high: float
    closed: Closed
    discrete: bool
    atom: float | None = None

    def contains(self, values: ArrayLike) -> np.ndarray:
        """Elementwise membership; NaN and infinity belong to no domain."""
        x = np.asarray(values, dtype=float)
        above = x >= self.low if self.closed in ("left", "both") else x > self.low
        below = x <= self.high if self.closed in ("right", "both") else x < self.high
        inside = above & below & np.isfinite(x)
        return inside & (x == np.floor(x)) if self.discrete else inside

    @property
    def interior(self) -> Domain:
        """The open interval between the bounds (the mean space of a steep family)."""
        return Domain(self.low, self.high, "neither", False)

    def __str__(self) -> str:
        left = "[" if self.closed in ("left", "both") and np.isfinite(self.low) else "("
        right = "]" if self.closed in ("right", "both") and np.isfinite(self.high) else ")"
        kind = "integers in " if self.discrete else ""
        mass = "" if self.atom is None else f" with an atom at {self.atom:g}"
        return f"{kind}{left}{self.low:g}, {self.high:g}{right}{mass}"


def Interval(
    low: float | None,
    high: float | None,
    closed: Closed = "neither",
    *,
    atom: float | None = None,
) -> Domain:
    """An interval of the real line.

    Parameters
    ----------
    low, high : float or None
        The bounds; None is infinite.
    closed : {"neither", "left", "right", "both"}
        Which bounds belong to the interval.
    atom : float, optional
        The low bound, where it has a positive probability of its own beside the density of the
        other points (zero, in a mixture of zeros and positive amounts).

    Returns
    -------
    Domain

    Raises
    ------
    DeclarationError
        If the interval is empty, `closed` is unknown or `atom` is not the closed low bound.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> eg.Interval(0, None, closed="left").contains([-1.0, 0.0, 2.5])
    array([False,  True,  True])
    """
    if closed not in ("neither", "left", "right", "both"):
        raise DeclarationError(
            f"closed={closed!r} is not known; use 'neither', 'left', 'right' or 'both'."
        )
    lower, upper = _bounds(low, high)
    if not lower < upper:
        raise DeclarationError(f"the interval from {low} to {high} is empty; give low < high.")
    if atom is not None and not (atom == lower and closed in ("left", "both")):
        raise DeclarationError(
            f"atom={atom!r} must be the low bound, {low}, of an interval that is closed there."
        )
    return Domain(lower, upper, closed, False, None if atom is None else lower)


def Integers(low: int | None, high: int | None) -> Domain:
    """The integers from `low` to `high`, both included.

    Parameters
    ----------
    low, high : int or None
        The bounds; None is infinite.

    Returns
    -------
    Domain

    Raises
    ------
    DeclarationError
        If no or only one integer lies between the bounds, or a bound is not an integer.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> eg.Integers(1, None).contains([0, 1, 2.5])
    array([False,  True, False])
    """
    lower, upper = _bounds(low, high)
    for bound in (lower, upper):
        if np.isfinite(bound) and bound != np.floor(bound):
            raise DeclarationError(f"the bound {bound} of a set of integers is not an integer.")
    if not lower < upper:
        raise DeclarationError(f"the integers from {low} to {high} are fewer than two.")
    return Domain(lower, upper, "both", True)


def inner_point(domain: Domain) -> float:
    """Some point of an open interval."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (low + high)
    if np.isfinite(low):
        return low + 1.0
    return high - 1.0 if np.isfinite(high) else 0.0


def probe_points(domain: Domain) -> np.ndarray:
    """Increasing points that reach towards both ends of a domain, dense in its middle."""
    low, high = domain.low, domain.high
    tiny, huge = np.arange(-1020, -60, 20.0), np.arange(60, 1021, 20.0)
    reach = 2.0 ** np.concatenate([tiny, np.arange(-60, 60), huge])
    if np.isinf(low) and np.isinf(high):
        near = 2.0 ** np.concatenate([np.arange(-10, 60), huge])
        return np.concatenate([-near[::-1], [0.0], near])
    if np.isinf(high):
        return np.unique(low + reach)[1:]
    if np.isinf(low):
        return np.unique(high - reach)[:-1]
    inward = (high - low) * 2.0 ** np.concatenate([tiny, np.arange(-60, -1)])
    points = np.unique(np.concatenate([low + inward, [(low + high) / 2], high - inward]))
    return points[(points > low) & (points < high)]


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    """The bounds as numbers, None as infinity."""
    for bound in (low, high):
        number = isinstance(bound, numbers.Real) and not isinstance(bound, bool)
        if bound is not None and not number:
            raise DeclarationError(f"the bound {bound!r} of a domain must be a number or None.")
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


Real = Interval(None, None)
Positive = Interval(0, None)
UnitInterval = Interval(0, 1)
