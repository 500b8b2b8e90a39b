"""A gradient of a PyMC model: the log-likelihood as one pass over rows, and as an ordinary graph.

    python benchmarks/bench_fused.py                              # numba, the table
    python benchmarks/bench_fused.py --modes NUMBA JAX --families poisson --rows 10000

p = 20, one BLAS thread, default priors; value and gradient in the value space of `to_pymc()`. The
least time of 50 calls, in microseconds, beside two products with X; "compiled" in seconds, by a
process that has compiled other families before.

Measured on one core of a shared machine, 2026-11-22, graph and one pass in microseconds (ratio):

    numba, n = 10⁴:  binomial 602, 309 (1.9)    Poisson 259, 171 (1.5)    gamma 258, 156 (1.7)
                     negative binomial 3296, 1565 (2.1)    normal 102, 94 (1.1)
    numba, n = 10⁵:  binomial 10036, 4512 (2.2)   Poisson 5227, 4734 (1.1)   gamma 6171, 4960 (1.2)
                     negative binomial 27360, 20327 (1.3)    normal 5567, 3862 (1.4)
    JAX, n = 10⁴:    binomial 1359, 833 (1.6)    Poisson 663, 286 (2.3)
    JAX, n = 10⁵:    binomial 23772, 13861 (1.7)    Poisson 12493, 6000 (2.1)

Two products took 75 to 120 and 1800 to 6000. Compiling with numba and without a cache took 12 to 17
seconds for the graph and 2 to 9 for the pass. What is left above two products is exp, log1p and
log Γ of the C library, one number at a time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402 - after the number of threads
import pymc as pm  # noqa: E402
import pytensor.tensor as pt  # noqa: E402
from pytensor.compile.mode import get_mode  # noqa: E402
from pytensor.graph.rewriting.utils import rewrite_graph  # noqa: E402

import expfam_glm as eg  # noqa: E402

LINKS = {"binomial": "logit", "normal": "identity"}
FAMILIES = ("binomial", "poisson", "gamma", "negative_binomial", "normal")
COLUMNS = 20


def data(family: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """y and X with an intercept."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, COLUMNS))
    X[:, 0] = 1.0
    eta = X @ (rng.normal(size=COLUMNS) * 0.15)
    mu = np.exp(eta)
    draw: dict[str, Callable[[], np.ndarray]] = {
        "binomial": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "poisson": lambda: rng.poisson(mu),
        "gamma": lambda: rng.gamma(2.0, mu / 2.0),
        "negative_binomial": lambda: rng.negative_binomial(2.0, 2.0 / (2.0 + mu)),
        "normal": lambda: eta + rng.normal(size=n),
    }
    return draw[family]().astype(float), X


def least(function: Callable[[], Any], times: int = 50) -> float:
    """The least time of a call, in microseconds."""
    function()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        found.append(time.perf_counter() - begin)
    return min(found) * 1e6


def gradient(model: pm.Model, mode: str, fused: bool) -> tuple[float, float, np.ndarray]:
    """Seconds of compilation, microseconds of a call, and the gradient."""
    left_out = () if fused else ("expfam_glm_fuse",)
    begin = time.perf_counter()
    cost = rewrite_graph(model.logp(), include=("canonicalize", "stabilize"), exclude=left_out)
    slopes = [pt.atleast_1d(v) for v in pt.grad(cost, model.value_vars)]
    function = pm.compile(
        model.value_vars, [cost, pt.concatenate(slopes)], mode=get_mode(mode).excluding(*left_out)
    )
    function.trust_input = True
    point = [np.full(v.shape, 0.1) for v in model.initial_point().values()]
    found = np.asarray(function(*point)[1])
    compiled = time.perf_counter() - begin
    return compiled, least(lambda: [np.asarray(v) for v in function(*point)]), found


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--modes", nargs="+", default=["NUMBA"])
    chosen = parser.parse_args()
    print(f"{'':34s}{'products':>10s}{'graph':>10s}{'one pass':>10s}{'ratio':>8s}   compiled")
    for n in chosen.rows:
        for family in chosen.families:
            y, X = data(family, n)
            model = eg.GLM.from_arrays(y, X, family=family, link=LINKS.get(family, "log")).to_pymc()
            beta = np.zeros(COLUMNS)
            products = least(lambda X=X, beta=beta: X.T @ (X @ beta))
            for mode in chosen.modes:
                before, graph, expected = gradient(model, mode, fused=False)
                after, one_pass, found = gradient(model, mode, fused=True)
                np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
                print(
                    f"{n:8d} {family:18s}{mode:7s}{products:10.0f}{graph:10.0f}{one_pass:10.0f}"
                    f"{graph / one_pass:8.2f}   {before:.1f} s, {after:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
