"""Refusing a declaration at once where its parts contradict each other."""

from __future__ import annotations

import numpy as np

from expfam_glm.errors import DataError, DeclarationError, show_rows
from expfam_glm.spec.derived import Derived
from expfam_glm.spec.inverse import probe_points


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


def verify(family: Derived, given: bool) -> None:
    """b convex at probe points of the θ-domain, and every declared closed form true to b."""
    if family.shape:
        return  # nothing can be evaluated before the shape parameters have values
    grid = probe_points(family.theta_domain)
    size = np.abs(grid)
    grid = grid[(size < 30) & ((size > 1e-19) | (size == 0))]  # beyond, squares overflow
    grid = grid[(grid > family.theta_domain.low) & (grid < family.theta_domain.high)]
    means = np.asarray(family.mean_function(grid))
    curvature = np.asarray(family.variance_function(grid))
    if not np.any(np.isfinite(means)):
        raise DeclarationError(
            f"family {family.name!r}: b′(θ) is not finite anywhere on the θ-domain "
            f"{family.theta_domain}; check b and theta_domain."
        )
    bad = curvature < -1e-12 * means**2  # b″ below the rounding of its terms
    if np.any(bad):
        raise DeclarationError(
            f"family {family.name!r}: b is not convex; b″ = {curvature[bad][0]:.6g} at "
            f"θ = {grid[bad][0]:.6g}. Check the sign of b and theta_domain."
        )
    if not np.any(curvature > 0):
        raise DeclarationError(
            f"family {family.name!r}: b is not convex; b″ is not positive at any of "
            f"{grid.size} points of the θ-domain {family.theta_domain}."
        )
    space = family.mean_space
    room = 1e-9 * (1 + np.abs(means))
    bad = (means < space.low - room) | (means > space.high + room)
    if np.any(bad):
        raise DeclarationError(
            f"family {family.name!r}: the mean b′(θ) = {means[bad][0]:.6g} at "
            f"θ = {grid[bad][0]:.6g} lies outside the support {family.support}; check b, support "
            "and theta_domain."
        )
    _verify_dispersion(family)
    if given:
        usable = np.isfinite(means) & (curvature > 1e-8) & family.support.interior.contains(means)
        back = np.asarray(family.theta(means[usable]))
        slack = 1e-6 * (1 + np.abs(grid[usable]))
        wrong = ~(np.abs(back - grid[usable]) <= slack)
        if np.any(wrong):
            k = np.flatnonzero(wrong)[0]
            raise DeclarationError(
                f"family {family.name!r}: theta(mu) does not invert b′: at θ = "
                f"{grid[usable][k]:.6g}, b′(θ) = {means[usable][k]:.6g}, but theta(mu) gives "
                f"{back[k]:.6g}."
            )
    mu = means[np.isfinite(means) & space.contains(means)][::7]
    y = mu[::-1]
    if family.closed_conjugate is not None:
        declared = np.asarray(family.closed_conjugate(y))
        derived = np.asarray(family.derived_conjugate(y))
        wrong = ~(np.abs(declared - derived) <= 1e-6 * (1 + np.abs(derived) + y**2))
        if np.any(wrong):
            k = np.flatnonzero(wrong)[0]
            raise DeclarationError(
                f"family {family.name!r}: the closed form of conjugate does not follow from b: "
                f"conjugate(y) = {declared[k]:.6g} at y = {y[k]:.6g}, but b*(y) = "
                f"{derived[k]:.6g}."
            )
    if family.closed_deviance is not None:
        declared = np.asarray(family.closed_deviance(y, mu))
        derived = np.asarray(family.derived_deviance(y, family.theta(mu)))
        wrong = ~(np.abs(declared - derived) <= 1e-6 * (np.abs(declared) + y**2 + mu**2))
        if np.any(wrong):
            k = np.flatnonzero(wrong)[0]
            raise DeclarationError(
                f"family {family.name!r}: the closed form of deviance does not follow "
                f"from b: deviance(y, mu) = {declared[k]:.6g} at y = {y[k]:.6g}, "
                f"μ = {mu[k]:.6g}, but 2[b*(y) − yθ + b(θ)] = {derived[k]:.6g}."
            )


def _verify_dispersion(family: Derived) -> None:
    """a(φ) positive, and increasing where φ is free and has to be found from it."""
    phi = np.array([0.25, 0.5, 1.0, 2.0, 4.0]) if family.phi is None else np.array([family.phi])
    a = np.asarray(family.a(phi))
    if not (np.all(np.isfinite(a) & (a > 0)) and np.all(np.diff(a) > 0)):
        shown = ", ".join(f"a({p:g}) = {v:.6g}" for p, v in zip(phi, a, strict=True))
        raise DeclarationError(
            f"family {family.name!r}: the dispersion function must be positive and increase with "
            f"φ; {shown}."
        )
