"""dask DataFrames, and sums on the workers of a cluster, give the numbers of data in memory."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from itertools import pairwise

import cloudpickle
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import expfam_glm as eg
from expfam_glm.data import blocks, cluster, clustered, partitions, source
from expfam_glm.errors import (
    AliasWarning,
    DataError,
    FormulaError,
    MissingPackageError,
    SeparationError,
)
from tests.data.test_compress import agree
from tests.data.test_stream import CASES, ROBUST, TIGHT, N, villages


@pytest.fixture(scope="module")
def table():
    frame = villages().to_pandas()
    frame["h"] = pd.Categorical(frame["g"], categories=[*"dcbxa"])  # in an order of its own
    frame["i"] = frame["k"].astype("Int64")
    frame.loc[300:420, "i"] = pd.NA
    frame["split"] = (frame["x"] > 0.1).astype(float)
    return frame


@pytest.fixture(scope="module")
def frame(table):
    """In partitions, some of them empty."""
    whole = dd.from_pandas(table, npartitions=3, sort=False)
    none = whole[whole["x"] > 1e9]
    return dd.concat([none, whole], interleave_partitions=False)


@pytest.fixture(scope="module")
def workers():
    """A cluster of two processes."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as local:
        yield local


@pytest.fixture
def client(workers):
    from distributed import Client

    with Client(workers) as connected:
        connected.wait_for_workers(1, timeout=120)
        yield connected


@pytest.fixture
def travelled(monkeypatch):
    """How many bytes go to the workers in each pass, and how many come back."""
    sizes = []

    def spied(client, parts, lengths, tables, work, add):
        found = cluster.on_cluster(client, parts, lengths, tables, work, add)
        sizes.append((len(cloudpickle.dumps((tables, work, add))), len(cloudpickle.dumps(found))))
        return found

    monkeypatch.setattr(source, "on_cluster", spied)
    return sizes


def fits(formula, datasets, options, **more):
    cov = ROBUST if "sampling_weights" in options else ["fisher", *ROBUST]
    return [
        eg.GLM(formula, data, **options).fit(cov=cov, groups="village", **TIGHT, **more)
        for data in datasets
    ]


@pytest.mark.slow
def test_partitions_give_the_numbers_of_memory(table, frame, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 150)
    options = {"family": "poisson", "exposure": "e", "freq_weights": "w", "missing": "drop"}
    first, second = fits("count ~ center(x) + i + h", (table, frame), options)
    agree(first, second)
    assert list(second["fit"].coef.values) == list(first["fit"].coef.values)
    assert second.attrs["data_source"] == "a dask DataFrame"
    assert second.attrs["rows_dropped"] == 121


