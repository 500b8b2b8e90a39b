"""The likelihood of shape parameters, maximised over β: its value and slopes, and steps uphill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from expfam_glm.data.blocks import Block, blocks_of
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.errors import ConvergenceError
from expfam_glm.kernels.sums import over_rows, weighted_gram
from expfam_glm.mle.linear import factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link
from expfam_glm.spec.program import Function, Program, recalled
from expfam_glm.spec.scale import Scale

_LONGEST = 2.0  # a step in u
_MOST_HALVINGS = 30
_NO_GAIN = 1e-7  # of log-likelihood is left between here and the edge
_FAR = 25.0  # e⁻²⁵ from an edge, relative, is at the edge
_SEEDS = (-2.0, 0.0, 2.0)  # where in u the search may begin


@dataclass(frozen=True)
class Point:
    """u with the profile likelihood there; what is called `held` is at β held."""

    u: np.ndarray
    beta: np.ndarray
    value: float
    gradient: np.ndarray
    held: np.ndarray  # minus the second derivatives in u with β held
    cross: np.ndarray  # minus ∂²ℓ/∂β∂u
    information: np.ndarray  # of the profile likelihood

    def step(self) -> np.ndarray:
        """Newton's step, uphill in every direction."""
        size, directions = np.linalg.eigh(self.information)
        size = np.maximum(np.abs(size), 1e-12 * max(float(np.abs(size).max()), 1e-300))
        return directions @ (directions.T @ self.gradient / size)

    def holding(self, k: int) -> Point:
        """The same with nothing to gain along u_k: steps keep it."""
        gradient, information = self.gradient.copy(), self.information.copy()
        gradient[k] = information[k, :] = information[:, k] = 0.0
        information[k, k] = 1.0
        return replace(self, gradient=gradient, information=information)

    @property
    def decrement(self) -> float:
        """The length of Newton's step in standard errors; infinite where there is no maximum."""
        if np.any(np.linalg.eigvalsh(self.information) <= 0):
            return np.inf
        return float(np.sqrt(max(self.gradient @ self.step(), 0.0)))


