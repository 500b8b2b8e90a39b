"""How well a model fits: deviance, Pearson's χ², and what else one pass over the rows can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.kernels.coded import dense
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import over_rows
from expfam_glm.mle.bare import Bare
from expfam_glm.spec.family import Family

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
    score: np.ndarray  # (p,) at β̂ and φ = 1


def fitness(problem: Problem, blocks: Blocks, beta: np.ndarray, objective: float) -> Fitness:
    """The fitness of β̂, whose Σ w(yθ − b(θ)), or −D/2 where D has a closed form, is known."""
    family = problem.family
    kernel = Bare(row_kernel(family, problem.link, ("mu", "pearson", "score", "variance")))
    space = family.mean_space
    edges = [e for e in (space.low, space.high) if np.isfinite(e) and family.support.contains(e)]
    known = family.phi is not None and not family.is_quasi
    closed = family.closed_deviance is not None
    a = float(family.a(family.phi)) if known else np.nan
    head = dense(problem.sample.matrix[:64])
    level = head[0]
    candidates = np.flatnonzero((level != 0) & np.all(head == level, axis=0)).tolist()
    varied: set[int] = set()  # of these, by the blocks so far, where they share memory

    def responses(block: Block) -> np.ndarray:
        top = (
            0.0 if closed else block.total(family.conjugate.function(1)(block.y)[0], weighted=True)
        )
        return np.array([top, saturated_total(family, block, a) if known else np.nan])

    nothing = np.zeros(2)

    def count(block: Block) -> tuple[Tally, np.ndarray]:
        tally = tally_of(family, block)
        return (Tally(0, np.zeros(0)), responses(block)) if tally is None else (tally, nothing)

    def one(block: Block) -> tuple[np.ndarray, Tally, np.ndarray]:
        with np.errstate(all="ignore"):
            _, (mu, x2, u, V) = kernel.at(block, beta, 1.0)
        for weights in (block.w, block.f):
            u = u * weights if isinstance(weights, np.ndarray) else u
        ends = np.array([mu.min(), mu.max()])
        near = any(
            np.any(block.y[np.abs(mu - e) < _NEAR_EDGE] == e)
            for e in edges
            if np.abs(ends - e).min() < _NEAR_EDGE
        )
        varied.update(
            j for j in candidates if j not in varied and np.any(block.X[:, j] != level[j])
        )
        tally, apart = count(block) if block.scatter is None else (Tally(0, np.zeros(0)), nothing)
        pearson = block.total(x2, weighted=True) + block.within(V)
        varies = [j in varied for j in candidates]
        return np.array([pearson, near, *apart, *varies]), tally, over_rows(u, block.X)

    def add(
        a: tuple[np.ndarray, Tally, np.ndarray], b: tuple[np.ndarray, Tally, np.ndarray]
    ) -> tuple[np.ndarray, Tally, np.ndarray]:
        return a[0] + b[0], a[1] + b[1], a[2] + b[2]

    sums, tally, score = blocks.reduce(one, add)
    observed = blocks.responses
    if observed is not blocks:
        tally, sums[2:4] = observed.reduce(count, lambda a, b: (a[0] + b[0], a[1] + b[1]))
    sums[2:4] += responses(tally.block()) if tally.counts.size else 0.0
    pearson, near, top, saturated, *varying = map(float, sums)
    deviance = -2 * objective + blocks.within_deviance if closed else 2 * (top - objective)
    constant = any(count == 0 for count in varying)
    return Fitness(max(deviance, 0.0), pearson, bool(near), top, saturated, constant, score)


def deviance(problem: Problem, blocks: Blocks, beta: np.ndarray) -> float:
    """D = Σ w d(y, μ), row by row."""
    kernel = row_kernel(problem.family, problem.link, ("weighted_deviance",))

    def one(block: Block) -> float:
        return block.total(kernel(block.eta(beta), block.y, block.w)[0])

    return max(float(blocks.reduce(one, lambda a, b: a + b)), 0.0) + blocks.within_deviance


def level_deviance(problem: Problem, blocks: Blocks, fit: Fitness) -> float:
    """D of the mean ȳ for all rows, with known sums where it is 2{Σ w b*(y) − (θȳ − b(θ)) Σ w}."""
    family, mean = problem.family, problem.mean
    if family.closed_deviance is not None:
        of_level = family.closed_deviance.function(1)

        def one(block: Block) -> float:
            return block.total(of_level(block.y, mean)[0], weighted=True)

        return max(blocks.reduce(one, lambda a, b: a + b), 0.0) + blocks.within_deviance
    theta = family.theta(mean)
    explained = (theta * mean - float(family.cumulant(theta))) * problem.total_weight
    return max(2 * (fit.top - explained), 0.0)


def saturated_total(family: Family, block: Block, a: float) -> float:
    """Σ f s(y, a/w) with s(y, a) = b*(y)/a + c(y, a)."""
    return block.total(family.saturated.function(1)(block.y, a / block.w)[0])


@dataclass(frozen=True)
class Tally:
    """How often each of the responses low, low + 1, … occurs."""

    low: int
    counts: np.ndarray

    def __add__(self, other: object) -> Tally:
        if not isinstance(other, Tally):
            return NotImplemented
        if not (self.counts.size and other.counts.size):
            return self if self.counts.size else other
        low = min(self.low, other.low)
        high = max(self.low + self.counts.size, other.low + other.counts.size)
        counts = np.zeros(high - low)
        for part in (self, other):
            counts[part.low - low : part.low - low + part.counts.size] += part.counts
        return Tally(low, counts)

    def block(self) -> Block:
        """A row for each response that occurs, its count as frequency weight."""
        seen = np.flatnonzero(self.counts)
        y = (self.low + seen).astype(float)
        return Block(y, np.zeros((seen.size, 0)), 1.0, self.counts[seen], None)


def tally_of(family: Family, block: Block) -> Tally | None:
    """The tally of discrete responses without weights; None where it does not pay."""
    if not family.support.discrete or np.ndim(block.w) or block.y.size <= _TALLY_FROM:
        return None
    low, high = block.y.min(), block.y.max()
    if high - low >= block.y.size / 4 or not bool(family.support.contains([low, high]).all()):
        return None
    return Tally(int(low), np.bincount((block.y - low).astype(np.intp), weights=block.f))
