"""The partitions of a dask DataFrame, one after another or on the workers of a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from expfam_glm.data import source
from expfam_glm.data.source import Parts, Source, reading
from expfam_glm.errors import DataError, need

_UNKNOWN = "__UNKNOWN_CATEGORIES__"  # dask's one category of those that no one has looked for


@dataclass(frozen=True, eq=False)
class Partitions(Source):
    """A dask DataFrame, by reference."""

    frame: Any
    name: str = source.Described("a dask DataFrame")
    held: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    @property
    def count(self) -> int:
        return sum(self.lengths)

    @cached_property
    def lengths(self) -> list[int]:
        """The rows of each partition, for which one of its columns is computed."""
        import dask

        with reading(self.name):
            counted = [dask.delayed(len)(piece) for piece in self._pieces(self.names[:1])]
            return [int(n) for n in dask.compute(*counted)]

    def kind(self, column: str) -> Any:
        import pyarrow as pa

        known = self._kinds([column]).get(column)
        if known is not None:
            return known
        for table in self.tables([column]):
            found = table.schema.field(column).type
            if not pa.types.is_null(found):
                return found
        return pa.null()

    def tables(self, columns: Sequence[str]) -> Iterator[Any]:
        opened = partial(_tables_of, kinds=self._kinds(columns), name=self.name)
        for piece in self._pieces(tuple(columns)):
            with reading(self.name):
                computed = piece.compute()
            yield from opened(computed)

    def parts(self, columns: Sequence[str]) -> Parts:
        named = tuple(columns)
        tables = partial(_tables_of, kinds=self._kinds(named), name=self.name)
        return Parts(self._pieces(named), self.lengths, tables)

    def _pieces(self, named: tuple[str, ...]) -> list[Any]:
        """Some columns of each partition, to be computed."""
        if named not in self.held:  # the graph takes longer to make than a small partition
            with reading(self.name):
                # read without the other columns, but not fused: partitions of few bytes stay apart
                frame = self.frame[list(named)].simplify()
                self.held[named] = frame.to_delayed(optimize_graph=False)
        return self.held[named]

    def head(self, part: Any, rows: int) -> Any:
        return part.iloc[:rows]

    def _kinds(self, columns: Sequence[str]) -> dict[str, Any]:
        """The Arrow types of columns whose values need not be looked at for them."""
        import pyarrow as pa

        meta = self.frame._meta[list(columns)]
        schema = pa.Schema.from_pandas(meta, preserve_index=False)
        unknown = {
            name
            for name in columns
            if pa.types.is_null(schema.field(name).type)
            or _UNKNOWN in getattr(meta[name].dtype, "categories", ())
        }
        return {name: schema.field(name).type for name in columns if name not in unknown}


def open_partitions(frame: Any) -> Partitions:
    """A dask DataFrame as a source.

    Raises
    ------
    DataError
        If its columns cannot be told apart by text.
    MissingPackageError
        If pyarrow or dask cannot be imported.
    """
    need("dask.dataframe", "dask")
    need("pyarrow", "dask")
    names = list(frame.columns)
    if not names:
        raise DataError("the dask DataFrame has no columns.")
    odd = [name for name in names if not isinstance(name, str)]
    odd += [name for name, times in Counter(names).items() if times > 1]
    if odd:
        raise DataError(
            f"the columns of a dask DataFrame need names that are text and differ, unlike "
            f"{', '.join(map(repr, odd[:5]))}; rename them."
        )
    return Partitions(frame)


def _tables_of(frame: Any, kinds: Mapping[str, Any], name: str) -> Iterator[Any]:
    """A partition as Arrow tables of at most BATCH_ROWS rows."""
    import pyarrow as pa

    for start in range(0, len(frame), source.BATCH_ROWS):
        rows = frame.iloc[start : start + source.BATCH_ROWS]
        with reading(name):
            table = pa.Table.from_pandas(rows, preserve_index=False)
            for place, field in enumerate(table.schema):
                kind = kinds.get(field.name, field.type)
                if kind != field.type and not pa.types.is_dictionary(kind):
                    table = table.set_column(place, field.name, table.column(place).cast(kind))
        yield table
