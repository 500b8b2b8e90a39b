"""GEE on data that are read in batches gives the numbers of data in memory."""

from __future__ import annotations

import re
from collections import namedtuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import expfam_glm as eg
from expfam_glm.correlation import Custom, Fixed, MDependent, Nested
from expfam_glm.data import clustered, progress, source
from expfam_glm.errors import (
    AliasWarning,
    ArgumentError,
    ConvergenceError,
    CorrelationError,
    DataError,
    ResultError,
    SeparationError,
)
from expfam_glm.gee import lags, streamed, whole
from expfam_glm.gee.part import Part
from tests.data.test_compress import agree

Usage = namedtuple("Usage", "total used free")
TIGHT = {"tol": 1e-11, "draws": 20, "chains": 1}
K, MOST = 220, 5
PLACES = np.arange(6)
EVERY = [
    "mancl-derouen", "kauermann-carroll", "fay-graubard", "morel-bokossa-neerchal", "pan",
    "jackknife-one-step",
]  # fmt: skip


def visits():
    """Clusters of one to five rows at some of six times, as Arrow columns."""
    rng = np.random.default_rng(3)
    sizes = np.where(np.arange(K) < 90, 2, rng.integers(1, MOST + 1, K))
    patient = np.repeat(np.arange(K), sizes)
    visit = np.concatenate([np.sort(rng.choice(6, size, replace=False)) for size in sizes])
    visit[:180] = np.tile([1, 4], 90)  # one distance alone in the first batch
    n = patient.size
    x, own = rng.normal(size=n), rng.normal(size=K)[patient]
    eta = 0.3 + 0.2 * x + 0.5 * own
    return pa.table(
        {
            "patient": patient, "id": [f"p{label}" for label in patient], "visit": visit,
            "hour": 0.1 * visit, "day": np.datetime64("2021-03-01", "ns") + visit * 86_400_000_000,
            "half": visit // 3, "x": x, "z": rng.normal(size=n) + 0.5 * own,
            "w": rng.integers(1, 3, n).astype(float), "years": rng.random(n) + 0.5,
            "four": np.full(n, 4), "cured": rng.binomial(4, 1 / (1 + np.exp(-eta))),
            "count": rng.poisson(np.exp(eta)), "size": rng.gamma(2, np.exp(eta) / 2),
            "level": eta + rng.normal(size=n),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return visits()


@pytest.fixture
def small(monkeypatch):
    """Batches, and buckets of a copy, that hold a few clusters."""
    monkeypatch.setattr(source, "BATCH_ROWS", 150)
    monkeypatch.setattr(clustered, "_BUCKET_BYTES", 20_000)
    monkeypatch.setattr(clustered, "_WAITING_BYTES", 15_000)


@pytest.fixture
def file(table, tmp_path, small):
    """The rows in the order of the clusters."""
    path = tmp_path / "sorted.parquet"
    pq.write_table(table, path, row_group_size=200)
    return path


@pytest.fixture
def scattered(table, tmp_path, small):
    """The rows in no order, and the same in memory."""
    rows = table.take(np.random.default_rng(5).permutation(table.num_rows))
    path = tmp_path / "scattered.parquet"
    pq.write_table(rows, path, row_group_size=200)
    return path, rows


def same(table, path, formula, options, *arguments, **keywords):
    """Fit in memory and in batches; the trees must agree."""
    trees = [
        eg.GLM(formula, data, **options).gee(*arguments, **keywords, **TIGHT)
        for data in (table, path)
    ]
    for tree in trees:
        assert tree["fit_stats"]["converged"] == 1
        del tree["fit_stats"]["last_step"]  # rounding errors
    agree(*trees)
    notes = [re.sub(r" \(row [^)]*\)", "", tree.attrs["warnings"]) for tree in trees]
    assert notes[0] == notes[1]  # batches do not count rows that were dropped one by one
    assert "times" not in trees[0].attrs or trees[0].attrs["times"] == trees[1].attrs["times"]
    for name in ("fit", "fit_stats", "posterior"):
        assert set(trees[0][name].coords) == set(trees[1][name].coords)
    return trees[1]


POISSON, NORMAL = {"family": "poisson"}, {"family": "normal"}
CORRELATIONS = [
    ("independence", {}),
    ("exchangeable", {}),
    ("ar1", {"time": "visit"}),
    ("ar1", {"time": "hour"}),
    ("ar1", {"time": "day"}),
    ("toeplitz", {}),
    (MDependent(2), {"time": "visit"}),
    (MDependent(2, stationary=False), {"time": "visit"}),
    ("unstructured", {"time": "visit"}),
    (Fixed(0.4 ** np.abs(PLACES[:, None] - PLACES)), {"time": "visit"}),
    (Nested("half"), {}),
]


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("correlation", "options"),
    [slow(*case) for case in CORRELATIONS],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_clusters_side_by_side(table, file, correlation, options):
    same(table, file, "count ~ x + z", POISSON, "patient", correlation, **options)


@pytest.mark.parametrize(
    ("correlation", "options"),
    [case if k == 1 else slow(*case) for k, case in enumerate(CORRELATIONS)],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_clusters_scattered_over_the_file(scattered, correlation, options):
    path, rows = scattered
    same(rows, path, "level ~ x + z", NORMAL, "id", correlation, **options)


MODELS = [
    ("size ~ x", {"family": "gamma", "link": "log", "weights": "w"}),
    ("cured ~ x", {"family": "binomial", "trials": "four"}),
    ("count ~ x + offset(z)", {"family": "quasi_poisson", "exposure": "years"}),
    ("level ~ x * C(half)", {"family": "normal", "weights": "w"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "options"), MODELS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_weights_trials_and_offsets(scattered, formula, options):
    path, rows = scattered
    same(rows, path, formula, options, "patient", ddof="p")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"cov": EVERY, "df": "satterthwaite", "time": "visit"},
        {"cov": "pan", "df": "t"},
        {"phi": 1.2, "alpha": 0.2},
    ],
    ids=["every", "pan", "given"],
)
def test_covariances_and_given_values(table, file, options):
    same(table, file, "count ~ x + z", POISSON, "patient", **options)


@pytest.mark.slow
def test_rows_with_missing_values_are_dropped_on_request(table, tmp_path, small):
    x = table["x"].to_numpy().copy()
    x[:170] = np.nan  # a whole batch, and a part of a cluster
    holes = table.set_column(table.column_names.index("x"), "x", pa.array(x))
    path = tmp_path / "holes.parquet"
    pq.write_table(holes, path)
    drop = POISSON | {"missing": "drop"}
    same(holes, path, "count ~ x", drop, "patient", "ar1", time="visit")
    with pytest.raises(ArgumentError, match=r"170 row\(s\) .* were dropped.*give time="):
        eg.GLM("count ~ x", path, **drop).gee("patient", "ar1")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "time"), [("patient", "visit"), ("id", "day")])
