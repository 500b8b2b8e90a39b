"""How well a model fits: deviance, Pearson's χ², and what else one pass over the rows can tell."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.kernels.coded import dense
from expfam_glm.kernels.machine.block import Wanted
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import over_rows, weighted_gram
from expfam_glm.mle.bare import Bare, over_block
from expfam_glm.mle.saturated import part_totals, saturated_total
from expfam_glm.spec.family import Family

_EPS = np.finfo(float).eps
# A difference of sums of which a larger part is rounding is made row by row.
_CANCELLED = 1e-9
# Fewer rows than this are not worth a tally of their distinct values.
_TALLY_FROM = 256
# Tallies that span this many times what they hold are merged by sorting.
_SPREAD = 64
# A fitted mean this near to the edge where the response stands asks whether a maximum exists.
_NEAR_EDGE = 1e-6


type Sums = tuple[Any, ...]


@dataclass(frozen=True)
class Fitness:
    """Sums over the rows at β̂, weighted by w and f."""

    deviance: float  # D = Σ w d(y, μ)
    lost: float  # about which part of the deviance is rounding errors
    pearson: float  # X² = Σ w (y − μ)²/V(μ)
    near_edge: bool  # some fitted mean has all but reached the edge at which its response stands
    top: float  # Σ w b*(y), of which the deviance is the shortfall
    saturated: float  # Σ f {b*(y)w/a + c(y, a/w)} where φ is known, else NaN
    parts: np.ndarray  # Σ f G(y) of its parts where φ is free, if these are enough for every φ
    level: float  # D of the mean ȳ for all rows, where d(y, μ) has a closed form and no offset
    has_intercept: bool  # some column of X is constant and not zero
    score: np.ndarray  # (p,) at β̂ and φ = 1
    information: np.ndarray | None = None  # (p, p) likewise, where it is asked for
    admissible: bool = True  # whether every η lies in its domain


def fitness(
    problem: Problem,
    blocks: Blocks,
    beta: np.ndarray,
    objective: float | None,
    informed: bool = False,
) -> Fitness:
    """The fitness of β̂, and the information there if `informed`.

    `objective` is Σ w(yθ − b(θ)), or −D/2 where D has a closed form; None where it is not known.
    """
    family = problem.family
    closed = family.closed_deviance is not None
    quantities = ["mu", "pearson", "score", "variance"]
    further = ["weight"] if informed else []
    if objective is None:
        further.append("weighted_deviance" if closed else "kernel")
    kernel = Bare(row_kernel(family, problem.link, (*quantities, *further)))
    totals = [] if objective is not None else [len(quantities) + len(further) - 1]
    predictors = problem.link.image(family.mean_space)
    space = family.mean_space
    edges = [e for e in (space.low, space.high) if np.isfinite(e) and family.support.contains(e)]
    known = family.phi is not None and not family.is_quasi
    a = float(family.a(family.phi)) if known else np.nan
    head = dense(problem.sample.matrix[:64])
    level = head[0]
    candidates = np.flatnonzero((level != 0) & np.all(head == level, axis=0)).tolist()
    varied: set[int] = set()  # of these, by the blocks so far, where they share memory

    own_deviance = family.closed_deviance if problem.offset is None else None
    of_level = None if own_deviance is None else own_deviance.function(1)
    mean = np.nan if of_level is None else problem.mean

    def responses(block: Block) -> np.ndarray:
        top = (
            0.0 if closed else block.total(family.conjugate.function(1)(block.y)[0], weighted=True)
        )
        saturated = saturated_total(family, block, a) if known else np.nan
        return np.array([top, saturated, *part_totals(family, block)])

    def count(block: Block) -> Sums:
        tally = tally_of(family, block)
        return (_NONE, responses(block)) if tally is None else (tally, 0.0)

    wanted = Wanted(2, 4 if informed else None, (1, *totals), extremes=(0,))
    machine = kernel.summed(wanted, blocks)

    def at_once(block: Block) -> Sums | None:
        """What follows from η, by machine code; None where it cannot have it."""
        weights = [v for v in (block.w, block.f) if isinstance(v, np.ndarray)]
        found = over_block(machine, block, beta, 1.0, prod(weights) if weights else None)
        if found is None or any(
            abs(end - e) < _NEAR_EDGE for e in edges for end in (found.lows[1], found.highs[1])
        ):
            return None
        inside = predictors.low < found.lows[0] and found.highs[0] < predictors.high
        pearson, *aims = found.totals
        information = [] if found.information is None else [found.information]
        return inside, False, pearson, sum(aims), found.score, *information

    def row_by_row(block: Block) -> Sums:
        """The same by NumPy."""
        eta, (mu, x2, u, V, *more) = kernel.at(block, beta, 1.0)
        inside = predictors.low < eta.min() and eta.max() < predictors.high
        for weights in (block.w, block.f):
            if isinstance(weights, np.ndarray):
                u, more = u * weights, [values * weights for values in more]
        ends = np.array([mu.min(), mu.max()])
        near = any(
            np.any(block.y[np.abs(mu - e) < _NEAR_EDGE] == e)
            for e in edges
            if np.abs(ends - e).min() < _NEAR_EDGE
        )
        pearson = block.total(x2, weighted=True) + block.within(V)
        aim = 0.0 if objective is not None else np.broadcast_to(more[-1], u.shape).sum()
        information = [weighted_gram(block.X, more[0])] if informed else []
        return inside, near, pearson, aim, over_rows(u, block.X), *information

    def look(block: Block) -> Sums:
        inside, near, pearson, aim, score, *information = at_once(block) or row_by_row(block)
        varied.update(
            j for j in candidates if j not in varied and np.any(block.X[:, j] != level[j])
        )
        tally, apart = count(block) if block.scatter is None else (_NONE, 0.0)
        flat = 0.0
        if of_level is not None:
            flat = block.total(of_level(block.y, mean)[0], weighted=True)
        varies = [j in varied for j in candidates]
        own = np.array([pearson, near, flat, aim, inside - 1, *varies])
        return tally, apart, own, score, *information

    def one(block: Block) -> Sums:
        with np.errstate(all="ignore"):  # what is not finite is found in the sums
            return look(block)

    tally, apart, own, score, *information = blocks.reduce(one, _add)
    observed = blocks.responses
    if observed is not blocks:
        tally, apart = observed.reduce(count, _add)
    if tally.counts.size:
        apart = apart + responses(tally.block())
    top, saturated, *parts = apart
    pearson, near, flat, aim, outside, *varying = map(float, own)
    if objective is None:
        objective = -0.5 * aim if closed else aim
    if closed:
        total, lost = -2 * objective + blocks.within_deviance, 0.0
    else:
        total, lost = 2 * (top - objective), 0.0
        cancelled = _EPS * (abs(top) + abs(objective))
        if np.isfinite(total) and cancelled > _CANCELLED * total:
            total = deviance(problem, blocks, beta)
            lost = cancelled / (np.sqrt(blocks.rows) * total) if total > 0 else np.inf
    return Fitness(
        deviance=max(float(total), 0.0), lost=float(lost), pearson=pearson, near_edge=bool(near),
        top=float(top), saturated=float(saturated), parts=np.array(parts),
        level=np.nan if of_level is None else max(flat, 0.0) + blocks.within_deviance,
        has_intercept=any(count == 0 for count in varying), score=score,
        information=information[0] if information else None, admissible=outside == 0,
    )  # fmt: skip


def _add(a: Sums, b: Sums) -> Sums:
    return tuple(one + other for one, other in zip(a, b, strict=True))


def deviance(problem: Problem, blocks: Blocks, beta: np.ndarray) -> float:
    """D = Σ w d(y, μ), row by row."""
    kernel = row_kernel(problem.family, problem.link, ("weighted_deviance",))

    def one(block: Block) -> float:
        return block.total(kernel(block.eta(beta), block.y, block.w)[0])

    return max(float(blocks.reduce(one, lambda a, b: a + b)), 0.0) + blocks.within_deviance


def level_deviance(problem: Problem, blocks: Blocks, fit: Fitness) -> float:
    """D of the mean ȳ for all rows: 2{Σ w b*(y) − (θȳ − b(θ)) Σ w} where it has no closed form."""
    family, mean = problem.family, problem.mean
    if family.closed_deviance is not None:
        return fit.level
    theta = family.theta(mean)
    explained = (theta * mean - float(family.cumulant(theta))) * problem.total_weight
    found = max(2 * (fit.top - explained), 0.0)
    cancelled = _EPS * (abs(fit.top) + abs(explained))
    if not np.isfinite(cancelled) or cancelled <= _CANCELLED * found:
        return found

    def one(block: Block) -> float:
        return block.total(np.asarray(family.deviance(block.y, mean)), weighted=True)

    return max(blocks.reduce(one, lambda a, b: a + b), 0.0) + blocks.within_deviance


@dataclass(frozen=True)
class Tally:
    """How often each response occurs, in increasing order."""

    values: np.ndarray  # whole numbers
    counts: np.ndarray

    def __add__(self, other: object) -> Tally:
        if not isinstance(other, Tally):
            return NotImplemented
        if not (self.counts.size and other.counts.size):
            return self if self.counts.size else other
        if np.array_equal(self.values, other.values):
            return Tally(self.values, self.counts + other.counts)
        values = np.concatenate([self.values, other.values])
        counts = np.concatenate([self.counts, other.counts])
        if values.max() - values.min() < _SPREAD * values.size:
            return _counted(values, counts)
        values, places = np.unique(values, return_inverse=True)
        return Tally(values, np.bincount(places, counts))

    def block(self) -> Block:
        """A row for each response, its count as frequency weight."""
        return Block(self.values, np.zeros((self.values.size, 0)), 1.0, self.counts, None)


_NONE = Tally(np.zeros(0), np.zeros(0))


def tally_of(family: Family, block: Block) -> Tally | None:
    """The tally of discrete responses without weights; None where it does not pay."""
    if not family.support.discrete or np.ndim(block.w) or block.y.size <= _TALLY_FROM:
        return None
    low, high = block.y.min(), block.y.max()
    if high - low >= block.y.size / 4 or not bool(family.support.contains([low, high]).all()):
        return None
    if block.f is None and high - low == 1.0:
        above = float(block.y.sum() - low * block.y.size)
        return Tally(np.array([low, high]), np.array([block.y.size - above, above]))
    return _counted(block.y, block.f)


def _counted(y: np.ndarray, weights: np.ndarray | None) -> Tally:
    low = y.min()
    counts = np.bincount((y - low).astype(np.intp), weights=weights)
    seen = np.flatnonzero(counts)
    return Tally(low + seen, counts[seen].astype(float))
