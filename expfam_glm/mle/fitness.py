"""How well a model fits: deviance, Pearson's χ², and what else one pass over the rows can tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from expfam_glm.data.blocks import Block, MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.lower import lower

# Fewer rows than this are not worth a tally of their distinct values.
_TALLY_FROM = 256
# A fitted mean this near to the edge where the response stands asks whether a maximum exists.
_NEAR_EDGE = 1e-6


@dataclass(frozen=True)
class Fitness:
    """Sums over the rows at β̂, weighted by w and f."""

    deviance: float  # D = Σ w d(y, μ)
    pearson: float  # X² = Σ w (y − μ)²/V(μ)
    near_edge: bool  # some fitted mean has all but reached the edge at which its response stands
    top: float  # Σ w b*(y), of which the deviance is the shortfall
    saturated: float  # Σ f {b*(y)w/a + c(y, a/w)} where φ is known, else NaN
    has_intercept: bool  # some column of X is constant and not zero


def fitness(problem: Problem, blocks: MemoryBlocks, beta: np.ndarray, objective: float) -> Fitness:
    """The fitness of β̂, whose Σ w(yθ − b(θ)), or −D/2 where D has a closed form, is known."""
    family = problem.family
    kernel = row_kernel(family, problem.link, ("mu", "pearson"))
    space = family.mean_space
    edges = [e for e in (space.low, space.high) if np.isfinite(e) and family.support.contains(e)]
    known = family.phi is not None and not family.is_quasi
    closed = family.closed_deviance is not None
    a = float(family.a(family.phi)) if known else np.nan
    level = problem.X[0]
    candidates = np.flatnonzero((level != 0) & np.all(problem.X[:64] == level, axis=0))

    def one(block: Block) -> np.ndarray:
        mu, x2 = kernel(block.eta(beta), block.y, 1.0)
        near = sum(np.count_nonzero((block.y == e) & (np.abs(mu - e) < _NEAR_EDGE)) for e in edges)
        varies = [np.any(block.X[:, j] != level[j]) for j in candidates]
        return np.array([
            block.total(x2, weighted=True),
            near,
            0.0 if closed else _conjugate_total(family, block),
            saturated_total(family, block, a) if known else np.nan,
            *varies,
        ])  # fmt: skip

    sums: np.ndarray = blocks.reduce(one, lambda a, b: a + b)
    pearson, near, top, saturated, *varying = map(float, sums)
    deviance = -2 * objective if closed else 2 * (top - objective)
    constant = any(count == 0 for count in varying)
    return Fitness(max(deviance, 0.0), pearson, bool(near), top, saturated, constant)


def deviance(problem: Problem, blocks: MemoryBlocks, beta: np.ndarray) -> float:
    """D = Σ w d(y, μ), row by row."""
    kernel = row_kernel(problem.family, problem.link, ("weighted_deviance",))

    def one(block: Block) -> float:
        return block.total(kernel(block.eta(beta), block.y, block.w)[0])

    return max(float(blocks.reduce(one, lambda a, b: a + b)), 0.0)


def level_deviance(problem: Problem, mean: float, fit: Fitness) -> float:
    """D of one mean for all rows, ȳ, from sums that are known: 2{Σ w b*(y) − (θȳ − b(θ)) Σ w}."""
    family = problem.family
    if problem.w is None and problem.f is None:
        total = float(problem.row_count)
    else:
        total = float(np.sum((1.0 if problem.w is None else problem.w)
                             * (1.0 if problem.f is None else problem.f)))  # fmt: skip
    theta = family.theta(mean)
    return max(2 * (fit.top - (theta * mean - float(family.cumulant(theta))) * total), 0.0)


def saturated_total(family: Family, block: Block, a: float) -> float:
    """Σ f s(y, a/w) with s(y, a) = b*(y)/a + c(y, a)."""
    kernel = _lowered(family.saturated)
    return _total(family, block, lambda y, w: kernel(y, a / w)[0], weighted=False)


def _conjugate_total(family: Family, block: Block) -> float:
    """Σ f w b*(y)."""
    kernel = _lowered(family.conjugate)
    return _total(family, block, lambda y, w: kernel(y)[0], weighted=True)


def _total(
    family: Family, block: Block, function: Callable[..., np.ndarray], *, weighted: bool
) -> float:
    """Σ f·function(y, w), or Σ f·w·function; counts without weights are tallied first."""
    if family.support.discrete and np.ndim(block.w) == 0 and block.y.size > _TALLY_FROM:
        low, high = block.y.min(), block.y.max()
        if high - low < block.y.size / 4 and bool(family.support.contains([low, high]).all()):
            counts = np.bincount((block.y - low).astype(np.intp), weights=block.f)
            values = np.flatnonzero(counts)
            return float(np.sum(counts[values] * function(low + values, block.w)))
    return block.total(function(block.y, block.w), weighted=weighted)


@lru_cache(maxsize=128)
def _lowered(expression: Expression) -> Callable[..., tuple[np.ndarray, ...]]:
    return lower(expression.variables, [expression.output], rows=expression.variables[:1])
