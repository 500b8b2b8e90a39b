"""Where a declaration is checked, and what c and the support add up to there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expfam_glm.numerics.mass import PRECISIONS, implied
from expfam_glm.numerics.moments import Moments, blocks
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family
from expfam_glm.spec.verify import middle_points

_THETAS = 9
_REACH = 30.0  # means further than this from the edge or from zero cost time and show nothing new
_EDGE = 1e-3  # of the width of a bounded mean space
_BETWEEN = 6  # points between two probe points
_PHI = (1.0, 0.4, 2.2)  # where φ is free
_PHI_DISCRETE = (1.0, 0.5, 0.2)  # so that the edges of the support stay on the lattice


@dataclass(frozen=True)
class Evidence:
    """A family without free shape parameters on a grid of θ and of effective dispersions."""

    family: Family

    @cached_property
    def fine(self) -> np.ndarray:
        """Many points of the θ-domain, not far out."""
        grid = middle_points(self.family)
        inner = np.linspace(grid[:-1], grid[1:], _BETWEEN, endpoint=False).T.ravel()
        return np.unique(np.append(inner, grid[-1]))

    @cached_property
    def theta(self) -> np.ndarray:
        """Nine points, as far apart as the family tells them apart, where sums are short."""
        family, grid = self.family, self.fine
        mean, variance = np.asarray(family.mean(grid)), np.asarray(family.variance_at(grid))
        usable = np.isfinite(mean) & (variance > 0) & np.isfinite(variance)
        space = family.mean_space
        usable &= space.contains(mean)
        low, high = space.low, space.high
        if np.isfinite(low) and np.isfinite(high):
            room = np.minimum(mean - low, high - mean) > _EDGE * (high - low)
        else:
            edge = low if np.isfinite(low) else high
            room = np.abs(mean - (edge if np.isfinite(edge) else 0.0)) < _REACH
            room &= ~(np.abs(mean - edge) < _EDGE)
        chosen = usable & room if np.any(usable & room) else usable
        grid, spread = grid[chosen], np.sqrt(variance[chosen])
        path = np.append(0.0, np.cumsum(np.diff(grid) * 0.5 * (spread[1:] + spread[:-1])))
        steps = np.linspace(0, path[-1], _THETAS)
        return grid[np.unique(np.searchsorted(path, steps).clip(0, grid.size - 1))]

    @cached_property
    def phi(self) -> np.ndarray:
        """The known dispersion φ, or several where it is free."""
        if self.family.phi is not None:
            return np.array([self.family.phi])
        phi = np.array(_PHI_DISCRETE if self.family.support.discrete else _PHI)
        fits = self._on_lattice(np.asarray(self.family.a(phi)))
        return phi[fits] if np.any(fits) else phi

    @cached_property
    def main(self) -> np.ndarray:
        """Effective dispersions a(φ) without weights."""
        return np.asarray(self.family.a(self.phi))

    @cached_property
    def weighted(self) -> np.ndarray:
        """Effective dispersions a/2 and a/3."""
        a = (self.main / np.array(PRECISIONS)[:, None]).ravel()
        return a[self._on_lattice(a)]

    def _on_lattice(self, a: np.ndarray) -> np.ndarray:
        """Whether the edges of a discrete support lie on the lattice of y/a."""
        support = self.family.support
        edges = [bound for bound in (support.low, support.high) if np.isfinite(bound)]
        fits = [self.family.contains(edge, 1 / a) for edge in edges if support.discrete]
        return np.logical_and.reduce([np.ones(a.shape, bool), *fits])

    @cached_property
    def a(self) -> np.ndarray:
        """All effective dispersions, those without weights first."""
        return np.concatenate([self.main, self.weighted])

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """θ and a of every distribution looked at, flat, a by a."""
        theta, a = np.meshgrid(self.theta, self.a)
        return theta.ravel(), a.ravel()

    @cached_property
    def moments(self) -> list[Moments]:
        """What c and the support add up to, by blocks of rows."""
        theta, a = self.rows
        return [implied(self.family, theta[part], a[part]) for part in blocks(theta.size)]

    def _table(self, name: str) -> np.ndarray:
        """One of the moments as (a, θ)."""
        flat = np.concatenate([getattr(block, name) for block in self.moments])
        return flat.reshape(self.a.size, self.theta.size)

    @cached_property
    def cumulant(self) -> np.ndarray:
        """The cumulant that c and the support imply, (a, θ): b(θ) at every a, if all is right."""
        return self._table("log_mass") * self.a[:, None]

    @cached_property
    def excess(self) -> np.ndarray:
        """The logarithm of the total mass, (a, θ)."""
        b = np.asarray(self.family.cumulant(self.theta))
        return self._table("log_mass") - b / self.a[:, None]

    @cached_property
    def mean(self) -> np.ndarray:
        """The means (a, θ) of the densities scaled to mass one."""
        return self._table("mean")

    @cached_property
    def variance(self) -> np.ndarray:
        """Their variances (a, θ)."""
        return self._table("variance")

    @property
    def holds_at_main(self) -> bool:
        """Whether the mass is one without weights, to the tolerance of the package."""
        return bool(np.all(np.abs(self.excess[: self.main.size]) < 1e-6))


def shape_settings(family: Family) -> Iterator[dict[str, float]]:
    """Values of the free shape parameters, three sets of them; one empty set without any."""
    if not family.shape:
        yield {}
        return
    values = {name: _inner_values(domain) for name, domain in family.shape.items()}
    for turn in range(3):  # another value of every parameter each time, not in step
        picks = ((k * 2 + turn) % 3 if k else turn for k in itertools.count())
        yield {name: three[k] for (name, three), k in zip(values.items(), picks, strict=False)}


def _inner_values(domain: Domain) -> tuple[float, float, float]:
    """Three values inside a domain."""
    low, high = domain.low, domain.high
    if np.isfinite(low) and np.isfinite(high):
        three = tuple(low + share * (high - low) for share in (0.2, 0.5, 0.8))
    elif np.isfinite(low):
        three = (low + 0.4, low + 1.0, low + 2.5)
    else:
        three = (high - 0.4, high - 1.0, high - 2.5) if np.isfinite(high) else (-0.7, 0.5, 2.0)
    if domain.discrete:
        first = low if np.isfinite(low) else high - 3 if np.isfinite(high) else 1.0
        three = tuple(min(first + k, high) for k in (1.0, 2.0, 3.0))
    return (float(three[0]), float(three[1]), float(three[2]))
