"""Which covariances are asked for, and the clusters and the order of rows that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from expfam_glm.data.codes import code
from expfam_glm.data.compress import Compressed, by_response, compress, uncompressed
from expfam_glm.data.frames import close_to
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed, need_rows
from expfam_glm.errors import ArgumentError, DataError, one_of, show_rows

HETEROSCEDASTIC = ("HC0", "HC1", "HC2", "HC3")
UNCORRECTED = ("CR0", "CR1", "CR1S")  # but for a common factor
CORRECTED = ("CR2", "CR3")
CLUSTERED = (*UNCORRECTED, *CORRECTED)
TYPES = ("fisher", *HETEROSCEDASTIC, *CLUSTERED, "HAC")


def checked_types(cov: str | Sequence[str] | None, *, sampled: bool) -> tuple[str, ...]:
    """The covariances asked for, the first for tests; HC0 by default with sampling weights."""
    if cov is None:
        return ("HC0",) if sampled else ("fisher",)
    types = tuple(cov) if isinstance(cov, Iterable) and not isinstance(cov, str | bytes) else (cov,)
    if not types:
        raise ArgumentError("cov=[] asks for no covariance; name one, or leave cov= out.")
    for name in types:
        if name not in TYPES:
            if str(name).lower().startswith("cluster"):
                raise ArgumentError(
                    f"cov={name!r} is not known; errors clustered by a column are "
                    "cov='CR1S', groups='…' (for few clusters cov='CR2')."
                )
            raise one_of("cov", name, TYPES)
    if len(set(types)) < len(types):
        raise ArgumentError(f"cov={list(types)!r} names a covariance twice.")
    if sampled and "fisher" in types:
        raise ArgumentError(
            "cov='fisher' does not hold under sampling_weights, which are no part of a likelihood; "
            "use 'HC0', or a clustered covariance with groups=."
        )
    return types


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
    if isinstance(problem, Streamed):
        return _streamed_layout(problem, types, groups)
    sources = sources_of(problem, groups)
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


def _streamed_layout(problem: Streamed, types: Sequence[str], groups: Any) -> Layout:
    """Clusters by the name of their column, which is read in batches with the others."""
    for name in types:
        if name in ("CR2", "CR3", "HAC"):
            need_rows(problem, f"cov={name!r}", cells=False)
    if groups is None:
        return Layout((), (), {}, None, 0)
    if not isinstance(groups, str):
        need_rows(problem, "groups= other than the name of one column", cells=False)
    if groups not in problem.reading[0].names:
        names = problem.reading[0].names
        raise DataError(f"groups {groups!r} is not in the data; {close_to(groups, names)}")
    return Layout((), (groups,), {}, None, 0)


def fitted_rows(problem: Problem, arranged: Layout) -> tuple[Problem, Layout]:
    """The problem that is fitted, and the layout of its rows; cells keep clusters apart.

    Rows in an order stay as they are; free shapes need the responses of the rows.
    """
    if not isinstance(problem, Compressed):
        return problem, arranged
    if arranged.order is not None:
        return uncompressed(problem), arranged
    if arranged.groups:
        together = arranged.groups[0].astype(np.int64)
        for codes in arranged.groups[1:]:
            together = together * (int(codes.max()) + 1) + codes
        problem = compress(problem, code(together).codes)
    found = by_response(problem) if problem.family.shape else problem
    assert isinstance(found, Compressed)
    first = found.origin.first
    groups = tuple(codes[first] for codes in arranged.groups)
    columns = {name: values[first] for name, values in arranged.columns.items()}
    return found, replace(arranged, groups=groups, columns=columns)


def sources_of(problem: Problem, groups: Any) -> list[Any]:
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
