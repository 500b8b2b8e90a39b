"""Penalised and bias-reduced maximum likelihood: scoring with an added gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_glm.data.blocks import Blocks, blocks_of
from expfam_glm.data.response import Problem, restrict_columns
from expfam_glm.errors import ConvergenceError, one_of
from expfam_glm.kernels.coded import Coded, Matrix
from expfam_glm.kernels.sums import Gram, weighted_gram
from expfam_glm.mle.dispersion import METHODS, given_number, invert_dispersion, log_scale_slopes
from expfam_glm.mle.fitness import Fitness, fitness
from expfam_glm.mle.irls import Scoring, Solution, start_space
from expfam_glm.mle.linear import Factor, factor_gram
from expfam_glm.mle.maximum import Maximum, checked_start, find_maximum
from expfam_glm.mle.penalty import Adjustment, Conjugate, Penalty, Ridge
from expfam_glm.mle.rank import aliased, warn_aliased
from expfam_glm.mle.saturated import Saturated

_MOST_HALVINGS = 40
_EPS = np.finfo(float).eps


class _State(NamedTuple):
    """A point of the iteration."""

    beta: np.ndarray
    sums: Gram
    a: float  # a(φ) there
    factor: Factor  # of I + aP at φ = 1
    step: np.ndarray
    decrement: float  # in standard errors
    objective: float  # NaN where the adjustment is the gradient of nothing


@dataclass(frozen=True, eq=False)
class Penalised:
    """Fisher scoring of U(β)/a + A(β) = 0, or U(β)/a − Pβ = 0, with a(φ) at its estimate.

    Parameters
    ----------
    problem : Problem
        Without aliased columns (a ridge may keep them).
    penalty : Ridge or Adjustment
    dispersion : {"pearson", "deviance", "ml"} or float
        How a free a(φ) is estimated at every β.
    tol : float
    max_iterations : int
    C : ndarray (q, p), optional
        Combinations Cβ that stay as they are at the start.
    """

    problem: Problem
    penalty: Ridge | Adjustment
    dispersion: str | float
    tol: float
    max_iterations: int
    C: np.ndarray | None = None

    @cached_property
    def _blocks(self) -> Blocks:
        return blocks_of(self.problem)

    @cached_property
    def _scoring(self) -> Scoring:
        return Scoring(self.problem, self._blocks, self.tol, self.max_iterations)

    @cached_property
    def _P(self) -> np.ndarray:
        if isinstance(self.penalty, Ridge):
            return self.penalty.precision(self.problem)
        return np.zeros(self.problem.matrix.shape[1])

    def solve(self, start: np.ndarray | None = None) -> tuple[Solution, float]:
        """The solution, whose factor is that of I + aP at φ = 1, and a(φ̂).

        Raises
        ------
        ConvergenceError
            If no admissible start is found or the rule is not met.
        """
        state = self._start(start)
        for iteration in range(1, self.max_iterations + 1):
            new = self._advance(state)
            settled = abs(np.log(new.a / state.a)) < self.tol
            # scoring converges linearly here: what is left is the step times ratio/(1 − ratio)
            ratio = new.decrement / state.decrement if state.decrement > 0 else 0.0
            slow = max(1.0, ratio / (1 - ratio)) if ratio < 1 else np.inf
            small = new.decrement * slow < self.tol
            floor = new.factor.length(new.step) <= 64 * _EPS * new.factor.length(new.beta)
            state = new
            if (small and settled) or floor:
                solution = Solution(
                    state.beta + state.step, state.factor, state.sums, iteration,
                    float(state.decrement), False,
                )  # fmt: skip
                return solution, state.a
        raise ConvergenceError(
            f"the fit with the penalty {self.penalty} did not converge in {self.max_iterations} "
            f"iterations: the last step is {state.decrement:.3g} standard errors long (tol = "
            f"{self.tol:g}). Raise max_iterations, or give start=; the state is in `.state`.",
            state,
        )

    def at(self, beta: np.ndarray) -> _State:
        """The state at β, with a(φ) as given.

        Raises
        ------
        ConvergenceError
            If β is not admissible.
        """
        return self._start(beta)

    def _advance(self, state: _State) -> _State:
        """The full step, halved while it leaves the domain or worsens the fit."""
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            new = self._evaluate(state.beta + length * state.step, state.a)
            if new is not None:
                slack = 8 * _EPS * (new.sums.magnitude + state.sums.magnitude) / state.a
                if np.isnan(new.objective):
                    better = bool(new.decrement < 2 * state.decrement)
                else:
                    better = bool(new.objective >= state.objective - slack)
                if better or new.decrement < 1e-6:
                    return self._evaluate(new.beta, self._a(new)) or new
            length *= 0.5
        raise ConvergenceError(
            f"the fit with the penalty {self.penalty} did not converge: no step improves it. Give "
            "start=, or another link.",
            state,
        )

    def _evaluate(self, beta: np.ndarray, a: float) -> _State | None:
        """The state at β for a given a(φ); None where β is not admissible."""
        sums = self._scoring.sums(beta)
        if not self._scoring.admits(sums):
            return None
        factor = factor_gram(sums.information + np.diag(a * self._P))
        if factor is None:
            return None
        objective = sums.objective / a - 0.5 * float(self._P @ beta**2)
        score = sums.score - a * self._P * beta
        if isinstance(self.penalty, Adjustment):
            score = score + a * self.penalty.gradient(self._blocks, beta, factor)
            if self.penalty.is_penalty:
                objective += float(np.sum(np.log(np.abs(np.diagonal(factor.triangle)))))
            else:
                objective = np.nan
        if not np.all(np.isfinite(score)):
            return None
        step = factor.solve(score)
        if self.C is not None:
            spread = factor.solve(self.C.T)
            step = step - spread @ np.linalg.solve(self.C @ spread, self.C @ step)
        decrement = float(factor.length(step) / np.sqrt(a))
        return _State(beta, sums, a, factor, step, decrement, objective)

    # ---- dispersion ----------------------------------------------------------------------

    def _a(self, state: _State) -> float:
        """a(φ̂) at the β of a state."""
        family = self.problem.family
        if family.phi is not None:
            return float(family.a(family.phi))
        if isinstance(self.dispersion, Real):
            return float(family.a(float(self.dispersion)))
        n, p = self.problem.n, state.beta.size
        if n <= p and self.dispersion != "ml":
            return 1.0
        if self.dispersion == "pearson":
            return state.sums.pearson / (n - p)
        measures = fitness(self.problem, self._blocks, state.beta, state.sums.objective)
        if self.dispersion == "deviance":
            return measures.deviance / (n - p)
        return self._likely(measures, state.a)

    def _likely(self, measures: Fitness, first: float) -> float:
        """The root of the (adjusted) score of log a, by secants."""
        saturated = Saturated(self.problem.family, self._blocks, measures.parts)
        slopes = log_scale_slopes(saturated, measures.deviance)
        w = np.ones(self.problem.row_count) if self.problem.w is None else self.problem.w

        def score(tau: float) -> float:
            added = 0.0
            if isinstance(self.penalty, Adjustment):
                added = self.penalty.dispersion_slope(self.problem, w * np.exp(-tau))
            return float(slopes(tau)[1]) + added

        from scipy.optimize import brentq

        low = high = float(np.log(first))
        while score(low) < 0:
            low -= 1.0
        while score(high) > 0:
            high += 1.0
        if low == high:
            return first
        return float(np.exp(brentq(score, low, high, xtol=1e-14, rtol=4 * _EPS)))

    # ---- where to begin ------------------------------------------------------------------

    def _start(self, start: np.ndarray | None) -> _State:
        """The given start, or a fit to g((y + m)/2) that is drawn to the constant g(m)."""
        family, link = self.problem.family, self.problem.link
        a = 1.0 if family.phi is None else float(family.a(family.phi))
        candidates = [] if start is None else [start]
        if start is None:
            low, high = start_space(self.problem)
            n = self.problem.row_count
            inside = 0.5 * (low + high) if np.isfinite(low + high) else low + 1 if (
                np.isfinite(low)) else high - 1 if np.isfinite(high) else 0.0  # fmt: skip
            mean = (float(self.problem.y.mean()) * n + inside) / (n + 1)
            mu = 0.5 * (self.problem.y + mean)
            mu = np.where((mu > low) & (mu < high), mu, mean)
            offset = 0.0 if self.problem.offset is None else self.problem.offset
            targets = [np.asarray(link(mu)) - offset, np.full(n, float(link(mean))) - offset]
            first, centre = _least_squares(self.problem.matrix, np.array(targets))
            candidates = [centre + 0.5**k * (first - centre) for k in range(20)]
        for beta in candidates:
            state = self._evaluate(beta, a)
            if state is not None:
                return self._evaluate(beta, self._a(state)) or state
        raise ConvergenceError(
            f"no admissible start was found for the fit with the penalty {self.penalty}: under the "
            f"link {link.name!r} the linear predictor must stay in {self._scoring.space}. Give "
            "start=."
        )


def _least_squares(X: Matrix, targets: np.ndarray) -> np.ndarray:
    """The coefficients (m, p) of some targets (m, n), of which a start is made."""
    if isinstance(X, Coded):
        return np.linalg.lstsq(weighted_gram(X, 1.0), (targets @ X).T)[0].T
    return np.linalg.lstsq(X, targets.T)[0].T


def find_penalised(
    problem: Problem,
    penalty: Penalty,
    *,
    dispersion: str | float = "pearson",
    start: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
) -> Maximum:
    """β̂ under a penalty; collinear columns are set apart unless a ridge tells them apart.

    Raises
    ------
    ConvergenceError
        If the iteration does not meet its rule.
    ArgumentError
        If `start` or `dispersion` make no sense.
    """
    if isinstance(penalty, Conjugate):
        return _conjugate(problem, penalty, start, tol, max_iterations)
    if given_number(dispersion) is None and dispersion not in METHODS:
        raise one_of("dispersion", dispersion, METHODS)
    given = None if start is None else checked_start(problem, start)
    ridge = isinstance(penalty, Ridge)
    mask = np.zeros(problem.matrix.shape[1], bool) if ridge else aliased(problem.matrix)
    notes = [warn_aliased(problem.labels, mask)] if mask.any() else []
    inner = restrict_columns(problem, ~mask)
    penalised = Penalised(inner, penalty, dispersion, tol, max_iterations)
    solution, a = penalised.solve(None if given is None else given[~mask])
    blocks = blocks_of(inner)
    objective = Scoring(inner, blocks, tol, 1).sums(solution.beta).objective
    measures = fitness(inner, blocks, solution.beta, objective)
    own = problem.family.phi is None and dispersion == "ml"
    phi = invert_dispersion(problem.family, a) if own else None
    return Maximum(inner, mask, solution, blocks, measures, tuple(notes), phi=phi)


def _conjugate(
    problem: Problem,
    penalty: Conjugate,
    start: ArrayLike | None,
    tol: float,
    max_iterations: int,
) -> Maximum:
    """The mode under a conjugate prior: a fit to pseudo-rows, measured on the rows themselves."""
    found = find_maximum(
        penalty.pseudo(problem), start=start, tol=tol, max_iterations=max_iterations
    )
    inner = restrict_columns(problem, ~found.aliased)
    blocks = blocks_of(inner)
    beta = found.solution.beta
    objective = Scoring(inner, blocks, tol, 1).sums(beta).objective
    measures = fitness(inner, blocks, beta, objective)
    return replace(found, problem=inner, blocks=blocks, measures=measures)