def test_rows_without_a_cluster_or_a_time_are_dropped_on_request(
    table, tmp_path, small, name, time
):
    holes = table
    for column, every in (("x", 41), (name, 29), (time, 37)):
        values = holes[column].to_pylist()
        values[::every] = [None] * len(values[::every])
        place = holes.column_names.index(column)
        holes = holes.set_column(place, column, pa.array(values, holes[column].type))
    path = tmp_path / "holes.parquet"
    pq.write_table(holes, path)
    drop = POISSON | {"missing": "drop"}
    same(holes, path, "count ~ x", drop, name, "ar1", time=time)
    with pytest.raises(DataError, match=rf"in rows 0 to \d+ .*missing values .*{name!r}"):
        eg.GLM("count ~ z", path, **POISSON).gee(name, "ar1", time=time)


@pytest.mark.slow
def test_rows_of_weight_zero_have_their_place(table, tmp_path, small):
    w = np.where(np.arange(table.num_rows) % 7 == 2, 0.0, 1.0)
    path = tmp_path / "zero.parquet"
    rows = table.append_column("v", pa.array(w))
    pq.write_table(rows, path)
    same(rows, path, "level ~ x", NORMAL | {"weights": "v"}, "patient", "ar1")


@pytest.mark.slow
def test_collinear_columns_and_separation(scattered, tmp_path):
    path, rows = scattered
    with pytest.warns(AliasWarning, match=r"I\(2 \* x\)"):
        tree = same(rows, path, "count ~ x + I(2 * x) + z", POISSON, "patient")
    assert np.isnan(tree["fit"]["beta"].sel(coef="I(2 * x)"))
    apart = rows.append_column("apart", pa.array((rows["x"].to_numpy() > 0.1).astype(float)))
    other = tmp_path / "apart.parquet"
    pq.write_table(apart, other)
    with pytest.raises(SeparationError, match="x"):
        eg.GLM("apart ~ x", other, family="binomial").gee("patient")


