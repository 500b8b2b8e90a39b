"""Large data: in memory, compressed and from a Parquet file, beside glum and the physical limit.

    python benchmarks/bench_scale.py memory [n] [p]      # six families beside glum
    python benchmarks/bench_scale.py compressed [n]      # NUTS on rows that share 2,000 patterns
    python benchmarks/bench_scale.py parquet [n] [p]     # from file to covariance, and peak memory
    python benchmarks/bench_scale.py workers [n] [p]     # processes of a dask cluster
    python benchmarks/bench_scale.py curve               # time against n, with a plot if asked for

Every program fits the same data in the same process, in turn, to a tight tolerance (of files each
has a process of its own, for its peak memory), and all compute the covariance; glum's call is its
fit and `covariance_matrix`. "floor" is what cannot be avoided: one read of X and one XᵀWX by blocks
that stay in cache; the column beside it says how many of these a fit takes. "off by" is the largest
distance of a coefficient from ours in standard errors.

Between two programs in one process one processor is kept busy until the threads of the first sleep.

Measured on two cores (one thread each) of an AMD EPYC with AVX-512, nothing else running, Python
3.13, NumPy 2.5, glum 3.4, 2026-11-23:

    memory 1000000 20    seconds ours and glum's, how many times as fast, floors; and how many times
                         as fast, and floors, in another run five minutes later:
                         binomial 0.098, 1.25; 12.8; 4.2; 18.3, 3.2
                         Poisson 0.065, 1.28; 19.6; 2.7; 20.5, 2.8
                         gamma 0.072, 1.15; 16.0; 3.1; 18.1, 3.2
                         inverse Gaussian 0.064, 1.41; 22.0; 2.6; 23.0, 2.7
                         negative binomial (alpha known) 0.069, 1.07; 15.4; 2.8; 19.3, 3.3
                         normal 0.034, 0.39; 11.3; 1.4; 18.7, 1.5    A floor took 0.023 to 0.025 s
    compressed 1000000   rows 0.05 s, compress 0.06 s, cells 0.006 s, 4 × 1,000 draws 0.63 s
    parquet 5000000 20   ours 1.89 s, 3.0 s of processors, peak 558 MB; glum, to a gradient of 1e-6
                         (the intercepts then differ by some 3e-5 standard errors), 11.0 s, 4.0 GB,
                         5.8 times ours; dask-ml without errors 12.8 s, 6.8 times; Spark 56 s, 29.7
                         times, 3.8 GB; H2O 33 s, 17.6 times, 3.9 GB, both with the start of their
                         servers. 2·10⁷ rows: 7.3 s, peak 594 MB
    workers 4000000 20   in memory 2.0 s; 1 worker 1.5 times, 2 workers 1.6 times as long, where the
                         formula is evaluated in memory, and the rows are held by the workers;
                         coefficients and standard errors to 2e-14 (relative)

The speed of that machine changes by a third from one quarter of an hour to the next.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from quiet import settle

if "--child" not in sys.argv:  # a child imports what it measures
    import expfam_glm as eg
    from expfam_glm.data.blocks import MemoryBlocks
    from expfam_glm.kernels.sums import weighted_gram

ROUNDS = 3
# ours, link, glum's
FAMILIES = {
    "binomial": ("logit", "binomial"),
    "poisson": ("log", "poisson"),
    "gamma": ("log", "gamma"),
    "inverse_gaussian": ("log", "inverse.gaussian"),
    "negative_binomial": ("log", "negative.binomial (1.0)"),
    "normal": ("identity", "normal"),
}


def design(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """X with an intercept, and η."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    X[:, 0] = 1.0
    return X, X @ (rng.normal(size=p) / np.sqrt(p) / 2)


def response(family: str, eta: np.ndarray) -> np.ndarray:
    """Draws of a family at η."""
    rng, mu = np.random.default_rng(1), np.exp(eta)
    draw: dict[str, Callable[[], np.ndarray]] = {
        "binomial": lambda: rng.random(eta.size) < 1 / (1 + np.exp(-eta)),
        "poisson": lambda: rng.poisson(mu),
        "gamma": lambda: rng.gamma(2.0, mu / 2),
        "inverse_gaussian": lambda: rng.wald(mu, 2.0),
        "negative_binomial": lambda: rng.negative_binomial(1, 1 / (1 + mu)),
        "normal": lambda: eta + rng.normal(size=eta.size),
    }
    return draw[family]().astype(float)


