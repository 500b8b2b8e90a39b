"""Shape parameters by maximum likelihood: jointly with β, and with φ where that is free.

The likelihood is maximised over u = (shapes on their working scales, log a(φ)), with β at its
maximum for every u. Every shape parameter is orthogonal to β in expectation, because the score of
β is (y − μ)θ′(η)/a, in which y − μ has mean zero whatever the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from expfam_glm.data.blocks import Block, blocks_of
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.errors import ConvergenceError, FitWarning, warn
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.linear import factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased
from expfam_glm.spec import families
from expfam_glm.spec.expression import derivative, substitute
from expfam_glm.spec.family import Family
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.scale import Scale
from expfam_glm.spec.simplify import simplify

_MOST_STEPS = 100
_LONGEST = 2.0  # a step in u
_MOST_HALVINGS = 30
_SHORT = 1e-4  # a Newton step in u so short ends the search; at an edge it keeps its length
_NO_GAIN = 1e-7  # of log-likelihood is left between here and the edge
_FAR = 25.0  # e⁻²⁵ from an edge, relative, is at the edge
_SEEDS = (-2.0, 0.0, 2.0)  # where in u the search may begin


@dataclass(frozen=True)
class ShapeEstimates:
    """The maximum in the shapes, with the pieces of the observed information there.

    values: ψ̂ by name, the edge itself where the likelihood still rises towards it. free: the
    problem without them. loglik, a: ℓ and a(φ) at the maximum, NaN at an edge; limit: the family
    there. beta (p,): where the final fit begins. held, joint (m, m): covariance of u = (shapes on
    their working scales, log a if it is estimated) with β held and with β estimated, from the
    observed information; NaN at an edge. lost: what the information of β at a(φ) = 1 loses because
    the shapes are estimated.
    """

    values: dict[str, float]
    scales: dict[str, Scale]
    free: Problem
    loglik: float
    a: float
    beta: np.ndarray
    held: np.ndarray
    joint: np.ndarray
    lost: np.ndarray
    iterations: int
    note: str = ""
    limit: Family | None = None

    @cached_property
    def problem(self) -> Problem:
        """The problem with the shapes given."""
        family = self.limit or self.free.family.fix(**self.values)
        return replace(self.free, family=family)

    def _covariance(self, observed: bool) -> np.ndarray:
        return self.joint if observed else self.held

    def on_scales(self, observed: bool) -> dict[str, tuple[float, float, Scale]]:
        """Estimate, standard error on the working scale and that scale, by name."""
        errors = np.sqrt(np.diagonal(self._covariance(observed)))
        return {
            name: (value, float(errors[k]), self.scales[name])
            for k, (name, value) in enumerate(self.values.items())
        }

    def dispersion(
        self, log_error: float, elasticity: float, observed: bool
    ) -> tuple[float, np.ndarray | None]:
        """The standard error of log φ̂ that accounts for the shapes, and the correlations with it.

        NaN stays NaN: then φ is no maximum-likelihood estimate, and the shapes stand alone.
        """
        V = self._covariance(observed)
        if not np.all(np.isfinite(V)):
            return log_error, None
        k = len(self.values)
        order = list(range(k))
        if np.isfinite(log_error) and V.shape[0] > k:
            log_error = float(np.sqrt(V[k, k])) / elasticity
            order = [k, *order]
        V = V[np.ix_(order, order)]
        errors = np.sqrt(np.diagonal(V))
        return log_error, V / np.outer(errors, errors)


def estimate_shapes(
    problem: Problem,
    *,
    phi: float | None = None,
    start: np.ndarray | None = None,
    near: Mapping[str, float] | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
) -> ShapeEstimates:
    """Joint maximum likelihood of the free shapes, β, and φ unless it is known or given.

    The search begins `near` these shapes, or at the best of a few points.

    Raises
    ------
    ConvergenceError
        If no maximum is found, or the likelihood rises towards an edge of the domain of a shape
        where the family has no limit among the built-in ones.

    Warns
    -----
    FitWarning
        If the likelihood rises towards an edge with such a limit, which is then fitted.
    """
    profile = _Profile(problem, phi, tol, max_iterations)
    point = profile.begin(start, near)
    for iteration in range(1, _MOST_STEPS + 1):
        step = point.step()
        k = profile.at_edge(point, step)
        if k is not None:
            return profile.limit(point, k, step[k], iteration)
        if point.decrement < tol and np.max(np.abs(step)) < _SHORT:
            return profile.estimates(point, iteration)
        moved = profile.advance(point, step)
        if moved is None:
            if point.decrement < 1e-4 and np.max(np.abs(step)) < _SHORT:
                return profile.estimates(point, iteration)  # rounding hides any gain
            break
        point = moved
    named = ", ".join(f"{name} = {value:.6g}" for name, value in profile.values(point.u).items())
    raise ConvergenceError(
        f"the maximum-likelihood estimate of {', '.join(problem.family.shape)} of "
        f"{problem.family.name!r} was not found; the last point is {named}. Give the shape "
        "parameter a value, or look whether the family suits the data.",
        point,
    )


@dataclass(frozen=True)
class _Point:
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

    @property
    def decrement(self) -> float:
        """The length of Newton's step in standard errors; infinite where there is no maximum."""
        if np.any(np.linalg.eigvalsh(self.information) <= 0):
            return np.inf
        return float(np.sqrt(max(self.gradient @ self.step(), 0.0)))


