"""Covariances for few clusters against literal formulas with every H_kk as a matrix."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, CorrelationError, DataError, FitWarning
from tests.gee import dense
from tests.gee.test_dense import clustered
from tests.gee.trial import FORMULA, fit_of, same, with_gaps

SUMS = ["mancl-derouen", "kauermann-carroll", "fay-graubard"]
ALL = [*SUMS, "morel-bokossa-neerchal", "pan"]
TOLERANCE = 1e-9
MODELS = [("poisson", "log"), ("binomial", "logit"), ("gamma", "inverse"), ("normal", "identity")]


def few(seed, family, link, clusters=15):
    """The first clusters of the simulated data."""
    data = clustered(seed, family, link)
    kept = data["groups"] < clusters
    return {name: values[kept] for name, values in data.items()}


def both(data, model, name, cov, **more):
    """The package's fit and the literal one."""
    family, link = model
    glm = eg.GLM.from_arrays(
        data["y"], data["X"], family=family, link=link, weights=data["w"], offset=data["offset"]
    )
    tree = glm.gee(data["groups"], name, time=data["time"], tol=1e-12, cov=cov, **more)
    literal = dense.dense_gee(
        data["y"], data["X"], data["groups"], data["time"],
        (family.removeprefix("quasi_"), link), name, w=data["w"], offset=data["offset"],
        start=tree["fit"]["beta"].values,
    )  # fmt: skip
    return tree, literal


def close(found, expected):
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=TOLERANCE, rtol=0
    )


def check_all(tree, literal, time):
    found = tree["fit"]["covariance"]
    for name in SUMS:
        close(found.sel(cov_type=name).values, dense.corrected(name, literal))
    close(
        found.sel(cov_type="morel-bokossa-neerchal").values, dense.morel_bokossa_neerchal(literal)
    )
    close(found.sel(cov_type="pan").values, dense.pan(literal, time))


@pytest.mark.parametrize("correlation", ["independence", "exchangeable", "ar1"])
@pytest.mark.parametrize("model", MODELS, ids="-".join)
def test_every_covariance_with_weights_and_offset(model, correlation):
    family, link = model
    data = few(5, *model)
    if family == "binomial":
        family = "quasi_binomial"
    tree, literal = both(data, (family, link), correlation, ALL)
    check_all(tree, literal, data["time"])


def test_every_covariance_where_matrices_are_factored_by_pattern():
    data = few(5, "poisson", "log", clusters=40)
    glm = eg.GLM.from_arrays(data["y"], data["X"], family="poisson", weights=data["w"])
    tree = glm.gee(data["groups"], "toeplitz", time=data["time"], tol=1e-12, cov=ALL)
    literal = dense.dense_gee(
        data["y"], data["X"], data["groups"], data["time"], ("poisson", "log"), "toeplitz",
        key=lambda i, j: abs(int(data["time"][i]) - int(data["time"][j])), w=data["w"],
        start=tree["fit"]["beta"].values,
    )  # fmt: skip
    check_all(tree, literal, data["time"])


@pytest.mark.parametrize("name", ["robust", *SUMS])
@pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
def test_satterthwaite(correlation, name):
    model = ("poisson", "log")
    tree, literal = both(few(9, *model), model, correlation, name, df="satterthwaite")
    expected = dense.satterthwaite(name, literal)
    np.testing.assert_allclose(tree["fit"]["df"], expected, rtol=1e-8)
    assert np.all(expected < 14)


def test_the_jackknife_leaves_out_one_cluster_at_a_time():
    model = ("poisson", "log")
    data = few(9, *model)
    tree, literal = both(data, model, "exchangeable", ["jackknife", "jackknife-one-step"])
    gaps = []
    for k in range(15):
        kept = data["groups"] != k
        part = {name: values[kept] for name, values in data.items()}
        fit = dense.dense_gee(
            part["y"], part["X"], part["groups"], part["time"], model, "exchangeable",
            w=part["w"], offset=part["offset"], start=literal.beta,
        )  # fmt: skip
        gaps.append(fit.beta - literal.beta)
    found = tree["fit"]["covariance"]
    close(found[0].values, 11 / 15 * np.transpose(gaps) @ gaps)
    close(found[1].values, 11 / 15 * dense.corrected("mancl-derouen", literal))


