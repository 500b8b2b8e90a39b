"""Factors of many levels: model and fit of a formula beside glum on a categorical matrix.

    python benchmarks/bench_factors.py            # n = 10⁶; factors of 10, 50 and 200 levels
    python benchmarks/bench_factors.py 100000

Both begin with the same pandas frame of categories and end with coefficients and the inverse
information; glum's matrix is tabmat's, without the dense dummy columns. "numbers" adds two numeric
columns, so that no two rows are alike and ours cannot go by cells. Times are medians of several
rounds taken in turn, ratios medians of the ratios round by round; "off by" is the largest distance
of a coefficient from ours in standard errors.

Measured at n = 10⁶ on two cores (one thread each) of an AMD EPYC, nothing else running, glum 3.4
with tabmat 4.2, 2026-11-23, in two runs, one processor kept busy between two calls until the
threads of the one before sleep (seconds ours and glum's; ratios): factors alone, poisson 0.08,
0.8; 8.0 and 10.1, binomial 0.08, 0.7; 9.7 and 9.2 (the fit of the compressed model 0.03; 30 and 27,
26 and 22); with numbers, poisson 0.23, 1.1; 4.9 and 4.7, binomial 0.21, 1.0; 4.1 and 5.1. Others
of the day gave 6.7 to 11.5 for factors alone, 17 to 30 once compressed. With gradient_tol=1e-8
glum's Poisson fit does not end within a minute; at 1e-6 it came 2e-11 to 2e-7 standard errors near.
Memory of both together at most 0.81 GiB.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from quiet import settle

import expfam_glm as eg

ROUNDS = 3
LEVELS = {"a": 10, "b": 50, "c": 200}


def data(n: int) -> pd.DataFrame:
    """Three factors, two numbers, a count and a binary response."""
    rng = np.random.default_rng(0)
    codes = {name: rng.integers(0, count, n) for name, count in LEVELS.items()}
    frame = pd.DataFrame({k: pd.Categorical(v.astype(str)) for k, v in codes.items()})
    frame["x"], frame["z"] = rng.normal(size=(2, n))
    eta = -1 + 0.05 * codes["a"] - 0.01 * codes["b"] + 0.002 * codes["c"]
    frame["count"] = rng.poisson(np.exp(eta)).astype(float)
    frame["happened"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    return frame


def ours(frame: pd.DataFrame, names: list[str], response: str, family: str) -> dict[str, float]:
    """The whole call, result tree and draws included."""
    tree = eg.GLM(f"{response} ~ {' + '.join(names)}", frame, family=family).fit()
    return tree["fit"]["beta"].to_series().to_dict()


def glum(frame: pd.DataFrame, names: list[str], response: str, family: str) -> dict[str, float]:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(family=family, alpha=0, drop_first=True, gradient_tol=1e-6)
    X, y = frame[names], frame[response].to_numpy()
    model.fit(X, y)
    model.covariance_matrix(X, y)
    named = dict(zip(model.feature_names_, model.coef_, strict=True))
    return {"Intercept": model.intercept_, **named}


CASES = [
    (names, response, family)
    for names in (list(LEVELS), [*LEVELS, "x", "z"])
    for response, family in (("count", "poisson"), ("happened", "binomial"))
]


def seconds(run: Callable[..., Any], *given: object) -> tuple[float, Any]:
    settle()
    begun = time.perf_counter()
    result = run(*given)
    return time.perf_counter() - begun, result


def main(n: int = 1_000_000) -> None:
    frame = data(n)
    print(f"n = {n:,}, factors of {', '.join(map(str, LEVELS.values()))} levels, {ROUNDS} rounds")
    print(f"{'':28s}{'ours':>8s}{'glum':>8s}{'ratio':>8s}{'off by':>10s}")
    for case in CASES:
        for run in (ours, glum):  # imports and compilation are not counted
            run(frame[:5000], *case)
        times: dict[str, list[float]] = {"ours": [], "glum": []}
        for _ in range(ROUNDS):
            spent, mine = seconds(ours, frame, *case)
            times["ours"].append(spent)
            spent, theirs = seconds(glum, frame, *case)
            times["glum"].append(spent)
        se = eg.GLM(f"{case[1]} ~ {' + '.join(case[0])}", frame, family=case[2]).fit()["fit"]["se"]
        off = max(
            abs(b - theirs[name]) / float(s)
            for (name, b), s in zip(mine.items(), se.values, strict=True)
        )
        ratio = statistics.median(b / a for a, b in zip(times["ours"], times["glum"], strict=True))
        what = f"{case[2]}, {'numbers' if 'x' in case[0] else 'factors alone'}"
        print(f"{what:28s}{statistics.median(times['ours']):8.2f}"
              f"{statistics.median(times['glum']):8.2f}{ratio:8.1f}{off:10.1e}")  # fmt: skip
        if "x" not in case[0]:
            model = eg.GLM(f"{case[1]} ~ {' + '.join(case[0])}", frame, family=case[2])
            cells = model.compress()
            spent = statistics.median(seconds(cells.fit)[0] for _ in range(ROUNDS))
            print(f"{'    compressed, fit alone':28s}{spent:8.2f}{'':8s}"
                  f"{statistics.median(times['glum']) / spent:8.1f}")  # fmt: skip
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory of both at most {most:.2f} GiB")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # the peers' own deprecations
    main(*(int(float(word)) for word in sys.argv[1:]))