@pytest.mark.slow
def test_the_tree_serves_without_its_rows(table, file):
    whole, tree = (
        eg.GLM("count ~ x + z", data, **POISSON).gee("patient", **TIGHT) for data in (table, file)
    )
    assert tree.attrs["data_source"] == str(file) and tree.attrs["groups"] == "patient"
    assert "groups" not in tree["constant_data"]
    texts = [str(eg.summary(t)).splitlines() for t in (whole, tree)]
    assert texts[0][:-1] == texts[1][:-1]  # all but the number of iterations
    newdata = table.slice(0, 4)
    first, second = (eg.predict(t, newdata)["estimate"] for t in (whole, tree))
    np.testing.assert_allclose(first, second, rtol=1e-10)
    tests = [eg.hypotheses(t, "x = 0, z = 0").p_value for t in (whole, tree)]
    np.testing.assert_allclose(*tests, rtol=1e-8)
    np.testing.assert_allclose(eg.compare({"memory": whole, "file": tree})["pull"], 0, atol=1e-8)
    for function in (eg.residuals, eg.influence, eg.association):
        with pytest.raises(ResultError, match="rows"):
            function(tree)


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_and_leaves_no_files(scattered, tmp_path, monkeypatch):
    path, _ = scattered
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    model = eg.GLM("count ~ x + z", path, **POISSON)
    squares, calls = Part.squares, []

    def interrupted(self, *arguments):
        calls.append(len(list(folder.iterdir())))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return squares(self, *arguments)

    monkeypatch.setattr(Part, "squares", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.gee("patient", **TIGHT)
    assert set(calls) == {1} and not list(folder.iterdir())
    begun = model.problem.held["gee"]
    tree = model.gee("patient", **TIGHT)
    assert np.all(np.abs(begun - tree["fit"]["beta"].values) < 0.1) and not model.problem.held
    again = model.gee("patient", **TIGHT)
    assert tree["fit_stats"]["n_iterations"] < again["fit_stats"]["n_iterations"]
    np.testing.assert_allclose(tree["fit"]["beta"], again["fit"]["beta"], rtol=1e-10)
    assert not list(folder.iterdir())


def test_a_copy_that_has_no_room_is_refused(scattered, monkeypatch):
    model = eg.GLM("count ~ x", scattered[0], **POISSON)
    monkeypatch.setattr(clustered.shutil, "disk_usage", lambda folder: Usage(10, 9, 1))
    with pytest.raises(DataError, match=r"not in the order of 'patient', and the copy .* TMPDIR"):
        model.gee("patient")
    monkeypatch.undo()

    def full(opened, tables):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clustered, "_write", full)
    with pytest.raises(DataError, match=r"cannot be written to .*No space left.*TMPDIR"):
        model.gee("patient")


@pytest.mark.slow
def test_a_bar_says_where_the_copy_is(scattered, monkeypatch, capsys):
    model = eg.GLM("count ~ x", scattered[0], **POISSON)
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress, "wanted", lambda rows: True)
    model.gee("patient", draws=20, chains=1)
    shown = capsys.readouterr().err
    assert "order of the clusters" in shown and "copy by patient in" in shown


