"""Robust covariances of β̂: bread · meat · bread, told apart by their meat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from expfam_glm.data.blocks import Block, MemoryBlocks
from expfam_glm.data.codes import code
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, DataError, RankError, one_of, show_rows
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle.bias_reduced import BiasReduced, Rows
from expfam_glm.mle.linear import Factor

HETEROSCEDASTIC = ("HC0", "HC1", "HC2", "HC3")
CLUSTERED = ("CR0", "CR1", "CR1S", "CR2", "CR3")
TYPES = ("fisher", *HETEROSCEDASTIC, *CLUSTERED, "HAC")
# A leverage above this is one but for rounding: the row determines a coefficient by itself.
_DETERMINED = 1 - 1e-10


def checked_types(cov: str | Sequence[str] | None, *, sampled: bool) -> tuple[str, ...]:
    """The covariances asked for, the first for tests; HC0 by default with sampling weights."""
    if cov is None:
        return ("HC0",) if sampled else ("fisher",)
    types = (cov,) if isinstance(cov, str) else tuple(cov)
    if not types:
        raise ArgumentError("cov=[] asks for no covariance; name one, or leave cov= out.")
    for name in types:
        if name not in TYPES:
            raise one_of("cov", name, TYPES)
    if len(set(types)) < len(types):
        raise ArgumentError(f"cov={list(types)!r} names a covariance twice.")
    if sampled and "fisher" in types:
        raise ArgumentError(
            "cov='fisher' does not hold under sampling_weights, which are no part of a likelihood; "
            "use 'HC0', or a clustered covariance with groups=."
        )
    return types


# ---- what the rows belong to ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Layout:
    """Clusters and order of the rows that are used."""

    groups: tuple[np.ndarray, ...]  # one array (n,) of cluster numbers a grouping variable
    names: tuple[str, ...]  # of the grouping variables, "" for an array
    columns: dict[str, np.ndarray]  # what the result tree keeps of them
    order: np.ndarray | None  # (n,) the rows in time, group by group; None unless HAC is asked for
    lags: int

    def attrs(self) -> dict[str, str | float | int]:
        """Names of the columns and the bandwidth, for the result tree."""
        found: dict[str, str | float | int] = {}
        if any(self.names):
            found["groups"] = ", ".join(self.names)
        if self.order is not None:
            found["hac_lags"] = self.lags
        return found


def layout(
    problem: Problem,
    types: Sequence[str],
    groups: Any = None,
    time: Any = None,
    lags: int | None = None,
) -> Layout:
    """Read groups and times, and refuse what the covariances asked for cannot use.

    Raises
    ------
    ArgumentError
        If groups, time or lags are missing where they are needed, or given where nothing uses them.
    DataError
        For missing groups or times, one cluster only, or times that occur twice.
    """
    clustered = [name for name in types if name in CLUSTERED]
    serial = "HAC" in types
    if clustered and groups is None:
        raise ArgumentError(f"cov={clustered[0]!r} needs groups=, the cluster of each row.")
    if groups is not None and not (clustered or serial):
        raise ArgumentError(
            f"groups= is given, but cov={', '.join(types)} does not use it; ask for cov='CR2', say."
        )
    for name, value in (("time", time), ("lags", lags)):
        if value is not None and not serial:
            raise ArgumentError(f"{name}= is given, but only cov='HAC' uses it.")
    sources = _sources(problem, groups)
    if len(sources) > 1:
        for name in types:
            if name in ("CR2", "CR3", "HAC"):
                raise ArgumentError(
                    f"cov={name!r} is defined for one grouping variable; with several use 'CR0', "
                    "'CR1' or 'CR1S'."
                )
    columns: dict[str, np.ndarray] = {}
    numbered = []
    for position, source in enumerate(sources):
        labels = problem.restrict(problem.frame.column(source, "groups"))
        levels, codes = code(labels)
        if levels.size < 2:
            raise DataError(
                f"groups has one cluster only ({levels[0]!s}, {codes.size} rows), which carries no "
                "clustered covariance; name the column that tells the clusters apart."
            )
        columns["groups" if position == 0 else f"groups{position + 1}"] = labels
        numbered.append(codes)
    order = None
    if serial:
        order = _ordered(problem, numbered[0] if numbered else None, time)
        if time is not None:
            columns["time"] = problem.restrict(problem.frame.column(time, "time"))
    return Layout(
        groups=tuple(numbered),
        names=tuple(source if isinstance(source, str) else "" for source in sources),
        columns=columns,
        order=order,
        lags=_bandwidth(lags, problem.row_count) if serial else 0,
    )


def _sources(problem: Problem, groups: Any) -> list[Any]:
    """One source of labels for each grouping variable."""
    if groups is None:
        return []
    if isinstance(groups, list | tuple) and groups:
        if all(isinstance(g, str) and g in problem.frame.table.names for g in groups):
            return list(groups)
        if all(np.ndim(g) == 1 for g in groups):
            return list(groups)
    return [groups]


def _ordered(problem: Problem, codes: np.ndarray | None, time: Any) -> np.ndarray:
    """The rows in the order of time, one group after the other."""
    if problem.f is not None:
        raise ArgumentError(
            "cov='HAC' cannot be used with freq_weights: copies of a row have no order in time."
        )
    n = problem.row_count
    group = np.zeros(n, np.intp) if codes is None else codes
    if time is None:
        if problem.frame.n_dropped or problem.used is not None:
            raise ArgumentError(
                "rows were left out, so the order of those that remain does not tell their times; "
                "give time= for cov='HAC'."
            )
        return np.argsort(group, kind="stable")
    when = problem.restrict(problem.frame.column(time, "time"))
    moments = code(when).codes
    order = np.lexsort((moments, group))
    twice = (np.diff(moments[order]) == 0) & (np.diff(group[order]) == 0)
    if twice.any():
        bad = np.zeros(n, bool)
        bad[order[1:][twice]] = True
        raise DataError(
            f"time occurs more than once{'' if codes is None else ' in a group'} "
            f"({show_rows(when, bad)}); cov='HAC' needs one row a time. Give groups= for several "
            "series, or use a clustered covariance."
        )
    return order


def _bandwidth(lags: int | None, n: int) -> int:
    """The lags given, or ⌊4 (n/100)^(2/9)⌋."""
    if lags is None:
        return int(4 * (n / 100) ** (2 / 9))
    if isinstance(lags, bool) or not isinstance(lags, Integral) or not 0 <= lags < n:
        raise ArgumentError(f"lags={lags!r} must be a whole number from 0 to {n - 1}.")
    return int(lags)


# ---- the covariances --------------------------------------------------------------------------


class Robust(NamedTuple):
    """One covariance, and the degrees of freedom of its t tests (None for z)."""

    covariance: np.ndarray  # (p, p)
    df: np.ndarray | None  # (p,)


@dataclass(frozen=True, eq=False)
class Sandwich:
    """The rows of a fit at β, in coordinates in which the expected information is 1.

    Parameters
    ----------
    problem : Problem
    blocks : MemoryBlocks
    beta : ndarray (p,)
    factor : Factor
        Of the expected information at φ = 1, which the leverages come from.
    bread : Factor
        Of the information, expected or observed, that stands on both sides of the meat.
    layout : Layout

    Notes
    -----
    φ cancels everywhere. A row of frequency f enters a sum f times, with the leverage of one row;
    in a cluster it is f equal rows.
    """

    problem: Problem
    blocks: MemoryBlocks
    beta: np.ndarray
    factor: Factor
    bread: Factor
    layout: Layout

    def covariance(self, name: str) -> Robust:
        """One of HC0–HC3, CR0–CR3, CR1S or HAC."""
        if name in ("CR2", "CR3"):
            reduced = self.bias_reduced
            half = reduced.scores(name)
            df = reduced.degrees_of_freedom(self._outer.T) if name == "CR2" else None
            return Robust(self._outward(half.T @ half), df)
        if name in HETEROSCEDASTIC:
            return Robust(self._outward(self._heteroscedastic(name)), None)
        if name == "HAC":
            return Robust(self._outward(self._serial()), None)
        return Robust(self._outward(self._clustered(name)), None)

    @cached_property
    def rows(self) -> Rows:
        """u, W and V(μ) of every row, and X in the coordinates of the information."""
        kernel = row_kernel(
            self.problem.family, self.problem.link, ("score", "weight", "variance")
        )

        def one(block: Block) -> np.ndarray:
            found = kernel(block.eta(self.beta), block.y, block.w)
            return np.stack([np.broadcast_to(v, block.y.shape) for v in found], axis=1)

        score, weight, variance = self.blocks.concatenate(one).T
        return Rows(self.problem.X @ self.factor.root, score, weight, variance)

    @cached_property
    def _outer(self) -> np.ndarray:
        """From the coordinates of the information to β."""
        if self.bread is self.factor:
            return self.factor.root
        return self.bread.solve(self.factor.triangle.T)

    def _outward(self, meat: np.ndarray) -> np.ndarray:
        return self._outer @ meat @ self._outer.T

    @property
    def mean_square(self) -> float:
        """The mean of u²/W, what φ would be if the model held."""
        weight = self.rows.weight
        squares = np.divide(self.rows.score**2, weight, out=np.zeros_like(weight), where=weight > 0)
        return float(squares.mean())

    @property
    def _frequency(self) -> np.ndarray | float:
        return 1.0 if self.problem.f is None else self.problem.f

    def _heteroscedastic(self, name: str) -> np.ndarray:
        rows = self.rows
        squares = self._frequency * rows.score**2
        if name in ("HC2", "HC3"):
            leverage = rows.weight * np.sum(rows.X**2, axis=1)
            if np.any(leverage > _DETERMINED):
                raise RankError(
                    f"cov={name!r} divides by one minus the leverage, which is zero where a row "
                    "determines a coefficient by itself: "
                    f"{self.problem.show(leverage, leverage > _DETERMINED)}. Use 'HC1', or leave "
                    "the term out that only these rows inform."
                )
            squares = squares / (1 - leverage) ** (1 if name == "HC2" else 2)
        meat = rows.X.T @ (rows.X * squares[:, None])
        n, p = self.problem.n, self.beta.size
        return meat * (n / (n - p)) if name == "HC1" else meat

    def _clustered(self, name: str) -> np.ndarray:
        """Σ over subsets of the grouping variables of ∓ meat, clusters being their intersections."""
        scores = self.rows.X * (self._frequency * self.rows.score)[:, None]
        n, p = self.problem.n, self.beta.size
        groups = self.layout.groups
        meat = np.zeros((p, p))
        for size in range(1, len(groups) + 1):
            for subset in combinations(groups, size):
                codes = reduce(_intersection, subset)
                sums = _sums(scores, codes)
                K = sums.shape[0]
                share = 1.0 if name == "CR0" else K / (K - 1)
                meat += (-1.0) ** (size + 1) * share * (sums.T @ sums)
        if name == "CR1S":
            meat *= (n - 1) / (n - p)
        if len(groups) > 1 and np.any(np.diagonal(self._outward(meat)) <= 0):
            raise RankError(
                f"cov={name!r} by several grouping variables is a difference of covariances, and "
                "here has a variance that is not positive; cluster by one of the variables."
            )
        return meat

    @cached_property
    def bias_reduced(self) -> BiasReduced:
        """The clusters of CR2 and CR3."""
        problem = self.problem
        return BiasReduced(
            self.rows, self.layout.groups[0], self.layout.columns["groups"], problem.f,
            problem.sampling, problem.precision,
        )  # fmt: skip

    def _serial(self) -> np.ndarray:
        """Newey and West: Σ_j (1 − j/(L+1)) (Γ_j + Γ_jᵀ), lags within groups."""
        order, lags = self.layout.order, self.layout.lags
        assert order is not None
        scores = (self.rows.X * self.rows.score[:, None])[order]
        group = self.layout.groups[0][order] if self.layout.groups else None
        meat = scores.T @ scores
        for lag in range(1, lags + 1):
            later, earlier = scores[lag:], scores[:-lag]
            if group is not None:
                later = later * (group[lag:] == group[:-lag])[:, None]
            gamma = later.T @ earlier
            meat += (1 - lag / (lags + 1)) * (gamma + gamma.T)
        return meat


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Clusters of the rows that share both."""
    both = first.astype(np.int64) * (int(second.max()) + 1) + second
    return np.unique(both, return_inverse=True)[1].reshape(-1)


def _sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Column sums by cluster (K, p)."""
    count = int(codes.max()) + 1
    return np.stack([np.bincount(codes, column, count) for column in values.T], axis=1)
