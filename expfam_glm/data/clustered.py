"""Batches of whole clusters: of files that are in their order, and of a copy of those that are not.

A cluster is told by the value of one column. Where its rows stand side by side the last cluster of
a batch waits for the next one. Else all rows are dealt to buckets by their clusters, and each
bucket is sorted and written once more: temporary files, which later passes read.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from expfam_glm.data import source as sources
from expfam_glm.data.progress import with_bar
from expfam_glm.data.source import Parts, Source
from expfam_glm.errors import DataError

# Runs of rows of one cluster that are remembered; where they are more, and not sorted, the rows are
# copied as if they were scattered.
_MOST_RUNS = 1 << 22
# Bytes of one bucket, of which each is held once to be sorted, and how many there may be.
_BUCKET_BYTES = 1 << 26
_MOST_BUCKETS = 1024
# Bytes of rows that wait to be written to their buckets.
_WAITING_BYTES = 1 << 26
_MARGIN = 1.2  # of free space over what the copy is expected to take
_WAY_OUT = (
    "Set the environment variable TMPDIR to a folder with more room, or write the data in that "
    "order beforehand."
)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio, for even buckets


@dataclass(frozen=True, eq=False)
class Clustered(Source):
    """Rows in batches of whole clusters, which are read where they are asked for."""

    origin: Source
    name: str
    column: str  # whose values tell the clusters apart
    known: dict[tuple[int, ...], list[int]] = field(default_factory=dict, kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        return self.origin.names

    @property
    def count(self) -> int:
        return self.origin.count

    def kind(self, column: str) -> Any:
        return self.origin.kind(column)

    def parts(self, columns: Sequence[str]) -> Parts:
        parts = self.origin.parts(columns)
        if self.column not in columns or not parts.pieces:  # nobody asks for clusters, or workers
            return parts
        pieces, lengths = [], []
        ends = [0, *accumulate(parts.lengths)]
        cuts = [0, *self._cuts(tuple(ends[1:-1])), ends[-1]]
        for start, stop in pairwise(cuts):
            if start == stop:  # a cluster goes on over the whole part
                continue
            first, last = bisect_right(ends, start) - 1, bisect_left(ends, stop) - 1
            whole = list(parts.pieces[first : last + 1])
            if last > first:
                whole[-1] = self.origin.head(whole[-1], stop - ends[last])
            pieces.append((whole, start - ends[first], stop - start))
            lengths.append(stop - start)
        return Parts(pieces, lengths, partial(_tables_of, tables=parts.tables, column=self.column))

    def _cuts(self, edges: tuple[int, ...]) -> list[int]:
        """The first row from each of some rows on at which a cluster begins, or the end."""
        if edges not in self.known:
            cuts: list[int] = []
            last, start = None, 0
            for table in self.origin.tables([self.column]):
                marks = marks_of(table.column(self.column))
                begins = start + _begins(marks, last)
                last, start = marks[-1], start + marks.size
                while len(cuts) < len(edges) and begins.size and edges[len(cuts)] <= begins[-1]:
                    place = np.searchsorted(begins, edges[len(cuts)])
                    cuts.append(int(begins[place]))
            self.known[edges] = [*cuts, *[start] * (len(edges) - len(cuts))]
        return self.known[edges]

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        tables = self.origin.tables(columns)
        # nobody asks for clusters where their column is not read
        return in_whole(tables, self.column) if self.column in columns else tables


def in_whole(tables: Iterable[Any], column: str) -> Iterator[Any]:
    """The rows of some tables in tables of whole clusters, whose rows stand side by side."""
    waiting: list[Any] = []  # the last cluster so far
    last = None
    for table in tables:
        marks = marks_of(table.column(column))
        begins = _begins(marks, last)
        last = marks[-1]
        if begins.size:
            cut = int(begins[-1])
            if waiting or cut:
                yield _joined([*waiting, table.slice(0, cut)])
            waiting = [table.slice(cut)]
        else:
            waiting.append(table)
    yield _joined(waiting)


def _tables_of(
    piece: tuple[list[Any], int, int], tables: Callable[[Any], Iterator[Any]], column: str
) -> Iterator[Any]:
    """So many rows of some parts from one of the first on, in tables of whole clusters."""
    parts, skipped, wanted = piece

    def rows() -> Iterator[Any]:
        seen = 0
        for table in chain.from_iterable(map(tables, parts)):
            begin, seen = seen, seen + table.num_rows
            low = max(skipped - begin, 0)
            high = min(skipped + wanted - begin, table.num_rows)
            if low < high:
                yield table.slice(low, high - low)
            if seen >= skipped + wanted:
                return

    return in_whole(rows(), column)


@dataclass(frozen=True, eq=False)
class Copied(Clustered):
    """The same from a copy in temporary files, whose batches are of whole clusters."""

    files: tuple[Path, ...]

    def parts(self, columns: Sequence[str]) -> Parts:
        return Parts([], [], iter)  # the files are on this machine

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        import pyarrow as pa

        for path in self.files:
            with pa.OSFile(str(path)) as opened, pa.ipc.open_stream(opened) as batches:
                for batch in batches:
                    yield pa.Table.from_batches([batch]).select(list(columns))


@contextmanager
def clustered(source: Source, column: str, columns: Sequence[str]) -> Iterator[Clustered]:
    """The rows of a source in batches of whole clusters, for as long as the context lasts.

    Parameters
    ----------
    source : Source
    column : str
        Whose values tell the clusters apart.
    columns : sequence of str
        All that will be asked for, this one among them.

    Raises
    ------
    DataError
        If the rows must be copied and there is no room for the copy.
    """
    if side_by_side(source, column):
        yield Clustered(source, source.name, column)
        return
    with tempfile.TemporaryDirectory(prefix="expfam_glm_", ignore_cleanup_errors=True) as folder:
        try:
            files = _copied(source, column, columns, Path(folder))
        except OSError as error:
            raise DataError(
                f"the copy of {source.name!r} in the order of {column!r} cannot be written to "
                f"{folder}: {error}. {_WAY_OUT}"
            ) from error
        yield Copied(source, source.name, column, files)


def side_by_side(source: Source, column: str) -> bool:
    """Whether the rows of each cluster follow each other, as far as a bounded memory can tell."""
    last = None
    head: Any = None  # where the last run began
    ways = {"less", "greater"}  # in which all runs so far are sorted
    runs: list[np.ndarray] = []
    count = checked = 0
    for table in with_bar(source.tables([column]), source.count, "order of the clusters"):
        values = table.column(column)
        marks = marks_of(values)
        begins = _begins(marks, last)
        last = marks[-1]
        if not begins.size:
            continue
        count += begins.size
        ways = {way for way in ways if _sorted(values.take(begins), head, way)}
        head = values.slice(int(begins[-1]), 1)
        if count <= _MOST_RUNS:
            runs.append(marks[begins])
        elif not ways:
            return False
        if not ways and (count >= 2 * checked or np.unique(runs[-1]).size < begins.size):
            checked = count
            if np.unique(np.concatenate(runs)).size < count:
                return False
    return bool(ways) or np.unique(np.concatenate(runs)).size == count


def _begins(marks: np.ndarray, last: Any) -> np.ndarray:
    """The rows at which another cluster begins, after a row of the mark `last`."""
    return np.flatnonzero(np.concatenate([[marks[0] != last], marks[1:] != marks[:-1]]))


def _sorted(values: Any, before: Any, way: str) -> bool:
    """Whether each value is "less" or "greater" than the next."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if before is not None:
        values = pa.chunked_array([*before.chunks, *values.chunks])
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    compared = pc.call_function(way, [values.slice(0, len(values) - 1), values.slice(1)])
    return bool(pc.all(compared, skip_nulls=False, min_count=0).as_py())


