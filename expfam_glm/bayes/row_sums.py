"""Σ f w (yθ − b(θ)) over rows with its derivatives: all of a log-likelihood that depends on β.

Everything is derived from the declaration by `expfam_glm.spec.separate`: terms linear in η are
sums made once, and where the kernel is a parabola in η (a normal response under the identity) a
Gram matrix stands for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from expfam_glm.data.response import Problem
from expfam_glm.spec.expression import derivative, substitute
from expfam_glm.spec.family import Family
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.separate import Sum, separate
from expfam_glm.spec.simplify import simplify

_ROWS = 8192  # of a block at most: what is computed of them stays in a core's cache
_DOUBLES = 1 << 17  # of X in a block at most
_MANY = 1 << 17  # η of several points at a time
_MOST_COPIED = 1 << 25  # doubles of X that are held a second time, column by column


class Rows(NamedTuple):
    """A block of rows: X, y, f·w·y, f·w (of ones too), whether these are ones, offset, memory."""

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


class _Numbers(NamedTuple):
    """`Sum` at given shapes."""

    constant: float
    slope: float
    terms: list[tuple[int, float]]


class _Recipe:
    """What is computed of each row of a family under a link, and how it adds up."""

    def __init__(self, family: Family, link: Link) -> None:
        rows, kernel = row_model(family, link), separate(family, link)
        shapes = list(rows.shapes.values())
        self.count = len(kernel.theta)
        used = {place for own in (*kernel.theta, *kernel.cumulant)
                for place in own.terms}  # fmt: skip
        bent = {place for own in kernel.slopes for place in own.terms}
        # whether the score is a combination of constants and of one G
        self.single = len(bent) <= 1 and all(own.slope is None for own in kernel.slopes)
        self.sums = [*kernel.theta, *kernel.cumulant, *(kernel.slopes if self.single else ())]
        places = [*sorted(used), *sorted(bent - used if self.single else ())]
        self.at = {place: k for k, place in enumerate(places)}
        self.bent = next((self.at[place] for place in bent), None) if self.single else None
        parts = [kernel.parts[place] for place in places]
        score = substitute(rows.score, {rows.r: pt.constant(1.0)})
        inputs = [rows.eta, rows.y, *shapes]
        outputs = parts if self.single else [*parts, *simplify([score], inputs)]
        self.rows: Any = lower(inputs, outputs, rows=(rows.eta, rows.y))
        self.parts = lower([rows.eta, *shapes], [kernel.parts[k] for k in sorted(used)],
                           rows=(rows.eta,))  # fmt: skip
        self.factors = lower(shapes, [v for own in self.sums for v in _graphs(own)])
        self.of_y = sorted({self.at[k] for own in kernel.theta for k in own.terms})
        self.of_one = sorted({self.at[k] for own in kernel.cumulant for k in own.terms})

    def numbers(self, psi: tuple[float, ...]) -> list[_Numbers]:
        """The factors at some shapes (numbers, or arrays of many)."""
        values, found = iter(self.factors(*psi)), []
        for own in self.sums:
            constant = 0.0 if own.constant is None else next(values)
            slope = 0.0 if own.slope is None else next(values)
            terms = [(self.at[place], next(values)) for place in own.terms]
            found.append(_Numbers(constant, slope, terms))
        return found


def _graphs(own: Sum) -> list[Variable]:
    first = [v for v in (own.constant, own.slope) if v is not None]
    return [*first, *own.terms.values()]


@lru_cache(maxsize=128)
def _recipe(family: Family, link: Link) -> _Recipe:
    return _Recipe(family, link)


@lru_cache(maxsize=128)
def _careful(family: Family, link: Link) -> Any:
    """(η, y, *shapes) → yθ − b(θ), its derivatives in η and the shapes, in the stable forms."""
    rows = row_model(family, link)
    outputs = [rows.kernel, rows.score, *(derivative(rows.kernel, v) for v in rows.shapes.values())]
    outputs = [substitute(v, {rows.r: pt.constant(1.0)}) for v in outputs]
    inputs = [rows.eta, rows.y, *rows.shapes.values()]
    return lower(inputs, simplify(outputs, inputs), rows=(rows.eta, rows.y))


class RowSums:
    """Σ f w (yθ − b(θ)) and its derivatives at (β, ψ), or at (β, ψ) with η shifted row by row."""

    def __init__(self, problem: Problem) -> None:
        family, link = problem.family, problem.link
        self.family, self.link = family, link
        self.recipe = _recipe(family, link)
        self.image = link.image(family.mean_space)
        self.bounded = np.isfinite(self.image.low), np.isfinite(self.image.high)
        self.fixed = None if family.shape else self.recipe.numbers(())
        self.blocks = list(row_blocks(problem))
        self.p = problem.X.shape[1]
        n = max(rows.y.size for rows in self.blocks)
        self.size = n
        # Σ of (x, offset, 1) times f·w·y and times f·w: what is linear in η adds up from these
        self.first = np.array([
            [*sum(d @ b.X for b, d in own), sum(_dot(d, b.offset) for b, d in own),
             sum(d.sum() for _, d in own)]
            for own in ([(b, b.by_y) for b in self.blocks], [(b, b.by_one) for b in self.blocks])
        ])  # fmt: skip
        self.lend()

    def lend(self) -> None:
        """Memory for η, the parts and the scores, shared by all blocks."""
        memory = np.empty((3 + self.recipe.rows.buffers, self.size))
        self.memory = {
            size: [row[:size] for row in memory] for size in {b.y.size for b in self.blocks}
        }
        self.scores: np.ndarray | None = None

    def for_another_thread(self) -> RowSums:
        """The same with memory of its own."""
        twin = copy(self)
        twin.lend()
        return twin

    def __call__(
        self, beta: np.ndarray, psi: tuple[float, ...] = (), shift: np.ndarray | None = None
    ) -> Total | None:
        """The sums; None where an η is outside its domain. Call it with NumPy's errors silenced.

        With a shift, `scores` keeps the derivatives in η of the rows.
        """
        recipe, first = self.recipe, self.first
        numbers = self.fixed or recipe.numbers(psi)
        of_y, of_one = [0.0] * len(recipe.at), [0.0] * len(recipe.at)
        gradient = np.zeros(self.p)
        if shift is None:
            linear = [float(np.dot(own[: self.p], beta) + own[self.p]) for own in first]
            if recipe.single:
                theta, cumulant = numbers[-2:]
                gradient = theta.constant * first[0, : self.p]
                gradient -= cumulant.constant * first[1, : self.p]
        else:
            linear, self.scores = [0.0, 0.0], np.empty(shift.size)
        for rows in self.blocks:
            eta, spare, other, *memory = self.memory[rows.y.size]
            if not self._eta(rows, beta, shift, eta):
                return None
            found = recipe.rows.bare(eta, rows.y, *psi, *memory)
            for k in recipe.of_y:
                of_y[k] += float(np.dot(rows.by_y, found[k]))
            for k in recipe.of_one:
                of_one[k] += float(np.dot(rows.by_one, found[k]))
            score, factor = self._score(rows, found, numbers, spare, other)
            if self.scores is not None:
                linear[0] += float(np.dot(rows.by_y, eta))
                linear[1] += float(np.dot(rows.by_one, eta))
                score, factor = self._whole(rows, score, factor, numbers), 1.0
                self.scores[rows.place] = score
            if score is not None:
                gradient += factor * np.dot(score, rows.X)
        values = _added(numbers, recipe.count, of_y, of_one, linear, first[:, -1])
        if not (math.isfinite(values[0]) and math.isfinite(gradient.sum())):
            return self._carefully(beta, psi, shift)
        return Total(values[0], gradient, values[1:])

    def _eta(
        self, rows: Rows, beta: np.ndarray, shift: np.ndarray | None, eta: np.ndarray
    ) -> bool:
        """Writes η; whether it is inside its domain."""
        np.dot(rows.X, beta, out=eta)
        if rows.offset is not None:
            eta += rows.offset
        if shift is not None:
            eta += shift[rows.place]
        return not (
            (self.bounded[0] and not eta.min() > self.image.low)
            or (self.bounded[1] and not eta.max() < self.image.high)
        )

    def _score(
        self, rows: Rows, found: Any, numbers: list[_Numbers], spare: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray | None, float]:
        """f·w·∂/∂η of the rows as array times number, less what is the same for every η."""
        if self.recipe.single and self.recipe.bent is None:
            return None, 0.0
        if not self.recipe.single:
            score = found[-1]
            return (score if rows.plain else np.multiply(score, rows.by_one, out=spare)), 1.0
        part = found[self.recipe.bent]
        theta, cumulant = (sum(k for _, k in own.terms) for own in numbers[-2:])
        if not theta:
            whole = part if rows.plain else np.multiply(rows.by_one, part, out=spare)
            return whole, -cumulant
        if not cumulant:
            return np.multiply(rows.by_y, part, out=spare), theta
        np.multiply(rows.by_y, theta, out=spare)
        spare -= cumulant if rows.plain else np.multiply(rows.by_one, cumulant, out=other)
        return np.multiply(spare, part, out=spare), 1.0

    def _whole(
        self, rows: Rows, score: np.ndarray | None, factor: float, numbers: list[_Numbers]
    ) -> np.ndarray:
        """The scores with what is the same for every η."""
        if not self.recipe.single:
            assert score is not None
            return score
        theta, cumulant = numbers[-2:]
        whole = theta.constant * rows.by_y - cumulant.constant * rows.by_one
        return whole if score is None else whole + factor * score

    def _carefully(
        self, beta: np.ndarray, psi: tuple[float, ...], shift: np.ndarray | None
    ) -> Total:
        """The same in forms that hold in far tails."""
        kernel = _careful(self.family, self.link)
        value, gradient, by_shape = 0.0, np.zeros(self.p), np.zeros(len(psi))
        for rows in self.blocks:
            eta = self.memory[rows.y.size][0]
            self._eta(rows, beta, shift, eta)
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
        numbers = self.fixed or self.recipe.numbers(psi)
        result = np.empty(len(beta))
        size = max(1, _MANY // self.size)
        for start in range(0, len(beta), size):
            some = slice(start, start + size)
            result[some] = self._some(beta[some], [v[some] for v in psi], [
                _Numbers(*(_cut(k, some) for k in own[:2]), [(j, _cut(k, some)) for j, k in own[2]])
                for own in numbers[: 2 * self.recipe.count]
            ])  # fmt: skip
        for k in np.flatnonzero(~np.isfinite(result)):
            found = self(beta[k], tuple(float(v[k]) for v in psi))
            result[k] = np.nan if found is None else found.value
        return result

    def _some(
        self, beta: np.ndarray, psi: list[np.ndarray], numbers: list[_Numbers]
    ) -> np.ndarray:
        """`many` in one go; not finite where that fails."""
        recipe, m = self.recipe, len(beta)
        of_y, of_one = (np.zeros((len(recipe.at), m)) for _ in range(2))
        inside = np.ones(m, bool)
        for rows in self.blocks:
            eta = beta @ rows.X.T
            if rows.offset is not None:
                eta += rows.offset
            inside &= (eta.min(axis=1) > self.image.low) & (eta.max(axis=1) < self.image.high)
            spread = [np.repeat(v, rows.y.size) for v in psi]
            for k, part in enumerate(recipe.parts(eta.ravel(), *spread)):
                part = part.reshape(eta.shape)
                if k in recipe.of_y:
                    of_y[k] += part @ rows.by_y
                if k in recipe.of_one:
                    of_one[k] += part @ rows.by_one
        linear = [own[: self.p] @ beta.T + own[self.p] for own in self.first]
        values = _added(numbers, recipe.count, of_y, of_one, linear, self.first[:, -1])
        return np.where(inside, values[0], np.nan)


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


def _dot(first: np.ndarray, second: np.ndarray | None) -> float:
    return 0.0 if second is None else float(np.dot(first, second))


def _cut(k: Any, some: slice) -> Any:
    return k[some] if np.ndim(k) else k


def _added(
    numbers: list[_Numbers], count: int, of_y: Any, of_one: Any, linear: Any, ones: Any
) -> list[Any]:
    """Sums over rows put together: of θ with y, less those of b(θ)."""
    values = []
    for theta, cumulant in zip(numbers[:count], numbers[count : 2 * count], strict=True):
        value = theta.constant * ones[0] - cumulant.constant * ones[1]
        value = value + theta.slope * linear[0] - cumulant.slope * linear[1]
        for k, factor in theta.terms:
            value = value + factor * of_y[k]
        for k, factor in cumulant.terms:
            value = value - factor * of_one[k]
        values.append(value)
    return values
