"""The estimating equations Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0, as least squares on whitened rows.

Arrays in, arrays out: y, X, w, offset in the row order of the data, a structure that knows the
clusters. With r = A^(−½)(y − μ), T from the structure, W = T A^(−½) D and e = T r:
B = WᵀW/φ, U = Wᵀe/φ, and the score of cluster k is the sum of its rows of W·e, over φ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, ConvergenceError, CorrelationError, DataError, one_of
from expfam_glm.gee import covariance
from expfam_glm.gee.structures import Structure
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import triangle
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, Factor, factor_gram, factor_triangle
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

DDOF = ("none", "p", "geepack")

_EPS = np.finfo(float).eps
_MOST_HALVINGS = 40
# Robust standard errors below this part of the naive ones do not set the length of a step: they
# vanish where every cluster is fitted exactly.
_LEAST_ROBUST = 1e-4
# A step no longer than this that no longer shrinks is a rounding error of ill-scaled columns.
_ROUNDING_STEP = 1e-5
_STALLED = 4


@dataclass(frozen=True, eq=False)
class Equations:
    """The estimating equations of one data set."""

    family: Family
    link: Link
    y: np.ndarray  # (n,) this and the following in the row order of the data
    X: np.ndarray  # (n, p)
    w: np.ndarray | None
    offset: np.ndarray | None
    structure: Structure
    ddof: str = "none"
    dispersion: float | None = None  # a(φ), if it is given

    def __post_init__(self) -> None:
        if self.ddof not in DDOF:
            raise one_of("ddof", self.ddof, DDOF)
        if self.dispersion is not None and not 0 < self.dispersion < np.inf:
            raise ArgumentError(f"phi={self.dispersion!r} must be a positive number.")
        if self._phi_count <= 0:
            raise DataError(
                f"{self.y.shape[0]} rows and {self.X.shape[1]} coefficients: phi = Σr²/(n − p) "
                "cannot be estimated. Give phi=, or leave terms out."
            )

    @property
    def lost(self) -> int:
        """What is taken off the number of pairs in every moment of α."""
        return self.X.shape[1] if self.ddof == "p" else 0

    @property
    def _phi_count(self) -> int:
        """The divisor of Σr² in φ."""
        n, p = self.X.shape
        return n if self.ddof == "geepack" or self.dispersion is not None else n - p

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | float, np.ndarray | float]:
        """y, X, √w and offset in the order of the clusters."""
        order = self.structure.clusters.order
        root = 1.0 if self.w is None else np.sqrt(self.w)[order]
        offset = 0.0 if self.offset is None else self.offset[order]
        return self.y[order], np.asfortranarray(self.X[order]), root, offset

    @cached_property
    def _workspace(self) -> np.ndarray:
        """Memory for one value of `Standardised.columns`: fresh pages cost more than arithmetic."""
        return np.empty((self.X.shape[0], self.X.shape[1] + 1), order="F")

    def standardised(self, beta: np.ndarray) -> Standardised | None:
        """A^(−½)D and r at β, until the next call; None where β is not admissible."""
        y, X, root, offset = self._sorted
        eta = X @ beta
        eta += offset
        space = self.link.image(self.family.mean_space)
        if not (space.low < eta.min() and eta.max() < space.high):
            return None
        mu, slope, variance = row_kernel(self.family, self.link, ("mu", "slope", "variance"))(
            eta, y, 1.0
        )
        with np.errstate(all="ignore"):
            precision = root / np.sqrt(variance)
            r = (y - mu) * precision
            slope = np.broadcast_to(slope * precision, y.shape)
            columns = self._workspace
            np.multiply(X, slope[:, None], out=columns[:, :-1])
            columns[:, -1] = r
            signal = float(np.sum((eta * slope) ** 2))
        # a sum is finite only if all terms are (or it overflows, which is as bad)
        return Standardised(columns, r, signal) if np.isfinite(columns.sum() + signal) else None

    def evaluate(self, beta: np.ndarray) -> State | None:
        """Moments, equations and standard errors at β; None where β is not admissible."""
        found = self.standardised(beta)
        if found is None:
            return None
        structure, r, p = self.structure, found.r, beta.size
        pearson = float(r @ r)
        if pearson <= (1e3 * _EPS) ** 2 * found.signal:
            raise CorrelationError(
                "the fit is perfect: the residuals are rounding errors, so neither phi and alpha "
                "nor standard errors can be estimated. Check the response and the terms."
            )
        dispersion = pearson / self._phi_count if self.dispersion is None else self.dispersion
        parameter = structure.moments(r, dispersion, self.lost)
        whitened = structure.whiten(parameter, found.columns)
        gram = whitened.T @ whitened
        bread = factor_gram(gram[:p, :p])
        if bread is None or bread.smallest_pivot < DOUBTFUL_PIVOT:
            bread = factor_triangle(triangle(whitened[:, :p]))
        if bread is None:
            return None
        step = bread.solve(gram[:p, p])
        scores = structure.clusters.sums(whitened, weights=whitened[:, p])[:, :p]
        robust = np.sqrt(np.diagonal(covariance.robust(bread, scores)))
        naive = np.sqrt(np.diagonal(covariance.naive(bread, dispersion)))
        length = float(np.max(np.abs(step) / np.maximum(robust, _LEAST_ROBUST * naive)))
        return State(beta, parameter, dispersion, pearson, bread, scores, step, length)

    def solve(self, start: np.ndarray, *, tol: float = 1e-8, max_iterations: int = 200) -> Solution:
        """Iterate from `start` until the step is below `tol` robust standard errors.

        Raises
        ------
        ConvergenceError
            If that is not reached, or no step stays inside the domain of the link.
        CorrelationError
            If the working correlation cannot be estimated or is not positive definite.
        """
        if not 0 < tol < 1 or max_iterations < 1:
            raise ArgumentError(
                f"tol={tol!r} must lie in (0, 1) and max_iterations={max_iterations!r} be at "
                "least 1."
            )
        state = self.evaluate(start)
        if state is None:
            raise ConvergenceError(f"the start {start} is not admissible; give start=.", None)
        shortest, stalled, ratio = state.length, 0, 0.0
        for iteration in range(1, max_iterations + 1):
            # where steps shrink slowly, many more of them lie ahead
            ahead = max(1.0, ratio / (1 - ratio)) if ratio < 1 else 1.0
            done, before = state.length * ahead < tol, state.length
            state = self._advance(state, iteration)
            if done:
                return Solution(state, iteration)
            ratio = state.length / before
            stalled = 0 if state.length < shortest else stalled + 1
            shortest = min(shortest, state.length)
            if stalled >= _STALLED and state.length < _ROUNDING_STEP:
                return Solution(state, iteration)
        raise ConvergenceError(
            f"the estimating equations were not solved in {max_iterations} iterations: the last "
            f"step is {state.length:.3g} robust standard errors long (tol = {tol:g}). "
            f"{self._text(state)} Try a simpler working correlation, give phi=, or raise "
            "max_iterations; the last state is in `.state`.",
            state,
        )

    def _text(self, state: State) -> str:
        """A state in a message."""
        parts = [f"beta = {_listed(state.beta)}"]
        if self.structure.alpha_dims is not None:
            parts.append(f"alpha = {_listed(self.structure.alpha(state.parameter))}")
        return f"Last state: {'; '.join([*parts, f'phi = {state.dispersion:.6g}'])}."

    def _advance(self, state: State, iteration: int) -> State:
        """The state after the step, halved while η leaves its domain."""
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            new = self.evaluate(state.beta + length * state.step)
            if new is not None:
                return new
            length /= 2
        raise ConvergenceError(
            f"iteration {iteration} of the estimating equations finds no step that keeps the "
            f"linear predictor inside {self.link.image(self.family.mean_space)}, the domain of "
            f"the link {self.link.name!r}. {self._text(state)} Use another link or working "
            "correlation; the last state is in `.state`.",
            state,
        )


class Standardised(NamedTuple):
    """Rows in units of their standard deviation at φ = 1, in cluster order."""

    columns: np.ndarray  # (n, p + 1) [A^(−½)D | r]
    r: np.ndarray  # (n,) Pearson residuals (y − μ)/√(V(μ)/w)
    signal: float  # Σ (A^(−½) dμ/dη η)², against which r is seen to be a rounding error


class State(NamedTuple):
    """Everything at one β; the dispersion is a(φ)."""

    beta: np.ndarray  # (p,)
    parameter: np.ndarray  # of the working correlation
    dispersion: float
    pearson: float  # Σr²
    bread: Factor  # of WᵀW = φB
    scores: np.ndarray  # (K, p), times φ
    step: np.ndarray  # (p,)
    length: float  # of the step, in robust standard errors: the largest over coefficients


class Solution(NamedTuple):
    """The state at which the iteration ended."""

    state: State
    iterations: int

    def covariances(self, first: str) -> dict[str, np.ndarray]:
        """Every covariance of β̂ (p, p), the chosen one first."""
        state = self.state
        found = {
            "robust": covariance.robust(state.bread, state.scores),
            "naive": covariance.naive(state.bread, state.dispersion),
        }
        return {first: found[first]} | found


def _listed(values: np.ndarray, most: int = 8) -> str:
    """The first few numbers of an array as text."""
    flat = values.reshape(-1)
    return ", ".join(f"{v:.6g}" for v in flat[:most]) + (", …" if flat.size > most else "")
