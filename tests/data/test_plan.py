"""Batches put together column by column are those that formulaic makes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import expfam_glm as eg
from expfam_glm.data.design import from_formula
from expfam_glm.errors import DataError

N = 60


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    letters = np.array(list("bca"))[np.arange(N) % 3]
    return pa.table(
        {
            "y": rng.poisson(2.0, N), "x": rng.normal(size=N), "z": rng.normal(size=N),
            "small": rng.integers(90, 120, N).astype(np.int8), "letter": letters,
            "coded": pa.array(letters).dictionary_encode(), "flag": np.arange(N) % 2 == 0,
            "number": np.arange(N) // 3 % 4, "half": (np.arange(N) // 5 % 3) / 2,
            "odd name": rng.random(N), "huge": np.full(N, 1e200),
        }
    )  # fmt: skip


def parts(formula, table, tmp_path, **roles):
    """The batch of a file that holds the table, by the plan and by formulaic."""
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    source, recipe, _ = eg.GLM(formula, path, family="poisson", **roles).problem.reading
    (batch,) = source.tables(recipe.columns)
    return recipe._plain(batch), from_formula(formula, batch, roles, state=recipe.state)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + z",
        "y ~ letter + x",
        "y ~ 0 + letter:x + C(number):coded",
        "y ~ coded * x * flag + small:number",
        "y ~ C(letter, Treatment('c')) * C(half) + I(x ** 2):flag",
        "y ~ center(x) * letter + np.exp(z) + `odd name`",
    ],
)
def test_plain_designs_need_no_formulaic(formula, table, tmp_path):
    made, wanted = parts(formula, table, tmp_path)
    assert made is not None and made.labels == wanted.labels
    np.testing.assert_array_equal(made.X, wanted.X)
    np.testing.assert_array_equal(made.y, wanted.y)


@pytest.mark.parametrize("formula", ["y ~ C(letter, contr.sum)", "y ~ x + offset(z)"])
def test_other_designs_are_left_to_formulaic(formula, table, tmp_path):
    made, wanted = parts(formula, table, tmp_path)
    assert made is None and wanted.X.shape == (N, len(wanted.labels))


@pytest.mark.parametrize(
    ("formula", "column", "value"),
    [
        ("y ~ letter", "letter", "d"),
        ("y ~ coded", "coded", "d"),
        ("y ~ C(number)", "number", 9),
        ("y ~ letter", "letter", None),
        ("y ~ letter + x", "x", np.nan),
        ("y ~ x:z", "x", 1e308),
        ("y ~ np.log(z + 9)", "z", -10.0),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_formulaic(formula, column, value, table, tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    source, recipe, _ = eg.GLM(formula, path, family="poisson").problem.reading
    (batch,) = source.tables(recipe.columns)
    kind = batch[column].type
    values = [*batch[column].to_pylist()[:-1], value]
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    odd = pa.array(values, plain)
    odd = odd.dictionary_encode() if plain != kind else odd
    batch = batch.set_column(batch.column_names.index(column), column, odd)
    if formula == "y ~ x:z":
        batch = batch.set_column(batch.column_names.index("z"), "z", pa.array(np.full(N, 1e10)))
    assert recipe.plan is not None and recipe._plain(batch) is None
    with pytest.raises(DataError, match="in rows 0 to 59"):
        recipe.problem(batch)


def test_labels_that_read_alike_are_not_guessed(table, tmp_path):
    twins = table.append_column("letter[b]", table["z"])
    made, wanted = parts("y ~ 0 + `letter[b]` + letter:x", twins, tmp_path)
    assert made is None or np.array_equal(made.X, wanted.X)
