"""Logistic GEE in clusters: ours beside statsmodels, geepack and gee, in one run.

    python benchmarks/bench_gee.py                  # the table
    python benchmarks/bench_gee.py 10000x10 exchangeable
    python benchmarks/bench_gee.py curve            # up to 10⁶ clusters, ours alone, with memory

Every program gets the same arrays (p = 10, seed 0) and a tolerance of 1e-8 in its own rule, and
computes naive and robust covariances. R's programs read the data from files and time their fits
alone; statsmodels runs in this process. "arrays" is ours from arrays in memory to β̂, α̂, φ̂ and both
covariances; "call" is all of `GLM.from_arrays(...).gee(...)`, checks, result tree and draws
included. A ratio is the median time of a program over ours, all measured in turn in one run. "off
by" is the largest distance of a coefficient from ours in robust standard errors: the moments of α
differ (AR(1) and unstructured), and so do the solutions, by less than sampling error.

Ratios to the fastest other program, arrays and whole call, nothing else running, on two hardware
threads of a slow machine (speeds differ by half between minutes), 2026-11-22: 10,000 x 10
exchangeable 61 and 35, AR(1) 100 and 68; 100,000 x 10 exchangeable 58 and 42; 2,000 x 100
exchangeable 110 and 61, AR(1) 1,200 and 960 (geepack alone: statsmodels takes minutes, gee fails);
10,000 x 10 unstructured 104 and 64; 1,000 x 5 exchangeable 15 and 7, the whole call 24 ms where gee
takes 330. The curve: 1.2, 0.6, 0.5 and 0.6 µs a row for 10³, 10⁴, 10⁵ and 10⁶ clusters of 10 rows;
extra memory 2.8, 1.7, 1.7 and 1.6 times the data.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import expfam_glm as eg
from expfam_glm.gee.arrangement import Arrangement
from expfam_glm.gee.correlation import named
from expfam_glm.gee.covariance import covariances
from expfam_glm.gee.fitting import Options, fitted

P = 10
ROUNDS = 5
TABLE = [
    ("1000x5", "exchangeable"), ("10000x10", "exchangeable"), ("10000x10", "ar1"),
    ("10000x10", "unstructured"), ("100000x10", "exchangeable"), ("2000x100", "exchangeable"),
    ("2000x100", "ar1"),
]  # fmt: skip
# Peers that fail, or take minutes.
LEFT_OUT = {
    ("2000x100", "ar1", "statsmodels"), ("2000x100", "ar1", "gee"),
    ("100000x10", "exchangeable", "gee"),
}  # fmt: skip


def data(clusters: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A design with intercept, binary responses that share an effect within clusters."""
    rng = np.random.default_rng(0)
    n = clusters * size
    X = rng.normal(size=(n, P))
    X[:, 0] = 1.0
    beta = 0.7 * rng.normal(size=P) / np.sqrt(P)
    eta = X @ beta + np.repeat(rng.normal(size=clusters), size)
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    return y, X, np.repeat(np.arange(clusters), size), np.tile(np.arange(size), clusters)


def arrays(model: eg.GLM, groups: np.ndarray, times: np.ndarray, correlation: str) -> np.ndarray:
    """From arrays in memory to estimates and covariances."""
    rows = Arrangement(model.problem, named(correlation), groups, times)
    fit = fitted(rows, Options("none", None, None, None, 1e-8, 200))
    covariances(fit.equations, fit.solution.state, ("robust",), "z", lambda: np.empty(0))
    return fit.solution.state.beta


def statsmodels(
    y: np.ndarray, X: np.ndarray, groups: np.ndarray, times: np.ndarray, correlation: str
) -> np.ndarray:
    import statsmodels.api as sm

    structure = {
        "exchangeable": sm.cov_struct.Exchangeable,
        "ar1": lambda: sm.cov_struct.Autoregressive(grid=True),
        "unstructured": sm.cov_struct.Unstructured,
    }[correlation]()
    model = sm.GEE(y, X, groups=groups, time=times, family=sm.families.Binomial(),
                   cov_struct=structure)  # fmt: skip
    return model.fit(ctol=1e-8).params


