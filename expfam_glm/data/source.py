"""Data that are read in batches and never as a whole: Parquet files, datasets, partitions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from expfam_glm.data.cluster import Work, on_cluster, running
from expfam_glm.errors import DataError, ExpfamError, need

# Rows of a batch: large enough for its overhead to vanish, small against any memory.
BATCH_ROWS = 1 << 16
# Rows of the pieces of files that the workers of a cluster take.
PART_ROWS = 1 << 18
_AHEAD = 2  # batches decoded while one is in use
_PARQUET = (".parquet", ".pq", ".parq")


class Described(str):
    """A name that is a description: an error shows it without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


class Parts(NamedTuple):
    """What the workers of a cluster take one by one."""

    pieces: Sequence[Any]
    lengths: Sequence[int]  # the rows of each
    tables: Callable[[Any], Iterator[Any]]  # what a piece becomes there


class Source(ABC):
    """Columns that can be read in batches, here or on the workers of a cluster."""

    name: str

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The columns."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The rows."""

    @abstractmethod
    def kind(self, column: str) -> Any:
        """The Arrow type of a column."""

    def check(self, columns: Sequence[str]) -> None:  # noqa: B027 most sources have no such rows
        """Refuse rows of which some lack a column as a whole."""

    @abstractmethod
    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """The named columns as pyarrow tables, batch by batch; none of them is empty."""

    def first(self, columns: Sequence[str]) -> Any:
        """The first of these tables; None where there is no row."""
        return next(iter(self.tables(columns)), None)

    @abstractmethod
    def parts(self, columns: Sequence[str]) -> Parts:
        """What workers take one by one; no part: read it here."""

    def head(self, part: Any, rows: int) -> Any:
        """What workers take for the first rows of a part: these, or it."""
        return part

    def total[T](self, columns: Iterable[str], work: Work[T], add: Callable[[T, T], T]) -> T | None:
        """What `work` makes of all tables; where a cluster runs, the sum over parts, in order.

        `work` takes an iterator of tables and the number of their first row, and gives None where
        there is nothing; it travels to the workers, so it must hold no data.
        """
        named, client = tuple(dict.fromkeys(columns)), running()
        if client is not None:
            with reading(self.name):
                parts = self.parts(named)
                if parts.pieces:
                    return on_cluster(client, *parts, work, add)
        return work(self.tables(named), 0)


@dataclass(frozen=True, eq=False)
class Files(Source):
    """A pyarrow dataset, and the words that name it.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    name : str
        The path as given, or what kind of dataset it is.
    """

    dataset: Any
    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.dataset.schema.names)

    @cached_property
    def count(self) -> int:
        """The rows, from the files' own records."""
        with reading(self.name):
            return int(self.dataset.count_rows())

    def kind(self, column: str) -> Any:
        return self.dataset.schema.field(column).type

    def check(self, columns: Sequence[str]) -> None:
        folders = getattr(self.dataset, "partitioning", None)
        wanted = set(columns) - set([] if folders is None else folders.schema.names)
        with reading(self.name):
            for fragment in self._fragments:
                lacking = sorted(wanted - set(fragment.physical_schema.names))
                if lacking:
                    raise DataError(
                        f"{fragment.path!r}, one of the files of {self.name!r}, has no column "
                        f"{', '.join(map(repr, lacking))}, which others have. Add it, or leave the "
                        "file out."
                    )

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        # with threads dozens of batches would wait: one is decoded ahead of its use
        return self._tables(columns, use_threads=False, batch_readahead=_AHEAD)

    def first(self, columns: Sequence[str]) -> Any:
        # without threads a scan that is left off first decodes all that is left
        return next(self._tables(columns, use_threads=True, batch_readahead=0), None)

    def _tables(self, columns: Sequence[str], **how: Any) -> Iterator[Any]:
        import pyarrow as pa

        with reading(self.name, lambda: self._unlike(columns)):
            batches = self.dataset.to_batches(
                columns=list(columns), batch_size=BATCH_ROWS, fragment_readahead=1,
                **self._lean, **how,
            )  # fmt: skip
            for batch in batches:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])

    def _unlike(self, columns: Sequence[str]) -> str:
        """What to do where a column has another type in one file than in the first."""
        for fragment in self.dataset.get_fragments():
            own = fragment.physical_schema
            for name in columns:
                if name in own.names and own.field(name).type != self.kind(name):
                    return (
                        f" The schemas of the files differ: {name!r} is {self.kind(name)} in the "
                        f"first, {own.field(name).type} in {fragment.path!r}. Cast it in one of "
                        "them, or give a pyarrow.dataset.dataset(…, schema=…) with the wider type."
                    )
        return ""

    @property
    def _lean(self) -> dict[str, Any]:
        """How files on this machine are read without most of them waiting in memory."""
        from pyarrow import dataset as datasets
        from pyarrow.fs import LocalFileSystem

        local = isinstance(getattr(self.dataset, "filesystem", None), LocalFileSystem)
        if not (local and isinstance(self.dataset.format, datasets.ParquetFileFormat)):
            return {}
        return {"fragment_scan_options": datasets.ParquetFragmentScanOptions(pre_buffer=False)}

    def parts(self, columns: Sequence[str]) -> Parts:
        pieces = [part for part, _ in self._pieces]
        lengths = [rows for _, rows in self._pieces]
        return Parts(pieces, lengths, partial(_tables_of, columns=tuple(columns)))

    @cached_property
    def _fragments(self) -> list[Any]:
        """The files; none where rows are in memory, or filtered."""
        from pyarrow import dataset as datasets

        if not isinstance(self.dataset, datasets.FileSystemDataset):
            return []
        try:
            return list(self.dataset.get_fragments())
        except ValueError:  # of a filtered dataset
            return []

    @cached_property
    def _pieces(self) -> list[tuple[Files, int]]:
        """Runs of row groups of one file, and their rows; none where rows are in memory here."""
        from pyarrow import dataset as datasets

        whole = self.dataset
        found = []
        for fragment in self._fragments:
            for part, rows in _runs(fragment):
                alike = datasets.FileSystemDataset(
                    [part], whole.schema, fragment.format, fragment.filesystem
                )
                found.append((Files(alike, self.name), rows))
        return found


