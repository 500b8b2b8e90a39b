"""Designs against patsy and hand-made matrices, from every kind of frame; every refusal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import patsy
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

from expfam_glm.data.design import Frame, from_arrays, from_formula
from expfam_glm.errors import ArgumentError, DataError, ExpfamError, FormulaError

SAME = 1e-12  # patsy does the same arithmetic in another order: a few units in the last place
SPLINE = 1e-10  # the same basis by another recursion

N = 60
RNG = np.random.default_rng(7)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "s": RNG.integers(0, 5, N),
        "n": RNG.integers(5, 9, N),
        "x": RNG.uniform(1, 5, N),
        "z": RNG.normal(size=N),
        "k": RNG.integers(0, 3, N),
        "g": RNG.choice(["b", "a", "c"], N),
        "h": pd.Categorical(RNG.choice(["lo", "mid", "hi"], N), categories=["lo", "mid", "hi"]),
        "flag": RNG.random(N) < 0.5,
        "my col": RNG.uniform(1, 2, N),
        "t": RNG.uniform(1, 9, N),
    }
)
FORMULAS = [
    "y ~ 1",
    "y ~ x",
    "y ~ 0 + x",
    "y ~ x + z - 1",
    "y ~ g",
    "y ~ 0 + g",
    "y ~ h + x",
    "y ~ flag + x",
    "y ~ C(k)",
    "y ~ x * C(g)",
    "y ~ x:g",
    "y ~ g:h",
    "y ~ g * h * flag",
    "y ~ flag:x",
    "y ~ (g + flag)**2 + x",
    "y ~ np.log(x) + np.sqrt(t)",
    "y ~ I(x**2) + I(x > 2)",
    "y ~ C(g, Sum) + z",
    "y ~ C(h, Sum) * x",
    'y ~ C(g, Treatment("b")) * x',
    "y ~ center(x) + standardize(z)",
    'y ~ Q("my col")',
]


def patsy_columns(formula: str) -> dict[str, np.ndarray]:
    """Patsy's columns under our labels: no letter before a level, code as it is written."""
    design = patsy.dmatrices(formula, DATA, eval_env=patsy.EvalEnvironment([{"np": np}]))[1]
    columns = {}
    for name, values in zip(design.design_info.column_names, np.asarray(design).T, strict=True):
        label = re.sub(r"\[[TS]\.", "[", name).replace("x ** 2", "x**2")
        columns[label] = values
    return columns


@pytest.mark.parametrize("formula", FORMULAS)
def test_columns_and_labels_are_patsys(formula: str) -> None:
    frame = from_formula(formula, DATA, {})
    expected = patsy_columns(formula)
    assert set(frame.labels) == set(expected)
    for label, values in zip(frame.labels, frame.X.T, strict=True):
        np.testing.assert_allclose(values, expected[label], rtol=SAME, atol=SAME, err_msg=label)
    np.testing.assert_array_equal(frame.y, DATA["y"])
    assert (frame.X.dtype, frame.X.flags.c_contiguous) == (np.float64, True)


@pytest.mark.parametrize("formula", ["y ~ bs(x, df=5)", "y ~ bs(x, df=6, degree=2) + z"])
def test_splines_are_patsys(formula: str) -> None:
    expected = np.asarray(patsy.dmatrices(formula, DATA)[1])
    np.testing.assert_allclose(
        from_formula(formula, DATA, {}).X, expected, rtol=SPLINE, atol=SPLINE
    )


def test_polynomials_are_orthonormal_and_span_the_powers() -> None:
    P = from_formula("y ~ poly(x, 3) - 1", DATA, {}).X
    np.testing.assert_allclose(P.T @ P, np.eye(3), atol=SPLINE)
    np.testing.assert_allclose(P.sum(axis=0), 0, atol=SPLINE)
    powers = np.vander(DATA["x"], 4)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(N), P, powers])) == 4


@pytest.mark.parametrize(
    ("formula", "labels"),
    [
        ("y ~ C(g) + z", "Intercept C(g)[b] C(g)[c] z"),
        ("y~x:C(g)", "Intercept x:C(g)[a] x:C(g)[b] x:C(g)[c]"),
        ("y ~ x*C(g)", "Intercept x C(g)[b] C(g)[c] x:C(g)[b] x:C(g)[c]"),
        ('y ~ C(g,Treatment("b"))', 'Intercept C(g,Treatment("b"))[a] C(g,Treatment("b"))[c]'),
        ("y ~ C(k)", "Intercept C(k)[1] C(k)[2]"),
        ("y ~ flag", "Intercept flag[True]"),
        ("y ~ poly(x,2) + {z**2}", "Intercept poly(x,2)[1] poly(x,2)[2] {z**2}"),
        ("y ~ h + center(z):x", "Intercept h[mid] h[hi] center(z):x"),
    ],
)
def test_labels_are_terms_as_written(formula: str, labels: str) -> None:
    assert " ".join(from_formula(formula, DATA, {}).labels) == labels