# On a cluster a pass takes half a second for itself: few models, and with much in each of them.
ON_WORKERS = [
    ("count ~ center(x) * C(k) + h", {"family": "poisson", "exposure": "e", "freq_weights": "w"}),
    ("size ~ scale(x) + i + b", {"family": "gamma", "link": "log", "missing": "drop"}),
    ("yes ~ 0 + x + g", {"family": "binomial", "sampling_weights": "w"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("formula", "options"), CASES, ids=str)
def test_every_kind_of_model_without_a_cluster(table, frame, formula, options):
    agree(*fits(formula, (table, frame), options))


@pytest.mark.slow
@pytest.mark.parametrize(("formula", "options"), ON_WORKERS, ids=str)
def test_workers_give_the_numbers_of_memory(client, travelled, table, frame, formula, options):
    agree(*fits(formula, (table, frame), options))
    scan, *passes = sorted(travelled, key=lambda sizes: -sizes[1])
    assert max(sent for sent, _ in travelled) < 100_000  # the family and the kernels
    assert max(back for _, back in passes) < 10_000 < scan[1]  # which brings the sample


@pytest.mark.slow
def test_shapes_are_estimated_from_partitions(table, frame):
    trees = fits("count ~ x", (table, frame), {"family": "negative_binomial"})
    agree(*trees, rtol=1e-6)  # the shape's own search stops at 1e-8 standard errors


@pytest.mark.slow
def test_dispersions_are_estimated_on_workers(client, table, frame):
    trees = [
        eg.GLM("size ~ x + h", data, family="gamma", link="log", weights="w").fit(
            dispersion="ml", information="observed", **TIGHT
        )
        for data in (table, frame)
    ]
    agree(*trees)


@pytest.mark.slow
def test_files_are_summed_by_the_workers(client, travelled, table, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PART_ROWS", 300)
    for k, rows in (("a", villages().slice(0, 500)), ("b", villages().slice(500))):
        (tmp_path / "parts" / f"part={k}").mkdir(parents=True)
        pq.write_table(rows, tmp_path / "parts" / f"part={k}" / "0.parquet", row_group_size=200)
    whole = table.assign(part=np.where(np.arange(N) < 500, "a", "b"))
    files = tmp_path / "parts"
    assert source.open_source(files).parts(["x"]).lengths == [400, 100, 400]
    agree(*fits("count ~ x + part", (whole, files), {"family": "poisson"}))
    assert len(travelled) > 5
    travelled.clear()
    dataset = pyarrow.dataset.dataset(files, partitioning="hive")
    some = dataset.filter(pyarrow.dataset.field("x") > 0)
    agree(*fits("count ~ z", (table[table["x"] > 0], some), {"family": "poisson"}))
    agree(*fits("count ~ z", (table, pyarrow.dataset.dataset(villages())), {"family": "poisson"}))
    assert not travelled  # no worker could read these


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_time_and_nothing_else(client, table, tmp_path, monkeypatch):
    order = tmp_path / "die"

    def mortal(rows):
        try:
            order.unlink()
        except FileNotFoundError:
            return rows
        os.kill(os.getpid(), signal.SIGKILL)

    reduce, passes = blocks.StreamBlocks.reduce, []

    def fatal(self, *arguments):
        passes.append(1)
        if len(passes) == 3:
            order.touch()
        return reduce(self, *arguments)

    plain = dd.from_pandas(table, npartitions=8)
    risky = plain.map_partitions(mortal, meta=plain._meta)
    monkeypatch.setattr(blocks.StreamBlocks, "reduce", fatal)
    options = {"family": "poisson", "exposure": "e"}
    (tree,) = fits("count ~ x + z + h", (risky,), options)
    monkeypatch.undo()
    assert len(passes) > 3 and not order.exists()  # a worker has obeyed it
    agree(*fits("count ~ x + z + h", (table,), options), tree)


@pytest.mark.slow
def test_the_distinct_rows_are_gathered_from_the_workers(client, table, frame):
    whole, cells = (
        eg.GLM("count ~ g + C(k) + b", d, family="poisson", weights="w") for d in (table, frame)
    )
    cells = cells.compress()
    assert cells.problem.row_count < N / 2 and cells.problem.n == N
    agree(*(m.fit(cov=["fisher", "HC3"], **TIGHT) for m in (whole, cells)))


@pytest.mark.slow
def test_collinear_columns_and_separation_are_found_by_the_workers(client, table, frame):
    trees = []
    for data in (table, frame):
        with pytest.warns(AliasWarning, match=r"I\(2 \* x\)"):
            trees.append(eg.GLM("count ~ x + I(2 * x) + z", data, family="poisson").fit(**TIGHT))
    agree(*trees)
    with pytest.raises(SeparationError, match="x"):
        eg.GLM("split ~ x", frame, family="binomial").fit(max_iterations=4)


@pytest.mark.slow
def test_errors_of_the_workers_are_ours(client, table, frame):
    bad = table.assign(count=table["count"].where(table.index != 700, -3))
    with pytest.raises(DataError, match=r"in rows 675 to 899 .* found row 25: -3") as raised:
        eg.GLM("count ~ x", dd.from_pandas(bad, npartitions=4), family="poisson")
    assert type(raised.value) is DataError

    def broken(rows):
        if (rows["x"] > 2).any():
            raise KeyError("no such thing")
        return rows

    with pytest.raises(DataError, match="a dask DataFrame cannot be read: KeyError: 'no such"):
        eg.GLM("count ~ x", frame.map_partitions(broken, meta=frame._meta), family="poisson")


@pytest.mark.slow
def test_a_client_that_is_closed_ends_the_fit_with_an_error(client, frame, tmp_path):
    begun = tmp_path / "begun"

    def waiting(rows):
        if len(rows) and os.environ.get("DASK_WAIT"):
            begun.touch()
            time.sleep(20)
        return rows

    def close():
        while not begun.exists():
            time.sleep(0.05)
        client.close()

    model = eg.GLM("count ~ x", frame.map_partitions(waiting, meta=frame._meta), family="poisson")
    client.run(lambda: os.environ.update(DASK_WAIT="1"))
    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    with pytest.raises(DataError, match=r"cannot be read: .*(Cancelled|Closed)"):
        model.fit(**TIGHT)
    closing.join()


@pytest.mark.slow
@pytest.mark.parametrize("connected", [False, True])
def test_estimating_equations_of_partitions(table, frame, connected, request):
    if connected:
        request.getfixturevalue("client")
    trees = [
        eg.GLM("count ~ x + h", data, family="poisson").gee("village", "toeplitz", **TIGHT)
        for data in (table, frame)
    ]
    for tree in trees:
        del tree["fit_stats"]["last_step"]  # rounding errors
    agree(*trees)


@pytest.mark.slow
@pytest.mark.parametrize("connected", [False, True])
def test_files_of_which_few_columns_are_read_stay_in_their_partitions(
    table, tmp_path, connected, request
):
    if connected:
        request.getfixturevalue("client")
    wide = table.drop(columns="i").assign(**{f"more{k}": 1.0 for k in range(15)})
    for k in range(5):
        wide.iloc[180 * k : 180 * (k + 1)].to_parquet(tmp_path / f"{k}.parquet")
    frame = dd.read_parquet(tmp_path)
    assert frame[["count", "b"]].optimize().npartitions < 5  # dask puts what is small together
    agree(*fits("count ~ b", (table, frame), {"family": "poisson"}))


def test_what_a_dask_data_frame_cannot_be(frame, monkeypatch):
    with pytest.raises(FormulaError, match="not in the data"):
        eg.GLM("count ~ nothing", frame, family="poisson")
    with pytest.raises(DataError, match="exposure 'f' is not in the data"):
        eg.GLM("count ~ x", frame, family="poisson", exposure="f")
    with pytest.raises(DataError, match="text and differ, unlike 3; rename"):
        eg.GLM("count ~ x", frame.rename(columns={"z": 3}), family="poisson")
    with pytest.raises(DataError, match="'count' has no value"):
        eg.GLM("count ~ x", frame[frame["x"] > 1e9], family="poisson")
    with pytest.raises(DataError, match="must be a pandas or polars DataFrame"):
        eg.GLM("count ~ x", frame["count"], family="poisson")
    model = eg.GLM("count ~ x", frame, family="poisson")
    with pytest.raises(DataError, match="all rows in memory"):
        model.gee("village", cov="jackknife")
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(MissingPackageError, match=r"expfam_glm\[dask\]"):
        partitions.open_partitions(frame)


def test_parts_of_whole_clusters_hold_every_row_once(monkeypatch):
    rng = np.random.default_rng(0)
    for trial in range(60):
        sizes = rng.integers(1, (4, 30)[trial % 2], 40)
        g = np.repeat(rng.permutation(40), sizes)
        frame = pd.DataFrame({"g": g, "row": np.arange(g.size)})
        edges = np.sort(rng.integers(0, g.size + 1, 6))  # some parts are empty
        cut = [frame.iloc[a:b] for a, b in pairwise([0, *edges.tolist(), g.size])]
        origin = partitions.open_partitions(dd.from_map(lambda k, cut=cut: cut[k], range(len(cut))))
        pieces, lengths, tables = clustered.Clustered(origin, "", "g").parts(["row", "g"])
        rows, seen = [], []
        for (parts, *place), length in zip(pieces, lengths, strict=True):
            there = list(tables(([part.compute() for part in parts], *place)))
            rows += [row for table in there for row in table["row"].to_pylist()]
            seen += [set(table["g"].to_pylist()) for table in there]
            assert sum(table.num_rows for table in there) == length
        assert rows == list(range(g.size))
        assert sum(map(len, seen)) == 40  # no cluster in two tables


@pytest.mark.slow
@pytest.mark.parametrize(
    ("working", "time", "options"),
    [
        ("exchangeable", None, {"cov": ["robust", "naive", "mancl-derouen"]}),
        ("ar1", "t", {"weights": "w"}),
        ("unstructured", "t", {}),
    ],
)
def test_clusters_are_worked_on_by_the_workers(
    client, travelled, table, tmp_path, monkeypatch, working, time, options
):
    monkeypatch.setattr(source, "PART_ROWS", 100)
    options = dict(options)
    cov = {"cov": options.pop("cov")} if "cov" in options else {}
    sizes = np.random.default_rng(0).integers(1, 9, N)
    g = np.repeat(np.arange(N), sizes)[:N]
    g[100:420] = g[99]  # over more than three parts
    rows = table.assign(g=g, t=table.groupby(g).cumcount())
    if time:
        rows = rows[(rows["g"] != g[99]) | (np.arange(N) < 102)].reset_index(drop=True)
    pq.write_table(pa.Table.from_pandas(rows), tmp_path / "rows.parquet", row_group_size=100)
    kinds = rows, tmp_path / "rows.parquet", dd.from_pandas(rows, npartitions=5, sort=False)
    trees = []
    for data in kinds:
        travelled.clear()
        model = eg.GLM("count ~ x + h", data, family="poisson", **options)
        before = len(travelled)
        trees.append(model.gee(groups="g", time=time, correlation=working, tol=1e-11, **cov))
        assert (len(travelled) - before > 4) == (data is not rows)
        assert all(sent < 200_000 for sent, _ in travelled[before:])
    for other in trees[1:]:
        for name in ("beta", "se", "covariance", "alpha", "phi"):
            np.testing.assert_allclose(
                other["fit"][name].values, trees[0]["fit"][name].values, rtol=1e-8, atol=1e-13
            )


@pytest.mark.slow
def test_clusters_out_of_order_are_gathered_here(client, table):
    rows = table.assign(g=np.random.default_rng(0).integers(0, 50, N))
    trees = [
        eg.GLM("count ~ x", data, family="poisson").gee(groups="g", tol=1e-11)
        for data in (rows, dd.from_pandas(rows, npartitions=3, sort=False))
    ]
    for name in ("beta", "se"):
        np.testing.assert_allclose(
            trees[1]["fit"][name].values, trees[0]["fit"][name].values, rtol=1e-9
        )
