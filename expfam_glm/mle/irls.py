"""Iteratively reweighted least squares on sums: Fisher scoring with step halving."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import ConvergenceError, DataError
from expfam_glm.kernels.machine.block import Wanted
from expfam_glm.kernels.row import RowKernel, row_kernel
from expfam_glm.kernels.sums import Gram, join, over_rows, triangle, weighted_gram
from expfam_glm.mle.bare import Bare, over_block
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, Factor, factor_gram, factor_triangle
from expfam_glm.spec.domain import Domain

_EPS = np.finfo(float).eps
_MOST_HALVINGS = 40
# The root of the part of the information that may be left, in a direction, of that at the start.
_VANISHED = 1e-7
# Residuals in units of the rounding errors of Σ |x_j β_j| and y: larger ones say something.
_ROUNDED = 4.0
# Outside these bounds a sum of u²/W may be made of squares that overflow or have lost digits.
_PLAIN_SQUARES = (1e-100, 1e100)
# Up to here (in standard errors) lengths of steps shrink as near the maximum.
_FORESEEN = 0.1
# No shorter step is tried where rounding hides the likelihood: it then hides the decrement too.
_SHORTEST_HIDDEN = 2.0**-6


class State(NamedTuple):
    """What the next step needs."""

    beta: np.ndarray  # (p,)
    sums: Gram  # at beta
    factor: Factor  # of the information at beta
    step: np.ndarray  # I⁻¹U at beta
    decrement: float  # √(Uᵀ I⁻¹ U / a(φ̂)), in standard errors


@dataclass(frozen=True)
class Solution:
    """A maximum: β̂, the factor of its information at φ = 1 and how it was reached."""

    beta: np.ndarray
    factor: Factor
    sums: Gram | None  # None where nothing but scores was seen, and the factor is a guess
    iterations: int
    decrement: float  # at the point before the last step
    perfect: bool
    confirmed: bool = True  # False: the last step is so short that the score alone shall judge it

    @property
    def objective(self) -> float | None:
        """Σ w(yθ − b(θ)), or −D/2 where D has a closed form; None where it was not seen."""
        return None if self.sums is None else self.sums.objective


@dataclass(frozen=True)
class Scoring:
    """Fisher scoring of one problem: admissible η, kernels, and the rule to stop."""

    problem: Problem
    blocks: Blocks
    tol: float
    max_iterations: int
    use_qr: bool = False
    shapes: tuple[float, ...] = ()  # values of the family's free shape parameters
    guide: Guide | None = None  # where a pass over the rows takes long

    @cached_property
    def space(self) -> Domain:
        """The admissible linear predictors."""
        return self.problem.link.image(self.problem.family.mean_space)

    # ---- sums ----------------------------------------------------------------------------

    def sums(self, beta: np.ndarray) -> Gram:
        """The sums at β."""
        kernel, sign, free, shapes = self._kernel, self._sign, self._free, self.shapes
        variance = self._variance if free else None
        wanted = Wanted(0, weight=1, totals=(2,), magnitudes=(2,), squares=free)
        machine = kernel.summed(wanted, self.blocks)

        def one(block: Block) -> Gram:
            found = over_block(machine, block, beta, block.w, block.f)
            if found is not None:
                total, magnitude, *squares = found.totals
                pearson = squares[0] if free else 0.0
                if not free or _PLAIN_SQUARES[0] < pearson < _PLAIN_SQUARES[1]:
                    assert found.information is not None
                    return Gram(
                        found.information, found.score, sign * total, abs(sign) * magnitude,
                        pearson, found.lows[0], found.highs[0],
                    )  # fmt: skip
            with np.errstate(all="ignore"):  # what is not finite is found in the sums
                eta, (u, W, q) = kernel.at(block, beta, block.w)
                sums = _block_gram(block, u, W, sign * q, eta, free)
                if variance is None or block.scatter is None:
                    return sums
                (V,) = variance(eta, block.y, block.w, *shapes)
                return sums._replace(pearson=sums.pearson + block.within(V))

        return self.blocks.reduce(one, Gram.__add__)

    def score(self, beta: np.ndarray) -> np.ndarray | None:
        """Xᵀu at β, for less work than all sums; None where β is not admissible."""
        kernel = self._bare("score")
        machine = kernel.summed(Wanted(0), self.blocks)

        def one(block: Block) -> tuple[np.ndarray, float, float]:
            found = over_block(machine, block, beta, block.w, block.f)
            if found is not None:
                return found.score, found.lows[0], found.highs[0]
            with np.errstate(all="ignore"):  # what is not finite is found in the sum
                eta, values = kernel.at(block, beta, block.w)
                (u,) = _rows(values, eta.shape[0])
                total = over_rows(u if block.f is None else u * block.f, block.X)
                return total, eta.min(), eta.max()

        def add(
            a: tuple[np.ndarray, float, float], b: tuple[np.ndarray, float, float]
        ) -> tuple[np.ndarray, float, float]:
            return a[0] + b[0], min(a[1], b[1]), max(a[2], b[2])

        total, low, high = self.blocks.reduce(one, add)
        inside = self.space.low < low and high < self.space.high
        return total if inside and np.all(np.isfinite(total)) else None

    @cached_property
    def _kernel(self) -> Bare:
        """(η, y, w) → u, W and the terms of the objective."""
        return self._bare("score", "weight", "weighted_deviance" if self._closed else "kernel")

    def _bare(self, *outputs: str) -> Bare:
        """(η, y, w) → the quantities of rows; NumPy is silenced by the caller."""
        problem = self.problem
        unit = problem.w is None and not isinstance(problem, Streamed)
        return Bare(row_kernel(problem.family, problem.link, outputs, unit), self.shapes)

    @cached_property
    def _variance(self) -> RowKernel:
        return row_kernel(self.problem.family, self.problem.link, ("variance",))

    @cached_property
    def _known(self) -> float:
        """a(φ) where φ is known."""
        return float(self.problem.family.a(self.problem.family.phi))

    @property
    def _free(self) -> bool:
        return self.problem.family.phi is None

    @property
    def _closed(self) -> bool:
        return self.problem.family.closed_deviance is not None

    @property
    def _sign(self) -> float:
        return -0.5 if self._closed else 1.0

    def _triangle(self, beta: np.ndarray) -> np.ndarray:
        """The R factor of [√W X | u/√W] at β."""
        kernel = self._kernel

        def one(block: Block) -> np.ndarray:
            with np.errstate(all="ignore"):  # what is not finite is found in the factor
                u, W = _rows(kernel(block.eta(beta), block.y, block.w)[:2], block.y.shape[0])
                z = np.where(W > 0, u / W, 0.0)
                return triangle(block.X, W if block.f is None else W * block.f, z)

        return self.blocks.reduce(one, join)

    # ---- one step ------------------------------------------------------------------------

    def evaluate(self, beta: np.ndarray, first: bool = False) -> State | None:
        """The state at β; None where β is not admissible."""
        sums = self.sums(beta)
        if not self.admits(sums):
            return None
        factor = factor_gram(sums.information)
        step = None if factor is None else factor.solve(sums.score)
        if factor is None or factor.smallest_pivot < DOUBTFUL_PIVOT or self.use_qr:
            if first and not self.use_qr:
                raise Doubtful
            p = beta.size
            R = self._triangle(beta)
            factor = factor_triangle(R[:p, :p])
            if factor is None:
                return None
            step = np.linalg.solve(factor.R, R[:p, p]) / factor.scale
        assert step is not None
        if isinstance(self.problem, Streamed):
            self.problem.held["beta"] = beta
        decrement = factor.length(step) / math.sqrt(self.dispersion(sums))
        if self.guide is not None:
            step = self.guide.bent(beta, step, factor)
        return State(beta, sums, factor, step, decrement)

    def admits(self, sums: Gram) -> bool:
        """Whether every η is in its domain and the sums are finite."""
        inside = self.space.low < sums.low and sums.high < self.space.high
        return inside and math.isfinite(sums.objective) and bool(np.isfinite(sums.score).all())

    def dispersion(self, sums: Gram) -> float:
        """The current Pearson estimate of a(φ), or the known one."""
        if not self._free:
            return self._known
        df = self.problem.n - sums.score.size
        found = sums.pearson / df if df > 0 else 0.0
        return found if found > 0 else 1.0

    def solve(
        self, start: np.ndarray | None = None, required: bool = True, near: float = 0.0
    ) -> Solution:
        """Iterate to the maximum, from `start` if it is admissible (or required).

        A point within `near` standard errors of it is left by one step, which is not confirmed.

        Raises
        ------
        ConvergenceError
            If no admissible start is found, or the rule is not met within the iterations.
        """
        state = self._start(start, required)
        if start is not None and self._is_short(state, max(self.tol, near)):
            done = self._unconfirmed(state, 0, state)
            return replace(done, confirmed=state.decrement < self.tol)
        first = state
        previous, last_ratio, stalled = np.inf, 0.0, 0
        for iteration in range(1, self.max_iterations + 1):
            new = self._advance(state)
            if new is None:
                if self._at_rounding(state):
                    return self._finish(state, iteration, first)
                raise ConvergenceError(
                    self._report(state, iteration, "no step improves the fit"), state
                )
            change = abs(new.sums.objective - state.sums.objective)
            size = abs(2 * new.sums.objective) + 0.1
            flat = change * 2 < self.tol * size or change <= _rounding(new.sums)
            ratio = new.decrement / state.decrement if state.decrement > 0 else 0.0
            slow = max(1.0, ratio / (1 - ratio)) if ratio < 1 else np.inf
            hidden = change <= _rounding(new.sums) + _rounding(state.sums)
            no_shorter = new.decrement >= min(previous, state.decrement)
            stalled = stalled + 1 if hidden and no_shorter else 0
            previous = min(previous, state.decrement)
            state, last_ratio = new, ratio
            if flat and state.decrement * slow < self.tol:
                return self._finish(state, iteration, first)
            if self._is_short(state, near) or self._is_foreseen(state, ratio):
                return self._unconfirmed(state, iteration, first)
            if self._at_rounding(state) or (stalled >= 2 and state.decrement < 1e-4):
                return self._finish(state, iteration, first)
        raise ConvergenceError(
            self._report(state, self.max_iterations,
                         f"the decrement still shrinks by a factor {last_ratio:.2g} a step"),
            state,
        )  # fmt: skip

    def _is_short(self, state: State, near: float) -> bool:
        """Whether the next step is shorter than `near`, and moves the objective by as little.

        At a start far off, the Pearson dispersion may be so large that any step seems short.
        """
        moved, size = float(state.sums.score @ state.step), abs(2 * state.sums.objective) + 0.1
        part = max(self.tol, near * near / self.problem.row_count)
        return state.decrement < near and moved < part * size

    def _is_foreseen(self, state: State, ratio: float) -> bool:
        """Whether the next step is expected to end within the tolerance, where there is a guide.

        Lengths of steps are squared from one to the next (under a canonical link), or shortened by
        the same ratio.
        """
        if self.guide is None or not state.decrement < _FORESEEN:
            return False
        power = 2 if self.problem.family.is_canonical(self.problem.link) else 1
        return state.decrement * ratio**power < 0.1 * self.tol

    def _at_rounding(self, state: State) -> bool:
        """Whether the step is below the rounding error of η itself."""
        return bool(state.factor.length(state.step) <= 64 * _EPS * state.factor.length(state.beta))

    def _finish(self, state: State, iterations: int, first: State) -> Solution:
        # R of the start by R⁻¹ of the end: its norm is that of the lost information, the inverse of
        # the smallest part left in any direction to within √p
        begun = first.factor.R * (first.factor.scale / state.factor.scale)
        lost = begun @ state.factor.unscaled_root
        if math.sqrt(float(np.vdot(lost, lost))) * _VANISHED > 1.0:
            raise ConvergenceError(
                self._report(state, iterations, "the information about some direction vanished, "
                             "as where a mean runs off to the edge of its space"),
                state,
            )  # fmt: skip
        perfect = self.problem.family.phi is None and self._at_perfection(state)
        beta = state.beta if perfect else state.beta + state.step
        decrement = 0.0 if perfect else float(state.decrement)  # beside no dispersion at all
        return Solution(beta, state.factor, state.sums, iterations, decrement, perfect)

    def _unconfirmed(self, state: State, iterations: int, first: State) -> Solution:
        """`_finish` with the objective after the last step, as a parabola has it."""
        done = self._finish(state, iterations, first)
        gain = 0.0 if done.perfect else 0.5 * float(state.sums.score @ state.step)
        sums = state.sums._replace(objective=state.sums.objective + gain)
        return replace(done, sums=sums, confirmed=False)

    def _at_perfection(self, state: State) -> bool:
        """Whether the residuals are rounding errors of the linear predictor."""
        if not state.sums.pearson <= (64 * _EPS * state.factor.length(state.beta)) ** 2:
            return False
        # the last step may have been as long as these residuals: a closer look after it
        after = self.evaluate(state.beta + state.step)
        left = state.sums.pearson if after is None else min(state.sums.pearson, after.sums.pearson)
        return bool(left <= (_ROUNDED * _EPS) ** 2 * self._sizes(state.beta))

    def _sizes(self, beta: np.ndarray) -> float:
        """Σ W (Σ_j |x_j β_j| + |offset| + |μ/μ′|)²: what is rounded in η, and in y."""
        kernel = self._bare("weight", "mu", "slope")

        def one(block: Block) -> float:
            with np.errstate(all="ignore"):
                W, mu, slope = _rows(kernel(block.eta(beta), block.y, block.w), block.y.shape[0])
                size = np.abs(block.X) @ np.abs(beta) + np.abs(mu / slope)
                size = size if block.offset is None else size + np.abs(block.offset)
                return float((W * size * size * (1.0 if block.f is None else block.f)).sum())

        return self.blocks.reduce(one, lambda a, b: a + b)

    def _advance(self, state: State) -> State | None:
        """The next state: the full step, halved while it leaves the domain or worsens the fit.

        Where rounding hides the change of the likelihood, the next step must become shorter.
        """
        length = 1.0
        hidden: State | None = None
        for _ in range(_MOST_HALVINGS):
            new = self.evaluate(state.beta + length * state.step)
            if new is not None:
                slack = _rounding(new.sums) + _rounding(state.sums)
                gain = new.sums.objective - state.sums.objective
                if gain > slack or (gain >= -slack and new.decrement < state.decrement):
                    return new
                if gain >= -slack and hidden is None:
                    hidden = new
            length *= 0.5
            if hidden is not None and length < _SHORTEST_HIDDEN:
                break
        return hidden

    # ---- where to begin ------------------------------------------------------------------

    def _start(self, start: np.ndarray | None, required: bool) -> State:
        """The state after the first weighted least-squares fit to g((y + ȳ)/2)."""
        if start is not None:
            state = self.evaluate(start, first=True)
            if state is None and required:
                raise ConvergenceError(
                    "the given start is not admissible: under the link "
                    f"{self.problem.link.name!r} the linear predictor must stay in {self.space}, "
                    "and the likelihood must be finite."
                )
            if state is not None:
                return state
        first = self._first_fit()
        state = self.evaluate(first)
        if state is not None:
            return state
        centre, length = self._first_fit(constant=True), 1.0
        for _ in range(_MOST_HALVINGS):
            length *= 0.5
            state = self.evaluate(centre + length * (first - centre))
            if state is not None:
                return state
        raise ConvergenceError(
            f"no admissible start was found: under the link {self.problem.link.name!r} the linear "
            f"predictor must stay in {self.space}, and the likelihood must be finite. "
            "Give start=, rescale columns or responses of extreme size, or use a link that takes "
            "every linear predictor."
        )

    def _first_fit(self, constant: bool = False) -> np.ndarray:
        """Least squares for η = g(μ₀) by a Newton step on it, or for the constant η = g(ȳ)."""
        problem = self.problem
        mean = problem.mean
        space = start_space(problem)
        if not space[0] < mean < space[1]:
            if problem.constant_response:
                raise DataError(
                    f"every response is {mean:g}, at the edge of the means of "
                    f"{problem.family.name!r} under the link {problem.link.name!r}: no coefficient "
                    "can be estimated; check the response."
                )
            raise DataError(
                f"the mean response {mean:g} does not lie inside ({space[0]:g}, {space[1]:g}), the "
                f"means of {problem.family.name!r} under the link {problem.link.name!r}, so that "
                "no fit can begin there; use another link or family, or give start=."
            )
        kernel, link, use_qr = self._kernel, problem.link, self.use_qr
        level = float(link(mean)) if constant else np.nan

        def one(block: Block) -> tuple[np.ndarray, np.ndarray]:
            with np.errstate(all="ignore"):  # what is not finite is found in the factor
                mu = 0.5 * (block.y + mean)
                mu = np.where((mu > space[0]) & (mu < space[1]), mu, mean)
                eta = np.asarray(link(mu))
                u, W = _rows(kernel(eta, block.y, block.w)[:2], eta.shape[0])
                if block.f is not None:
                    u, W = u * block.f, W * block.f
                shift = 0.0 if block.offset is None else block.offset
                R = triangle(block.X, W, None) if use_qr else weighted_gram(block.X, W)
                z = W * (level - shift) if constant else W * (eta - shift) + u
                return R, over_rows(z, block.X)

        def add(
            a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
        ) -> tuple[np.ndarray, np.ndarray]:
            return (join(a[0], b[0]) if use_qr else a[0] + b[0]), a[1] + b[1]

        matrix, rhs = self.blocks.reduce(one, add)
        factor = factor_triangle(matrix) if self.use_qr else factor_gram(matrix)
        if factor is None and self.use_qr:
            raise ConvergenceError(
                "the first step cannot be computed: weights or columns are too large or too small "
                "for floating-point numbers; rescale the response or the columns of X."
            )
        if factor is None or (not self.use_qr and factor.smallest_pivot < DOUBTFUL_PIVOT):
            raise Doubtful
        return factor.solve(rhs)

    def _report(self, state: State, iterations: int, why: str) -> str:
        beta = ", ".join(
            f"{label} = {value:.6g}"
            for label, value in list(zip(self.problem.labels, state.beta, strict=False))[:8]
        )
        return (
            f"the fit did not converge in {iterations} iterations: {why}; the last step is "
            f"{state.decrement:.3g} standard errors long (tol = {self.tol:g}). Last state: {beta}. "
            "Try another link, give start=, or raise max_iterations; the state is in `.state`."
        )


@dataclass(frozen=True)
class Guide:
    """What some rows in memory tell of all: how the score bends over a short way."""

    scoring: Scoring
    share: float  # of the rows

    def bent(self, beta: np.ndarray, step: np.ndarray, factor: Factor) -> np.ndarray:
        """Newton's step with the term of second order that it leaves out (Chebyshev's method)."""
        ahead, here, behind = (self.scoring.score(beta + k * step) for k in (1, 0, -1))
        if ahead is None or here is None or behind is None:
            return step
        further = factor.solve((ahead - 2 * here + behind) / (2 * self.share))
        return step + further if factor.length(further) < 0.5 * factor.length(step) else step


class Doubtful(Exception):
    """The Gram matrix cannot decide the rank; QR is asked."""


def _rows(values: tuple[np.ndarray, ...], n: int) -> list[np.ndarray]:
    return [v if np.shape(v) == (n,) else np.broadcast_to(v, (n,)) for v in values]


def _block_gram(
    block: Block,
    u: np.ndarray,
    W: np.ndarray,
    q: np.ndarray,
    eta: np.ndarray,
    free: bool,
) -> Gram:
    u, q = _rows((u, q), block.y.shape[0])
    if block.f is not None:
        u, W, q = u * block.f, W * block.f, q * block.f
    pearson = 0.0
    if free:  # Σ u²/W, of which only the current dispersion is made
        pearson = float((u * u / W).sum(where=W > 0))
        if not _PLAIN_SQUARES[0] < pearson < _PLAIN_SQUARES[1]:
            pearson = float((u * (u / W)).sum(where=W > 0))
    return Gram(
        weighted_gram(block.X, W), over_rows(u, block.X),
        float(q.sum()), float(np.abs(q).sum()), pearson,
        float(np.minimum.reduce(eta)), float(np.maximum.reduce(eta)),
    )  # fmt: skip


def _rounding(sums: Gram) -> float:
    """The rounding error to allow for in a difference of objectives."""
    return 8 * _EPS * sums.magnitude


def start_space(problem: Problem) -> tuple[float, float]:
    """The open interval of means that family and link both take."""
    means, domain = problem.family.mean_space, problem.link.domain
    return max(means.low, domain.low), min(means.high, domain.high)