def glum(y: np.ndarray, X: Any, family: str) -> np.ndarray:
    """glum's fit with covariance."""
    from glum import GeneralizedLinearRegressor

    link, name = FAMILIES[family]
    model = GeneralizedLinearRegressor(
        family=name, link=link, alpha=0, fit_intercept=False, gradient_tol=1e-8, max_iter=200
    )
    model.fit(X, y)
    model.covariance_matrix(X, y)
    return model.coef_


def timed(runs: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    """The median time of each program, run in turn, and its last result."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            settle()
            begun = time.perf_counter()
            results[name] = run()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}, results


def floor(y: np.ndarray, X: np.ndarray) -> float:
    """One read of X and one XᵀWX by blocks."""
    problem = eg.GLM.from_arrays(y, X, family="normal").problem
    W = np.ones(len(y))

    def once() -> None:
        X.sum()
        MemoryBlocks(problem).reduce(
            lambda block: weighted_gram(block.X, W[: block.y.size]), lambda a, b: a + b
        )

    once()
    return timed({"floor": once})[0]["floor"]


def memory(n: int = 1_000_000, p: int = 20) -> None:
    """Six families on arrays."""
    X, eta = design(n, p)
    print(f"in memory, n = {n:,}, p = {p}: seconds")
    print(
        f"{'':20s}{'ours':>9s}{'glum':>9s}{'ratio':>8s}{'floor':>9s}{'floors':>8s}{'off by':>10s}"
    )
    for family, (link, _) in FAMILIES.items():
        y = response(family, eta)
        own: Any = eg.families.negative_binomial(alpha=1.0) if "negative" in family else family

        def ours(y: np.ndarray = y, own: Any = own, link: str = link) -> Any:
            return eg.GLM.from_arrays(y, X, family=own, link=link).fit()

        runs = {"ours": ours, "glum": lambda y=y, family=family: glum(y, X, family)}
        timed({name: run for name, run in runs.items() if n <= 10_000})
        spent, found = timed(runs)
        fit = found["ours"]["fit"]
        off = np.max(np.abs(found["glum"] - fit["beta"].values) / fit["se"].values)
        least = floor(y, X)
        print(f"{family:20s}{spent['ours']:9.3f}{spent['glum']:9.3f}"
              f"{spent['glum'] / spent['ours']:8.1f}{least:9.3f}{spent['ours'] / least:8.1f}"
              f"{off:10.1e}")  # fmt: skip


def compressed(n: int = 1_000_000) -> None:
    """Compression, the fit on cells, and NUTS."""
    rng = np.random.default_rng(2)
    patterns = np.column_stack([np.ones(2000), rng.normal(size=(2000, 9))])
    X = patterns[rng.integers(0, 2000, n)]
    y = rng.poisson(np.exp(0.3 + 0.1 * X[:, 1:].sum(axis=1))).astype(float)
    model = eg.GLM.from_arrays(y, X, family="poisson")
    eg.GLM.from_arrays(y[:3000], X[:3000], family="poisson").sample(draws=20, progressbar=False)
    spent, found = timed({"rows": model.fit, "compress": model.compress})
    cells = found["compress"]
    spent |= timed({"cells": cells.fit})[0]
    begun = time.perf_counter()
    tree = model.sample(random_seed=1, progressbar=False)
    spent["4 × 1,000 draws"] = time.perf_counter() - begun
    print(f"n = {n:,} in {tree.attrs['cells']:,} cells: seconds")
    for name, value in spent.items():
        print(f"{name:20s}{value:9.3f}")


def written(path: Path, n: int, p: int) -> None:
    """Poisson counts and p − 1 covariates as a Parquet file, by pyarrow's defaults."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer = np.random.default_rng(4), None
    beta = rng.normal(size=p) / np.sqrt(p) / 2
    for start in range(0, n, 200_000):
        X = rng.normal(size=(min(200_000, n - start), p))
        X[:, 0] = 1.0
        columns = {f"x{j}": X[:, j] for j in range(p)} | {"y": rng.poisson(np.exp(X @ beta))}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def parquet(n: int = 5_000_000, p: int = 20, copies: int = 4) -> None:
    """From a Parquet file to the covariance, each program in a process of its own.

    Ours and glum run twice, in turn, and the faster run counts, as the first may find the file on
    the disk alone. Last is ours on a folder of `copies` links to the file, for its peak memory.
    """
    elsewhere = os.environ.get("PEERS_PYTHON")  # an interpreter that has dask-ml, PySpark and H2O
    runs = [("ours", sys.executable), ("glum", sys.executable)]
    runs += [(name, elsewhere) for name in ("dask_ml", "spark", "h2o") if elsewhere]
    with tempfile.TemporaryDirectory() as folder:
        path, many = Path(folder) / "data.parquet", Path(folder) / "many"
        written(path, n, p)
        many.mkdir()
        for number in range(copies):
            (many / f"{number}.parquet").hardlink_to(path)
        print(f"{n:,} × {p} from a file of {path.stat().st_size / 1e6:.0f} MB")
        runs += [*runs[:2], (f"ours, {copies} times the rows", sys.executable)]
        best: dict[str, dict[str, Any]] = {}
        for name, python in runs:
            command = [str(python), __file__, "--child", name.split(",")[0]]
            where = many if "," in name else path
            done = subprocess.run([*command, str(where), str(p)], capture_output=True, text=True)
            if done.returncode:
                print(f"{name:22s} failed: {done.stderr.strip().splitlines()[-1][:120]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            if name not in best or found["seconds"] < best[name]["seconds"]:
                best[name] = found
        ours = best["ours"]
        for name, found in best.items():
            off = np.max(np.abs(np.subtract(found["beta"], ours["beta"])) / np.array(ours["se"]))
            print(f"{name:22s}{found['seconds']:9.2f} s ({found['cpu']:6.2f} s of processors), "
                  f"peak {found['peak']:7.0f} MB, {found['seconds'] / ours['seconds']:5.1f} times "
                  f"ours, off by {off:.1e}", flush=True)  # fmt: skip


def child(name: str, path: str, p: str) -> None:
    """One program on a file: its seconds, processor seconds, peak memory, β and errors as JSON."""
    modules = {  # imports apart: ours come as they are needed
        "ours": "expfam_glm.mle.fit expfam_glm.data.scan formulaic pandas xarray pyarrow.dataset",
        "dask_ml": "dask_ml.linear_model", "spark": "pyspark.ml",
        "h2o": "h2o.estimators", "glum": "glum pyarrow.parquet",
    }  # fmt: skip
    for module in modules[name].split():
        import_module(module)
    names = [f"x{j}" for j in range(int(p))]
    begun, used = time.perf_counter(), os.times()
    programs: dict[str, Any] = {
        "ours": _ours, "glum": _glum, "dask_ml": _dask_ml, "spark": _spark, "h2o": _h2o,
    }  # fmt: skip
    beta, se, jvm = programs[name](path, names)
    spent = sum(os.times()[:4]) - sum(used[:4])
    peak = max(resource.getrusage(who).ru_maxrss / 1024 for who in (0, -1))
    print(json.dumps({
        "seconds": time.perf_counter() - begun, "cpu": spent, "peak": max(peak, jvm),
        "beta": list(beta), "se": list(se),
    }))  # fmt: skip


def _ours(path: str, names: list[str]) -> Any:
    import expfam_glm as eg

    fit = eg.GLM(f"y ~ {' + '.join(names[1:])}", path, family="poisson").fit()["fit"]
    return fit["beta"].values, fit["se"].values, 0.0


def _glum(path: str, names: list[str]) -> Any:
    import pyarrow.parquet as pq
    from glum import GeneralizedLinearRegressor

    whole = pq.read_table(path)
    X = np.column_stack([whole[name].to_numpy() for name in names])
    y = whole["y"].to_numpy().astype(float)
    model = GeneralizedLinearRegressor(
        family="poisson", alpha=0, fit_intercept=False, gradient_tol=1e-6
    )
    model.fit(X, y)
    return model.coef_, np.sqrt(np.diag(model.covariance_matrix(X, y))), 0.0


def _dask_ml(path: str, names: list[str]) -> Any:
    """Without standard errors, which it has none of."""
    import dask.array as da
    import pyarrow.parquet as pq
    from dask import delayed
    from dask_ml.linear_model import PoissonRegression

    def read(group: int) -> np.ndarray:
        table = pq.ParquetFile(path).read_row_group(group, columns=[*names, "y"])
        return np.column_stack([column.to_numpy() for column in table.columns])

    known = pq.ParquetFile(path).metadata
    rows = da.concatenate([
        da.from_delayed(
            delayed(read)(k), (known.row_group(k).num_rows, len(names) + 1), dtype=float
        )
        for k in range(known.num_row_groups)
    ])  # fmt: skip
    model = PoissonRegression(solver="newton", fit_intercept=False, C=1e12, tol=1e-8)
    model.fit(rows[:, :-1], rows[:, -1])
    return model.coef_, np.full(len(names), np.nan), 0.0


def _spark(path: str, names: list[str]) -> Any:
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import GeneralizedLinearRegression
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]").config("spark.driver.memory", "8g").getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    rows = VectorAssembler(inputCols=names[1:], outputCol="X").transform(session.read.parquet(path))
    model = GeneralizedLinearRegression(
        family="poisson", link="log", featuresCol="X", labelCol="y", tol=1e-8
    ).fit(rows)
    se = list(model.summary.coefficientStandardErrors)
    peak = peak_of(session.sparkContext._gateway.proc.pid)
    return [model.intercept, *model.coefficients], [se[-1], *se[:-1]], peak


def _h2o(path: str, names: list[str]) -> Any:
    """The start of its server is counted, as that of Spark's session is."""
    import h2o
    from h2o.estimators import H2OGeneralizedLinearEstimator

    h2o.init(nthreads=2, max_mem_size="8g", verbose=False)
    h2o.no_progress()
    rows = h2o.import_file(path)
    model = H2OGeneralizedLinearEstimator(
        family="poisson", link="log", lambda_=0, compute_p_values=True, standardize=False,
        remove_collinear_columns=True, solver="irlsm", beta_epsilon=1e-10, objective_epsilon=1e-12,
        gradient_epsilon=1e-10, max_iterations=50,
    )  # fmt: skip
    model.train(x=names[1:], y="y", training_frame=rows)
    table = model._model_json["output"]["coefficients_table"]
    found = {row[0]: dict(zip(table.col_header, row, strict=True)) for row in table.cell_values}
    beta, se = (
        [float(found[name][column]) for name in ("Intercept", *names[1:])]
        for column in ("coefficients", "std_error")
    )
    peak = peak_of(h2o.connection().local_server._process.pid)
    h2o.cluster().shutdown()
    return beta, se, peak


def peak_of(process: int) -> float:
    """The peak memory of another process, in megabytes."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    return peak


def workers(n: int = 4_000_000, p: int = 20) -> None:
    """In memory, and on one and two processes of a dask cluster that hold the rows."""
    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client, LocalCluster, wait

    X, eta = design(n, p)
    y = response("poisson", eta)
    frame = pd.DataFrame({f"x{j}": X[:, j] for j in range(1, p)} | {"y": y})
    formula = "y ~ " + " + ".join(list(frame)[:-1])

    def fit(data: Any) -> Any:
        return eg.GLM(formula, data, family="poisson").fit(tol=1e-11)["fit"]

    spent, found = timed({"memory": lambda: fit(frame)})
    memory, here = spent["memory"], found["memory"]
    print(f"{n:,} × {p}, formula to covariance\nin memory   {memory:9.2f} s")
    for count in (1, 2):
        with LocalCluster(count, threads_per_worker=1, dashboard_address=None) as cluster:
            with Client(cluster):
                parts = dd.from_pandas(frame, npartitions=16).persist()
                wait(parts)
                fit(parts)
                spent, found = timed({"cluster": lambda parts=parts: fit(parts)})
                there = found["cluster"]
        off = max(
            float(np.max(np.abs(there[k].values / here[k].values - 1))) for k in ("beta", "se")
        )
        longer = spent["cluster"] / memory
        print(f"{count} worker(s) {spent['cluster']:8.2f} s, {longer:.2f} times as long, off by "
              f"{off:.0e}", flush=True)  # fmt: skip


def curve(plot: str = "") -> None:
    """Seconds of a logistic fit against n, in memory, p = 20; a plot if a file is named."""
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000]
    spent = []
    for n in sizes:
        X, eta = design(n, 20)
        y = response("binomial", eta)
        fit = eg.GLM.from_arrays(y, X, family="binomial").fit
        fit()
        spent.append(timed({"fit": fit})[0]["fit"])
        print(f"n = {n:9,}{spent[-1]:9.3f} s, {spent[-1] / n * 1e9:7.1f} ns a row")
    if plot:
        import matplotlib.pyplot as plt

        plt.loglog(sizes, spent, "o-")
        plt.xlabel("rows")
        plt.ylabel("seconds")
        plt.savefig(plot)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # the peers' own deprecations
    sections = {f.__name__: f for f in (memory, compressed, parquet, workers, curve)}
    name, *rest = sys.argv[1:] or ["memory"]
    if name == "--child":
        child(*rest)
        sys.exit()
    sections[name](*(word if name == "curve" else int(float(word)) for word in rest))
