"""The package's equations against literal ones with explicit V_k matrices."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import expfam_glm as eg
from tests.gee.dense import Dense, dense_gee
from tests.tolerances import DEFAULT

STRUCTURES = ("independence", "exchangeable", "ar1", "unstructured", "fixed")
MODELS = (
    ("normal", "identity"),
    ("poisson", "log"),
    ("binomial", "logit"),
    ("gamma", "inverse"),
    ("gamma", "log"),
)
FIXED = 0.6 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5))) * 0.7 + 0.3 * np.eye(5)


def clustered(seed: int, family: str, link: str) -> dict[str, np.ndarray]:
    """Rows in random order, clusters of 1 to 5 of the five occasions, weights and an offset."""
    rng = np.random.default_rng(seed)
    groups, time = [], []
    for k in range(50):
        seen = rng.permutation(5)[: rng.choice([1, 4, 5, 5])]
        groups += [k] * len(seen)
        time += seen.tolist()
    order = rng.permutation(len(groups))
    groups, time = np.array(groups)[order], np.array(time)[order]
    n = len(groups)
    X = np.column_stack([np.ones(n), rng.normal(size=n), (groups % 2).astype(float), time / 5])
    effect = 0.3 * rng.normal(size=50)[groups]
    offset = 0.1 * rng.random(n)
    eta = X @ [0.3, 0.2, -0.3, 0.1] + offset
    w = rng.integers(1, 5, n).astype(float)
    if family == "binomial":
        y = rng.binomial(w.astype(int), 1 / (1 + np.exp(-eta - effect))) / w
    elif family == "poisson":
        y = rng.poisson(w * np.exp(eta + effect)) / w
    elif family == "gamma":
        mu = 1 / (eta + 1.0) if link == "inverse" else np.exp(eta)
        y = mu * np.exp(effect) * rng.gamma(4.0, 0.25, n)
    else:
        y = eta + effect + rng.normal(size=n)
    return {"y": y, "X": X, "groups": groups, "time": time, "w": w, "offset": offset}


def compare(tree, dense: Dense) -> None:
    fit = tree["fit"]
    se = np.sqrt(np.diag(dense.robust))
    assert np.max(np.abs(fit["beta"].values - dense.beta) / se) < DEFAULT
    robust, naive = fit["covariance"].values
    np.testing.assert_allclose(robust / np.outer(se, se), dense.robust / np.outer(se, se),
                               atol=10 * DEFAULT, rtol=0)  # fmt: skip
    np.testing.assert_allclose(naive, dense.naive, rtol=10 * DEFAULT, atol=DEFAULT)
    np.testing.assert_allclose(float(fit["phi"]), dense.phi, rtol=DEFAULT)
    if isinstance(dense.alpha, dict):
        expected = [dense.alpha[key] for key in sorted(dense.alpha)]
        np.testing.assert_allclose(fit["alpha"].values, expected, atol=DEFAULT)
    elif dense.alpha is not None:
        np.testing.assert_allclose(float(fit["alpha"]), dense.alpha, atol=DEFAULT)
    assert float(tree["fit_stats"]["pearson_chi2"]) == pytest.approx(dense.pearson, rel=DEFAULT)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("model", MODELS, ids="-".join)
def test_every_structure_and_model_with_weights_and_offset(model, name):
    data = clustered(zlib.crc32("-".join(model).encode()), *model)
    family, link = model
    glm = eg.GLM.from_arrays(
        data["y"], data["X"], family=family, link=link, weights=data["w"], offset=data["offset"]
    )
    correlation = eg.correlation.Fixed(FIXED, times=range(5)) if name == "fixed" else name
    tree = glm.gee(data["groups"], correlation, time=data["time"], tol=1e-12)
    compare(tree, dense_gee(
        data["y"], data["X"], data["groups"], data["time"], model, name, w=data["w"],
        offset=data["offset"], fixed=FIXED, start=tree["fit"]["beta"].values,
    ))  # fmt: skip


@pytest.mark.parametrize("ddof", ["none", "p", "geepack"])
@pytest.mark.parametrize("name", STRUCTURES[:4])
def test_every_convention_of_the_moments(name, ddof):
    data = clustered(11, "poisson", "log")
    glm = eg.GLM.from_arrays(data["y"], data["X"], family="quasi_poisson", weights=data["w"])
    tree = glm.gee(data["groups"], name, time=data["time"], ddof=ddof, tol=1e-12)
    compare(tree, dense_gee(
        data["y"], data["X"], data["groups"], data["time"], ("poisson", "log"), name,
        w=data["w"], ddof=ddof, start=tree["fit"]["beta"].values,
    ))  # fmt: skip


def chain(rng: np.random.Generator, time: np.ndarray, alpha: float) -> np.ndarray:
    """A stationary Markov chain with correlation α^|t_i − t_j| at increasing times."""
    e = rng.normal(size=len(time))
    for i in range(1, len(time)):
        rho = alpha ** (time[i] - time[i - 1])
        e[i] = rho * e[i - 1] + np.sqrt(1 - rho**2) * e[i]
    return e


@pytest.mark.parametrize("times", ["irregular", "half", "far"])
def test_ar1_between_real_times(times):
    rng = np.random.default_rng(5)
    series = [
        np.sort(rng.choice(40, size=rng.integers(1, 7), replace=False)) / 4 for _ in range(50)
    ]
    if times == "irregular":
        series = [np.cumsum(rng.random(s.size)) for s in series]
    groups, time = np.repeat(np.arange(50), [s.size for s in series]), np.concatenate(series)
    X = np.column_stack([np.ones(time.size), rng.normal(size=time.size)])
    y = X @ [1.0, 0.5] + np.concatenate([chain(rng, s, 0.6) for s in series])
    order = rng.permutation(time.size)
    groups, time, X, y = groups[order], time[order], X[order], y[order]
    unit = 1e5 if times == "far" else 1.0
    glm = eg.GLM.from_arrays(y, X, family="normal")
    tree = glm.gee(groups, "ar1", time=unit * time, tol=1e-12)
    dense = dense_gee(
        y, X, groups, time, ("normal", "identity"), "ar1", start=tree["fit"]["beta"].values
    )
    compare(tree, dense._replace(alpha=dense.alpha ** (1 / unit)))


@pytest.mark.parametrize("spacing", [1, 3])
def test_ar1_with_negative_alpha_needs_whole_distances(spacing):
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(40), 6)
    time = np.tile(np.arange(6), 40)
    e = np.concatenate([chain(rng, np.arange(6), -0.6) for _ in range(40)])
    X = np.column_stack([np.ones(240), rng.normal(size=240)])
    y = X @ [1.0, 0.5] + e
    tree = eg.GLM.from_arrays(y, X, family="normal").gee(
        groups, "ar1", time=spacing * time, tol=1e-12
    )
    dense = dense_gee(
        y, X, groups, time, ("normal", "identity"), "ar1", start=tree["fit"]["beta"].values
    )
    assert dense.alpha < -0.4
    compare(tree, dense._replace(alpha=-(abs(dense.alpha) ** (1 / spacing))))


@pytest.mark.parametrize("name", ["exchangeable", "ar1"])
def test_a_given_phi_is_held(name):
    data = clustered(3, "poisson", "log")
    glm = eg.GLM.from_arrays(data["y"], data["X"], family="poisson", weights=data["w"])
    tree = glm.gee(data["groups"], name, time=data["time"], phi=1.5, tol=1e-12)
    compare(tree, dense_gee(
        data["y"], data["X"], data["groups"], data["time"], ("poisson", "log"), name,
        w=data["w"], phi=1.5, start=tree["fit"]["beta"].values,
    ))  # fmt: skip


@pytest.mark.slow
def test_long_series_take_the_road_by_fourier_transform():
    rng = np.random.default_rng(4)
    series = [np.flatnonzero(rng.random(150) < 0.5) for _ in range(3)]
    groups, time = np.repeat(np.arange(3), [len(s) for s in series]), np.concatenate(series)
    e = np.concatenate([chain(rng, s, 0.8) for s in series])
    X = np.column_stack([np.ones(len(time)), rng.normal(size=len(time))])
    tree = eg.GLM.from_arrays(e, X, family="normal").gee(groups, "ar1", time=time, tol=1e-12)
    compare(tree, dense_gee(
        e, X, groups, time, ("normal", "identity"), "ar1", start=tree["fit"]["beta"].values
    ))  # fmt: skip
