"""The posterior recalibrated to a robust covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import linalg

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, ResultError

ROUNDING = 1e-9
NOMINAL = 0.9


@pytest.fixture(scope="module")
def model() -> eg.GLM:
    return eg.GLM("seizures ~ lbase + age", eg.load_data("seizures"), family="poisson")


@pytest.fixture(scope="module")
def bayes(model: eg.GLM) -> xr.DataTree:
    return model.laplace(random_seed=1, draws=500)


def test_covariance_mean_and_root(model: eg.GLM, bayes: xr.DataTree) -> None:
    gee = model.gee(groups="patient")
    tree = eg.calibrate(bayes, gee)
    before = tree["posterior_uncalibrated"]["beta"].values.reshape(-1, 3)
    after = tree["posterior"]["beta"].values.reshape(-1, 3)
    V = gee["fit"]["covariance"].sel(cov_type="robust").values
    np.testing.assert_allclose(before, bayes["posterior"]["beta"].values.reshape(-1, 3))
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), rtol=ROUNDING)
    np.testing.assert_allclose(np.cov(after, rowvar=False), V, rtol=1e-8)
    omega = linalg.sqrtm(V @ np.linalg.inv(np.cov(before, rowvar=False)))
    centre = before.mean(axis=0)
    np.testing.assert_allclose(after, centre + (before - centre) @ omega.T, rtol=1e-7)
    assert tree.attrs["calibrated"] == "robust covariance of the GEE fit"
    assert "log_likelihood" not in tree.children
    assert "calibrated" not in bayes.attrs


def test_it_commutes_with_a_change_of_coefficients(bayes: xr.DataTree) -> None:
    beta = bayes["posterior"]["beta"].values.reshape(-1, 3)
    A = np.array([[2.0, 0.3, 0.0], [0.0, 0.5, 0.2], [0.0, 0.1, 30.0]])
    V = 2 * np.cov(beta, rowvar=False) + np.diag([0.1, 0.02, 1e-5])
    changed = bayes.copy()
    changed["posterior"] = (
        bayes["posterior"]
        .to_dataset()
        .assign(beta=(("chain", "draw", "coef"), (beta @ A.T).reshape(4, -1, 3)))
    )
    first = eg.calibrate(bayes, V)["posterior"]["beta"].values.reshape(-1, 3)
    second = eg.calibrate(changed, A @ V @ A.T)["posterior"]["beta"].values.reshape(-1, 3)
    np.testing.assert_allclose(second, first @ A.T, rtol=1e-7)


def test_what_is_no_covariance_is_refused(model: eg.GLM, bayes: xr.DataTree) -> None:
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (np.eye(2), {}, ArgumentError, r"shape \(2, 2\)"),
        (np.diag([1.0, np.nan, 1.0]), {}, ArgumentError, "not finite"),
        (np.diag([1.0, -1.0, 1.0]), {}, ArgumentError, "positive definite"),
        ("HC0", {}, ArgumentError, "neither a result tree nor a matrix"),
        (model.fit(), {"cov_type": "HC9"}, ArgumentError, "is not in the tree"),
        (np.eye(3), {"cov_type": "HC0"}, ArgumentError, "goes with a tree"),
        (bayes, {}, ResultError, "without a covariance"),
    ]
    for cov, keywords, error, message in cases:
        with pytest.raises(error, match=message):
            eg.calibrate(bayes, cov, **keywords)
    with pytest.raises(ResultError, match="recalibrates a posterior"):
        eg.calibrate(model.fit(), model.fit())
    other = eg.GLM("seizures ~ lbase", eg.load_data("seizures"), family="poisson")
    with pytest.raises(ResultError, match="coefficients differ"):
        eg.calibrate(bayes, other.fit())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"family": "negative_binomial"}, "family poisson .* of the model that was sampled"),
        ({"link": "sqrt"}, "link log and .* the link sqrt"),
        ({"data": eg.load_data("seizures")[:40]}, r"different responses \(236 and 40 rows"),
        ({"formula": "visit ~ lbase + age"}, "different responses"),
    ],
)
def test_a_covariance_of_another_model_is_refused(
    bayes: xr.DataTree, changed: dict[str, Any], message: str
) -> None:
    given = {"formula": "seizures ~ lbase + age", "data": eg.load_data("seizures"),
             "family": "poisson"}  # fmt: skip
    family = eg.families.negative_binomial(1.0) if "family" in changed else "poisson"
    tree = eg.GLM(**given | changed | {"family": family}).fit()
    with pytest.raises(ResultError, match=message):
        eg.calibrate(bayes, tree)


@pytest.mark.slow
def test_coverage_is_nominal_where_the_variance_is_wrong() -> None:
    """Counts with a variance that grows with x: Poisson intervals are too short, HC0's are not."""
    rng = np.random.default_rng(11)
    rounds, n, slope = 300, 200, 0.4
    plain, robust = 0, 0
    for seed in range(rounds):
        x = rng.uniform(-1, 1, n)
        shape = np.exp(1.5 - 1.5 * x)
        y = rng.poisson(np.exp(0.5 + slope * x) * rng.gamma(shape, 1 / shape))
        model = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson")
        tree = model.laplace(random_seed=seed, log_likelihood=False, posterior_predictive=False)
        wide = eg.calibrate(tree, model.fit(cov="HC0"))
        for k, one in enumerate((tree, wide)):
            draws = one["posterior"]["beta"].sel(coef="x").values
            low, high = np.quantile(draws, [(1 - NOMINAL) / 2, (1 + NOMINAL) / 2])
            plain, robust = (
                plain + (k == 0) * (low < slope < high),
                robust + (k == 1) * (low < slope < high),
            )
    error = np.sqrt(NOMINAL * (1 - NOMINAL) / rounds)
    assert plain / rounds < NOMINAL - 6 * error
    assert abs(robust / rounds - NOMINAL) < 3 * error
