"""Refusing a declaration at once where its parts contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, DataError, DeclarationError, show_rows
from expfam_glm.spec.derived import Derived
from expfam_glm.spec.domain import probe_points

_FAR = 30.0  # beyond ±30 exponentials of θ lose their digits without any fault of a declaration
_POLE = 1e6  # b′/b where b goes to infinity at a finite θ; an overflow comes with a small one
_NEAR = 1e-3  # of the end of a θ-domain, where b″ says whether the domain is cut too short
_CANCELLED = 1e-12  # from an end of the θ-domain, where differences have lost their digits
_CLOSED = 1e-6  # relative agreement of a declared closed form with the derived one
_STOPPED = 1e-9  # a mean that moves less than this over an octave of θ has reached its limit


def real_arrays(**values: Any) -> list[np.ndarray]:
    """The arguments of a function of a family as arrays of float64 that broadcast.

    Raises
    ------
    ArgumentError
        For what is no real number, and for shapes that do not fit each other.
    """
    arrays = []
    for name, value in values.items():
        try:
            array = np.asarray(value)
            if array.dtype.kind in "cmMSU":
                raise TypeError
            arrays.append(array.astype(float))
        except (TypeError, ValueError):
            raise ArgumentError(f"{name} must hold real numbers; got {value!r}.") from None
    try:
        np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{k} {v.shape}" for k, v in zip(values, arrays, strict=True))
        raise ArgumentError(f"the shapes of the arguments do not fit: {shapes}.") from None
    return arrays


def check_parameters(family: Derived, mean: np.ndarray, a: np.ndarray) -> None:
    """Refuse means outside the closed mean space and dispersions that are not positive."""
    space = family.mean_space
    bad = ~((mean >= space.low) & (mean <= space.high) & np.isfinite(mean))
    if np.any(bad):
        raise DataError(
            f"means of {family.name!r} must lie in {space}; found "
            f"{show_rows(np.ravel(mean), np.ravel(bad))}."
        )
    bad = ~((a > 0) & np.isfinite(a))
    if np.any(bad):
        raise DataError(
            f"the dispersion of {family.name!r} divided by the weights must be positive; found "
            f"{show_rows(np.ravel(a), np.ravel(bad))}."
        )


@np.errstate(all="ignore")
def verify(family: Derived) -> None:
    """b convex at probe points of the θ-domain, and every declared closed form true to b."""
    if family.shape:
        return  # nothing can be evaluated before the shape parameters have values
    for claim in CLAIMS.values():
        claim(family)


def middle_points(family: Derived) -> np.ndarray:
    """Probe points inside the θ-domain, not far out."""
    grid = probe_points(family.theta_domain)
    size = np.abs(grid)
    grid = grid[(size < _FAR) & ((size > 1e-19) | (size == 0))]  # beyond, squares overflow
    grid = grid[(grid > family.theta_domain.low) & (grid < family.theta_domain.high)]
    if closed_theta(family) and not np.any(np.isfinite(family.mean_function(grid))):
        return _grid_of_means(family)  # means of moderate size have θ of none
    return grid


def closed_theta(family: Derived) -> bool:
    """Whether θ(μ) was declared, and not found by inverting b′."""
    owner = family.theta.output.owner
    return owner is None or not getattr(owner.op, "inverts", False)


def _finite(family: Derived) -> None:
    """b a number on the whole θ-domain; one point alone is left to `check`."""
    grid = middle_points(family)
    if not np.any(np.isfinite(family.mean_function(grid))):
        raise DeclarationError(
            f"family {family.name!r}: b′(θ) is not finite anywhere on the θ-domain "
            f"{family.theta_domain}; check b and theta_domain.",
            "b",
        )
    value = np.asarray(family.b(grid))
    missing = np.isnan(value) | (np.isinf(value) & _beyond_pole(family, grid, value))
    runs = np.flatnonzero(missing[1:] & missing[:-1])
    kept = grid[~missing]
    if runs.size and _all_near_an_end(family, grid[missing]):
        raise DeclarationError(
            f"family {family.name!r}: b(θ) loses its digits near an end of the θ-domain "
            f"{family.theta_domain}: it is no number at θ = {grid[runs[0]]:.6g}. Differences such "
            "as 1 − exp(θ) cancel there; write log(1 − exp(θ)) as pt.log1mexp(θ), exp(θ) − 1 as "
            "pt.expm1(θ), log(1 + x) as pt.log1p(x).",
            "b",
        )
    if runs.size:
        raise DeclarationError(
            f"family {family.name!r}: b(θ) is not a number at θ = {grid[runs[0]]:.6g} and other "
            f"points of the θ-domain {family.theta_domain}; it is one from {kept[0]:.6g} to "
            f"{kept[-1]:.6g}. Narrow theta_domain to where b is finite.",
            "theta_domain",
        )


def _all_near_an_end(family: Derived, theta: np.ndarray) -> bool:
    """Whether points are so near to finite ends of the θ-domain that differences cancel."""
    domain = family.theta_domain
    ends = [end for end in (domain.low, domain.high) if np.isfinite(end)]
    near = [np.abs(theta - end) <= _CANCELLED * (1 + abs(end)) for end in ends]
    return bool(near) and bool(np.all(np.any(near, axis=0)))


def _beyond_pole(family: Derived, grid: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether b grows to infinity before a point, with a slope that says that it is no overflow."""
    beyond = np.zeros(grid.shape, bool)
    finite = np.flatnonzero(np.isfinite(value))
    for last, step in ((finite[0], -1), (finite[-1], 1)):
        if not 0 <= last + step < grid.size:
            continue
        inner, outer = grid[last], grid[last + step]
        for _ in range(80):
            middle = 0.5 * (inner + outer)
            inner, outer = (middle, outer) if np.isfinite(family.b(middle)) else (inner, middle)
        if not abs(family.mean_function(inner)) < _POLE * (1 + abs(family.b(inner))):
            beyond |= (grid - inner) * step > 0
    return beyond


