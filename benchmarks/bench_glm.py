"""Logistic regression in memory: ours beside glum, scikit-learn and statsmodels, in one run.

    python benchmarks/bench_glm.py                # n = 10⁶, p = 20
    python benchmarks/bench_glm.py 100000 20

Every program fits the same arrays to a tight tolerance. "with covariance" adds the inverse Fisher
information. Times are the median of several runs, taken in turn so that a drift of the machine's
speed touches all of them alike; ratios are medians of the ratios round by round. The column
"off by" is the largest distance of a coefficient from ours in standard errors.

Between two calls one processor is kept busy until the threads of the one before sleep.

Measured on two cores (one thread each) of an AMD EPYC with AVX-512, other programs stopped, glum
3.4 and scikit-learn 1.9, 2026-11-23, in two runs; seconds of the whole call, and how many times as
fast as glum with covariance, scikit-learn's newton-cholesky and its lbfgs (both without covariance,
lbfgs up to 6.5e-4 standard errors away) and statsmodels:

    10⁶ × 20        0.062, 0.066 s    14.8, 14.7    8.0, 8.0    4.8, 4.6      89, 88
    10⁵ × 20        0.015, 0.015 s    16.3, 8.5     2.8, 3.0    3.1, 3.0      15, 15
    10⁶ × 100       0.40 s            12.6          6.2         1.5           110
    2·10⁵ × 300     0.37, 0.38 s      21.6, 17.3    6.2, 6.6    1.0, 1.0      59, 63
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from quiet import settle

import expfam_glm as eg

ROUNDS = 5


def data(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """A design with intercept, and Bernoulli responses of moderate signal."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    X[:, 0] = 1.0
    beta = rng.normal(size=p) / np.sqrt(p)
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ beta))).astype(float)
    return y, X


def ours(y: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The whole call, result tree and draws included."""
    tree = eg.GLM.from_arrays(y, X, family="binomial").fit()
    return tree["fit"]["beta"].values


def glum(y: np.ndarray, X: np.ndarray) -> np.ndarray:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        family="binomial", alpha=0, fit_intercept=False, gradient_tol=1e-8
    )
    model.fit(X, y)
    model.covariance_matrix(X, y)
    return model.coef_


def scikit_learn(solver: str, tol: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def run(y: np.ndarray, X: np.ndarray) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=np.inf, fit_intercept=False, tol=tol, solver=solver)
        return model.fit(X, y).coef_[0]

    return run


def statsmodels(y: np.ndarray, X: np.ndarray) -> np.ndarray:
    import statsmodels.api as sm

    return sm.GLM(y, X, family=sm.families.Binomial()).fit(tol=1e-8).params


PEERS = {
    "glum, with covariance": glum,
    "scikit-learn newton-cholesky": scikit_learn("newton-cholesky", 1e-8),
    "scikit-learn lbfgs": scikit_learn("lbfgs", 1e-6),
    "statsmodels, with covariance": statsmodels,
}


def seconds(run: Callable[..., np.ndarray], y: np.ndarray, X: np.ndarray) -> tuple[float, object]:
    settle()
    begun = time.perf_counter()
    result = run(y, X)
    return time.perf_counter() - begun, result


def main(n: int = 1_000_000, p: int = 20) -> None:
    y, X = data(n, p)
    print(f"logistic, n = {n:,}, p = {p}, {ROUNDS} rounds in turn")
    everyone = {"expfam_glm, whole call with tree": ours, **PEERS}
    for run in everyone.values():  # imports and compilation are not counted
        run(y[:2000], X[:2000])
    times: dict[str, list[float]] = {name: [] for name in everyone}
    betas = {}
    for _ in range(ROUNDS):
        for name, run in everyone.items():
            spent, betas[name] = seconds(run, y, X)
            times[name].append(spent)
    mine, *others = everyone
    tree = eg.GLM.from_arrays(y, X, family="binomial").fit()
    se = tree["fit"]["se"].values
    begun = time.perf_counter()
    X.sum()
    read = time.perf_counter() - begun
    print(f"{'':36s}{'median s':>10s}{'ratio':>8s}{'off by':>10s}")
    print(f"{mine:36s}{statistics.median(times[mine]):10.3f}{'':8s}{'':10s}")
    for name in others:
        ratio = statistics.median(b / a for a, b in zip(times[mine], times[name], strict=True))
        off = np.max(np.abs((np.asarray(betas[name]) - np.asarray(betas[mine])) / se))
        print(f"{name:36s}{statistics.median(times[name]):10.3f}{ratio:8.2f}{off:10.1e}")
    print(f"{'one read of X':36s}{read:10.3f}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # the peers' own deprecations
    main(*(int(float(word)) for word in sys.argv[1:]))
