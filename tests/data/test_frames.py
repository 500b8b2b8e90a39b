"""Every kind of data frame gives the same columns; nulls, levels and odd types are read right."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

from expfam_glm.data.frames import all_finite, assemble, close_to, open_table, read
from expfam_glm.errors import DataError

NUMBERS = [1.5, None, -2.0]
ARROW_DICTIONARY = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))


@pytest.mark.parametrize(
    "raw",
    [
        NUMBERS,
        (1.5, float("nan"), -2.0),
        np.array([1.5, np.nan, -2.0]),
        np.array([1.5, None, -2.0], dtype=object),
        np.array([Decimal("1.5"), None, Decimal(-2)], dtype=object),
        np.ma.masked_array([1.5, 7.0, -2.0], mask=[False, True, False]),
        np.array([1.5, np.nan, -2.0], dtype=np.float32),
        pd.Series(NUMBERS),
        pd.Series(NUMBERS, dtype="Float64"),
        pd.Series(NUMBERS, dtype="float64[pyarrow]"),
        pd.Series(NUMBERS, dtype=object),
        pd.Index([1.5, np.nan, -2.0]),
        pd.array(NUMBERS, dtype="Float64"),
        pd.arrays.SparseArray([1.5, np.nan, -2.0]),
        pl.Series(NUMBERS),
        pl.Series([1.5, float("nan"), -2.0]),
        pl.Series([Decimal("1.5"), None, Decimal(-2)]),
        pa.array(NUMBERS),
        pa.chunked_array([[1.5], [None, -2.0]]),
        xr.DataArray([1.5, np.nan, -2.0]),
    ],
    ids=lambda raw: f"{type(raw).__module__.split('.')[0]}-{type(raw).__name__}",
)
def test_numbers_are_read_alike(raw: Any) -> None:
    column = read(raw, "x")
    assert column.kind == "number"
    np.testing.assert_array_equal(column.missing, [False, True, False])
    np.testing.assert_array_equal(column.number()[[0, 2]], [1.5, -2.0])
    assert column.number().dtype == np.float64


@pytest.mark.parametrize(
    "raw",
    [
        [3, None, 1],
        pd.Series([3, None, 1], dtype="Int64"),
        pl.Series([3, None, 1]),
        pa.chunked_array([[3, None, 1]]),
    ],
)
def test_integers_with_nulls(raw: Any) -> None:
    column = read(raw, "k")
    np.testing.assert_array_equal(column.missing, [False, True, False])
    np.testing.assert_array_equal(column.number()[[0, 2]], [3, 1])


@pytest.mark.parametrize(
    "raw",
    [
        [True, None, False],
        np.array([True, None, False], dtype=object),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series([True, None, False], dtype="bool[pyarrow]"),
        pl.Series([True, None, False]),
        pa.chunked_array([[True, None, False]]),
    ],
)
def test_booleans_with_nulls(raw: Any) -> None:
    column = read(raw, "flag")
    assert (column.kind, column.values.dtype) == ("boolean", np.bool_)
    np.testing.assert_array_equal(column.missing, [False, True, False])
    np.testing.assert_array_equal(column.values[[0, 2]], [True, False])


@pytest.mark.parametrize(
    "raw",
    [
        ["b", None, "a"],
        np.array(["b", None, "a"], dtype=object),
        np.array(["b", np.nan, "a"], dtype=object),
        pd.Series(["b", None, "a"]),
        pd.Series(["b", None, "a"], dtype=object),
        pd.Series(["b", None, "a"], dtype="string"),
        pl.Series(["b", None, "a"]),
        pl.Series(["b", None, "a"], dtype=pl.Categorical),
        pa.chunked_array([["b", None, "a"]]),
    ],
)
def test_text_with_nulls(raw: Any) -> None:
    column = read(raw, "g")
    assert column.kind == "text"
    np.testing.assert_array_equal(column.missing, [False, True, False])
    assert column.array()[[0, 2]].tolist() == ["b", "a"]


@pytest.mark.parametrize(
    "raw",
    [
        pd.Series(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"])),
        pd.Categorical(["b", None, "a"], categories=["c", "b", "a"], ordered=True),
        pl.Series(["b", None, "a"], dtype=pl.Enum(["c", "b", "a"])),
        pa.array(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"])),
        pd.Series(["c", "b", None, "a"], dtype=ARROW_DICTIONARY)[1:],
    ],
    ids=["pandas", "pandas-ordered", "polars-enum", "pyarrow", "pandas-arrow"],
)
def test_declared_levels_keep_their_order_and_nulls_stay_null(raw: Any) -> None:
    column = read(raw, "g")
    assert (column.kind, column.levels) == ("factor", ("c", "b", "a"))
    np.testing.assert_array_equal(column.missing, [False, True, False])
    assert column.array().tolist() == ["b", None, "a"]


def test_dictionary_chunks_with_different_dictionaries() -> None:
    chunks = [pa.array(part).dictionary_encode() for part in (["b", "a"], ["z", None, "a"])]
    column = read(pa.chunked_array(chunks), "g")
    assert column.array().tolist() == ["b", "a", "z", None, "a"]


def test_levels_that_are_not_text() -> None:
    assert read(pd.Categorical([2, 1, 2]), "k").levels == (1, 2)
    assert read(pa.array([5, 2, None]).dictionary_encode(), "k").array().tolist() == [5, 2, None]
    assert read(pd.cut([1.0, 2.0, 3.0], 2), "x").levels == ("(0.998, 2.0]", "(2.0, 3.0]")


@pytest.mark.parametrize(
    "raw",
    [
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        pd.to_datetime(pd.Series(["2024-01-01", None])),
        pl.Series([datetime.date(2024, 1, 1), None]),
        pa.array([datetime.date(2024, 1, 1), None]),
    ],
)
def test_dates_are_kept_as_dates(raw: Any) -> None:
    column = read(raw, "when")
    assert (column.kind, column.values.dtype.kind) == ("date", "M")
    np.testing.assert_array_equal(column.missing, [False, True])
    with pytest.raises(DataError, match="'when' must be numeric, but holds dates"):
        column.number()


def test_infinity_is_told_from_missing() -> None:
    column = read(np.array([1.0, np.inf, np.nan, -np.inf]), "x")
    np.testing.assert_array_equal(column.infinite, [False, True, False, True])
    np.testing.assert_array_equal(column.missing, [False, False, True, False])


def test_a_sum_that_overflows_is_not_mistaken_for_infinity() -> None:
    values = np.full(4, 1e308)
    column = read(values, "x")
    assert all_finite(values)
    assert column.missing is None
    assert column.infinite is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["a", 1], "'x' holds values of type int, str"),
        ([[1, 2], [3, 4]], r"'x' must be one column, but has shape \(2, 2\)"),
        (np.ones((2, 1)), r"'x' must be one column, but has shape \(2, 1\)"),
        (np.float64(3.0), r"'x' must have one value for each row, not the single 3.0"),
        (np.array([1j]), "'x' has dtype complex128"),
        (np.array([b"a"]), "'x' has dtype"),
        (pl.Series([[1, 2], [3]]), "'x' must be one column, but each of its values is"),
    ],
)
def test_what_is_not_a_column(raw: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(raw, "x")


def test_numbers_are_not_copied_where_they_are_float64() -> None:
    values = np.arange(4.0)
    assert np.shares_memory(read(values, "x").number(), values)
    series = pd.Series(values)
    assert np.shares_memory(read(series, "x").number(), series.to_numpy())


FRAMES = {
    "pandas": pd.DataFrame({"y": [1.0, 2.0], "g": ["a", "b"]}),
    "polars": pl.DataFrame({"y": [1.0, 2.0], "g": ["a", "b"]}),
    "pyarrow": pa.table({"y": [1.0, 2.0], "g": ["a", "b"]}),
    "xarray": xr.Dataset({"y": ("row", [1.0, 2.0])}, coords={"g": ("row", ["a", "b"])}),
    "dict": {"y": [1.0, 2.0], "g": np.array(["a", "b"])},
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_tables(data: Any) -> None:
    table = open_table(data)
    assert set(table.names) == {"y", "g"}
    assert table.length == 2
    assert table.column("y").values.tolist() == [1.0, 2.0]
    assert table.column("g").values.tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"weights 'yy' is not in the data; did you mean 'y'\?"):
        table.column("yy", "weights")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "data must be a pandas or polars DataFrame.*, not list"),
        (pl.LazyFrame({"y": [1]}), r"call \.collect\(\) on it first"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "cannot be read.*unique column names"),
    ],
)
def test_what_is_not_a_table(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_table(data)


def test_datasets_on_several_dimensions() -> None:
    data = xr.Dataset({"y": ("a", [1.0]), "x": ("b", [1.0]), "m": (("a", "b"), [[1.0]])})
    table = open_table(data)
    with pytest.raises(DataError, match="'m' has dimensions"):
        table.column("m")
    table.column("y")
    with pytest.raises(DataError, match="must share one dimension: 'y' on 'a', 'x' on 'b'"):
        table.column("x")


def test_assemble_is_column_stack_across_blocks() -> None:
    rng = np.random.default_rng(1)
    columns = [rng.normal(size=9000), rng.integers(0, 5, 9000), rng.random(9000) < 0.5]
    X = assemble(columns)
    np.testing.assert_array_equal(X, np.column_stack(columns))
    assert (X.dtype, X.flags.c_contiguous) == (np.float64, True)


def test_hints() -> None:
    assert close_to("agee", ["age", "sex"]) == "did you mean 'age'?"
    assert close_to("q", ["age", "sex"]) == "the names are 'age', 'sex'."
    assert close_to("q", []).startswith("the data have no columns: pass an array")


def test_objects_without_pandas() -> None:
    program = (
        "import sys\n"
        "from expfam_glm.data.frames import read\n"
        "column = read(['b', None, float('nan')], 'g')\n"
        "assert column.missing.tolist() == [False, True, True]\n"
        "assert read([1, None], 'x').missing.tolist() == [False, True]\n"
        "assert not {'pandas', 'narwhals'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", [datetime.date, datetime.datetime])
def test_dates_of_python(kind: type) -> None:
    days = [kind(2020, 1, 1), None, kind(2021, 3, 2)]
    found = read(pd.Series(days, dtype=object), "day")
    assert found.kind == "date" and found.missing.tolist() == [False, True, False]
    days = np.array(["2020-01-01", "2021-03-02"], "M8[D]")
    np.testing.assert_array_equal(found.values[[0, 2]], days)


def test_arrow_s_categories_are_read_by_their_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    import narwhals.stable.v2 as nw

    chunks = [pa.array(part).dictionary_encode() for part in (["b", None, "a"], ["c", "a"])]
    column = pa.chunked_array(chunks)
    monkeypatch.setattr(nw.Series, "to_list", None)  # an object a row takes longer than the fit
    found = read(column, "g")
    assert found.levels == ("b", "a", "c")
    assert found.array().tolist() == ["b", None, "a", "c", "a"]
    assert found.missing is not None and found.missing.tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]


def test_odd_dictionaries_of_arrow_are_read_too() -> None:
    indices = pa.array([0, 1, 2, 1], pa.int8())
    twice = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b", "a"]))
    assert read(twice, "g").array().tolist() == ["a", "b", "a", "b"]
