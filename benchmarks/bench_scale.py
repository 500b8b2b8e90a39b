"""Large data: in memory, compressed and from a Parquet file, beside glum and the physical limit.

    python benchmarks/bench_scale.py memory [n] [p]      # six families beside glum
    python benchmarks/bench_scale.py compressed [n]      # NUTS on rows that share 2,000 patterns
    python benchmarks/bench_scale.py parquet [n] [p]     # from file to covariance, and peak memory
    python benchmarks/bench_scale.py curve               # time against n, with a plot if asked for

Every program fits the same data in the same process, in turn, to a tight tolerance, and all compute
the covariance; glum's call is its fit and `covariance_matrix`. "floor" is what cannot be avoided:
one read of X and one XᵀWX by blocks that stay in cache; the column beside it says how many of these
a fit takes. "off by" is the largest distance of a coefficient from ours in standard errors.

Measured (2 hyperthreads of one core, one BLAS thread, Python 3.13, NumPy 2, glum 3.4; **the machine
was shared with other work, load 8 to 20, so that only ratios within one run mean anything, and
these to half their size**):

    memory 300000 20     binomial 2.2 times as fast as glum, 6.3 floors, off by 2e-12
                         poisson 2.6 times as fast as glum, 3.7 floors, off by 2e-9
    compressed 1000000   rows 0.41 s, compress 0.17 s, cells 0.02 s, 4 × 1,000 draws 2.1 s (nothing
                         else running, 2026-11-22)

The other sections have not been run on a quiet machine.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


def parquet(n: int = 5_000_000, p: int = 20) -> None:
    """From a Parquet file to the covariance: ours in batches, glum with the whole in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    formula = "y ~ " + " + ".join(f"x{j}" for j in range(1, p))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
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

        def read() -> int:
            dataset = pa.dataset.dataset(path)
            return sum(batch.num_rows for batch in dataset.to_batches())

        def peer() -> np.ndarray:
            whole = pq.read_table(path)
            X = np.column_stack([whole[f"x{j}"].to_numpy() for j in range(p)])
            return glum(whole["y"].to_numpy().astype(float), X, "poisson")

        import pyarrow.dataset

        spent, found = {}, {}
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for name, run in {
            "one read": read,
            "ours": lambda: eg.GLM(formula, path, family="poisson").fit(),
            "glum": peer,
        }.items():
            one, result = timed({name: run})
            spent |= one
            found |= result
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name:12s}{spent[name]:9.3f} s, peak {peak - begun:8.0f} MB above the start")
        fit = found["ours"]["fit"]
        off = np.max(np.abs(found["glum"] - fit["beta"].values) / fit["se"].values)
        print(f"glum/ours {spent['glum'] / spent['ours']:.1f}, off by {off:.1e}")


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
    sections = {f.__name__: f for f in (memory, compressed, parquet, curve)}
    name, *rest = sys.argv[1:] or ["memory"]
    sections[name](*(word if name == "curve" else int(float(word)) for word in rest))
