"""What is known of all clusters where only some of them are at hand, batch by batch.

All of it adds up over batches of whole clusters; distinct values are kept while they are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from expfam_glm.data.codes import Coded, code
from expfam_glm.errors import CorrelationError

# Distinct times, or distances, of which more are not kept.
MANY = 1 << 17


class Totals(NamedTuple):
    """Counts of some clusters."""

    clusters: int = 0  # K
    rows: int = 0
    pairs: int = 0  # of rows that share a cluster
    largest: int = 0  # the rows of the largest cluster

    def __add__(self, other: object) -> Totals:
        if not isinstance(other, Totals):
            return NotImplemented
        return Totals(
            self.clusters + other.clusters, self.rows + other.rows, self.pairs + other.pairs,
            max(self.largest, other.largest),
        )  # fmt: skip


class Distinct(NamedTuple):
    """Distinct values, ascending where they can be sorted; None where they are too many."""

    values: np.ndarray | None

    def __add__(self, other: object) -> Distinct:
        if not isinstance(other, Distinct):
            return NotImplemented
        if self.values is None or other.values is None:
            return Distinct(None)
        if not (self.values.size and other.values.size):
            return self if self.values.size else other
        together = code(np.concatenate([self.values, other.values])).levels
        return Distinct(together if together.size <= MANY else None)


class Counted(NamedTuple):
    """How many pairs of rows there are of each kind: at each distance, or for each α."""

    keys: np.ndarray  # (m,) ascending
    numbers: np.ndarray  # (m,)

    def __add__(self, other: object) -> Counted:
        if not isinstance(other, Counted):
            return NotImplemented
        keys, at = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        return Counted(keys, np.bincount(at, np.concatenate([self.numbers, other.numbers])))


class Example(NamedTuple):
    """The largest cluster, the first of its size by its label."""

    label: Any
    size: int
    labels: np.ndarray  # (size,)
    time: np.ndarray | None  # (size,)
    further: tuple[np.ndarray, ...]  # what else the working correlation asks for

    def __add__(self, other: object) -> Example:
        if not isinstance(other, Example):
            return NotImplemented
        if self.size != other.size:
            return self if self.size > other.size else other
        try:
            return other if other.label < self.label else self
        except TypeError:  # labels that cannot be sorted stand in the order of the data
            return self


_NONE, _NOTHING = Totals(), Distinct(np.empty(0))


@dataclass(frozen=True, eq=False)
class Whole:
    """All clusters of data that are read in batches."""

    totals: Totals = _NONE
    example: Example | None = None
    times: Distinct = _NOTHING
    spans: Distinct = _NOTHING  # from row to row of a cluster, where distances in time count
    counted: Counted | None = None
    first: np.ndarray | None = None  # (1,) the earliest date, from which others are counted

    def __add__(self, other: object) -> Whole:
        if not isinstance(other, Whole):
            return NotImplemented
        assert self.example is not None and other.example is not None
        return Whole(
            self.totals + other.totals, self.example + other.example, self.times + other.times,
            self.spans + other.spans, first=self.first,
        )  # fmt: skip

    @property
    def steps(self) -> np.ndarray:
        """The distinct times between neighbours; one that is irregular where they are too many."""
        return self.spans.values if self.spans.values is not None else np.array([1.0, np.pi])

    def coded(self, time: np.ndarray) -> Coded:
        """Times numbered among those of all clusters, where these are known."""
        own = code(time)
        if self.times.values is None or not self.times.values.size:
            return own
        place = {value: number for number, value in enumerate(self.times.values.tolist())}
        at = np.array([place[value] for value in own.levels.tolist()], np.intp)
        return Coded(self.times.values, at[own.codes])

    def numbered(self, time: np.ndarray) -> Coded:
        """The same, where each of all times must have its number."""
        if self.times.values is None:
            refuse_many_times()
        return self.coded(time)


def refuse_many_times() -> NoReturn:
    """More times than can be held, though each has a place."""
    raise CorrelationError(
        f"there are more than {MANY} distinct times, each of which would have a place in a matrix. "
        "Give planned occasions as time=, or use correlation='ar1' or 'exchangeable'."
    )