def _runs(fragment: Any) -> Iterator[tuple[Any, int]]:
    """A file in runs of row groups that have PART_ROWS rows together, and how many these are."""
    if not hasattr(fragment, "row_groups"):
        yield fragment, fragment.count_rows()
        return
    run: list[int] = []
    rows = 0
    for group in fragment.row_groups:
        run.append(group.id)
        rows += group.num_rows
        if rows >= PART_ROWS:
            yield fragment.subset(row_group_ids=run), rows
            run, rows = [], 0
    if run:
        yield fragment.subset(row_group_ids=run), rows


def _tables_of(part: Source, columns: Sequence[str]) -> Iterator[Any]:
    return part.tables(columns)


def is_source(data: Any) -> bool:
    """Whether data are a path, a dataset or a dask DataFrame, to be read in batches."""
    if isinstance(data, str | PathLike):
        return True
    module = type(data).__module__
    if module.startswith("dask.dataframe"):
        return hasattr(data, "to_delayed") and getattr(data, "ndim", None) == 2
    return module.startswith("pyarrow") and hasattr(data, "to_batches") and hasattr(data, "scanner")


def open_source(data: Any) -> Source:
    """The dataset behind a path, or the one given, or the partitions of a dask DataFrame.

    Raises
    ------
    DataError
        If there is no such path, or it holds no Parquet file that can be read.
    MissingPackageError
        If pyarrow or dask cannot be imported.
    """
    if type(data).__module__.startswith("dask"):
        from expfam_glm.data.partitions import open_partitions

        return open_partitions(data)
    datasets = need("pyarrow.dataset", "parquet")
    if not isinstance(data, str | PathLike):
        return Files(data, Described(f"a {type(data).__name__}"))
    path = Path(fspath(data))
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}; data= takes a Parquet path.")
    if path.is_file() and path.suffix.lower() not in _PARQUET:
        raise DataError(
            f"{str(path)!r} is not a Parquet file ({', '.join(_PARQUET)}), the only kind that is "
            "read in batches; read it into a data frame, or write it as Parquet."
        )
    if path.is_dir() and not any(f.suffix.lower() in _PARQUET for f in path.rglob("*")):
        raise DataError(f"the folder {str(path)!r} holds no Parquet file.")
    with reading(str(path)):
        # hive: folders named column=value are a column; other files of the folder are left alone
        files = [str(path)] if path.is_file() else None
        dataset = datasets.dataset(
            files or str(path), format="parquet", partitioning="hive",
            exclude_invalid_files=path.is_dir(),
        )  # fmt: skip
    if not dataset.schema.names:
        raise DataError(f"{str(path)!r} has no columns.")
    return Files(dataset, str(path))


def complete_rows(table: Any) -> Any:
    """The rows of an Arrow table without null or NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = None
    for column in table.columns:
        good = pc.is_valid(column)
        if pa.types.is_floating(column.type):
            good = pc.and_(good, pc.invert(pc.fill_null(pc.is_nan(column), True)))
        kept = good if kept is None else pc.and_(kept, good)
    return table if kept is None else table.filter(kept)


def lacks(table: Any) -> bool:
    """Whether an Arrow table has a null or NaN."""
    return bool(complete_rows(table).num_rows < table.num_rows)


class reading:
    """Whatever goes wrong in reading, or on a cluster, as one error of ours."""

    def __init__(self, name: str, hint: Callable[[], str] = str) -> None:
        self.name, self.hint = name, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, ExpfamError):
            return
        reason = " ".join(str(error).split()).rstrip(".") or "no reason is given"
        if type(error).__name__ == "KilledWorker":
            reason += ". If workers run out of memory, make the partitions smaller"
        hint = self.hint() if type(error).__name__ == "ArrowInvalid" else ""
        raise DataError(f"{self.name!r} cannot be read: {_kind(error)}{reason}.{hint}") from error


def _kind(error: Exception) -> str:
    """The type of an error that does not explain itself."""
    import pyarrow as pa

    explained = isinstance(error, pa.ArrowException | OSError)
    return "" if explained else f"{type(error).__name__}: "