def _convex(family: Derived) -> None:
    grid = middle_points(family)
    means = np.asarray(family.mean_function(grid))
    curvature = np.asarray(family.variance_function(grid))
    bad = curvature < -1e-12 * means**2  # b″ below the rounding of its terms
    if np.any(bad):
        raise DeclarationError(
            f"family {family.name!r}: b is not convex; b″ = {curvature[bad][0]:.6g} at "
            f"θ = {grid[bad][0]:.6g}. Check the sign of b and theta_domain.",
            "b",
        )
    if not np.any(curvature > 0):
        raise DeclarationError(
            f"family {family.name!r}: b is not convex; b″ is not positive at any of "
            f"{grid.size} points of the θ-domain {family.theta_domain}.",
            "b",
        )


def _range(family: Derived) -> None:
    """The means fill the interior of the support: none outside, none missing."""
    grid = middle_points(family)
    means = np.asarray(family.mean_function(grid))
    space = family.mean_space
    room = 1e-9 * (1 + np.abs(means))
    bad = (means < space.low - room) | (means > space.high + room)
    if np.any(bad):
        raise DeclarationError(
            f"family {family.name!r}: the mean b′(θ) = {means[bad][0]:.6g} at "
            f"θ = {grid[bad][0]:.6g} lies outside the support {family.support}; check b, support "
            "and theta_domain.",
            "support",
        )
    grid = probe_points(family.theta_domain)
    means = np.asarray(family.mean_function(grid))
    grid, means = grid[np.isfinite(means)], means[np.isfinite(means)]
    for bound, end, (last, before) in (
        (space.low, family.theta_domain.low, (0, 1)),
        (space.high, family.theta_domain.high, (-1, -2)),
    ):
        limit = means[last]
        size = 1 + abs(limit)
        stopped = abs(limit - means[before]) <= _STOPPED * size
        if stopped and not abs(limit - bound) <= _CLOSED * size:
            inner = grid[np.argmin(np.abs(np.abs(grid - end) - _NEAR))] if np.isfinite(end) else 0
            cut = np.isfinite(end) and family.variance_function(inner) > _CLOSED * size
            raise DeclarationError(
                f"family {family.name!r}: the means b′(θ) end at {limit:.6g} where θ → {end:g}, "
                f"but the support {family.support} reaches to {bound:g}, and no θ has a mean in "
                + (
                    "between. Widen theta_domain to all θ with finite b, or narrow support."
                    if cut
                    else f"between. Let support= end at {limit:.6g}, or check b."
                ),
                "theta_domain" if cut else "support",
            )


