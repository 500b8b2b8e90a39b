"""Perfect, saturated and tiny fits, and arguments of the wrong kind: our errors, nothing raw."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError, FitWarning, ResultError

SATURATED = {"y": [1.0, 3.0, 2.0], "x": [0.0, 1.0, 4.0], "z": [1.0, 0.0, 1.0]}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=30), "y": rng.poisson(2.0, 30)}
    return data, eg.GLM("y ~ x", data, family="poisson").fit()


@pytest.mark.parametrize("family", ["normal", "quasi_poisson"])
def test_a_fit_without_a_dispersion_says_so_everywhere(family: str) -> None:
    with pytest.warns(FitWarning):
        tree = eg.GLM("y ~ x + z", SATURATED, family=family).fit(cov=["fisher", "HC2"])
    for call in (
        lambda: eg.deviance_table(tree),
        lambda: eg.profile(tree),
        lambda: eg.influence(tree),
        lambda: eg.influence(tree, refit=True),
        lambda: eg.residuals(tree, standardised=True),
        lambda: eg.hypotheses(tree, "x", test="lr"),
    ):
        with pytest.raises(ResultError, match="has no dispersion to measure by"):
            call()
    with pytest.raises(ResultError, match="has no covariance"):
        eg.predict(tree, kind="draws")
    assert np.isfinite(eg.adjusted_predictions(tree)["estimate"])


def test_one_row() -> None:
    with pytest.warns(FitWarning):
        tree = eg.GLM("y ~ 0 + x", {"y": [2.0], "x": [1.0]}, family="normal").fit()
    with pytest.raises(ResultError, match="no dispersion"):
        eg.influence(tree, refit=True)
    counted = eg.GLM("y ~ 1", {"y": [2]}, family="poisson").fit()
    with pytest.warns(FitWarning, match="does not exist without row 0"):
        assert np.isnan(eg.influence(counted, refit=True)["dfbeta"]).all()


def test_clusters_that_determine_coefficients_by_themselves() -> None:
    """Of their covariance, which is zero, nothing is left to divide by."""
    data = {"y": [1, 3, 0, 2, 5, 4], "g": list("aabbcc")}
    with pytest.warns(FitWarning):
        tree = eg.GLM("y ~ 0 + g", data, family="poisson").fit(cov="CR2", groups="g")
    assert "is zero in some direction" in tree.attrs["warnings"]
    np.testing.assert_allclose(tree["fit"]["se"], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: eg.hypotheses(t, "x = 1e400", test="lr"), "1e400 is beyond floating-point"),
        (lambda t: eg.profile(t, coefs=5), r"coefs=\[5\]: 5 is not among"),
        (lambda t: eg.residuals(t, standardised="yes"), "standardised='yes' must be True or"),
        (lambda t: eg.influence(t, refit="no"), "refit='no' must be True or False"),
        (lambda t: eg.marginal_effects(t, average="no"), "average='no' must be True or"),
        (lambda t: eg.marginal_effects(t, 3), "3 must be the name of a column"),
        (lambda t: eg.comparisons(t, by=3), "3 must be the name of a column"),
        (lambda t: eg.deviance_table({}), "takes a fit, or several"),
    ],
)
def test_arguments_of_the_wrong_kind(counts, call, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        call(counts[1])


def test_predictions_beyond_floating_point_numbers(counts) -> None:
    tree = counts[1]
    far = {"x": [1e308]}
    for kind in ("mean", "link", "draws"):
        with pytest.raises(DataError, match=r"overflows|has a mean for linear predictors"):
            eg.predict(tree, far, kind=kind)
    with pytest.raises(DataError, match=r"overflows|has a mean for linear predictors"):
        eg.comparisons(tree, {"x": (1e308, -1e308)})
