"""Influence of rows on penalised fits: literal formulas, and fits without each row."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError

TIGHT = {"tol": 1e-12, "max_iterations": 2000, "draws": 10}
PENALTIES = ("firth", "jeffreys", 0.8)


def rings(penalty, rows=slice(None), **more):
    data = eg.load_data("oring").iloc[rows]
    model = eg.GLM("damaged ~ temperature", data, family="binomial", trials="rings", **more)
    return model, model.fit(penalty=penalty, **TIGHT)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_one_step_is_the_step_of_scoring_without_the_row(penalty) -> None:
    """Logistic regression written out: U and the adjustment (½ − μ) h of the other rows."""
    model, tree = rings(penalty)
    X, y, N = model.problem.X, model.problem.y, model.problem.w
    beta = tree["fit"]["beta"].values
    mu = 1 / (1 + np.exp(-X @ beta))
    W = N * mu * (1 - mu)
    P = np.diag([0.0, 0.8**-2]) if penalty == 0.8 else np.zeros((2, 2))
    found = eg.influence(tree)
    whole = X.T @ (X * W[:, None]) + P
    hat = W * np.einsum("ij,jk,ik->i", X, np.linalg.inv(whole), X)
    np.testing.assert_allclose(found["hat"], hat, rtol=1e-9)
    np.testing.assert_allclose(
        eg.residuals(tree, "pearson", standardised=True),
        N * (y - mu) / np.sqrt(W * (1 - hat)), rtol=1e-9,
    )  # fmt: skip
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        Z, w = X[keep], W[keep]
        information = Z.T @ (Z * w[:, None]) + P
        score = Z.T @ (N * (y - mu))[keep] - P @ beta
        if penalty != 0.8:
            h = w * np.einsum("ij,jk,ik->i", Z, np.linalg.inv(information), Z)
            score = score + Z.T @ (h * (0.5 - mu[keep]))
        step = np.linalg.solve(information, score)
        np.testing.assert_allclose(found["dfbeta"][i], -step, rtol=1e-6, atol=1e-9)
        distance = step @ whole @ step / float(found["hat"].sum())
        assert float(found["cooks_distance"][i]) == pytest.approx(distance, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_refits_are_fits_without_the_row(penalty) -> None:
    _, tree = rings(penalty)
    found = eg.influence(tree, refit=True)
    for i in (0, 20):
        _, without = rings(penalty, np.arange(23) != i)
        gap = tree["fit"]["beta"].values - without["fit"]["beta"].values
        np.testing.assert_allclose(found["dfbeta"][i], gap, rtol=1e-6, atol=1e-9)
    se = tree["fit"]["se"].values
    np.testing.assert_allclose(found["dfbetas"], found["dfbeta"] / se, rtol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_step_is_exact_for_the_normal_model(penalty) -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(25), rng.normal(size=(25, 2))])
    y = X @ [1.0, 0.5, -1.0] + rng.normal(size=25)
    model = eg.GLM.from_arrays(y, X, family="normal", weights=rng.uniform(0.5, 2, 25))
    tree = model.fit(penalty=penalty, dispersion=0.7, **TIGHT)
    one, exact = eg.influence(tree), eg.influence(tree, refit=True)
    np.testing.assert_allclose(one["dfbeta"], exact["dfbeta"], rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(one["loo_mean"], exact["loo_mean"], rtol=1e-9)
    if penalty == 0.8:
        lost = float(one["hat"].sum())
        assert 2 < lost < 3


@pytest.mark.parametrize("penalty", ["firth", 0.5])
def test_frequencies_stand_for_rows(penalty) -> None:
    data = eg.load_data("quine").assign(days=lambda d: d["days"] + 1).iloc[:40]
    f = np.where(np.arange(40) % 3 == 0, 3, 1)
    copies = data.loc[data.index.repeat(f)]
    short = eg.GLM("days ~ sex", data, family="gamma", link="log", freq_weights=f)
    long = eg.GLM("days ~ sex", copies, family="gamma", link="log")
    with np.errstate(all="raise"):
        first, second = (
            eg.influence(m.fit(penalty=penalty, **TIGHT))["dfbeta"].values for m in (short, long)
        )
    np.testing.assert_allclose(first[np.repeat(np.arange(40), f)], second, rtol=1e-6, atol=1e-10)


def test_a_separated_row_leaves_a_finite_fit() -> None:
    data = {"y": [0, 0, 0, 1, 1, 1], "x": [1.0, 2, 3, 4, 5, 6]}
    tree = eg.GLM("y ~ x", data, family="binomial").fit(penalty="firth")
    for refit in (False, True):
        assert np.isfinite(eg.influence(tree, refit=refit)["dfbeta"]).all()


def test_what_is_refused() -> None:
    model, tree = rings("firth")
    with pytest.raises(ArgumentError, match="for a fit without a penalty"):
        eg.influence(tree, residual="deviance")
    prior = eg.Prior("Conjugate", kappa=2.0)
    with pytest.raises(ArgumentError, match="not defined under a conjugate prior"):
        eg.influence(model.fit(penalty=prior))