def test_what_batches_cannot_serve(table, file, monkeypatch):
    model = eg.GLM("count ~ x", file, **POISSON)
    damped = Custom(lambda alpha, times: np.eye(times.size), [0.1])
    for error, words, arguments, options in (
        (DataError, "no place for an array", (np.arange(4),), {}),
        (DataError, "groups must name a column", (None,), {}),
        (DataError, "no place for an array", ("patient", "ar1"), {"time": np.arange(4)}),
        (DataError, "did you mean 'patient'", ("patien",), {}),
        (DataError, "did you mean 'visit'", ("patient", "ar1"), {"time": "visits"}),
        (DataError, "takes all residuals at once", ("patient", damped), {}),
        (DataError, "all rows in memory", ("patient",), {"cov": ["robust", "jackknife"]}),
        (DataError, r"one cluster only \(4, \d+ rows\)", ("four",), {}),
        (DataError, "time 0 occurs more than once in cluster", ("patient", "ar1"),
         {"time": "half"}),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            model.gee(*arguments, **options)
    with pytest.raises(ConvergenceError):
        model.gee("patient", max_iterations=1)
    assert not model.problem.held  # from where it failed the next fit is not to begin
    monkeypatch.setattr(lags, "MANY", 3)
    monkeypatch.setattr(whole, "MANY", 3)
    monkeypatch.setattr(streamed, "MANY", 3)
    with pytest.raises(CorrelationError, match="round the times to a grid"):
        model.gee("patient", "ar1", time="visit")
    with pytest.raises(CorrelationError, match="distinct times, each of which"):
        model.gee("patient", "unstructured", time="visit")


def test_missing_clusters_are_refused(table, tmp_path, small):
    path = tmp_path / "missing.parquet"
    labels = table["id"].to_pylist()
    labels[4] = None
    pq.write_table(table.append_column("who", pa.array(labels)), path)
    with pytest.raises(DataError, match="'who'"):
        eg.GLM("count ~ x", path, **POISSON).gee("who")


@pytest.mark.parametrize(
    "kind", ["number", *map(slow, ["text", "category", "real", "day", "flag"])]
)
def test_batches_hold_whole_clusters(kind, tmp_path, small):
    rng = np.random.default_rng(2)
    number = np.repeat(rng.permutation(90), rng.integers(1, 30, 90))
    labels = {
        "number": lambda v: pa.array(v), "real": lambda v: pa.array(v / 7),
        "text": lambda v: pa.array([f"k{k}" for k in v]), "flag": lambda v: pa.array(v > 40),
        "category": lambda v: pa.array([f"k{k}" for k in v]).dictionary_encode(),
        "day": lambda v: pa.array(np.datetime64("2020-01-01") + v),
    }[kind]  # fmt: skip
    for numbers in (np.sort(number), -np.sort(-number), number, rng.permutation(number)):
        rows = pa.table({"k": labels(numbers), "row": np.arange(numbers.size)})
        path = tmp_path / "rows.parquet"
        pq.write_table(rows, path, row_group_size=170)
        opened = source.open_source(path)
        frame = rows.to_pandas()
        together = (frame["k"] != frame["k"].shift()).sum() == frame["k"].nunique()
        assert clustered.side_by_side(opened, "k") == together
        with clustered.clustered(opened, "k", ["k", "row"]) as batches:
            tables = list(batches.tables(["row", "k"]))
            labelled = [set(table["k"].to_pylist()) for table in tables]
            found = pa.concat_tables(tables).unify_dictionaries().to_pandas()
            assert sum(table.num_rows for table in batches.tables(["row"])) == numbers.size
        assert sum(map(len, labelled)) == len(set.union(*labelled))
        assert found.sort_values("row", ignore_index=True)["k"].equals(frame["k"])
        inside = found.groupby("k", observed=True)["row"]
        assert inside.apply(lambda own: own.is_monotonic_increasing).all()


def test_groups_are_checked_before_a_copy_loses_the_numbers_of_the_rows(tmp_path):
    rows = {"y": [1, 2, 3, 4] * 15, "x": np.arange(60.0)}
    ids = [float(k % 7) for k in range(60)]
    ids[12:16] = [None] * 4  # whose mark is that of 0
    pq.write_table(pa.table(rows | {"id": ids, "list": [[k // 4] for k in range(60)]}),
                   tmp_path / "rows.parquet")  # fmt: skip
    model = eg.GLM("y ~ x", tmp_path / "rows.parquet", family="poisson")
    with pytest.raises(DataError, match=r"4 of 60 rows: 'id' \(row 12, 13, 14, 15\)"):
        model.gee("id")
    for given in ({"groups": "list"}, {"groups": "y", "time": "list"}):
        with pytest.raises(DataError, match="'list' must be one column"):
            model.gee(**given)
