"""The log-posterior and its gradient by row kernels: the fast lane, with nothing to compile.

The value space is z = (β, shapes on their working scales, log φ), that of the PyMC model under its
default transforms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from types import MappingProxyType

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
from expfam_glm.spec.expression import derivative
from expfam_glm.spec.family import Family
from expfam_glm.spec.lower import lower
from expfam_glm.spec.scale import Scale
from expfam_glm.spec.separate import separate
from expfam_glm.spec.simplify import simplify


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
            self.dispersion, self.power = PriorTerms([applied.phi]), applied.phi_power
            self.a_of_phi = _dispersion_kernel(family)
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
        if self.free and not self.scales:
            self.table = Tabulated(self._of_dispersion, -0.5 * problem.n)
        elif not self.free and len(self.scales) == 1:
            self.table = Tabulated(self._of_shape, 0.0)
        elif not self.free and not self.scales:
            self.constant = float(self.responses(math.log(self.a))[0])

    def for_another_thread(self) -> LogPosterior:
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
        beta, p = z[: self.p], self.p
        value, gradient = -np.inf, np.empty(z.size)
        psi = tuple(float(v) for v in self.shapes_at(z).values()) if self.scales else ()
        rows = self.sums(beta, psi, shift)
        if rows is None:
            return value, gradient
        value, gradient[:p] = self.coefficients.total(beta)
        if self.joint is not None:
            together, slope = self.joint(beta)
            value, gradient[:p] = value + together, gradient[:p] + slope
        a, elasticity = (self.a, 0.0) if not self.free else self._dispersion_at(z[-1])
        self.last_a = a
        fit = (rows.value + self.level) / a
        value += fit
        gradient[:p] += rows.gradient if a == 1.0 else rows.gradient / a
        if self.free:
            phi = np.exp(z[-1:]) ** self.power
            log_prior, slope = self.dispersion.total(phi)
            value += log_prior + self.power * float(z[-1])
            gradient[-1] = self.power * (float(slope[0] * phi[0]) + 1.0) - elasticity * fit
        if psi:
            value = self._add_shapes(z, psi, rows.by_shape, a, value, gradient)
        if self.table is not None:
            apart, slope_of = self.table(math.log(a) if self.free else float(z[p]))
            value += apart
            gradient[-1] += slope_of * (elasticity if self.free else 1.0)
        elif psi:
            apart, by_a, *by_shape = self.responses(math.log(a), *psi)
            value += apart
            gradient[p : p + len(psi)] += by_shape * self._shape_slopes(z)[0]
            gradient[-1] += elasticity * by_a
        else:
            value += self.constant
        return float(value), gradient

    def _dispersion_at(self, log_phi: float) -> tuple[float, float]:
        """a(φ) and d log a/d log φ."""
        a, elasticity = self.a_of_phi(np.exp(log_phi))
        return float(a), float(elasticity)

    def _shape_slopes(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dψ/du and d²ψ/du² of the shapes."""
        own = zip(self.scales.values(), z[self.p :], strict=False)
        slopes, bends = np.transpose([scale.slopes(float(u)) for scale, u in own])
        return slopes, bends

    def _add_shapes(
        self, z: np.ndarray, psi: tuple[float, ...], by_shape: list[float], a: float,
        value: float, gradient: np.ndarray,
    ) -> float:  # fmt: skip
        """The value with the priors of the shapes; their part of the gradient is written."""
        slopes, bends = self._shape_slopes(z)
        log_prior, slope = self.shape_priors.total(np.array(psi))
        own = (slope + np.array(by_shape) / a) * slopes + bends / slopes
        gradient[self.p : self.p + len(psi)] = own
        return value + log_prior + float(np.log(np.abs(slopes)).sum())

    def _of_dispersion(self, tau: float) -> tuple[float, float]:
        """What the responses say of log a, and its derivative."""
        value, slope = self.responses(tau)
        return float(value), float(slope)

    def _of_shape(self, u: float) -> tuple[float, float]:
        """What the responses say of the only shape on its working scale, and its derivative."""
        (scale,) = self.scales.values()
        value, _, slope = self.responses(math.log(self.a), float(scale.back(u)))
        return float(value), float(slope * scale.slopes(u)[0])

    def values(self, z: np.ndarray) -> np.ndarray:
        """The values alone at many points (m, d), −∞ outside the domain of η."""
        with np.errstate(all="ignore"):
            psi = tuple(self.shapes_at(z).values())
            found = self.sums.many(z[:, : self.p], psi) + self.level
            value = self.coefficients(z[:, : self.p])[0].sum(axis=-1)
            if self.joint is not None:
                value += [self.joint(beta)[0] for beta in z[:, : self.p]]
            log_a = np.full(len(z), 0.0 if self.free else math.log(self.a))
            if self.free:
                log_a = np.log([self._dispersion_at(log_phi)[0] for log_phi in z[:, -1]])
                scaled = np.exp(self.power * z[:, -1:])
                value += self.dispersion(scaled)[0][:, 0] + self.power * z[:, -1]
            value += found * np.exp(-log_a)
            if psi:
                value += self.shape_priors(np.stack(psi, -1))[0].sum(axis=-1)
                value += [np.log(np.abs(self._shape_slopes(row)[0])).sum() for row in z]
            if self.table is not None:
                value += [self.table(t)[0] for t in (log_a if self.free else z[:, self.p])]
            elif psi:
                value += [self.responses(*own)[0] for own in zip(log_a, *psi, strict=True)]
            else:
                value += self.constant
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