def test_backquoted_names() -> None:
    frame = from_formula("y ~ `my col` + log(`my col`)", DATA, {})
    assert frame.labels == ("Intercept", "my col", "log(`my col`)")
    np.testing.assert_array_equal(frame.X[:, 2], np.log(DATA["my col"]))


def test_functions_at_hand() -> None:
    code = ["log", "exp", "sqrt", "log1p", "expm1", "log2", "log10", "abs"]
    frame = from_formula("y ~ 0 + " + " + ".join(f"{name}(x)" for name in code), DATA, {})
    for name, values in zip(code, frame.X.T, strict=True):
        np.testing.assert_array_equal(values, getattr(np, name)(DATA["x"].to_numpy()))


def test_a_column_may_have_the_name_of_a_function() -> None:
    data = DATA.rename(columns={"z": "scale", "t": "C"})
    frame = from_formula("y ~ scale + C(k)", data, {})
    np.testing.assert_array_equal(frame.X[:, 1], DATA["z"])
    with pytest.raises(FormulaError, match=r"scale\(x\): the column 'scale' hides the function"):
        from_formula("y ~ scale + scale(x)", data, {})


def test_powers_of_integers_do_not_overflow() -> None:
    data = {"y": [1.0, 2.0], "k": np.array([100, 200], dtype=np.int16)}
    assert from_formula("y ~ 0 + I(k**8)", data, {}).X[:, 0].tolist() == [100.0**8, 200.0**8]


def test_large_integers_are_told_apart_as_levels() -> None:
    big = 2**60
    frame = from_formula("y ~ C(id)", {"y": [1.0, 2.0], "id": np.array([big, big + 1])}, {})
    assert frame.labels == ("Intercept", f"C(id)[{big + 1}]")


def as_kinds(data: pd.DataFrame) -> dict[str, Any]:
    """The same data as every kind of frame."""
    enum = pl.Enum(["lo", "mid", "hi"])
    polars = pl.DataFrame({name: data[name].to_list() for name in data})
    return {
        "pandas": data,
        "pandas-shuffled-index": data.set_index(np.arange(N)[::-1] * 3),
        "pandas-arrow": data.convert_dtypes(dtype_backend="pyarrow").assign(h=data["h"]),
        "polars": polars.with_columns(pl.col("h").cast(enum), pl.col("g").cast(pl.Categorical)),
        "pyarrow": pa.Table.from_pandas(data),
        "dict": {name: data[name].to_numpy() for name in data} | {"h": data["h"].array},
    }


@pytest.mark.parametrize("kind", as_kinds(DATA))
def test_every_kind_of_frame_gives_the_same_design(kind: str) -> None:
    formula = "log(t) ~ x*h + g + C(k) + flag + poly(z, 2) + `my col` + offset(t)"
    expected = from_formula(formula, DATA, {"weights": "x"})
    frame = from_formula(formula, as_kinds(DATA)[kind], {"weights": "x"})
    assert frame.labels == expected.labels
    assert json.loads(frame.design) == json.loads(expected.design) | {
        "variables": json.loads(frame.design)["variables"]
    }
    np.testing.assert_array_equal(frame.X, expected.X)
    np.testing.assert_array_equal(frame.y, expected.y)
    for role in ("weights", "offset"):
        np.testing.assert_array_equal(frame.columns[role], expected.columns[role])


def test_a_dataset_gives_the_same_design() -> None:
    numbers = {name: ("row", DATA[name].to_numpy()) for name in ("y", "x", "flag")}
    data = xr.Dataset(numbers, coords={"g": ("row", DATA["g"].to_numpy(dtype=str))})
    expected = from_formula("y ~ x*g + flag", DATA, {})
    frame = from_formula("y ~ x*g + flag", data, {})
    assert frame.labels == expected.labels
    np.testing.assert_array_equal(frame.X, expected.X)


def test_unused_levels_are_left_out_as_in_r() -> None:
    data = DATA[DATA["h"] != "lo"]
    assert from_formula("y ~ h", data, {}).labels == ("Intercept", "h[hi]")