class _Profile:
    """The log-likelihood of one problem as a function of u, maximised over β."""

    def __init__(
        self, problem: Problem, phi: float | None, tol: float, max_iterations: int
    ) -> None:
        family = problem.family
        self.problem = problem
        self.inner = problem
        self.gone = np.zeros(problem.X.shape[1], bool)
        self.tol, self.max_iterations = tol, max_iterations
        self.scales = {name: Scale(domain) for name, domain in family.shape.items()}
        given = family.phi if phi is None else phi
        self.known = None if given is None else float(family.a(given))
        self.rows = _row_derivatives(family, problem.link, self.known is None)

    @property
    def size(self) -> int:
        """How many entries of u are shapes."""
        return len(self.scales)

    def values(self, u: np.ndarray) -> dict[str, float]:
        """The shapes at u."""
        return {
            name: float(scale.back(u[k])) for k, (name, scale) in enumerate(self.scales.items())
        }

    def begin(self, start: np.ndarray | None, near: Mapping[str, float] | None) -> _Point:
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
                start = self._full(point.beta)
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

    def _full(self, beta: np.ndarray) -> np.ndarray:
        """β with zeros for the aliased columns."""
        full = np.zeros(self.gone.size)
        full[~self.gone] = beta
        return full

    def at(self, u: np.ndarray, start: np.ndarray | None) -> _Point:
        """The profile likelihood at u; `start` over all columns."""
        values = self.values(u)
        if not self.problem.X.shape[1]:
            return self._sums(u, values, np.zeros(0))
        solution, gone = maximise(
            self.problem, start=start, tol=self.tol, max_iterations=self.max_iterations,
            check_rank=aliased, shapes=tuple(values.values()),
        )  # fmt: skip
        if not np.array_equal(gone, self.gone):
            self.gone = gone
            self.inner = restrict_columns(self.problem, ~gone)
        return self._sums(u, values, solution.beta)

    def _sums(self, u: np.ndarray, values: dict[str, float], beta: np.ndarray) -> _Point:
        """ℓ with its first and second derivatives in u and β."""
        a = float(np.exp(u[-1])) if self.known is None else self.known
        m, p = u.size, beta.size
        pairs = [(i, j) for i in range(m) for j in range(i + 1)]

        def one(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows = self.rows(block.eta(beta), block.y, block.w / a, *values.values())
            W, mixed, sums = rows[0], rows[1 : 1 + m], rows[1 + m :]
            f = 1.0 if block.f is None else block.f
            every = np.broadcast_to
            cross = [block.X.T @ every(v * f, block.y.shape) for v in mixed]
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
        return _Point(u, beta, value, gradient * slope, held, cross, profile)

    def at_edge(self, point: _Point, step: np.ndarray) -> int | None:
        """Which shape runs off to an edge of its domain: nothing is left to gain, or no room."""
        for k in range(self.size):
            outward = step[k] * point.u[k] > 0
            flat = np.abs(point.gradient[k]) < _NO_GAIN and np.abs(step[k]) > 0.1
            if outward and (flat or np.abs(point.u[k]) > _FAR):
                return k
        return None

    def advance(self, point: _Point, step: np.ndarray) -> _Point | None:
        """The next point: the step, cut to a safe length and halved until the value rises."""
        step = step * min(1.0, _LONGEST / float(np.max(np.abs(step)) or 1.0))
        slack = 1e-13 * max(abs(point.value), 1.0)
        start = self._full(point.beta)
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

    def estimates(self, point: _Point, iterations: int) -> ShapeEstimates:
        """What the final fit needs."""
        values = self.values(point.u + point.step())
        a = float(np.exp(point.u[-1])) if self.known is None else self.known
        held = np.linalg.inv(point.held)
        return ShapeEstimates(
            values, self.scales, self.problem, point.value, a, self._full(point.beta), held,
            np.linalg.inv(point.information), a * point.cross @ held @ point.cross.T, iterations,
        )  # fmt: skip

    def limit(self, point: _Point, k: int, direction: float, iterations: int) -> ShapeEstimates:
        """The fit of the family that the likelihood rises to, with a warning."""
        family = self.problem.family
        name, scale = list(self.scales.items())[k]
        edge = scale.edge(direction)
        found = families.limit_of(family, name, edge)
        said = f"the likelihood of {family.name!r} still rises as {name} → {edge:g}"
        if found is None:
            raise ConvergenceError(
                f"{said}, the edge of its domain {self.problem.family.shape[name]}: {name} has no "
                f"maximum-likelihood estimate. Give it a value with family.fix({name}=…), or use "
                "another family.",
                point,
            )
        note = (
            f"{said}, where it becomes {found.name!r}: {name} has no maximum-likelihood estimate. "
            f"Coefficients and standard errors are those of {found.name!r}; use that family, or "
            f"give {name} a value."
        )
        warn(note, FitWarning)
        values = self.values(point.u) | {name: edge}
        nothing = np.full((self.size, self.size), np.nan)
        p = point.beta.size
        return ShapeEstimates(
            values, self.scales, self.problem, np.nan, np.nan, self._full(point.beta),
            nothing, nothing, np.zeros((p, p)), iterations, note, found,
        )  # fmt: skip


@lru_cache(maxsize=64)
def _row_derivatives(
    family: Family, link: Link, free: bool
) -> Callable[..., tuple[np.ndarray, ...]]:
    """(η, y, r, *shapes) → −ℓ_ηη; ℓ_ηv; ℓ; ℓ_v; ℓ_vv′ for v in the shapes and, if free, log a."""
    rows = row_model(family, link)
    loglik, score, weight = simplify(
        [rows.loglik, rows.score, rows.observed_weight], rows.variables
    )

    def by(graph: Any, name: str) -> Any:
        if name == "log a":  # r = w/a
            return -rows.r * derivative(graph, rows.r)
        return derivative(graph, rows.shapes[name])

    names = [*family.shape, *(["log a"] if free else [])]
    first = [by(loglik, name) for name in names]
    second = [by(first[i], names[j]) for i in range(len(names)) for j in range(i + 1)]
    mixed = [by(score, name) for name in names]
    graphs = [substitute(v, {}) for v in (weight, *mixed, loglik, *first, *second)]
    return lower(rows.variables, graphs, rows=(rows.eta, rows.y))