def _copied(source: Source, column: str, columns: Sequence[str], folder: Path) -> tuple[Path, ...]:
    """The files of a copy, each with all rows of its clusters side by side."""
    named = list(dict.fromkeys(columns))
    first = source.first(named)
    wanted = int(first.nbytes / first.num_rows * source.count)
    free = shutil.disk_usage(folder).free
    if free < _MARGIN * wanted:
        raise DataError(
            f"the rows of {source.name!r} are not in the order of {column!r}, and the copy that "
            f"is takes about {wanted / 1e9:.2g} GB; {folder.parent} has {free / 1e9:.2g} GB "
            f"free. {_WAY_OUT}"
        )
    buckets = min(-(-wanted // _BUCKET_BYTES), _MOST_BUCKETS)
    dealt = [folder / f"dealt-{number}" for number in range(buckets)]
    waiting: list[list[Any]] = [[] for _ in dealt]
    size = 0

    def write() -> None:
        for path, tables in zip(dealt, waiting, strict=True):
            if tables:
                with path.open("ab") as opened:  # one stream after another
                    _write(opened, [_joined(tables)])
                tables.clear()

    what = f"copy by {column} in {folder.parent}"
    for table in with_bar(source.tables(named), source.count, what):
        bucket = (marks_of(table.column(column)) * _SPREAD >> np.uint64(40)) % np.uint64(buckets)
        order = np.argsort(bucket, kind="stable")
        rows = table.take(order)
        edges = np.searchsorted(bucket[order], np.arange(buckets + 1))
        for k in map(int, np.flatnonzero(np.diff(edges))):
            low, high = int(edges[k]), int(edges[k + 1])
            waiting[k].append(rows.slice(low, high - low))
        size += table.nbytes
        if size > _WAITING_BYTES:
            write()
            size = 0
    write()
    files = []
    for number, path in enumerate(dealt):
        if path.exists():
            files.append(folder / f"sorted-{number}")
            with files[-1].open("wb") as opened:
                _write(opened, _whole_clusters(_read(path), column))
            path.unlink()
    return tuple(files)


def _whole_clusters(table: Any, column: str) -> Iterator[Any]:
    """The rows of a bucket, cluster by cluster, in batches of whole clusters."""
    marks = marks_of(table.column(column))
    order = np.argsort(marks, kind="stable")  # rows of a cluster stay in their order
    table, marks = table.take(order), marks[order]
    ends = np.append(_begins(marks, None)[1:], marks.size)
    start = 0
    while start < marks.size:
        reach = int(np.searchsorted(ends, start + sources.BATCH_ROWS, side="right"))
        stop = int(ends[max(reach - 1, int(np.searchsorted(ends, start, side="right")))])
        yield table.slice(start, stop - start).combine_chunks()
        start = stop


def _write(opened: Any, tables: Iterable[Any]) -> None:
    """Some tables of one schema as a stream of batches."""
    import pyarrow as pa

    writer = None
    for table in tables:
        writer = writer or pa.ipc.new_stream(opened, table.schema)
        writer.write_table(table.combine_chunks())
    if writer is not None:
        writer.close()


def _read(path: Path) -> Any:
    """All streams of a file below each other."""
    import pyarrow as pa

    tables = []
    with pa.OSFile(str(path)) as opened:
        while opened.tell() < opened.size():
            with pa.ipc.open_stream(opened) as batches:
                tables.append(batches.read_all())
    return _joined(tables)


def _joined(tables: Sequence[Any]) -> Any:
    """Tables below each other."""
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    return pa.concat_tables(tables).unify_dictionaries()


def marks_of(column: Any) -> np.ndarray:
    """A number for each value of an Arrow column, equal for equal values (n,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_floating(values.type):
        values = pc.fill_null(values, 0.0).cast(pa.float64())
        return (values.to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)  # −0 is 0
    if pa.types.is_integer(values.type):
        filled = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        return filled.astype(np.int64 if filled.dtype.kind == "i" else np.uint64).view(np.uint64)
    if not pa.types.is_dictionary(values.type):
        values = pc.dictionary_encode(values)
    marks = [
        int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "little")
        for value in [*values.dictionary.to_pylist(), None]
    ]
    codes = pc.fill_null(values.indices.cast(pa.int64()), len(marks) - 1)
    return np.array(marks, np.uint64)[codes.to_numpy(zero_copy_only=False)]