def _grid_of_means(family: Derived) -> np.ndarray:
    """Canonical parameters of means between 1/1000 and 1000, by the declared θ(μ)."""
    mu = probe_points(family.mean_space)
    theta = np.unique(np.asarray(family.theta(mu[(np.abs(mu) > 1e-3) & (np.abs(mu) < 1e3)])))
    domain = family.theta_domain
    return theta[(theta > domain.low) & (theta < domain.high)]


def _dispersion(family: Derived) -> None:
    """a(φ) positive, and increasing where φ is free and has to be found from it."""
    phi = np.array([0.25, 0.5, 1.0, 2.0, 4.0]) if family.phi is None else np.array([family.phi])
    a = np.asarray(family.a(phi))
    if not (np.all(np.isfinite(a) & (a > 0)) and np.all(np.diff(a) > 0)):
        shown = ", ".join(f"a({p:g}) = {v:.6g}" for p, v in zip(phi, a, strict=True))
        raise DeclarationError(
            f"family {family.name!r}: the dispersion function must be positive and increase with "
            f"φ; {shown}.",
            "a",
        )


def _theta(family: Derived) -> None:
    """A declared θ(μ) inverts b′."""
    if not closed_theta(family):
        return
    grid = middle_points(family)
    means = np.asarray(family.mean_function(grid))
    curvature = np.asarray(family.variance_function(grid))
    usable = np.isfinite(means) & (curvature > 1e-8) & family.mean_space.contains(means)
    back = np.asarray(family.theta(means[usable]))
    wrong = ~(np.abs(back - grid[usable]) <= _CLOSED * (1 + np.abs(grid[usable])))
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        raise DeclarationError(
            f"family {family.name!r}: theta(mu) does not invert b′: at θ = "
            f"{grid[usable][k]:.6g}, b′(θ) = {means[usable][k]:.6g}, but theta(mu) gives "
            f"{back[k]:.6g}. One of the two is wrong; without theta= it is found from b, and "
            "check() says whether b fits c.",
            "theta",
        )


def _pairs(family: Derived) -> tuple[np.ndarray, np.ndarray]:
    """Responses and means at which closed forms are compared."""
    means = np.asarray(family.mean_function(middle_points(family)))
    mu = means[np.isfinite(means) & family.mean_space.contains(means)][::7]
    return mu[::-1], mu


def _conjugate(family: Derived) -> None:
    if family.closed_conjugate is None:
        return
    y, _ = _pairs(family)
    declared = np.asarray(family.closed_conjugate(y))
    derived = np.asarray(family.derived_conjugate(y))
    wrong = ~(np.abs(declared - derived) <= _CLOSED * (1 + np.abs(derived) + y**2))
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        raise DeclarationError(
            f"family {family.name!r}: the closed form of conjugate does not follow from b: "
            f"conjugate(y) = {declared[k]:.6g} at y = {y[k]:.6g}, but b*(y) = "
            f"{derived[k]:.6g}.",
            "conjugate",
        )


def _deviance(family: Derived) -> None:
    if family.closed_deviance is None:
        return
    y, mu = _pairs(family)
    declared = np.asarray(family.closed_deviance(y, mu))
    derived = np.asarray(family.derived_deviance(y, family.theta(mu)))
    wrong = ~(np.abs(declared - derived) <= _CLOSED * (np.abs(declared) + y**2 + mu**2))
    if np.any(wrong):
        k = np.flatnonzero(wrong)[0]
        raise DeclarationError(
            f"family {family.name!r}: the closed form of deviance does not follow "
            f"from b: deviance(y, mu) = {declared[k]:.6g} at y = {y[k]:.6g}, "
            f"μ = {mu[k]:.6g}, but 2[b*(y) − yθ + b(θ)] = {derived[k]:.6g}.",
            "deviance",
        )


# What a declaration must satisfy, in the order in which it is looked at.
CLAIMS: dict[str, Callable[[Derived], None]] = {
    "finite": _finite,
    "convex": _convex,
    "range": _range,
    "dispersion": _dispersion,
    "theta": _theta,
    "conjugate": _conjugate,
    "deviance": _deviance,
}