def test_several_in_one_tree_the_first_for_tests():
    data = with_gaps()
    cov = ["kauermann-carroll", "naive", "mancl-derouen"]
    tree = fit_of(data, cov=cov, df="t")
    fit = tree["fit"]
    assert fit["cov_type"].values.tolist() == [*cov, "robust"]
    assert tree.attrs["cov_type"] == "kauermann-carroll"
    np.testing.assert_allclose(fit["se"] ** 2, np.diagonal(fit["covariance"][0]), rtol=1e-12)
    assert np.all(fit["df"] == 59 - 5)
    draws = tree["posterior"]["beta"].values.reshape(-1, 5)
    np.testing.assert_allclose(np.cov(draws.T), fit["covariance"][0], rtol=1e-8)
    plain = fit_of(data)
    np.testing.assert_array_equal(
        fit["covariance"].sel(cov_type="robust"), plain["fit"]["covariance"][0]
    )
    order = [float(np.trace(fit["covariance"].sel(cov_type=name)))
             for name in ("robust", "kauermann-carroll", "mancl-derouen")]  # fmt: skip
    assert order == sorted(order)


def test_pan_without_times_pools_positions():
    data = eg.load_data("seizures")
    same(
        fit_of(data, "exchangeable", cov="pan"), fit_of(data, "exchangeable", time=None, cov="pan")
    )


def test_aliased_columns_stay_nan():
    data = with_gaps().assign(twice=lambda d: 2 * d["age"])
    with pytest.warns(eg.errors.AliasWarning):
        tree = fit_of(data, formula=FORMULA + " + twice", cov="fay-graubard", df="satterthwaite")
    plain = fit_of(data, cov="fay-graubard", df="satterthwaite")["fit"]
    kept = plain["coef"].values.tolist()
    assert np.isnan(tree["fit"]["df"].sel(coef="twice"))
    np.testing.assert_allclose(tree["fit"]["df"].sel(coef=kept), plain["df"], rtol=1e-8)
    np.testing.assert_allclose(tree["fit"]["se"].sel(coef=kept), plain["se"], rtol=1e-8)


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"cov": "HC3"}, "'mancl-derouen'"),
        ({"cov": []}, "must name one"),
        ({"cov": ["robust", "robust"]}, "distinct"),
        ({"df": "F"}, "'satterthwaite'"),
        ({"df": "satterthwaite", "cov": "pan"}, "cov='pan' is none"),
        ({"alpha": 0.3, "correlation": "independence"}, "has no alpha"),
        ({"alpha": [0.3, 0.2]}, "must be a number"),
        ({"alpha": "much"}, "must be a number"),
        ({"alpha": 0.3, "correlation": "unstructured"}, "6 numbers, for 1, 2"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(ArgumentError, match=says):
        fit_of(with_gaps(), **arguments)


def test_a_cluster_that_alone_determines_a_coefficient():
    data = with_gaps().assign(one=lambda d: (d["patient"] == 30).astype(float))
    for name in ("mancl-derouen", "kauermann-carroll", "jackknife-one-step"):
        with pytest.raises(DataError, match="cluster 30 alone determines"):
            fit_of(data, formula=FORMULA + " + one", cov=name)
    with pytest.warns(FitWarning, match="'robust' is zero .* cancel along one, as"):
        fit_of(data, formula=FORMULA + " + one", cov="fay-graubard")


def test_pan_needs_common_times():
    data = eg.load_data("seizures")
    with pytest.raises(DataError, match="distinct times within a cluster"):
        fit_of(data, "exchangeable", time="age", cov="pan")


def test_a_jackknife_that_fails_names_the_cluster():
    data = eg.load_data("seizures")
    data = data[(data["visit"] == 1) | ((data["patient"] == 5) & (data["visit"] == 2))]
    with pytest.raises(CorrelationError, match=r"cannot leave out cluster 5: .* one row only"):
        fit_of(data, cov="jackknife", formula="seizures ~ lbase")


# ---- given association ---------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ["exchangeable", "ar1", "unstructured", "toeplitz"])
def test_a_given_alpha_is_held(correlation):
    data = with_gaps()
    free = fit_of(data, correlation, tol=1e-12)
    alpha = free["fit"]["alpha"].values
    held = fit_of(data, correlation, alpha=alpha, tol=1e-12)
    same(free, held)
    assert held.attrs["association"] == "given"
    other = fit_of(data, correlation, alpha=alpha / 2)
    np.testing.assert_allclose(other["fit"]["alpha"], alpha / 2)
    assert float(other["fit"]["beta"][1]) != float(free["fit"]["beta"][1])


def test_a_given_alpha_has_bounds():
    data = with_gaps()
    with pytest.raises(CorrelationError, match=r"-0\.333333 < alpha < 1"):
        fit_of(data, alpha=-0.4)
    with pytest.raises(CorrelationError, match="-1 < alpha < 1"):
        fit_of(data, "ar1", alpha=1.0)
    with pytest.raises(CorrelationError, match="0 < alpha < 1"):
        fit_of(data.assign(visit=data["visit"] / 2), "ar1", alpha=-0.1)
    zero = fit_of(data, "ar1", alpha=0.0)
    same(zero, fit_of(data, "exchangeable", alpha=0.0))
