"""A design rebuilds its own columns, exactly, from JSON text alone, and refuses what it must."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from expfam_glm.data.design import from_arrays, from_formula
from expfam_glm.data.encode import pack, unpack
from expfam_glm.data.rebuild import rebuild, rebuild_offset
from expfam_glm.errors import DataError, ExpfamError, FormulaError

PRODUCT = 1e-14  # a matrix product sums one row in another order than many rows

N = 50
RNG = np.random.default_rng(3)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.uniform(1, 5, N),
        "z": RNG.normal(size=N),
        "k": RNG.integers(0, 3, N),
        "g": RNG.choice(["b", "a", "c"], N),
        "h": pd.Categorical(RNG.choice(["lo", "mid", "hi"], N), categories=["lo", "mid", "hi"]),
        "flag": RNG.random(N) < 0.5,
        "my col": RNG.uniform(1, 2, N),
    }
)
FORMULAS = [
    "y ~ 1",
    "y ~ x + z",
    "y ~ 0 + g",
    "log(x) ~ x*C(g) + h:z",
    "y ~ C(k) + flag*x",
    "y ~ C(k > 1)",
    "y ~ g*h*flag",
    "y ~ poly(x, 3)",
    "y ~ poly(x, 3):g",
    "y ~ bs(x, df=6)",
    "y ~ bs(z, knots=[0.0], degree=2, extrapolation='extend')",
    "y ~ cr(x, df=4) + cc(z, df=4)",
    "y ~ scale(x) + center(z) + standardize(`my col`)",
    "y ~ scale(poly(x, 2)) + scale(log(x))",
    "y ~ np.log(x) + I(x**3) + exp(z)",
    "y ~ C(g, Sum) + C(h, Helmert):x + C(k, contr.poly)",
    'y ~ C(g, Treatment("b")) * x',
    'y ~ C(g, levels=["c", "b", "a"])',
    "y ~ .",
    "y ~ hashed(g, levels=3)",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_rows_are_rebuilt_exactly(formula: str) -> None:
    frame = from_formula(formula, DATA, {})
    for rows in (slice(0, 3), slice(7, 8), slice(20, None)):
        X, labels = rebuild(frame.design, DATA.iloc[rows].drop(columns="y"))
        assert labels == frame.labels
        np.testing.assert_array_equal(X, frame.X[rows])


def test_constrained_splines_are_rebuilt_up_to_the_order_of_sums() -> None:
    frame = from_formula("y ~ cr(x, df=4, constraints='center')", DATA, {})
    X, _ = rebuild(frame.design, DATA.head(1))
    np.testing.assert_allclose(X, frame.X[:1], rtol=PRODUCT, atol=PRODUCT)


@pytest.mark.parametrize("to", [pl.from_pandas, pa.Table.from_pandas, lambda d: d.to_dict("list")])
def test_rows_are_rebuilt_from_another_kind_of_frame(to: Any) -> None:
    frame = from_formula("y ~ x*g + h + C(k) + flag + bs(z, df=4)", DATA, {})
    X, _ = rebuild(frame.design, to(DATA.head(5)))
    np.testing.assert_array_equal(X, frame.X[:5])


def test_the_design_is_plain_json() -> None:
    frame = from_formula("y ~ poly(x, 2) + C(g) + flag + h", DATA, {"weights": "z"})
    stored = json.loads(frame.design, parse_constant=pytest.fail)
    assert stored["formula"] == "y ~ poly(x, 2) + C(g) + flag + h"
    assert stored["labels"] == list(frame.labels)
    assert stored["factors"] == [
        {"term": "C(g)", "levels": ["a", "b", "c"], "contrast": "treatment"},
        {"term": "flag", "levels": [False, True], "contrast": "treatment"},
        {"term": "h", "levels": ["lo", "mid", "hi"], "contrast": "treatment"},
    ]
    assert [name for name, _ in stored["transforms"]] == ["poly(x, 2)"]
    assert stored["roles"] == {"weights": "z"}


def test_state_survives_json() -> None:
    state = {
        0: np.float64(0.1),
        "a": [1, (2.5, None)],
        "b": {"c": np.arange(4.0).reshape(2, 2), "d": True, "e": np.array([])},
        "f": float("inf"),
    }
    back = unpack(json.loads(json.dumps(pack(state), allow_nan=False)))
    assert (back[0], back["a"], back["f"]) == (0.1, [1, (2.5, None)], float("inf"))
    np.testing.assert_array_equal(back["b"]["c"], state["b"]["c"])  # type: ignore[index]
    assert back["b"]["d"] is True
    assert back["b"]["e"].shape == (0,)
    with pytest.raises(FormulaError, match="keeps a object"):
        pack(object())


def test_offsets_are_rebuilt() -> None:
    frame = from_formula("y ~ z + offset(log(x)) + offset(scale(`my col`))", DATA, {})
    offset = rebuild_offset(frame.design, DATA.head(4))
    assert offset is not None
    np.testing.assert_array_equal(offset, frame.columns["offset"][:4])
    assert rebuild_offset(from_formula("y ~ x", DATA, {}).design, DATA) is None
    assert rebuild_offset(from_arrays([1, 2], [[1], [2]], {}).design, [[1]]) is None
    with pytest.raises(DataError, match=r"'log\(x\)' is not finite: row 0"):
        rebuild_offset(frame.design, DATA.head(2).assign(x=0.0))


def test_the_response_is_not_asked_for() -> None:
    frame = from_formula("cbind(k, flag) ~ x + offset(z)", DATA, {})
    X, _ = rebuild(frame.design, {"x": [2.0]})
    assert X.tolist() == [[1.0, 2.0]]


def test_an_intercept_has_the_length_of_the_data() -> None:
    frame = from_formula("y ~ 1", DATA, {})
    assert rebuild(frame.design, {"q": [1, 2, 3]})[0].tolist() == [[1.0]] * 3
    with pytest.raises(DataError, match="no rows"):
        rebuild(frame.design, {})


def test_kinds_that_can_be_read_as_those_of_the_fit() -> None:
    frame = from_formula("y ~ flag + x + k", DATA, {})
    X, _ = rebuild(frame.design, {"flag": [0, 1], "x": [True, False], "k": [1.0, 2.0]})
    assert X.tolist() == [[1, 0, 1, 1], [1, 1, 0, 2]]
    numbered = from_formula("y ~ q", DATA.assign(q=pd.Categorical(DATA["k"])), {})
    assert rebuild(numbered.design, {"q": [2, 0]})[0].tolist() == [[1, 0, 1], [1, 0, 0]]


FITTED = from_formula("y ~ x*C(g) + bs(z, df=4) + flag + log(`my col`)", DATA, {}).design
ROW = {"x": [1.0, 2.0], "g": ["a", "b"], "z": [0.0, 0.1], "flag": [True, False], "my col": [1, 2]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"g": ["a", "q"]}, DataError, r"'C\(g\)' has values .* levels \(a, b, c\): row 1: q"),
        ({"g": [1, 2]}, DataError, "not among its levels .*row 0: 1"),
        ({"g": ["a", None]}, DataError, r"missing values in 1 of 2 rows: 'g' \(row 1\)"),
        ({"x": [1.0, np.nan]}, DataError, r"'x' \(row 1\)"),
        ({"x": [1.0, np.inf]}, DataError, "'x' has infinite values"),
        ({"x": ["1", "2"]}, DataError, "'x' held numbers at the fit, but holds text"),
        ({"flag": ["yes", "no"]}, DataError, "'flag' held booleans at the fit, but holds text"),
        ({"flag": [0, 2]}, DataError, "'flag' held booleans at the fit, but holds numbers"),
        ({"x": [1.0]}, DataError, "of different lengths"),
        ({"z": [0.0, 99.0]}, FormulaError, "beyond upper and/or lower bounds"),
        ({"my col": [1.0, 0.0]}, DataError, r"'log\(`my col`\)' is not finite: row 1: -inf"),
        ({name: [] for name in ROW}, DataError, "no rows"),
    ],
)
def test_new_data_that_do_not_fit(
    change: dict[str, Any], error: type[ExpfamError], message: str
) -> None:
    rebuild(FITTED, ROW)
    with pytest.raises(error, match=message):
        rebuild(FITTED, ROW | change)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(FormulaError, match="variable 'x' is not in the data"):
        rebuild(FITTED, {name: values for name, values in ROW.items() if name != "x"})


def test_code_in_a_stored_design_does_not_run_unless_allowed() -> None:
    frame = from_formula("y ~ {x + 1}", DATA, {})
    with pytest.raises(FormulaError, match="not allowed here"):
        rebuild(frame.design, DATA)
    np.testing.assert_array_equal(rebuild(frame.design, DATA, allow_code=True)[0], frame.X)
    changed = json.loads(FITTED) | {"formula": "y ~ I(open('leak', 'w'))"}
    with pytest.raises(FormulaError, match="not allowed here"):
        rebuild(json.dumps(changed), ROW)


def test_designs_of_arrays() -> None:
    X = DATA[["x", "z"]]
    frame = from_arrays(DATA["y"], X, {})
    for newdata in (X.head(3), X.head(3).to_numpy(), DATA.head(3), pl.from_pandas(DATA.head(3))):
        rebuilt, labels = rebuild(frame.design, newdata)
        assert labels == ("x", "z")
        np.testing.assert_array_equal(rebuilt, frame.X[:3])
    with pytest.raises(DataError, match=r"X must have 2 columns \(x, z\), not 3"):
        rebuild(frame.design, np.ones((2, 3)))
    with pytest.raises(DataError, match=r"missing values in 1 of 2 rows: 'z' \(row 0\)"):
        rebuild(frame.design, [[1.0, np.nan], [1.0, 2.0]])
    with pytest.raises(DataError, match="'z' is not in the data"):
        rebuild(frame.design, {"x": [1.0]})