def test_levels_with_odd_names() -> None:
    data = {"y": [1.0, 2.0, 3.0], "g": ["__a", "[b]", "c:d"]}
    assert from_formula("y ~ 0 + g", data, {}).labels == ("g[[b]]", "g[__a]", "g[c:d]")


def test_the_left_side_is_evaluated() -> None:
    frame = from_formula("log(x) ~ z", DATA, {})
    np.testing.assert_array_equal(frame.y, np.log(DATA["x"].to_numpy()))
    assert frame.response == "log(x)"
    yes = from_formula("{g == 'a'} ~ z", DATA, {})
    np.testing.assert_array_equal(yes.y, DATA["g"] == "a")
    np.testing.assert_array_equal(from_formula("flag ~ z", DATA, {}).y, DATA["flag"])


def test_cbind_is_successes_and_failures() -> None:
    frame = from_formula("cbind(s, n - s) ~ x", DATA, {})
    np.testing.assert_array_equal(frame.y, DATA["s"])
    np.testing.assert_array_equal(frame.columns["trials"], DATA["n"])
    assert frame.response == "cbind(s, n - s)"
    with pytest.raises(ArgumentError, match="leave trials= out"):
        from_formula("cbind(s, n - s) ~ x", DATA, {"trials": "n"})


def test_offsets_of_formula_and_argument_are_added() -> None:
    frame = from_formula("y ~ x + offset(log(t)) + offset(z)", DATA, {"offset": "n"})
    np.testing.assert_allclose(
        frame.columns["offset"], DATA["n"] + np.log(DATA["t"]) + DATA["z"], rtol=SAME
    )
    assert frame.labels == ("Intercept", "x")
    constant = from_formula("y ~ offset(log(2))", DATA, {}).columns["offset"]
    np.testing.assert_array_equal(constant, np.full(N, np.log(2)))


def test_the_dot_leaves_out_response_offset_and_roles() -> None:
    data = DATA[["y", "x", "z", "t", "n"]]
    frame = from_formula("y ~ . + offset(log(t))", data, {"weights": "n"})
    assert frame.labels == ("Intercept", "x", "z")


def test_roles_are_columns_or_arrays() -> None:
    frame = from_formula(
        "y ~ x", DATA, {"weights": "n", "exposure": DATA["t"], "trials": [1] * N, "offset": None}
    )
    assert list(frame.columns) == ["weights", "exposure", "trials"]
    assert {values.dtype for values in frame.columns.values()} == {np.dtype(float)}
    np.testing.assert_array_equal(frame.columns["exposure"], DATA["t"])
    assert json.loads(frame.design)["roles"] == {
        "weights": "n",
        "exposure": None,
        "trials": None,
    }


HOLED = DATA.assign(x=DATA["x"].where(DATA.index != 4), g=DATA["g"].where(DATA.index != 9))


def test_missing_values_are_named_with_their_rows() -> None:
    weights = np.where(np.arange(N) == 11, np.nan, 1.0)
    with pytest.raises(DataError) as caught:
        from_formula("y ~ x + g", HOLED, {"weights": weights})
    assert str(caught.value) == (
        "missing values in 3 of 60 rows: 'x' (row 4), 'g' (row 9), 'weights' (row 11). "
        "Fill them in, or pass missing='drop' to leave these rows out."
    )
    assert from_formula("y ~ z", HOLED, {}).n_dropped == 0