class ShapeProfile:
    """The log-likelihood of one problem as a function of u, maximised over β.

    `held` is an entry of u that no step changes.
    """

    def __init__(
        self,
        problem: Problem,
        phi: float | None,
        tol: float,
        max_iterations: int,
        held: int | None = None,
    ) -> None:
        family = problem.family
        self.held = held
        self.problem = problem
        self.inner = problem
        self.gone = np.zeros(problem.matrix.shape[1], bool)
        self.tol, self.max_iterations = tol, max_iterations
        self.scales = {name: Scale(domain) for name, domain in family.shape.items()}
        given = family.phi if phi is None else phi
        self.known = None if given is None else float(family.a(given))
        self.rows = row_derivatives(family, problem.link, self.known is None)

    @property
    def size(self) -> int:
        """How many entries of u are shapes."""
        return len(self.scales)

    def values(self, u: np.ndarray) -> dict[str, float]:
        """The shapes at u."""
        return {
            name: float(scale.back(u[k])) for k, (name, scale) in enumerate(self.scales.items())
        }

    def begin(self, start: np.ndarray | None, near: Mapping[str, float] | None) -> Point:
        """The point that is given, or the best of a few, all shapes alike."""
        seeds = []
        failure: ConvergenceError | None = None
        heights = [np.full(self.size, height) for height in _SEEDS]
        if near is not None:
            u = np.array([float(scale.to(near[name])) for name, scale in self.scales.items()])
            heights = [u] if np.all(np.abs(u) < _FAR) else heights
        for u in heights:
            if self.known is None:
                u = np.append(u, np.log(self._scatter(self.values(u))))
            try:
                point = self.at(u, start)
            except ConvergenceError as error:
                failure = error
                continue
            if np.isfinite(point.value):
                seeds.append(point)
                start = self.full(point.beta)
        if not seeds:
            raise failure or ConvergenceError(
                f"the likelihood of {self.problem.family.name!r} is not finite at any of the "
                "shape parameters tried; give them values."
            )
        return max(seeds, key=lambda point: point.value)

    def _scatter(self, values: dict[str, float]) -> float:
        """a(φ) from the scatter of y around its mean."""
        problem = self.problem
        mean = problem.mean
        rows = problem.sample
        weight = (1.0 if rows.w is None else rows.w) * (1.0 if rows.f is None else rows.f)
        squares = float(np.sum(weight * (rows.y - mean) ** 2)) / rows.n
        variance = float(problem.family.variance(mean, **values))
        found = squares / variance if np.isfinite(variance) and variance > 0 else 1.0
        return found if np.isfinite(found) and found > 0 else 1.0

    def full(self, beta: np.ndarray) -> np.ndarray:
        """β with zeros for the aliased columns."""
        full = np.zeros(self.gone.size)
        full[~self.gone] = beta
        return full

    def at(self, u: np.ndarray, start: np.ndarray | None) -> Point:
        """The profile likelihood at u; `start` over all columns."""
        values = self.values(u)
        if not self.problem.matrix.shape[1]:
            return self._sums(u, values, np.zeros(0))
        solution, gone = maximise(
            self.problem, start=start, tol=self.tol, max_iterations=self.max_iterations,
            check_rank=aliased, shapes=tuple(values.values()),
        )  # fmt: skip
        if not np.array_equal(gone, self.gone):
            self.gone = gone
            self.inner = restrict_columns(self.problem, ~gone)
        return self._sums(u, values, solution.beta)

    def _sums(self, u: np.ndarray, values: dict[str, float], beta: np.ndarray) -> Point:
        """ℓ with its first and second derivatives in u and β."""
        a = float(np.exp(u[-1])) if self.known is None else self.known
        m, p = u.size, beta.size
        pairs = [(i, j) for i in range(m) for j in range(i + 1)]
        kernel = self.rows

        def one(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = kernel(block.eta(beta), block.y, block.w / a, *values.values())
            W, mixed, sums = rows[0], rows[1 : 1 + m], rows[1 + m :]
            f = 1.0 if block.f is None else block.f
            every = np.broadcast_to
            cross = [over_rows(every(v * f, block.y.shape), block.X) for v in mixed]
            return (
                np.array([block.total(v) for v in sums]),
                np.array(cross).T,
                weighted_gram(block.X, every(W * f, block.y.shape)),
            )

        totals, cross, gram = blocks_of(self.inner).reduce(
            one, lambda x, y: tuple(a + b for a, b in zip(x, y, strict=True))
        )
        value, gradient = float(totals[0]), totals[1 : 1 + m].copy()
        second = np.empty((m, m))
        for (i, j), entry in zip(pairs, totals[1 + m :], strict=True):
            second[i, j] = second[j, i] = entry
        slope, bend = np.ones(m), np.zeros(m)
        for k, scale in enumerate(self.scales.values()):
            slope[k], bend[k] = scale.slopes(u[k])
        held = -(second * np.outer(slope, slope) + np.diag(bend * gradient))
        cross = -cross * slope
        factor = factor_gram(gram) if p else None
        profile = held if factor is None else held - cross.T @ factor.solve(cross)
        point = Point(u, beta, value, gradient * slope, held, cross, profile)
        return point if self.held is None else point.holding(self.held)

    def at_edge(self, point: Point, step: np.ndarray) -> int | None:
        """Which shape runs off to an edge of its domain: nothing is left to gain, or no room."""
        for k in range(self.size):
            outward = step[k] * point.u[k] > 0
            flat = np.abs(point.gradient[k]) < _NO_GAIN and np.abs(step[k]) > 0.1
            if outward and (flat or np.abs(point.u[k]) > _FAR):
                return k
        return None

    def advance(self, point: Point, step: np.ndarray) -> Point | None:
        """The next point: the step, cut to a safe length and halved until the value rises."""
        step = step * min(1.0, _LONGEST / float(np.max(np.abs(step)) or 1.0))
        slack = 1e-13 * max(abs(point.value), 1.0)
        start = self.full(point.beta)
        for k in range(_MOST_HALVINGS):
            try:
                new = self.at(point.u + step * 0.5**k, start)
            except ConvergenceError:
                continue
            if new.value >= point.value - slack and np.all(np.isfinite(new.gradient)):
                shorter = new.decrement < point.decrement or not np.isfinite(new.decrement)
                if new.value > point.value + slack or shorter:
                    return new
        return None


@lru_cache(maxsize=64)
def row_derivatives(family: Family, link: Link, free: bool) -> Function:
    """(η, y, r, *shapes) → −ℓ_ηη; ℓ_ηv; ℓ; ℓ_v; ℓ_vv′ for v in the shapes and, if free, log a."""

    def write() -> Program:
        from expfam_glm.spec.likelihood import shape_program

        return shape_program(family, link, free)

    fact = "derivatives in the shapes" + (" and log a" if free else "")
    return recalled(family.home_under(link), fact, write)
