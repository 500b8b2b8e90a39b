"""From nothing to a first fitted tree, in fresh processes, and what later fits cost.

    python benchmarks/bench_start.py

Wall seconds from the start of a process until the work is done (median of several): importing the
package; a logistic fit of 1,000 rows from a formula with warm caches and with empty ones (new
folders for PyTensor, numba and what the package remembers of its families); then, in one process,
the solver alone and the whole call at 1,000 × 5.

Measured on two otherwise idle cores (one thread each) of an AMD EPYC, 2026-11-23, median and best:
first tree 1.00 and 0.92 s with warm caches, 1.27 and 1.22 s with empty ones (importing pandas alone
0.44 and 0.40 s); an hour before 0.75 to 0.85 and 0.71 to 0.76 s with warm caches. Import 0.02 s.
The solver alone 0.33 ms, fit() with its tree 3.5 to 4.0 ms.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import expfam_glm as eg
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased

ROUNDS = 7
FIRST_TREE = """
import numpy as np, pandas as pd
import expfam_glm as eg
rng = np.random.default_rng(0)
data = pd.DataFrame({f"x{k}": rng.normal(size=1000) for k in range(4)})
data["y"] = (rng.random(1000) < 1 / (1 + np.exp(-data["x0"]))).astype(int)
tree = eg.GLM("y ~ x0 + x1 + x2 + x3", data, family="binomial").fit()
assert int(tree["fit_stats"]["converged"]) == 1
"""


def process(code: str, **environment: str) -> float:
    """Seconds from the start of a fresh interpreter until it has run `code`, without its exit."""
    code += "\nimport time; print(time.perf_counter())"
    command = [sys.executable, "-c", code]
    begun = time.perf_counter()  # the clock of the machine, the same in the other process
    told = subprocess.check_output(command, env={**os.environ, **environment}, text=True)
    return float(told.split()[-1]) - begun


def empty_caches() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return process(
            FIRST_TREE,
            PYTENSOR_FLAGS=f"base_compiledir={folder}/pytensor",
            NUMBA_CACHE_DIR=f"{folder}/numba",
            EXPFAM_GLM_CACHE=f"{folder}/expfam_glm",
        )


def milliseconds(run: object) -> tuple[float, float]:
    """Best and median of 200 calls."""
    spent = []
    for _ in range(200):
        begun = time.perf_counter()
        run()  # type: ignore[operator]
        spent.append((time.perf_counter() - begun) * 1e3)
    return min(spent), statistics.median(spent)


def main() -> None:
    rows = {
        "an empty interpreter": lambda: process("pass"),
        "import expfam_glm": lambda: process("import expfam_glm"),
        "import pandas (for comparison)": lambda: process("import pandas"),
        "first tree, warm caches": lambda: process(FIRST_TREE),
        "first tree, empty caches": empty_caches,
    }
    print(f"{'':36s}{'median s':>10s}{'best':>8s}{'worst':>8s}")
    for name, run in rows.items():
        run()
        spent = sorted(run() for _ in range(ROUNDS))
        print(f"{name:36s}{statistics.median(spent):10.3f}{spent[0]:8.3f}{spent[-1]:8.3f}")
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(1000), rng.normal(size=(1000, 4))])
    y = (rng.random(1000) < 1 / (1 + np.exp(-0.5 * X[:, 1]))).astype(float)
    model = eg.GLM.from_arrays(y, X, family="binomial")
    model.fit()
    print(f"\n{'1,000 × 5, logistic':36s}{'median ms':>10s}{'best':>8s}")
    for name, run in {
        "the solver alone": lambda: maximise(model.problem, check_rank=aliased),
        "fit() with its tree": model.fit,
        "GLM.from_arrays(…).fit()": lambda: eg.GLM.from_arrays(y, X, family="binomial").fit(),
    }.items():
        best, median = milliseconds(run)
        print(f"{name:36s}{median:10.2f}{best:8.2f}")


if __name__ == "__main__":
    main()