@pytest.mark.parametrize("to", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_missing_rows_are_dropped_and_counted(to: Any) -> None:
    weights = np.where(np.arange(N) == 11, np.nan, np.arange(N))
    frame = from_formula("y ~ scale(x) + g", to(HOLED), {"weights": weights}, missing="drop")
    kept = np.ones(N, dtype=bool)
    kept[[4, 9, 11]] = False
    expected = from_formula("y ~ scale(x) + g", HOLED[kept], {"weights": weights[kept]})
    assert frame.n_dropped == 3
    np.testing.assert_array_equal(frame.kept, kept)
    np.testing.assert_array_equal(frame.X, expected.X)
    np.testing.assert_array_equal(frame.columns["weights"], expected.columns["weights"])
    np.testing.assert_array_equal(frame.column("k", "time"), DATA["k"][kept])


def test_rows_in_messages_are_those_of_the_data_even_after_dropping() -> None:
    data = HOLED.assign(z=np.where(np.arange(N) == 30, 0.0, 1.0))
    with pytest.raises(DataError, match=r"'log\(z\)' is not finite: row 30: -inf"):
        from_formula("y ~ x + log(z)", data, {}, missing="drop")
    with pytest.raises(DataError, match=r"not among its levels \(0, 1\): row 30: 5\."):
        changed = HOLED.assign(k=np.where(np.arange(N) == 30, 5, np.arange(N) % 2))
        from_formula("y ~ x + C(k, levels=[0, 1])", changed, {}, missing="drop")


REFUSED: list[tuple[str, dict[str, Any], type[ExpfamError], str]] = [
    ("y ~ x", {"x": [1.0, np.inf, 3.0]}, DataError, r"'x' has infinite values \(row 1: inf\)"),
    ("y ~ log(x)", {"x": [1.0, -1.0, 2.0]}, DataError, r"'log\(x\)' is not finite: row 1: nan"),
    ("log(x) ~ 1", {"x": [1.0, 0.0, 2.0]}, DataError, r"'log\(x\)' is not finite: row 1: -inf"),
    ("y ~ offset(log(x))", {"x": [1.0, 0.0, 2.0]}, DataError, "is not finite: row 1: -inf"),
    ("y ~ lag(x)", {"x": [1.0, 3.0, 2.0]}, DataError, r"'lag\(x\)' is not finite: row 0: nan"),
    ("x ~ 1", {"x": ["no", "yes", "no"]}, DataError, r"'x' must be numeric.*I\(x == 'yes'\)"),
    ("log(x) ~ 1", {"x": ["a", "b", "a"]}, FormulaError, r"cannot evaluate 'log\(x\)'"),
    ("y ~ log(x)", {"x": ["a", "b", "a"]}, FormulaError, "cannot evaluate"),
    ("y ~ x", {"x": ["a", "a", "a"]}, FormulaError, "factor 'x' has a single level, 'a'"),
    ("y ~ x", {"x": [True, True, True]}, FormulaError, "factor 'x' has a single level, True"),
    ("y ~ x", {"x": np.ones((3, 2))}, DataError, r"'x' must be one column, .* \(3, 2\)"),
    ("y ~ x", {"x": [1.0, 2.0]}, DataError, "'x' has 2 values, but the data have 3 rows"),
    ("y ~ x", {"x": 1.0}, DataError, "one value for each row"),
    ("y ~ x", {"x": np.array(["2020"] * 3, "M8[D]")}, DataError, "'x' holds dates or times"),
    ("y ~ x", {"x": [None, None, None]}, DataError, "missing values in 3 of 3 rows"),
    ("y ~ Intercept", {"Intercept": [1, 2, 3]}, FormulaError, "the label 'Intercept' to more"),
    ("y ~ C(x)", {"x": np.array(["1", 1.0, 2], object)}, DataError, "type float, int, str"),
    (
        'y ~ C(x, Treatment("q"))',
        {"x": ["a", "b", "a"]},
        FormulaError,
        "not there; the levels are a, b",
    ),
    ('y ~ C(x, levels=["a"])', {"x": ["a", "b", "a"]}, DataError, r"levels \(a\): row 1: b"),
    ("y ~ {x[:2]}", {"x": [1.0, 2, 3]}, FormulaError, r"each of the 3 rows.*\(2,\)"),
    ("y ~ {2}", {}, FormulaError, "one number for each of the 3 rows"),
    ("y ~ {x + 1j}", {"x": [1.0, 2, 3]}, FormulaError, "complex128"),
    ("y ~ x.foo()", {"x": [1.0, 2, 3]}, FormulaError, "cannot evaluate.*foo"),
    ("{3} ~ 1", {}, FormulaError, "names no column"),
    ("y ~ xx", {"x": [1.0, 2, 3]}, FormulaError, r"did you mean 'x'\?"),
    ("y ~ x", {"y": [], "x": []}, DataError, "no rows"),
    ("y ~ bs(x, df=2)", {"x": [1.0, 2, 3]}, FormulaError, "cannot evaluate"),
]


@pytest.mark.parametrize(("formula", "columns", "error", "message"), REFUSED)
def test_refusals(
    formula: str, columns: dict[str, Any], error: type[ExpfamError], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_formula(formula, {"y": [1.0, 2.0, 3.0]} | columns, {})


@pytest.mark.parametrize(
    ("roles", "error", "message"),
    [
        ({"weight": "n"}, ArgumentError, "role='weight' is not known"),
        ({"weights": "nn"}, DataError, r"weights 'nn' is not in the data; did you mean 'n'\?"),
        ({"weights": [1, 2]}, DataError, "'weights' has 2 values, but the data have 60 rows"),
        ({"weights": np.ones((N, 1))}, DataError, r"one column, but has shape \(60, 1\)"),
        ({"offset": 3.0}, DataError, "one value for each row, not the single 3.0"),
        ({"exposure": "g"}, DataError, "'g' must be numeric, but holds text"),
        ({"weights": DATA["n"].iloc[::-1]}, DataError, "other row labels than the data"),
        ({"offset": [np.inf] * N}, DataError, "'offset' has infinite values"),
    ],
)
def test_refused_roles(roles: dict[str, Any], error: type[ExpfamError], message: str) -> None:
    with pytest.raises(error, match=message):
        from_formula("y ~ x", DATA, roles)


def test_other_words_for_missing() -> None:
    with pytest.raises(ArgumentError, match="missing='omit' is not known"):
        from_formula("y ~ x", DATA, {}, missing="omit")
    with pytest.raises(DataError, match="every row has a missing value: 'x'"):
        from_formula("y ~ x", {"y": [1.0], "x": [None]}, {}, missing="drop")


def test_code_is_refused_on_request() -> None:
    assert from_formula("y ~ {x + 1}", DATA, {}).labels == ("Intercept", "{x + 1}")
    with pytest.raises(FormulaError, match="not allowed here"):
        from_formula("y ~ {x + 1}", DATA, {}, allow_code=False)
    with pytest.raises(FormulaError, match=r"round.* not allowed here"):
        from_formula("y ~ round(x)", DATA, {}, allow_code=False)


def test_further_columns() -> None:
    frame = from_formula("y ~ x", HOLED, {}, missing="drop")
    kept = np.arange(N) != 4
    assert frame.column("k", "time").dtype == np.int64
    assert frame.column("h", "groups").tolist() == DATA["h"][kept].tolist()
    np.testing.assert_array_equal(frame.column(np.arange(N), "time"), np.arange(N)[kept])
    only_dropped = np.where(kept, 1.0, np.nan)
    np.testing.assert_array_equal(frame.column(only_dropped, "time"), np.ones(N - 1))
    with pytest.raises(DataError, match=r"missing values in 1 of 60 rows: 'g' \(row 9\)"):
        frame.column("g", "groups")
    with pytest.raises(DataError, match="groups 'village' is not in the data"):
        frame.column("village", "groups")
    with pytest.raises(DataError, match="'time' has 59 values, but the data have 60 rows"):
        frame.column(np.arange(N - 1), "time")


# from_arrays


def test_arrays_are_taken_as_they_are() -> None:
    X = DATA[["x", "z"]].to_numpy().copy()
    frame = from_arrays(DATA["y"], X, {"weights": np.arange(N)})
    assert frame.labels == ("x0", "x1")
    assert np.shares_memory(frame.X, X)
    assert (frame.formula, frame.response, frame.kept, frame.n_dropped) == (None, "y", None, 0)
    np.testing.assert_array_equal(frame.columns["weights"], np.arange(N))
    fortran = from_arrays(DATA["y"], np.asfortranarray(X), {})
    np.testing.assert_array_equal(fortran.X, X)
    assert fortran.X.flags.c_contiguous
    assert from_arrays(DATA["y"], X, {}, labels=["a", "b"]).labels == ("a", "b")
    assert from_arrays(DATA["y"], X[:, 0], {}).X.shape == (N, 1)
    assert from_arrays(DATA["y"], DATA["x"], {}).labels == ("x",)


FEW = DATA[["x", "k", "flag"]]


@pytest.mark.parametrize(
    "X",
    [
        FEW,
        pl.from_pandas(FEW),
        pa.Table.from_pandas(FEW),
        {name: FEW[name].to_numpy() for name in FEW},
        xr.Dataset({name: ("row", FEW[name].to_numpy()) for name in FEW}, {"row": np.arange(N)}),
    ],
    ids=lambda X: type(X).__module__.split(".")[0],
)
def test_frames_give_their_labels(X: Any) -> None:
    frame = from_arrays(DATA["y"].to_numpy(), X, {"exposure": "x"})
    assert frame.labels == ("x", "k", "flag")
    np.testing.assert_array_equal(frame.X, FEW.to_numpy(dtype=float))
    np.testing.assert_array_equal(frame.columns["exposure"], DATA["x"])
    np.testing.assert_array_equal(frame.column("k", "time"), DATA["k"])


def test_labelled_arrays_give_their_labels() -> None:
    values = FEW.to_numpy(dtype=float)
    named = xr.DataArray(values, dims=("row", "coef"), coords={"coef": ["x", "k", "flag"]})
    numbered = xr.DataArray(values, dims=("row", "coef"), coords={"coef": [7, 8, 9]})
    plain = xr.DataArray(values, dims=("row", "coef"))
    assert from_arrays(DATA["y"].to_numpy(), named, {}).labels == ("x", "k", "flag")
    for other in (numbered, plain):
        assert from_arrays(DATA["y"].to_numpy(), other, {}).labels == ("x0", "x1", "x2")


def test_arrays_with_missing_rows() -> None:
    X = np.arange(12.0).reshape(6, 2)
    X[1, 1] = np.nan
    y, weights = np.arange(6.0), [1, 1, 1, None, 1, 1]
    with pytest.raises(DataError, match=r"2 of 6 rows: 'x1' \(row 1\), 'weights' \(row 3\)"):
        from_arrays(y, X, {"weights": weights})
    frame = from_arrays(y, X, {"weights": weights}, missing="drop")
    np.testing.assert_array_equal(frame.X, X[[0, 2, 4, 5]])
    np.testing.assert_array_equal(frame.y, [0, 2, 4, 5])
    assert frame.n_dropped == 2
    masked = np.ma.masked_invalid(X)
    np.testing.assert_array_equal(from_arrays(y, masked, {}, missing="drop").X, X[[0, 2, 3, 4, 5]])
    nulls = pl.DataFrame({"a": [1, None, 3]})
    assert from_arrays([1, 2, 3], nulls, {}, missing="drop").X.tolist() == [[1], [3]]
    flags = pl.DataFrame({"a": [True, None, False]})
    assert from_arrays([1, 2, 3], flags, {}, missing="drop").X.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("y", "X", "options", "message"),
    [
        ([1, 2], np.ones((3, 2)), {}, "'y' has 2 values, but the data have 3 rows"),
        (np.ones((3, 2)), np.ones((3, 2)), {}, r"'y' must be one column, .*\(3, 2\)"),
        (["a", "b", "a"], np.ones((3, 1)), {}, "'y' must be numeric.*y == 'yes'"),
        ([1, 2, 3], [[1, 2], [3, np.inf], [5, 6]], {}, "'x1' has infinite values"),
        ([1, 2, 3], [[1, 2], [3]], {}, "X cannot be read as an array"),
        ([1, 2, 3], [["1"], ["2"], ["3"]], {}, "must be numeric, but holds text"),
        ([1, 2, 3], {"g": ["a", "b", "a"]}, {}, "'g' must be numeric.*Use a formula"),
        ([1, 2, 3], np.ones((3, 2, 2)), {}, "one or two dimensions, not 3"),
        ([1, 2, 3], np.ones((3, 0)), {}, r"shape \(3, 0\)"),
        ([], np.ones((0, 2)), {}, r"shape \(0, 2\)"),
        ([1, 2, 3], np.ones((3, 2)), {"labels": ["a"]}, "1 names, but X has 2 columns"),
        ([1, 2, 3], np.ones((3, 2)), {"labels": ["a", "a"]}, "label 'a' is given to more"),
        ([1, 2, 3], np.ones((3, 2)), {"labels": "ab"}, "not the text 'ab'"),
        (
            [1, 2, 3],
            np.ones((3, 2)),
            {"roles": {"weights": "w"}},
            "the data have no columns: pass an array",
        ),
        (DATA["y"].iloc[::-1], FEW, {}, "other row labels"),
    ],
)
def test_refused_arrays(y: Any, X: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(y, X, options.pop("roles", {}), **options)


def test_arrays_load_neither_pandas_nor_formulaic() -> None:
    program = (
        "import sys, numpy as np\n"
        "from expfam_glm.data.design import from_arrays\n"
        "X = np.array([[1.0, 2.0], [3.0, np.nan]])\n"
        "frame = from_arrays([1, 0], X, {'weights': [1, 1]}, missing='drop')\n"
        "assert frame.column(['a', 'b'], 'groups').tolist() == ['a']\n"
        "assert not {'pandas', 'formulaic', 'narwhals', 'xarray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_frame_is_shown_without_its_data() -> None:
    frame: Frame = from_formula("y ~ x", DATA, {})
    assert "table" not in repr(frame)
