"""Any data frame, dataset or dict of arrays, read column by column into NumPy arrays.

A `Table` knows its column names and hands out native columns; `read` turns one native column
into a `Column`: values of one plain kind, and masks of the rows that are missing or infinite.
Nulls are asked of the frame itself, never inferred from converted values: pyarrow's conversion
of a dictionary array to NumPy puts an arbitrary level where a null was.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal
from unicodedata import normalize

import numpy as np

from expfam_glm.data.magnitude import square_sum
from expfam_glm.errors import DataError, show_rows

Kind = Literal["number", "boolean", "text", "factor", "date"]

BLOCK = 4096  # rows
KINDS = {
    "number": "numbers",
    "boolean": "booleans",
    "text": "text",
    "factor": "categories",
    "date": "dates or times",
}


@dataclass(frozen=True, eq=False)
class Column:
    """One column: values of one kind (a factor's are codes into its levels), and its bad rows."""

    name: str
    kind: Kind
    values: np.ndarray
    missing: np.ndarray | None = None
    infinite: np.ndarray | None = None
    levels: tuple[Any, ...] = ()

    def take(self, kept: np.ndarray) -> Column:
        """The column on the rows kept, where nothing is missing."""
        return replace(self, values=self.values[kept], missing=None, infinite=None)

    def only(self, kept: np.ndarray | None) -> Column:
        """The column with its bad rows counted among the kept ones only."""
        if kept is None:
            return self
        missing, infinite = (
            None if bad is None else _mask(bad & kept) for bad in (self.missing, self.infinite)
        )
        return replace(self, missing=missing, infinite=infinite)

    def array(self) -> np.ndarray:
        """The values as a user would write them: a factor's as its levels."""
        if self.kind != "factor":
            return self.values
        return np.array([*self.levels, None], dtype=object)[self.values]

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, or truth values that stand for 0 and 1."""
        return self.kind in ("number", "boolean")

    def number(self, advice: str = "") -> np.ndarray:
        """The values as float64, contiguous and without a copy where they already are."""
        if not self.is_numeric:
            shown = show_rows(self.array(), np.arange(len(self.values)) < 3)
            message = f"{self.name!r} must be numeric, but holds {KINDS[self.kind]} ({shown})."
            raise DataError(f"{message} {advice}".rstrip())
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(self.values, dtype=np.float64)
        if self.values.dtype.itemsize > numbers.dtype.itemsize and not all_finite(numbers):
            lost = np.isinf(numbers) & np.isfinite(self.values)
            if lost.any():
                raise DataError(
                    f"{self.name!r} holds numbers beyond the range of doubles "
                    f"({show_rows(self.values, lost)}); rescale it."
                )
        return numbers


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a data frame by name; `index` is a pandas row index where there is one."""

    names: tuple[str, ...]
    native: Callable[[str], Any]
    length: int | None = None
    index: Any = None
    nameless: tuple[Any, ...] = ()  # names of columns that are not text

    def refuse_nameless(self, asked: str) -> None:
        """Refuse to take all columns where some cannot be named."""
        if self.nameless:
            raise DataError(
                f"{asked} stands for every column, but {len(self.nameless)} of the data have names "
                f"that are not text ({', '.join(map(repr, self.nameless[:5]))}); rename the "
                "columns to text."
            )

    def column(self, name: str, role: str = "column", *, finite: bool = False) -> Column:
        """Read one column, or say which names are close to an unknown one.

        `finite` says that its numbers are known to be.
        """
        if name not in self.names:
            raise DataError(f"{role} {name!r} is not in the data; {close_to(name, self.names)}")
        return read(self.native(name), name, finite=finite)


def open_table(data: Any) -> Table:
    """The columns of any of the known kinds of data."""
    xarray = sys.modules.get("xarray")
    if xarray is not None and isinstance(data, xarray.Dataset):
        return _open_dataset(data)
    if isinstance(data, Mapping):
        _check_same_rows(data)
        lengths = [len(v) for v in data.values() if not _is_sparse(v) and np.ndim(v)]
        names, nameless = _split_names(data)
        length = lengths[0] if lengths else None
        return Table(names, data.__getitem__, length, nameless=nameless)
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import NarwhalsError

    try:
        frame = nw.from_native(data, eager_only=True, pass_through=True)
    except NarwhalsError as error:
        raise DataError(f"the data cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(frame, nw.DataFrame):
        lazy = type(data).__module__.startswith("polars") and hasattr(data, "collect")
        hint = "; call .collect() on it first" if lazy else ""
        raise DataError(
            "data must be a pandas or polars DataFrame, a pyarrow Table, an xarray Dataset, a dict "
            "of arrays; or, to be read in batches, a path to Parquet files, a pyarrow dataset or a "
            f"dask DataFrame, not {type(data).__name__}{hint}."
        )
    names, nameless = _split_names(frame.columns)
    index = data.index if frame.implementation.is_pandas() else None
    native = frame.to_native().column if frame.implementation.is_pyarrow() else frame.get_column
    return Table(names, native, len(frame), index, nameless)


def _split_names(names: Iterable[Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The names that are text, and those that are not."""
    listed = tuple(names)
    texts = tuple(name for name in listed if isinstance(name, str))
    return texts, tuple(name for name in listed if not isinstance(name, str))


def _is_sparse(values: Any) -> bool:
    """Whether it is a sparse matrix or array of SciPy's."""
    return hasattr(values, "toarray") and hasattr(values, "nnz")


def _check_same_rows(data: Mapping[Any, Any]) -> None:
    """Refuse pandas Series with the same number of rows and other row labels, paired by nobody."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    series = {name: v for name, v in data.items() if isinstance(v, pandas.Series)}
    first = next(iter(series), None)
    for name, values in series.items():
        index = series[first].index
        if len(values) == len(index) and not values.index.equals(index):
            raise DataError(
                f"{name!r} and {first!r} are pandas Series with different row labels. If their "
                "rows are in the same order pass .to_numpy(); else put them into one DataFrame."
            )


def _open_dataset(data: Any) -> Table:
    """The 1-d variables of an xarray Dataset, all on one dimension."""
    seen: dict[Any, str] = {}

    def native(name: str) -> np.ndarray:
        variable = data[name]
        if variable.ndim != 1:
            raise DataError(
                f"variable {name!r} has dimensions {variable.dims}; a column needs exactly one."
            )
        seen.setdefault(variable.dims[0], name)
        if len(seen) > 1:
            listed = ", ".join(f"{column!r} on {dim!r}" for dim, column in seen.items())
            raise DataError(f"the columns must share one dimension: {listed}.")
        return variable.values

    lengths = list(data.sizes.values())
    names = tuple(str(name) for name in data.variables)
    return Table(names, native, lengths[0] if len(lengths) == 1 else None)


def close_to(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: the close matches, or the first names there are."""
    names = list(names)
    if not names:
        return "the data have no columns: pass an array, or a data frame that has it."
    twins = [one for one in names if normalize("NFKC", one) == normalize("NFKC", name)]
    if twins:
        return (
            f"the column {twins[0]!r} is the same text in another Unicode normalisation "
            f"({twins[0]!a}, not {name!a}). Normalise the names of the columns: "
            'unicodedata.normalize("NFC", name).'
        )
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(map(repr, close)) + "?"
    shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    return f"the names are {shown}."


def read(raw: Any, name: str, *, finite: bool = False) -> Column:
    """One native column (array, list, or series of any frame library) as a `Column`.

    Numbers of Arrow that are known to be finite are not looked at again.
    """
    if isinstance(raw, np.ndarray):
        return _read_array(raw, name)
    if isinstance(raw, list | tuple):
        return _read_array(np.array(raw, dtype=object), name)
    pandas, pyarrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    if pandas is not None and isinstance(raw, pandas.Index | pandas.api.extensions.ExtensionArray):
        raw = pandas.Series(raw)
    if pyarrow is not None and isinstance(raw, pyarrow.Array):
        raw = pyarrow.chunked_array([raw])
    if pyarrow is not None and isinstance(raw, pyarrow.ChunkedArray) and not raw.null_count:
        kind = raw.type  # without a wrapper: batches are many
        if pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind):
            values = raw.to_numpy()
            return Column(name, "number", values) if finite else _number(values, name)
    if _is_sparse(raw):
        raise DataError(
            f"{name!r} is sparse, and a column is dense; give .toarray().ravel() of it."
        )
    import narwhals.stable.v2 as nw

    series = nw.from_native(raw, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return _read_series(series, name)
    return _read_array(np.asarray(raw), name)


def _read_array(values: np.ndarray, name: str) -> Column:
    """A NumPy array as a column, by its dtype."""
    if values.ndim == 0:
        shown = repr(values.item())
        raise DataError(
            f"{name!r} must have one value for each row, not the single {shown}; for one row "
            f"write [{shown}]."
        )
    if values.ndim != 1:
        raise DataError(
            f"{name!r} must be one column, but has shape {values.shape}; "
            "give each of its columns a name of its own."
        )
    if isinstance(values, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(values)
        values = np.asarray(values).astype(object)
        values[masked] = None
    match values.dtype.kind:
        case "f" | "i" | "u":
            return _number(values, name)
        case "b":
            return Column(name, "boolean", values)
        case "U" | "T":
            return _read_objects(values.astype(object), name)
        case "M" | "m":
            return Column(name, "date", values, _mask(np.isnat(values)))
        case "O":
            return _read_objects(values, name)
    raise DataError(f"{name!r} has dtype {values.dtype}, which is neither numbers nor text.")


def _read_objects(values: np.ndarray, name: str) -> Column:
    """An array of Python objects as a column, by the types found in it."""
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None:
            missing = pandas.isna(values)
        else:
            missing = np.array([v is None or v != v for v in values], dtype=bool)
    except ArithmeticError as error:
        raise DataError(f"{name!r} holds a signalling NaN of decimal; correct it.") from error
    kinds = {type(v) for v in values[~missing]}
    if all(issubclass(kind, bool | np.bool_) for kind in kinds) and kinds:
        flags = np.where(missing, False, values).astype(bool)
        return Column(name, "boolean", flags, _mask(missing))
    if all(issubclass(kind, Real | Decimal | np.bool_) for kind in kinds):
        if not missing.any() and all(issubclass(kind, Integral) for kind in kinds):
            with contextlib.suppress(OverflowError):
                return _number(values.astype(np.int64), name)  # labels beyond 2⁵³ stay exact
        try:
            return _number(np.where(missing, np.nan, values).astype(np.float64), name)
        except (OverflowError, ArithmeticError) as error:
            raise DataError(
                f"{name!r} holds a number that does not fit a double: {error}."
            ) from error
    if all(issubclass(kind, str) for kind in kinds):
        return Column(name, "text", values, _mask(missing))
    for kind, unit in ((date, "D"), (datetime, "us")):
        if kinds == {kind} and not any(getattr(v, "tzinfo", None) for v in values):
            dates = values.copy()
            dates[missing] = None
            dates = dates.astype(f"M8[{unit}]")
            return Column(name, "date", dates, _mask(missing))
    listed = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(
        f"{name!r} holds values of type {listed}; make them all numbers, all booleans, all "
        "text or all dates."
    )


def _read_series(series: Any, name: str) -> Column:
    """A narwhals series as a column, by its data type."""
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if isinstance(dtype, nw.Categorical | nw.Enum):
        return _read_categories(series, name)
    if dtype.is_decimal():
        return _read_objects(np.array(series.to_list(), dtype=object), name)
    if dtype.is_numeric():
        return _number(series.to_numpy(), name)
    if dtype.is_nested():
        raise DataError(f"{name!r} must be one column, but each of its values is a {dtype}.")
    missing = _mask(series.is_null().to_numpy())
    values = series.to_numpy()
    if dtype == nw.Boolean:
        if missing is not None:
            values = np.where(missing, False, values)
        return Column(name, "boolean", values.astype(bool), missing)
    if dtype == nw.String:
        return Column(name, "text", values, missing)
    if dtype.is_temporal():
        return Column(name, "date", values, missing)
    return _read_array(values, name)


def _read_categories(series: Any, name: str) -> Column:
    """A categorical series: levels in the declared order, except where the library has none."""
    if series.implementation.is_polars() and not hasattr(series.dtype, "categories"):
        return Column(name, "text", series.to_numpy(), _mask(series.is_null().to_numpy()))
    native = series.to_native()
    if series.implementation.is_pandas() and not hasattr(native, "cat"):
        return read(series.to_arrow(), name)
    indexed = _dictionary(native) if series.implementation.is_pyarrow() else None
    if series.implementation.is_pandas():
        found, codes = list(native.cat.categories), native.cat.codes.to_numpy()
    elif indexed is not None:
        found, codes = indexed
    else:
        found = series.cat.get_categories().to_list()
        place = {level: code for code, level in enumerate(found)}
        codes = np.array([place.get(level, -1) for level in series.to_list()], dtype=np.intp)
    levels = tuple(v if isinstance(v, str | bool | Real) else str(v) for v in found)
    return Column(name, "factor", codes, _mask(codes == -1), levels=levels)


def _dictionary(chunks: Any) -> tuple[list[Any], np.ndarray] | None:
    """Levels and codes of Arrow's chunks without an object a row; None of odd dictionaries."""
    parts = chunks.unify_dictionaries().chunks
    found = parts[0].dictionary.to_pylist() if parts else []
    if not found or None in found or len(set(found)) < len(found):
        return None
    codes = [part.indices.cast("int64").fill_null(-1).to_numpy() for part in parts]
    return found, np.concatenate(codes).astype(np.intp, copy=False)


def _number(values: np.ndarray, name: str) -> Column:
    """A numeric column; a finite sum proves that nothing is missing or infinite."""
    if values.dtype.kind != "f" or all_finite(values):
        return Column(name, "number", values)
    missing, infinite = _mask(np.isnan(values)), _mask(np.isinf(values))
    return Column(name, "number", values, missing, infinite)


def all_finite(values: np.ndarray) -> bool:
    """Whether every value is finite, in one pass without a temporary array where all are."""
    with np.errstate(all="ignore"):
        total = square_sum(values) if values.dtype == np.float64 else values.sum(dtype=np.float64)
    return bool(np.isfinite(total)) or bool(np.isfinite(values).all())


def assemble(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of equal length as one C-ordered float64 matrix, filled by blocks in cache."""
    n = len(columns[0])
    X = np.empty((n, len(columns)))
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        for j, values in enumerate(columns):
            X[rows, j] = values[rows]
    return X


def columnwise(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The same in Fortran's order, in half the time."""
    X = np.empty((len(columns), len(columns[0])))
    for row, values in zip(X, columns, strict=True):
        row[:] = values
    return X.T


def _mask(bad: np.ndarray) -> np.ndarray | None:
    """The mask, or None if it is empty."""
    return bad if bad.any() else None
