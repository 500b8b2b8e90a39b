"""NUTS: ours beside Bambi, a hand-written PyMC model and rstanarm, in one run.

    python benchmarks/bench_nuts.py                              # the table
    python benchmarks/bench_nuts.py --designs plain correlated --peers ours bambi rstanarm
    python benchmarks/bench_nuts.py --gradient                   # against two products with X
    python benchmarks/bench_nuts.py --first                      # from data to the first draw

4 chains × 1,000 draws, the peers on as many cores as there are, one BLAS thread each, the same
normal priors of the coefficients for all; priors of dispersion, shape and group effects are each
program's own.
Every program adapts as it does by default (1,000 draws for all but ours) and keeps no pointwise
log-likelihood. Each run is a process of its own, begun by a short one that fills the caches on
disk; imports are not counted. "total" runs from arrays in memory to the result, "sampling" is what
the sampler itself needs. Effective draws are the smallest bulk ESS of a coefficient, by ArviZ. A
ratio is ours over theirs, in effective draws per second. "off by" is the largest distance of a
posterior mean from ours, in posterior standard deviations.

Measured on 2026-11-23 on two cores (one thread each) of an AMD EPYC, nothing else running but where
said, Python 3.13, PyMC 6.4, nutpie 0.16, Bambi 0.21; effective draws per second of ours over those
of Bambi's default sampler on two cores, in total and of sampling alone (our seconds and effective
draws): plain 20.6 and 23.3 (1.4 s, 10,735), correlated 73.6 and 108 (1.4 s, 11,337), small 8.9 and
8.2 (0.9 s, 12,053), Poisson 18.4 and 14.8, gamma 38.3 and 52.0, negative binomial 33.7 and 57.2,
normal 15.1 and 16.2. Random intercepts over hand-written PyMC with nutpie 12.4 and 9.3 (ours 5.3 s,
5,687 effective draws; theirs 17.3 s, 1,514), over rstanarm, compiled ahead, 48.7 and 44.7 (79.6 s,
1,769). Plain and small over rstanarm, while tests ran on the second core: 17.5 and 18.9, 6.0 and
1.1. From data to the first draw 1.6 s in the first process and 0.8 s in later ones (Bambi 8 to 12
s). Badly scaled: ours 1.4 s, 10,735 effective draws; Bambi had not ended after 410 s, and as
ArviZ's effective size is at most 14,400 for 4,000 draws, ours are at least 220 times as many a
second.
The gradient beside two products with X, one thread, smallest of 200 times: binomial 1.8 at n = 10⁴
and 1.2 at 10⁵, Poisson 1.6 and 1.0, gamma 1.8, negative binomial with a free shape 2.7 and 1.5
(with alpha known 2.1 to 2.2 at 10⁴), normal 0.4 and 0.1. Of the 114 µs of the negative binomial the
two products take 39, exp, log1p and what they add up to 38, some fifty calls the rest.
Chains of ours run one after another: on 2026-11-22, with two threads, small took 6.1 s instead of
2.5 and plain 21 to 24 s instead of 14 to 15.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402 - after the number of threads

sys.path.insert(0, str(Path(__file__).parents[1]))

# name: rows, columns, family, kind of design
DESIGNS = {
    "plain": (10_000, 20, "binomial", "plain"),
    "correlated": (10_000, 20, "binomial", "correlated"),
    "scaled": (10_000, 20, "binomial", "scaled"),
    "small": (1_000, 5, "binomial", "plain"),
    "poisson": (10_000, 20, "poisson", "plain"),
    "gamma": (10_000, 20, "gamma", "plain"),
    "negative_binomial": (10_000, 20, "negative_binomial", "plain"),
    "normal": (10_000, 20, "normal", "plain"),
    "intercepts": (4_000, 5, "binomial", "groups"),
}
PEERS = ("ours", "bambi", "bambi-nutpie", "pymc-nutpie", "rstanarm")
CORES = min(4, os.cpu_count() or 1)
LINKS = {"binomial": "logit", "normal": "identity"}


def data(design: str) -> dict[str, Any]:
    """y, X with an intercept, standard deviations of the priors, and perhaps groups."""
    n, p, family, kind = DESIGNS[design]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    if kind == "correlated":  # of any two columns: 0.9
        X = np.sqrt(0.1) * X + np.sqrt(0.9) * rng.normal(size=(n, 1))
    X[:, 0] = 1.0
    beta = rng.normal(size=p) * 0.7 / np.sqrt(p)
    eta = X @ beta
    found: dict[str, Any] = {}
    if kind == "groups":
        found["g"] = np.repeat(np.arange(n // 20), 20)
        eta = eta + rng.normal(size=n // 20)[found["g"]]
    mu = np.exp(0.5 + 0.5 * eta)
    y = {
        "binomial": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(mu).astype(float),
        "gamma": lambda: rng.gamma(2.0, mu / 2.0),
        "negative_binomial": lambda: rng.negative_binomial(2.0, 2.0 / (2.0 + mu)).astype(float),
        "normal": lambda: eta + rng.normal(size=n),
    }[family]()
    scales = np.ones(p)
    if kind == "scaled":
        scales[1:] = 10.0 ** np.linspace(-3, 3, p - 1)
    return found | {"y": y, "X": X * scales, "sigma": 2.5 / scales, "family": family}


# ---- the programs: each returns draws of the coefficients (chain, draw, p) and seconds of sampling


def ours(d: dict[str, Any], draws: int, tune: int | None) -> tuple[np.ndarray, float]:
    import expfam_glm as eg

    columns = {f"x{j}": column for j, column in enumerate(d["X"].T)}
    formula = "y ~ 0 + " + " + ".join(columns) + (" + (1 | g)" if "g" in d else "")
    columns |= {"y": d["y"]} | ({"g": d["g"]} if "g" in d else {})
    model = eg.GLM(formula, columns, family=d["family"], link=LINKS.get(d["family"], "log"))
    priors = {f"x{j}": eg.Prior("Normal", mu=0, sigma=s) for j, s in enumerate(d["sigma"])}
    timer = _timed_nutpie()
    keywords = {} if tune is None else {"tune": tune}
    tree = model.sample(
        draws=draws, chains=4, random_seed=1, priors=priors, progressbar=False,
        log_likelihood=False, posterior_predictive=False, **keywords,
    )  # fmt: skip
    return tree["posterior"]["beta"].values, timer[0]


def bambi(
    d: dict[str, Any], draws: int, tune: int | None, sampler: str = "pymc"
) -> tuple[np.ndarray, float]:
    import bambi as bmb
    import pandas as pd

    family = {"binomial": "bernoulli", "normal": "gaussian",
              "negative_binomial": "negativebinomial"}.get(d["family"], d["family"])  # fmt: skip
    table = pd.DataFrame({f"x{j}": column for j, column in enumerate(d["X"].T) if j})
    names = ["Intercept", *table]
    table["y"] = d["y"]
    formula = "y ~ " + " + ".join(names[1:])
    if "g" in d:
        table["g"] = d["g"].astype(str)
        formula += " + (1 | g)"
    priors = {
        name: bmb.Prior("Normal", mu=0, sigma=s) for name, s in zip(names, d["sigma"], strict=True)
    }
    model = bmb.Model(formula, table, family=family, priors=priors,
                      link=LINKS.get(d["family"], "log"), center_predictors=False)  # fmt: skip
    timer = _timed_nutpie()
    tree = model.fit(
        draws=draws, tune=1000 if tune is None else tune, chains=4, random_seed=1,
        progressbar=False, cores=CORES, inference_method=sampler,
    )  # fmt: skip
    spent = timer[0] or float(tree["posterior"].attrs["sampling_time"])
    return np.stack([tree["posterior"][name].values for name in names], -1), spent


def pymc_nutpie(d: dict[str, Any], draws: int, tune: int | None) -> tuple[np.ndarray, float]:
    import nutpie
    import pymc as pm

    with pm.Model() as model:
        beta = pm.Normal("beta", 0, d["sigma"], shape=d["X"].shape[1])
        eta = pm.math.dot(d["X"], beta)
        if "g" in d:
            sd = pm.HalfNormal("sd_g", 2.5)
            eta = eta + (sd * pm.Normal("z", shape=int(d["g"].max()) + 1))[d["g"]]
        if d["family"] == "binomial":
            pm.Bernoulli("y", logit_p=eta, observed=d["y"].astype(int))
        elif d["family"] == "poisson":
            pm.Poisson("y", mu=pm.math.exp(eta), observed=d["y"].astype(int))
        elif d["family"] == "gamma":
            shape = pm.HalfCauchy("shape", 1)
            pm.Gamma("y", alpha=shape, beta=shape / pm.math.exp(eta), observed=d["y"])
        elif d["family"] == "negative_binomial":
            alpha = pm.HalfCauchy("alpha", 1)
            pm.NegativeBinomial("y", mu=pm.math.exp(eta), alpha=alpha, observed=d["y"].astype(int))
        else:
            pm.Normal("y", eta, pm.HalfNormal("sigma", 5), observed=d["y"])
    compiled = nutpie.compile_pymc_model(model)
    timer = _timed_nutpie()
    tree = nutpie.sample(
        compiled, draws=draws, tune=1000 if tune is None else tune, chains=4, seed=1,
        progress_bar=False, cores=CORES,
    )  # fmt: skip
    return tree["posterior"]["beta"].values, timer[0]


def rstanarm(d: dict[str, Any], draws: int, tune: int | None) -> tuple[np.ndarray, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("X", "y", "sigma", "g"):
            if name in d:
                np.asarray(d[name], dtype=float).ravel("F").tofile(Path(folder, f"{name}.bin"))
        n, p = d["X"].shape
        script = Path(__file__).with_suffix(".R")
        found = subprocess.run(
            ["Rscript", script, folder, str(n), str(p), d["family"], str(draws),
             str(1000 if tune is None else tune), str(CORES)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        total, sampling = (float(v) for v in found.stdout.strip().splitlines()[-1].split())
        beta = np.fromfile(Path(folder, "beta.bin")).reshape(p, 4, draws).transpose(1, 2, 0)
    return beta, sampling, total


def _timed_nutpie() -> list[float]:
    """Makes nutpie add up what its sampler takes."""
    import nutpie

    spent, plain = [0.0], nutpie.sample

    @functools.wraps(plain)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        try:
            return plain(*arguments, **keywords)
        finally:
            spent[0] += time.perf_counter() - begun

    nutpie.sample = timed
    return spent


RUNNERS = {
    "ours": ours,
    "bambi": bambi,
    "bambi-nutpie": lambda d, draws, tune: bambi(d, draws, tune, "nutpie"),
    "pymc-nutpie": pymc_nutpie,
    "rstanarm": rstanarm,
}


# ---- one run in a process of its own -----------------------------------------------------------


def child(design: str, peer: str, draws: int, tune: int | None) -> None:
    """One program on one design; a line of JSON."""
    warnings.simplefilter("ignore")
    import logging

    for name in ("pymc", "bambi", "pytensor"):
        logging.getLogger(name).setLevel(logging.ERROR)
    d = data(design)
    if peer == "ours":
        import expfam_glm.bayes.sample  # noqa: F401
    elif peer != "rstanarm":
        import bambi  # noqa: F401
        import nutpie  # noqa: F401
    begun = time.perf_counter()
    beta, sampling, *others = RUNNERS[peer](d, draws, tune)
    total = others[0] if others else time.perf_counter() - begun
    smallest = 0.0
    if draws >= 100:
        import arviz as az

        smallest = float(min(az.ess(beta[..., j], method="bulk") for j in range(beta.shape[-1])))
    flat = beta.reshape(-1, beta.shape[-1])
    print(json.dumps({
        "total": total, "sampling": sampling, "ess": smallest,
        "mean": flat.mean(axis=0).tolist(), "sd": flat.std(axis=0).tolist(),
    }))  # fmt: skip


def run(design: str, peer: str, draws: int, tune: int | None, limit: float) -> dict | None:
    """`child` in a fresh process; None where it fails or takes longer than the limit."""
    command = [sys.executable, __file__, "--child", design, peer, str(draws), str(tune or 0)]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]) + os.pathsep + os.environ.get("PYTHONPATH", "")
    }
    try:
        found = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        print(f"{design} {peer}: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(found.stdout.strip().splitlines()[-1])


def table(designs: list[str], peers: list[str], limit: float) -> None:
    """All programs in turn on each design."""
    print(
        f"{'':20s}{'':14s}{'total s':>9s}{'sampling':>9s}{'ESS':>8s}{'ESS/s':>8s}{'sampling':>9s}"
        f"{'ours ×':>8s}{'sampling':>9s}{'off by':>8s}"
    )
    for design in designs:
        first: dict[str, Any] | None = None
        for peer in peers:
            if peer != "rstanarm":
                run(design, peer, 10, 10, limit)  # fills the caches on disk
            got = run(design, peer, 1000, None, limit)
            if got is None:
                print(f"{design:20s}{peer:14s}{'over ' + format(limit, '.0f') + ' s':>9s}")
                continue
            rate, alone = got["ess"] / got["total"], got["ess"] / got["sampling"]
            line = f"{got['total']:9.1f}{got['sampling']:9.1f}{got['ess']:8.0f}"
            line += f"{rate:8.0f}{alone:9.0f}"
            first = got if peer == "ours" else first
            if first and peer != "ours":
                own, own_alone = (first["ess"] / first[key] for key in ("total", "sampling"))
                away = np.subtract(got["mean"], first["mean"]) / np.array(first["sd"])
                line += f"{own / rate:8.1f}{own_alone / alone:9.1f}{np.abs(away).max():8.2f}"
            print(f"{design:20s}{peer:14s}{line}", flush=True)


def gradients(rounds: int = 200) -> None:
    """Value and gradient of the log-posterior, and two products with X, in turn."""
    import expfam_glm as eg
    from expfam_glm.bayes.density import LogPosterior
    from expfam_glm.bayes.priors import apply
    from expfam_glm.bayes.start import near_mode

    print(f"{'µs':28s}{'gradient':>10s}{'Xβ, Xᵀu':>10s}{'ratio':>8s}")
    names = ("plain", "poisson", "gamma", "negative_binomial", "normal")
    for n, name in itertools.product((10_000, 100_000), names):
        DESIGNS[name] = (n, *DESIGNS[name][1:])
        d = data(name)
        own = eg.GLM.from_arrays(
            d["y"], d["X"], family=d["family"], link=LINKS.get(d["family"], "log")
        ).problem
        applied = apply(own, "default")
        start, density = near_mode(own, applied), LogPosterior(own, applied)
        z = np.append(start.beta, np.zeros(density.n_dim - start.beta.size))
        X, u = own.X, np.ones(n)
        spent: list[tuple[float, float]] = []
        for _ in range(rounds):
            begun = time.perf_counter()
            density(z)
            middle = time.perf_counter()
            X @ start.beta, X.T @ u
            spent.append((middle - begun, time.perf_counter() - middle))
        gradient, products = 1e6 * np.min(spent, axis=0)
        print(f"{d['family']:20s}{n:8d}{gradient:10.0f}{products:10.0f}{gradient / products:8.2f}")


def first_draw(peers: list[str], limit: float) -> None:
    """Seconds from data to one draw."""
    for peer in peers:
        got = run("plain", peer, 1, 1, limit), run("plain", peer, 1, 1, limit)
        print(
            f"{peer:14s}", *(f"{g['total']:8.2f} s" for g in got if g), "first and second process"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--designs", nargs="*", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one run")
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        design, peer, draws, tune = given.child
        child(design, peer, int(draws), int(tune) or None)
        return
    peers = [p for p in given.peers if p != "rstanarm" or shutil.which("Rscript")]
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if given.gradient:
        gradients()
    if given.first:
        first_draw([p for p in peers if p != "rstanarm"], given.limit)
    if not (given.gradient or given.first):
        table(given.designs, peers, given.limit)


if __name__ == "__main__":
    main()