def in_r(
    folder: str, shape: tuple[int, int], correlation: str, program: str, rounds: int
) -> tuple[list[float], np.ndarray] | None:
    """Seconds and coefficients from R, if it is there."""
    script = Path(__file__).with_name("bench_gee.R")
    if shutil.which("Rscript") is None:
        return None
    command = ["Rscript", str(script), folder, *map(str, shape), str(P), correlation, program,
               str(rounds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["seconds"], np.array(found["beta"])


def timed(run, rounds: int) -> tuple[list[float], object]:
    """Seconds of each round, and what it returned."""
    seconds, result = [], None
    for _ in range(rounds):
        begun = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begun)
    return seconds, result


def compare(name: str, correlation: str) -> None:
    """One row of the table."""
    clusters, size = map(int, name.split("x"))
    y, X, groups, times = data(clusters, size)
    model = eg.GLM.from_arrays(y, X, family="binomial")
    rounds = ROUNDS if clusters * size <= 200_000 else 3

    def call() -> object:
        return eg.GLM.from_arrays(y, X, family="binomial").gee(groups, correlation, time=times)

    arrays(model, groups, times, correlation)
    tree = call()
    se = tree["fit"]["se"].values
    times_of: dict[str, list[float]] = {"arrays": [], "call": []}
    off: dict[str, float] = {}
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        X.T.tofile(Path(folder) / "X.bin")
        y.tofile(Path(folder) / "y.bin")
        for peer in ("statsmodels", "geepack", "gee"):
            seconds, beta = timed(lambda: arrays(model, groups, times, correlation), rounds)
            times_of["arrays"] += seconds
            times_of["call"] += timed(call, rounds)[0]
            if (name, correlation, peer) in LEFT_OUT:
                continue
            if peer == "statsmodels":
                result = timed(lambda: statsmodels(y, X, groups, times, correlation), 1)
            else:
                result = in_r(folder, (clusters, size), correlation, peer, 1)
            if result is not None:
                times_of[peer], found[peer] = result
                off[peer] = float(np.max(np.abs(found[peer] - beta) / se))
    median = {peer: statistics.median(seconds) for peer, seconds in times_of.items()}
    spread = np.ptp(times_of["arrays"]) / median["arrays"]
    print(f"\n{name} {correlation}: arrays {median['arrays']:.4f} s (spread {spread:.0%}), "
          f"call {median['call']:.4f} s")  # fmt: skip
    for peer in off:
        ratios = [median[peer] / median[road] for road in ("arrays", "call")]
        print(f"  {peer:12s} {median[peer]:8.2f} s = {ratios[0]:6.1f} x arrays, "
              f"{ratios[1]:6.1f} x call   off by {off[peer]:.1e}")  # fmt: skip


def curve() -> None:
    """Seconds and memory against the number of clusters of ten rows."""
    print(f"{'clusters':>9} {'data MB':>8} {'arrays s':>9} {'µs/row':>7} {'extra memory':>13}")
    for clusters in (1_000, 10_000, 100_000, 1_000_000):
        command = [sys.executable, __file__, "one", str(clusters)]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")


def one(clusters: int) -> None:
    """One point of the curve, in a process of its own so that its peak memory is known."""
    y, X, groups, times = data(clusters, 10)
    model = eg.GLM.from_arrays(y, X, family="binomial")
    small = eg.GLM.from_arrays(y[:1000], X[:1000], family="binomial")
    arrays(small, groups[:1000], times[:1000], "exchangeable")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, _ = timed(lambda: arrays(model, groups, times, "exchangeable"), 3)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = (X.nbytes + y.nbytes) / 1e6
    best = statistics.median(seconds)
    print(f"{clusters:9d} {size:8.1f} {best:9.3f} {1e6 * best / len(y):7.2f} "
          f"{(after - before) * 1024 / 1e6 / size:10.2f} x data")  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["one"]:
        return one(int(sys.argv[2]))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
          f"{platform.python_version()}, NumPy {np.__version__}, {time.strftime('%Y-%m-%d')}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if sys.argv[1:2] == ["curve"]:
        return curve()
    rows = [(sys.argv[1], sys.argv[2])] if len(sys.argv) > 2 else TABLE
    for name, correlation in rows:
        compare(name, correlation)
    return None


if __name__ == "__main__":
    main()
