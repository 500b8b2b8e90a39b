"""Data read in batches give the numbers of data in memory, or one clear error."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.priors import apply
from expfam_glm.data import blocks, census, collapse, progress, source, stream
from expfam_glm.errors import (
    AliasWarning,
    DataError,
    FitWarning,
    FormulaError,
    ResultError,
    SeparationError,
)
from tests.data.test_compress import agree

N = 900
TIGHT = {"tol": 1e-11, "draws": 20, "chains": 1}
ROBUST = ["HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "CR1S"]


def villages():
    """Responses, covariates and weights as Arrow columns."""
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=N), "z": rng.normal(size=N) + 3, "k": np.sort(rng.integers(0, 5, N)),
        "g": np.sort(rng.choice(list("abcd"), N)), "b": rng.random(N) < 0.4,
        "w": rng.integers(1, 4, N).astype(float), "e": rng.random(N) + 0.5,
        "village": rng.integers(0, 20, N),
    }  # fmt: skip
    eta = 0.2 + 0.3 * columns["x"] - 0.1 * (columns["z"] - 3) + 0.2 * (columns["g"] == "b")
    columns |= {
        "count": rng.poisson(np.exp(eta) * columns["e"]), "size": rng.gamma(2, np.exp(eta) / 2),
        "level": eta + rng.normal(size=N), "yes": rng.random(N) < 1 / (1 + np.exp(-eta)),
    }  # fmt: skip
    return pa.table(columns)


@pytest.fixture(scope="module")
def table():
    return villages()


@pytest.fixture
def file(table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, row_group_size=400)
    return path


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


CASES = [
    ("count ~ x + z + g", {"family": "poisson", "exposure": "e", "freq_weights": "w"}),
    ("count ~ center(x) * C(k) + b", {"family": "quasi_poisson"}),
    slow("level ~ x * g + scale(z)", {"family": "normal", "weights": "w"}),
    slow("size ~ x + I(z ** 2)", {"family": "gamma", "link": "log", "freq_weights": "w"}),
    ("count ~ x + g", {"family": "poisson", "sampling_weights": "w"}),
    slow("yes ~ 0 + x + g", {"family": "binomial", "sampling_weights": "w"}),
    slow("count ~ x + z + offset(log(e))", {"family": "poisson"}),
    slow("level ~ x + z", {"family": "normal"}),
]


@pytest.mark.parametrize(
    ("formula", "options"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_file_gives_the_numbers_of_memory(file, table, formula, options):
    whole, batches = (eg.GLM(formula, data, **options) for data in (table, str(file)))
    cov = ROBUST if "sampling_weights" in options else ["fisher", *ROBUST]
    first, second = (m.fit(cov=cov, groups="village", **TIGHT) for m in (whole, batches))
    agree(first, second)
    assert second.attrs["data_source"] == str(file)
    assert second.attrs["formula"] == formula
    newdata = table.slice(0, 5)
    one, other = (eg.predict(tree, newdata) for tree in (first, second))
    np.testing.assert_allclose(one["estimate"], other["estimate"], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("information", ["expected", "observed"])
def test_free_shapes_are_estimated_from_batches(file, table, information):
    trees = [
        eg.GLM("count ~ x", data, family="negative_binomial").fit(information=information, **TIGHT)
        for data in (table, file)
    ]
    agree(*trees, rtol=1e-6)  # the shape's own search stops at 1e-8 standard errors


@pytest.mark.slow
def test_a_folder_and_a_dataset_are_read_alike(table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    parts = tmp_path / "parts"
    parts.mkdir()
    for k in range(3):
        pq.write_table(table.slice(300 * k, 300), parts / f"part-{k}.parquet")
    coded = table.set_column(3, "g", table["g"].dictionary_encode())
    for data in (parts, pyarrow.dataset.dataset(coded)):
        agree(*(eg.GLM("count ~ x + g", d, family="poisson").fit(**TIGHT) for d in (table, data)))


def test_a_subsample_begins_the_fit_of_many_rows(file, table, monkeypatch):
    from expfam_glm.mle import maximise

    monkeypatch.setattr(maximise, "_SUBSAMPLE_FROM", 100)
    agree(*(eg.GLM("count ~ x + z", d, family="poisson").fit(**TIGHT) for d in (table, file)))


@pytest.mark.parametrize(
    ("family", "link", "passes"),
    [("poisson", "log", 4), ("poisson", "identity", 6), ("binomial", "logit", 4),
     ("binomial", "cloglog", 6), ("gamma", "log", 6), ("normal", "identity", 2)],
)  # fmt: skip
def test_few_passes_lead_to_the_maximum_and_its_information(
    tmp_path, monkeypatch, family, link, passes
):
    rng = np.random.default_rng(3)
    n = 60_000
    x, z = rng.normal(size=n), rng.random(n)
    mu = 1.0 + 0.3 * z if link == "identity" else np.exp(0.2 + 0.5 * x - z)
    y = {
        "poisson": lambda: rng.poisson(mu), "gamma": lambda: rng.gamma(2, mu / 2),
        "normal": lambda: mu + x + rng.normal(size=n),
        "binomial": lambda: rng.random(n) < mu / (1 + mu),
    }[family]()  # fmt: skip
    table = pa.table({"x": x, "z": z, "y": np.asarray(y, float)})
    pq.write_table(table, tmp_path / "data.parquet")
    monkeypatch.setattr(census, "_SAMPLE_ROWS", 4000)
    formula = "y ~ z" if link == "identity" and family == "poisson" else "y ~ x + z"
    model = eg.GLM(formula, tmp_path / "data.parquet", family=family, link=link)
    total, seen = stream.Streamed.total, []
    monkeypatch.setattr(
        stream.Streamed, "total", lambda *a, **k: (seen.append(1), total(*a, **k))[1]
    )
    tree = model.fit(draws=20, chains=1)
    assert tree["fit_stats"]["decrement"] < 1e-8
    assert len(seen) <= passes
    start = tree["fit"]["beta"].values
    exact = eg.GLM(formula, table, family=family, link=link).fit(start=start, tol=1e-13)
    se = exact["fit"]["se"].values
    assert np.abs(start - exact["fit"]["beta"].values).max() < 1e-8 * se.min()
    np.testing.assert_allclose(tree["fit"]["se"], se, rtol=1e-10)
    for name in ("deviance", "loglik", "pearson_chi2"):
        np.testing.assert_allclose(
            float(tree["fit_stats"][name]), float(exact["fit_stats"][name]), rtol=1e-11
        )


def test_rows_with_missing_values_are_dropped_on_request(table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    x = table["x"].to_numpy().copy()
    x[:300] = np.nan  # a whole batch, and part of the next
    holes = table.set_column(0, "x", pa.array(x))
    path = tmp_path / "holes.parquet"
    pq.write_table(holes, path)
    with pytest.raises(DataError, match=r"in rows 0 to 249 .* missing values .*missing='drop'"):
        eg.GLM("count ~ x", path, family="poisson")
    for formula, family in (("size ~ x", "gamma"), ("count ~ scale(x) + g", "poisson")):
        trees = [eg.GLM(formula, data, family=family, link="log", missing="drop").fit(**TIGHT)
                 for data in (holes, path)]  # fmt: skip
        agree(*trees)
    assert trees[1].attrs["rows_dropped"] == 300
    assert "300 of 900 rows" in trees[1].attrs["warnings"]


@pytest.mark.slow
def test_rows_without_a_cluster_are_dropped_on_request(table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    village = [
        None if k % 9 == 0 or k < 270 else v for k, v in enumerate(table["village"].to_pylist())
    ]
    holes = table.set_column(table.column_names.index("village"), "village", pa.array(village))
    path = tmp_path / "holes.parquet"
    pq.write_table(holes, path)
    options = {"cov": ["CR1", "HC1"], "groups": "village"} | TIGHT
    models = [
        eg.GLM("count ~ center(x) + C(k)", data, family="poisson", missing="drop")
        for data in (holes, path)
    ]
    trees = [model.fit(**options) for model in models]
    agree(*trees)
    assert trees[1].attrs["rows_dropped"] == trees[0].attrs["rows_dropped"] == 340
    assert trees[1]["fit"]["beta"].size < models[1].fit(**TIGHT)["fit"]["beta"].size  # levels too
    with pytest.raises(DataError, match=r"groups 'village' has missing values"):
        eg.GLM("count ~ x", path, family="poisson").fit(cov="CR1", groups="village")


def test_collinear_columns_are_named(file, table):
    trees = []
    for data in (table, file):
        with pytest.warns(AliasWarning, match=r"I\(2 \* x\)"):
            trees.append(eg.GLM("count ~ x + I(2 * x) + z", data, family="poisson").fit(**TIGHT))
    agree(*trees)


@pytest.mark.slow
def test_separation_is_found_in_batches(table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    x = table["x"].to_numpy()
    path = tmp_path / "split.parquet"
    pq.write_table(table.append_column("apart", pa.array((x > 0.1).astype(float))), path)
    with pytest.raises(SeparationError, match="x"):
        eg.GLM("apart ~ x", path, family="binomial").fit()
    pq.write_table(table.append_column("rare", pa.array(np.arange(N) == 700)), path)
    tree = eg.GLM("I(rare * 1.0) ~ x", path, family="binomial").fit()
    assert tree["fit_stats"]["converged"] == 1


def test_a_column_of_zeros_in_the_sample_separates(tmp_path, monkeypatch):
    monkeypatch.setattr(census, "_SAMPLE_ROWS", 2000)
    n = 20_000
    r = (np.arange(n) % 10 == 1) * 1.0
    y = np.random.default_rng(0).poisson(1, n) * (r == 0)
    pq.write_table(pa.table({"y": y, "r": r}), tmp_path / "data.parquet")
    with pytest.raises(SeparationError, match="r"):
        eg.GLM("y ~ r", tmp_path / "data.parquet", family="poisson").fit()


def test_an_interrupted_fit_goes_on_where_it_was(file, monkeypatch):
    model = eg.GLM("count ~ x + z", file, family="poisson")
    reduce, passes = blocks.StreamBlocks.reduce, []

    def interrupted(self, *arguments):
        passes.append(1)
        if len(passes) == 4:
            raise KeyboardInterrupt
        return reduce(self, *arguments)

    monkeypatch.setattr(blocks.StreamBlocks, "reduce", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(**TIGHT)
    begun = model.problem.held["beta"]
    tree = model.fit(**TIGHT)
    assert np.all(np.abs(begun - tree["fit"]["beta"].values) < 0.1) and not model.problem.held
    whole = eg.GLM("count ~ x + z", file, family="poisson").fit(**TIGHT)
    assert tree["fit_stats"]["n_iterations"] < whole["fit_stats"]["n_iterations"]
    agree(tree, whole)


def test_a_bar_counts_the_rows_where_somebody_watches(file, monkeypatch, capsys):
    eg.GLM("count ~ x", file, family="poisson")
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setattr(progress, "wanted", lambda rows: rows == N)
    eg.GLM("count ~ x", file, family="poisson")
    assert "scan of the rows" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_rows(file):
    problem = eg.GLM("count ~ x + z + g", file, family="poisson").problem
    assert problem.y.size == 0 and problem.X.shape == (0, 6)
    assert problem.row_count == N and problem.n == N
    assert all(part.row_count <= 250 for part, _ in problem.batches())


@pytest.mark.parametrize(
    ("formula", "error", "words"),
    [
        ("count ~ poly(x, 2)", FormulaError, r"poly\(\) needs all rows at once"),
        ("count ~ center(log(e))", FormulaError, r"center\(\) takes one column as it is"),
        ("count ~ I(x - x.mean())", FormulaError, "not allowed"),
        ("count ~ x + (1 | village)", FormulaError, "group effect"),
        ("count ~ nothing", FormulaError, "not in the data"),
        ("count ~ Q('x')", FormulaError, "write `my x`, in backticks"),
        ("level ~ log(level) + x", FormulaError, "cannot|not finite|response"),
    ],
)
def test_formulas_that_batches_cannot_serve(file, formula, error, words):
    with pytest.raises((error, DataError), match=words):
        eg.GLM(formula, file, family="poisson")


def test_a_file_without_weight_says_so(table, file):
    pq.write_table(table.append_column("none", pa.array(np.zeros(N))), file)
    with pytest.raises(DataError, match="left to fit; weights may be zero throughout"):
        eg.GLM("count ~ x", file, family="poisson", weights="none")


def test_a_model_of_a_file_can_be_pickled(file):
    model = eg.GLM("count ~ x + g", file, family="poisson")
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.fit(**TIGHT)["fit"]["beta"], model.fit(**TIGHT)["fit"]["beta"])
    with pytest.raises(DataError, match="never held as a whole"):
        again.problem.frame.table.column("x")


def test_distinct_rows_of_a_file_remember_the_dropped_ones(table, file):
    k = np.where(np.arange(N) % 9 == 0, np.nan, table["k"].to_numpy())
    pq.write_table(table.append_column("holes", pa.array(k, from_pandas=True)), file)
    model = eg.GLM("count ~ holes", file, family="poisson", missing="drop")
    tree = model.compress().fit(**TIGHT)
    assert tree.attrs["rows_dropped"] == 100
    assert "100 rows had missing values" in tree.attrs["warnings"]
    assert "100 rows with missing values dropped" in str(eg.summary(tree))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_perfect_fit_of_a_file(seed, tmp_path):
    x = np.random.default_rng(seed).normal(size=5000) * (1 + seed)
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"x": x, "y": np.full(5000, 3.0)}), path)
    with pytest.warns(FitWarning, match="perfect"):
        tree = eg.GLM("y ~ x", path, family="normal").fit(**TIGHT)
    assert float(tree["fit_stats"]["decrement"]) == 0.0


def test_methods_that_need_the_rows_say_so(file):
    model = eg.GLM("count ~ x", file, family="poisson")
    for call in (
        lambda: model.gee("village", cov="jackknife"),
        lambda: model.fit(cov="CR2", groups="village"),
        lambda: model.fit(cov="CR0", groups=np.arange(N)),
        lambda: model.fit(penalty=1.0),
        lambda: model.to_pymc(),
        lambda: model.prior_predictive(),
    ):
        with pytest.raises(DataError, match="all rows in memory"):
            call()
    tree = model.fit(**TIGHT)
    for function in (eg.residuals, eg.influence):
        with pytest.raises(ResultError, match="rows"):
            function(tree)
    with pytest.raises(DataError, match="not in the data; did you mean 'village'"):
        model.fit(cov="CR0", groups="vilage")
    with pytest.raises(DataError, match="no place for an array"):
        eg.GLM("count ~ x", file, family="poisson", weights=np.ones(N))
    with pytest.raises(DataError, match="outside the support"):
        eg.GLM("level ~ x", file, family="poisson")


@pytest.mark.parametrize("options", [{}, {"weights": "w", "offset": "half"}], ids=str)
def test_the_distinct_rows_of_a_file_are_its_model(table, tmp_path, monkeypatch, options):
    monkeypatch.setattr(source, "BATCH_ROWS", 250)
    wide = table.append_column("half", pa.array(np.arange(N) % 2 * 0.5))
    path = tmp_path / "wide.parquet"
    pq.write_table(wide, path)
    whole, cells = (
        eg.GLM("count ~ g + C(k) + b", d, family="poisson", **options) for d in (wide, path)
    )
    cells = cells.compress()
    assert cells.problem.row_count < N / 4 and cells.problem.n == N
    cov = ["fisher", "HC0", "HC3"]
    agree(*(m.fit(cov=cov, **TIGHT) for m in (whole, cells)))
    applied = apply(whole.problem, "default")
    z = np.full(whole.problem.X.shape[1], 0.1)
    (value, slope), (same, own) = (LogPosterior(m.problem, applied)(z) for m in (whole, cells))
    assert same == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(own, slope, rtol=1e-10)
    with pytest.raises(DataError, match="read in batches"):
        cells.fit(cov="CR0", groups="village")


def test_too_many_distinct_rows_are_refused(file, monkeypatch):
    monkeypatch.setattr(collapse, "_MOST_DOUBLES", 1000)
    with pytest.raises(DataError, match="distinct rows among"):
        eg.GLM("count ~ x", file, family="poisson").compress()


def test_columns_of_lists_and_the_row_of_an_infinite_value(tmp_path):
    path = tmp_path / "odd.parquet"
    for values, says in (
        ([[1.0], [2.0], [3.0]], "'x' must be one column, but each of its values is a list"),
        ([{"a": 1}] * 3, "'x' must be one column, but each of its values is a struct"),
        ([np.inf, 2.0, 3.0], r"'x' has infinite values \(row 0: inf\)"),
        ([1.0, np.inf, 3.0], r"'x' has infinite values \(row 1: inf\)"),
    ):
        pq.write_table(pa.table({"y": [1.0, 2.0, 4.0], "x": values}), path)
        for formula in ("y ~ x", "y ~ scale(x)") if "row" in says else ("y ~ x",):
            with pytest.raises(DataError, match=says):
                eg.GLM(formula, path, family="poisson")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        eg.GLM("y ~ x", tmp_path / "none.parquet", family="poisson")
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match="cannot be read"):
        eg.GLM("y ~ x", bad, family="poisson")
    text = tmp_path / "data.csv"
    text.write_text("y,x\n1,2\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        eg.GLM("y ~ x", str(text), family="poisson")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no Parquet file"):
        eg.GLM("y ~ x", empty, family="poisson")
    pq.write_table(pa.table({"y": pa.array([], pa.float64()), "x": pa.array([], pa.float64())}),
                   tmp_path / "none.parquet")  # fmt: skip
    with pytest.raises(DataError, match="no value"):
        eg.GLM("y ~ x", tmp_path / "none.parquet", family="poisson")


@pytest.mark.parametrize("missing", ["raise", "drop"])
def test_a_file_without_a_column_is_named(table, tmp_path, missing):
    for name, rows in (("a", table), ("b", table.drop_columns(["x"]))):
        (tmp_path / f"part={name}").mkdir()
        pq.write_table(rows, tmp_path / f"part={name}" / "0.parquet")
    with pytest.raises(DataError, match=r"part=b/0.parquet', one of the files .* no column 'x'"):
        eg.GLM("count ~ x + part", tmp_path, family="poisson", missing=missing)
    eg.GLM("count ~ z + part", tmp_path, family="poisson", missing=missing)


def test_files_of_other_types_are_named(tmp_path):
    for name, x in (("a", [1, 2, 3, 4]), ("b", [1.5, 2.0, 3.0, 4.0])):
        pq.write_table(pa.table({"y": [1, 2, 3, 5], "x": x}), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"schemas.*'x' is int64 in the first, double in .*b\.par"):
        eg.GLM("y ~ x", tmp_path, family="poisson").fit()
