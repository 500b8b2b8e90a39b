"""The log-posterior and its gradient by row kernels: the fast lane, with nothing to compile.

The value space is z = (β, shapes on their working scales, log φ), that of the PyMC model under its
default transforms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.bayes.joint import joint_prior
from expfam_glm.bayes.parabola import ParabolaSums
from expfam_glm.bayes.prior import space_of, spans
from expfam_glm.bayes.prior_terms import Kernel, PriorTerms
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.responses import ResponseTerms, Tabulated
from expfam_glm.bayes.row_sums import RowSums
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative
from expfam_glm.spec.lower import lower
from expfam_glm.spec.scale import Scale
from expfam_glm.spec.separate import separate
from expfam_glm.spec.simplify import simplify

_LARGEST = math.log(1.7e308)  # its exponential is a float


@lru_cache(maxsize=128)
def _dispersion_kernel(family: Family) -> Kernel:
    """φ → a(φ) and d log a/d log φ."""
    (phi,) = family.a.variables
    a = family.a.output
    return lower([phi], simplify([a, phi * derivative(a, phi) / a], [phi]))


class LogPosterior:
    """log π(β, ψ, φ) + Σ f log f(y) and its gradient in z = (β, u(ψ), log φ), ψ the free shapes.

    Where the prior is one of s = φ^k, it is the density of (β, u(ψ), log s) at z.

    Notes
    -----
    Σ f log f(y) = {K(β, ψ) + level}/a(φ) + B(a, ψ): K is Σ f w (yθ − b(θ)), or its distance from
    the value at a fit; the level is what stands between K and the saturated model where the
    deviance has a closed form, and B what depends on the responses alone.
    """

    def __init__(self, problem: Problem, applied: Applied) -> None:
        assert applied.beta is not None
        family, link = problem.family, problem.link
        self.p = problem.X.shape[1]
        self.coefficients = PriorTerms(applied.beta)
        self.joint = None if applied.joint is None else joint_prior(problem, applied.joint)
        self.free = applied.phi is not None
        self.scales = {name: Scale(domain) for name, domain in family.shape.items()}
        self.shape_priors = PriorTerms(list(applied.shapes.values()))
        if applied.phi is not None:
            self.phi_prior, self.power = PriorTerms([applied.phi]), applied.phi_power
            self.a_of_phi: Any = _dispersion_kernel(family)
        else:
            self.a = float(family.a(family.phi))
        image = link.image(family.mean_space)
        bend = None
        if not (np.isfinite(image.low) or np.isfinite(image.high)):
            bend = separate(family, link).curved
        blocks = MemoryBlocks(problem)
        closed = family.closed_deviance is not None and not self.scales
        self.sums: RowSums | ParabolaSums
        if bend is None:
            self.sums = RowSums(problem)
            self.level = -_saturated_kernel(blocks.responses) if closed else 0.0
        else:
            self.sums = ParabolaSums(problem, bend)
            self.level = self.sums.level(closed, blocks.within_deviance)
        self.responses = ResponseTerms(blocks.responses, family, closed)
        self.table: Tabulated | None = None
        if self.free + len(self.scales) == 1:
            self.table = Tabulated(self._apart, -0.5 * problem.n if self.free else 0.0)
        elif not self.scales:
            self.constant = float(self._apart(np.empty(0))[0])

    def for_another_thread(self) -> Self:
        """The same function with memory of its own."""
        twin = copy(self)
        twin.sums = self.sums.for_another_thread()
        return twin

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.p + len(self.scales) + self.free

    def shapes_at(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The free shapes at z (…, d)."""
        values = zip(self.scales.items(), np.moveaxis(z, -1, 0)[self.p :], strict=False)
        return {name: np.asarray(scale.back(u)) for (name, scale), u in values}

    def expand(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters at z by name."""
        found = {"beta": z[: self.p]} | self.shapes_at(z)
        return found | ({"phi": np.array(np.exp(z[-1]))} if self.free else {})

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        return self.shifted(z, None)

    def shifted(self, z: np.ndarray, shift: np.ndarray | None) -> tuple[float, np.ndarray]:
        """The same where η is Xβ + offset + shift; `scores` are then the rows' ∂/∂η."""
        with np.errstate(all="ignore"):
            value, gradient = self._shifted(z, shift)
        if not (math.isfinite(value) and math.isfinite(gradient.sum())):
            return -np.inf, np.zeros(z.size)
        return value, gradient

    @property
    def scores(self) -> np.ndarray:
        """f·∂ log f/∂η of the last call with a shift."""
        assert self.sums.scores is not None
        return self.sums.scores / self.last_a

    def _shifted(self, z: np.ndarray, shift: np.ndarray | None) -> tuple[float, np.ndarray]:
        p, jets, gradient = self.p, self._jets(z[self.p :]), np.empty(z.size)
        beta = z[:p]
        rows = self.sums(beta, tuple(psi for psi, _, _ in jets), shift)
        if rows is None:
            return -np.inf, gradient
        value, slope = self.coefficients.total(beta)
        if self.joint is not None:
            together, steep = self.joint(beta)
            value, slope = value + together, slope + steep
        a, elasticity = self._dispersion(z)
        self.last_a = a
        if a == 0.0:  # φ so small that it is no number any more
            return -np.inf, gradient
        fit = (rows.value + self.level) / a
        gradient[:p] = slope + (rows.gradient if a == 1.0 else rows.gradient / a)
        apart, *gradient[p:] = self._of_unknown(z[p:])
        for k, (by_shape, (_, first, _)) in enumerate(zip(rows.by_shape, jets, strict=True), p):
            gradient[k] += by_shape * first / a
        if self.free:
            gradient[-1] -= elasticity * fit
        return value + fit + float(apart), gradient

    def _of_unknown(self, unknown: np.ndarray) -> Sequence[float] | np.ndarray:
        """`_apart`, from its table where there is one."""
        if self.table is not None:
            return self.table(float(unknown[0]))
        return self._apart(unknown) if unknown.size else (self.constant,)

    def _jets(self, unknown: np.ndarray) -> list[tuple[float, float, float]]:
        """ψ, dψ/du and d²ψ/du² of each free shape."""
        own = zip(self.scales.values(), unknown, strict=False)
        return [scale.jet(float(u)) for scale, u in own]

    def _dispersion(self, z: np.ndarray) -> tuple[float, float]:
        """a(φ) and d log a/d log φ."""
        if not self.free:
            return self.a, 0.0
        a, elasticity = self.a_of_phi.bare(math.exp(min(z[-1], _LARGEST)))
        return float(a), float(elasticity)

    def _apart(self, unknown: np.ndarray) -> np.ndarray:
        """What depends on z without β alone: B and the priors; then its derivatives."""
        jets = self._jets(unknown)
        a, elasticity = self._dispersion(unknown)
        psi = [own for own, _, _ in jets]
        value, by_a, *by_shape = self.responses(math.log(a), *psi)
        slopes = []
        if psi:
            log_prior, slope = self.shape_priors.total(np.array(psi))
            value += log_prior
            for by_psi, steep, (_, first, second) in zip(by_shape, slope, jets, strict=True):
                value += math.log(abs(first))
                slopes.append((by_psi + steep) * first + second / first)
        if self.free:
            scaled = np.exp(self.power * unknown[-1:])
            log_prior, slope = self.phi_prior.total(scaled)
            value += log_prior + self.power * unknown[-1]
            slopes.append(self.power * (slope[0] * scaled[0] + 1.0) + elasticity * by_a)
        return np.array([value, *slopes])

    def values(self, z: np.ndarray) -> np.ndarray:
        """The values alone at many points (m, d), −∞ outside the domain of η.

        Of this class alone: densities with group effects or shrinkage have a z of their own.
        """
        beta, unknown = z[:, : self.p], z[:, self.p :]
        with np.errstate(all="ignore"):
            fit = self.sums.many(beta, tuple(self.shapes_at(z).values())) + self.level
            value = self.coefficients(beta)[0].sum(axis=-1)
            if self.joint is not None:
                value += [self.joint(own)[0] for own in beta]
            value += fit / [self._dispersion(own)[0] for own in z]
            value += [self._of_unknown(own)[0] for own in unknown]
        return np.where(np.isfinite(value), value, -np.inf)


def _saturated_kernel(blocks: MemoryBlocks) -> float:
    """Σ f w b*(y), the largest that the sum of kernels could be."""
    conjugate = blocks.problem.family.conjugate
    return sum(block.total(np.asarray(conjugate(block.y)), weighted=True) for block in blocks)


def sums_in_rows(family: Family) -> bool:
    """Whether c(y, a) is a sum of many terms for each row, which numba does faster than NumPy."""
    nodes = toposort([family.c.output]) if family.c is not None else ()
    return any(not isinstance(node.op, Elemwise) for node in nodes)


def has_fast_lane(applied: Applied, domains: Mapping[str, Domain] = MappingProxyType({})) -> bool:
    """Whether priors and value space are those of `LogPosterior`."""
    if not applied.separable or applied.beta is None:
        return False
    if applied.phi is not None and space_of(applied.phi) != "positive":
        return False
    if not all(spans(prior, domains[name]) for name, prior in applied.shapes.items()):
        return False
    further = [] if applied.phi is None else [applied.phi]
    return PriorTerms([*applied.beta, *further, *applied.shapes.values()]).complete
