"""Σ f w (yθ − b(θ)) over rows with its derivatives: all of a log-likelihood that depends on β.

Everything is derived from the declaration by `expfam_glm.spec.separate`; sums of what is linear in
η are made once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from expfam_glm.bayes.row_recipe import Plan, careful_rows, recipe_of
from expfam_glm.data.response import Problem

_ROWS = 8192  # of a block at most: what is computed of them stays in a core's cache
_DOUBLES = 1 << 17  # of X in a block at most
_FACTORS = 8  # of a product whose logarithm is taken
_MANY = 1 << 17  # η of several points at a time
_MOST_COPIED = 1 << 25  # doubles of X that are held a second time, column by column


class Rows(NamedTuple):
    """A block of rows: X, y, f·w·y, f·w (of ones too), whether these are ones, offset, place."""

    X: np.ndarray
    y: np.ndarray
    by_y: np.ndarray
    by_one: np.ndarray
    plain: bool
    offset: np.ndarray | None
    place: slice


class Total(NamedTuple):
    """The sum, its gradient in β, its derivatives in the shapes."""

    value: float
    gradient: np.ndarray
    by_shape: list[float]


class RowSums:
    """Σ f w (yθ − b(θ)) and its derivatives at (β, ψ), or at (β, ψ) with η shifted row by row."""

    def __init__(self, problem: Problem) -> None:
        family, link = problem.family, problem.link
        self.family, self.link = family, link
        self.recipe = recipe_of(family, link)
        self.image = link.image(family.mean_space)
        self.bounded = np.isfinite(self.image.low) or np.isfinite(self.image.high)
        self.fixed = None if family.shape else self.recipe.plan(())
        self.blocks = list(row_blocks(problem))
        self.p = problem.X.shape[1]
        own = [(rows.by_y, rows.by_one) for rows in self.blocks]
        pairs = [np.stack(pair) for pair in own]
        # Σ of x, offset and 1 times f·w·y, and times f·w: what is linear in η adds up from these
        self.slopes = sum(both @ b.X for both, b in zip(pairs, self.blocks, strict=True))
        self.starts = sum(
            both @ (np.zeros(b.y.size) if b.offset is None else b.offset)
            for both, b in zip(pairs, self.blocks, strict=True)
        )
        self.ones = np.sum([both.sum(axis=1) for both in pairs], axis=0).tolist()
        self.gradient = None if self.fixed is None else self._level(self.fixed)
        self.lend()

    def lend(self) -> None:
        """Memory for η, the parts and the scores, shared by all blocks."""
        sizes = {rows.y.size for rows in self.blocks}
        count = 3 + self.recipe.rows.buffers
        lent = {size: [np.empty(size) for _ in range(count)] for size in sizes}
        self.memory = [lent[rows.y.size] for rows in self.blocks]
        self.scores: np.ndarray | None = None

    def for_another_thread(self) -> RowSums:
        """The same with memory of its own."""
        twin = copy(self)
        twin.lend()
        return twin

    def _level(self, plan: Plan) -> np.ndarray:
        """The part of the gradient that is the same for every η."""
        first, less = plan.level
        level = self.slopes[0] if first == 1.0 else first * self.slopes[0]
        return level - less * self.slopes[1] if less else level

    def __call__(
        self, beta: np.ndarray, psi: tuple[float, ...] = (), shift: np.ndarray | None = None
    ) -> Total | None:
        """The sums; None where an η is outside its domain. Call it with NumPy's errors silenced.

        With a shift, `scores` keeps the derivatives in η of the rows.
        """
        recipe, dot = self.recipe, np.dot
        plan = self.fixed or recipe.plan(psi)
        of_y, of_one = [0.0] * recipe.count, [0.0] * recipe.count
        if shift is None:
            linear = (dot(self.slopes, beta) + self.starts).tolist()
            gradient = self._level(plan) if self.gradient is None else self.gradient
        else:
            linear, gradient = [0.0, 0.0], np.zeros(self.p)
        self.scores = None if shift is None else np.empty(shift.size)
        for rows, (eta, spare, other, *memory) in zip(self.blocks, self.memory, strict=True):
            dot(rows.X, beta, out=eta)
            if rows.offset is not None:
                eta += rows.offset
            if shift is not None:
                eta += shift[rows.place]
            if self.bounded and not (self.image.low < eta.min() and eta.max() < self.image.high):
                return None
            found = recipe.rows.bare(eta, rows.y, *psi, *memory)
            for k in recipe.of_y:
                of_y[k] += float(dot(rows.by_y, found[k]))
            for k in recipe.of_one:
                if k not in recipe.logs:
                    of_one[k] += float(dot(rows.by_one, found[k]))
                elif rows.plain:
                    of_one[k] += _sum_of_logs(found[k])
                else:
                    of_one[k] += float(dot(rows.by_one, np.log(found[k], out=other)))
            score, factor = self._score(rows, found[recipe.bent], plan, spare, other)
            if self.scores is not None:
                linear[0] += float(dot(rows.by_y, eta))
                linear[1] += float(dot(rows.by_one, eta))
                whole = self.scores[rows.place]
                np.multiply(score, factor, out=whole)
                level, less = plan.level
                if level:
                    whole += rows.by_y if level == 1.0 else np.multiply(rows.by_y, level, out=spare)
                if less:
                    whole -= (
                        rows.by_one if less == 1.0 else np.multiply(rows.by_one, less, out=spare)
                    )
                score, factor = whole, 1.0
            moved = dot(score, rows.X)
            gradient = gradient + (moved if factor == 1.0 else factor * moved)
        values = [own(self.ones, linear, of_y, of_one) for own in plan.quantities]
        if not (math.isfinite(values[0]) and math.isfinite(gradient.sum())):
            return self._carefully(beta, psi, shift)
        return Total(values[0], gradient, values[1:])

    def _score(
        self, rows: Rows, part: np.ndarray, plan: Plan, spare: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """f·w·∂/∂η of the rows as array times number, less what is the same for every η."""
        theta, cumulant = plan.bends
        if theta and cumulant:
            less = cumulant / theta
            if not rows.plain:
                less = np.multiply(rows.by_one, less, out=other)
            np.subtract(rows.by_y, less, out=spare)
            return np.multiply(spare, part, out=spare), theta
        if theta:
            return np.multiply(rows.by_y, part, out=spare), theta
        whole = part if rows.plain else np.multiply(rows.by_one, part, out=spare)
        return whole, -cumulant if self.recipe.single else 1.0

    def _carefully(
        self, beta: np.ndarray, psi: tuple[float, ...], shift: np.ndarray | None
    ) -> Total:
        """The same in forms that hold in far tails."""
        kernel = careful_rows(self.family, self.link)
        value, gradient, by_shape = 0.0, np.zeros(self.p), np.zeros(len(psi))
        for rows, (eta, *_) in zip(self.blocks, self.memory, strict=True):
            np.dot(rows.X, beta, out=eta)
            eta += 0.0 if rows.offset is None else rows.offset
            eta += 0.0 if shift is None else shift[rows.place]
            each, score, *slopes = (
                np.broadcast_to(v, eta.shape) for v in kernel(eta, rows.y, *psi)
            )
            score = score * rows.by_one
            value += float(np.dot(each, rows.by_one))
            gradient += np.dot(score, rows.X)
            by_shape += [float(np.dot(v, rows.by_one)) for v in slopes]
            if self.scores is not None:
                self.scores[rows.place] = score
        return Total(value, gradient, list(by_shape))

    def many(self, beta: np.ndarray, psi: tuple[np.ndarray, ...] = ()) -> np.ndarray:
        """The sums alone at many points (m, p), shapes (m,); NaN where an η leaves its domain."""
        result = np.empty(len(beta))
        size = max(1, _MANY // max(rows.y.size for rows in self.blocks))
        for start in range(0, len(beta), size):
            some = slice(start, start + size)
            result[some] = self._some(beta[some], tuple(v[some] for v in psi))
        for k in np.flatnonzero(~np.isfinite(result)):
            found = self(beta[k], tuple(float(v[k]) for v in psi))
            result[k] = np.nan if found is None else found.value
        return result

    def _some(self, beta: np.ndarray, psi: tuple[np.ndarray, ...]) -> np.ndarray:
        """`many` in one go; not finite where that fails."""
        recipe, m = self.recipe, len(beta)
        of_y, of_one = np.zeros((2, recipe.count, m))
        inside = np.ones(m, bool)
        for rows in self.blocks:
            eta = beta @ rows.X.T
            if rows.offset is not None:
                eta += rows.offset
            inside &= (self.image.low < eta.min(axis=1)) & (eta.max(axis=1) < self.image.high)
            spread = [np.repeat(v, rows.y.size) for v in psi]
            parts = recipe.parts(eta.ravel(), *spread)
            for k, part in enumerate(part.reshape(eta.shape) for part in parts):
                if k in recipe.of_y:
                    of_y[k] += part @ rows.by_y
                if k in recipe.of_one:
                    of_one[k] += part @ rows.by_one
        linear = self.slopes @ beta.T + self.starts[:, None]
        value = recipe.plan(psi).quantities[0](self.ones, linear, of_y, of_one)
        return np.where(inside, value, np.nan)


def _sum_of_logs(values: np.ndarray) -> float:
    """Σ log v by the logarithms of products, a few of which take less time; may overflow."""
    length = values.size // _FACTORS
    products = np.multiply.reduce(values[: length * _FACTORS].reshape(_FACTORS, length), axis=0)
    return float(np.log(products).sum() + np.log(values[length * _FACTORS :]).sum())


def row_blocks(problem: Problem) -> Iterator[Rows]:
    """Blocks of equal length, as many as it takes for one to stay in cache."""
    n, p = problem.X.shape
    count = -(-n // min(_ROWS, max(512, _DOUBLES // max(1, p))))
    ends = [n * k // count for k in range(count + 1)]
    copied = problem.X.size <= _MOST_COPIED
    for start, stop in pairwise(ends):
        place = slice(start, stop)
        X, y = problem.X[place], problem.y[place]
        given = [v[place] for v in (problem.w, problem.f) if v is not None]
        ones = np.ones(y.size)
        for weights in given:
            ones = ones * weights
        offset = None if problem.offset is None else problem.offset[place]
        X = np.asfortranarray(X) if copied else X
        yield Rows(X, y, ones * y, ones, not given, offset, place)
