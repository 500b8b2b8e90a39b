"""GEE on data that are read in batches gives the numbers of data in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import expfam_glm as eg
from expfam_glm.correlation import Fixed, MDependent, Nested
from expfam_glm.data import clustered, source
from tests.data.test_compress import agree

TIGHT = {"tol": 1e-11, "draws": 20, "chains": 1}
K, MOST = 120, 6
PLACES = np.arange(8)
EVERY = [
    "mancl-derouen", "kauermann-carroll", "fay-graubard", "morel-bokossa-neerchal", "pan",
    "jackknife-one-step",
]  # fmt: skip


def visits():
    """Clusters of one to six rows at some of eight times, as Arrow columns."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, MOST + 1, K)
    patient = np.repeat(np.arange(K), sizes)
    visit = np.concatenate([np.sort(rng.choice(8, size, replace=False)) for size in sizes])
    n = patient.size
    x, own = rng.normal(size=n), rng.normal(size=K)[patient]
    eta = 0.3 + 0.2 * x + 0.4 * own
    return pa.table(
        {
            "patient": patient, "id": [f"p{label}" for label in patient], "visit": visit,
            "hour": 0.1 * visit, "day": np.datetime64("2021-03-01", "ns") + visit * 86_400_000_000,
            "half": visit // 4, "x": x, "z": rng.normal(size=n) + 0.5 * own,
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
    assert trees[0].attrs["warnings"] == trees[1].attrs["warnings"]
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
    [case if k in (1, 2) else slow(*case) for k, case in enumerate(CORRELATIONS)],
    ids=str,
)
def test_clusters_side_by_side(table, file, correlation, options):
    same(table, file, "count ~ x + z", POISSON, "patient", correlation, **options)


@pytest.mark.parametrize(
    ("correlation", "options"),
    [case if k == 1 else slow(*case) for k, case in enumerate(CORRELATIONS)],
    ids=str,
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
@pytest.mark.parametrize(("formula", "options"), MODELS, ids=lambda v: v if v is str else "")
def test_weights_trials_and_offsets(scattered, formula, options):
    path, rows = scattered
    same(rows, path, formula, options, "patient", ddof="p")


@pytest.mark.parametrize(
    "options",
    [
        {"cov": "mancl-derouen", "df": "t"},
        slow({"cov": EVERY, "df": "satterthwaite", "time": "visit"}).values[0],
        {"phi": 1.2, "alpha": 0.2},
    ],
    ids=["one", "every", "given"],
)
def test_covariances_and_given_values(table, file, options):
    same(table, file, "count ~ x + z", POISSON, "patient", **options)
