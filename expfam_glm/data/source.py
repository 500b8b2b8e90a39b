"""Data that are read in batches and never as a whole: Parquet files, folders, pyarrow datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from expfam_glm.errors import DataError, need

# Rows of a batch: large enough for its overhead to vanish, small against any memory.
BATCH_ROWS = 1 << 16
_AHEAD = 2  # batches decoded while one is in use
_PARQUET = (".parquet", ".pq", ".parq")


@dataclass(frozen=True)
class Source:
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
        """The columns."""
        return tuple(self.dataset.schema.names)

    @property
    def count(self) -> int:
        """The rows, from the files' own records."""
        with _reading(self.name):
            return int(self.dataset.count_rows())

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        """The named columns as pyarrow tables, batch by batch, read ahead."""
        import pyarrow as pa

        with _reading(self.name):
            batches = self.dataset.to_batches(
                columns=list(columns), batch_size=BATCH_ROWS,
                batch_readahead=_AHEAD, fragment_readahead=1,
            )  # fmt: skip
            for batch in batches:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])


def is_source(data: Any) -> bool:
    """Whether data are a path or a dataset, to be read in batches."""
    if isinstance(data, str | PathLike):
        return True
    module = type(data).__module__
    return module.startswith("pyarrow") and hasattr(data, "to_batches") and hasattr(data, "scanner")


def open_source(data: Any) -> Source:
    """The dataset behind a path, or the one given.

    Raises
    ------
    DataError
        If there is no such path, or it holds no Parquet file that can be read.
    MissingPackageError
        If pyarrow is not installed.
    """
    datasets = need("pyarrow.dataset", "parquet")
    if not isinstance(data, str | PathLike):
        return Source(data, f"a {type(data).__name__}")
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
    with _reading(str(path)):
        # hive: folders named column=value are a column; other files of the folder are left alone
        files = [str(path)] if path.is_file() else None
        dataset = datasets.dataset(
            files or str(path), format="parquet", partitioning="hive",
            exclude_invalid_files=path.is_dir(),
        )  # fmt: skip
    if not dataset.schema.names:
        raise DataError(f"{str(path)!r} has no columns.")
    return Source(dataset, str(path))


class _reading:
    """Whatever goes wrong in reading as one error of ours."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        import pyarrow as pa

        if isinstance(error, pa.ArrowException | OSError):
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{self.name!r} cannot be read: {reason}.") from error


def ahead[T](items: Iterator[T]) -> Iterator[T]:
    """The items, each of them made while the one before is in use."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="expfam_glm_ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield cast(T, item)
