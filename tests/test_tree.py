"""The result tree: schema, exact draws, exact intervals, what survives a file, and speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError
from expfam_glm.numerics.wald import default_ci_prob
from expfam_glm.tree import common_attrs, likelihood_tree
from tests.fabricated import LABELS, aliased, made_up, made_up_gee

ROUNDING = 1e-12  # relative to a standard error: moments of 4000 draws


def flat(tree: xr.DataTree) -> np.ndarray:
    """Draws of beta, chains one after the other."""
    return tree["posterior"]["beta"].values.reshape(-1, tree["posterior"].sizes["coef"])


def test_groups_variables_and_dimensions_are_those_of_the_design() -> None:
    tree = likelihood_tree(made_up_gee())
    layout = {
        group: {str(name): values.dims for name, values in tree[group].data_vars.items()}
        for group in tree.children
    }
    assert layout == {
        "posterior": {"beta": ("chain", "draw", "coef")},
        "fit": {
            "beta": ("coef",),
            "se": ("coef",),
            "covariance": ("cov_type", "coef", "coef2"),
            "statistic": ("coef",),
            "p_value": ("coef",),
            "df": ("coef",),
            "interval": ("coef", "ci_bound"),
            "phi": (),
            "alpha": (),
            "working_correlation": ("time", "time2"),
        },
        "fit_stats": {name: () for name in made_up().fit_stats},
        "observed_data": {"y": ("obs_id",)},
        "constant_data": {"X": ("obs_id", "coef"), "weights": ("obs_id",), "groups": ("obs_id",)},
    }
    fit = tree["fit"]
    assert fit["coef"].values.tolist() == fit["coef2"].values.tolist() == list(LABELS)
    assert fit["cov_type"].values.tolist() == ["robust", "naive"]
    assert fit["time"].values.tolist() == ["first", "second"]
    assert fit["ci_bound"].values.tolist() == ["lower", "upper"]
    assert tree["posterior"].sizes == {"chain": 4, "draw": 1000, "coef": 4}


def test_attributes_say_what_the_draws_are() -> None:
    tree = likelihood_tree(made_up_gee(), random_seed=7)
    assert tree.attrs["kind"] == tree["posterior"].attrs["kind"]
    assert tree.attrs["kind"].startswith("draws of the asymptotic normal distribution of the GEE")
    assert (tree.attrs["estimator"], tree.attrs["random_seed"]) == ("GEE", 7)
    assert json.loads(tree.attrs["versions"]).keys() >= {"numpy", "xarray", "python"}
    assert tree["fit_stats"]["converged"].dtype.kind == "i"


def test_a_model_without_coefficients_has_a_tree() -> None:
    tree = likelihood_tree(
        made_up(labels=(), beta=np.zeros(0), covariances={"fisher": np.zeros((0, 0))}, constant={})
    )
    assert tree["posterior"]["beta"].shape == (4, 1000, 0)


@pytest.mark.parametrize("p", [1, 5, 300])
def test_draws_have_the_estimate_as_mean_and_the_covariance_exactly(p: int) -> None:
    rng = np.random.default_rng(p)
    se = 10.0 ** rng.uniform(-3, 3, p)
    factor = rng.normal(size=(p, p)) * se[:, None]
    V = factor @ factor.T
    spread = np.sqrt(np.diagonal(V))
    beta = rng.normal(size=p) * spread
    estimate = made_up(
        labels=tuple(f"x{i}" for i in range(p)), beta=beta, covariances={"fisher": V}, constant={}
    )
    draws = flat(likelihood_tree(estimate))
    np.testing.assert_allclose((draws.mean(axis=0) - beta) / spread, 0, atol=ROUNDING)
    found = np.cov(draws.T).reshape(p, p)
    np.testing.assert_allclose((found - V) / np.outer(spread, spread), 0, atol=ROUNDING)


def test_draws_of_a_singular_covariance_stay_in_its_range() -> None:
    direction = np.array([1.0, 2.0, 0.0, -1.0])
    V = np.outer(direction, direction)
    draws = flat(likelihood_tree(made_up(covariances={"robust": V}))) - made_up().beta
    np.testing.assert_allclose(np.cov(draws.T), V, atol=1e-12)
    np.testing.assert_allclose(draws, np.outer(draws[:, 0], direction), atol=1e-7)


def test_the_first_covariance_is_the_one_that_counts() -> None:
    estimate = made_up()
    turned = replace(estimate, covariances=dict(reversed(estimate.covariances.items())))
    first, second = likelihood_tree(estimate), likelihood_tree(turned)
    np.testing.assert_allclose(second["fit"]["se"], 1.2 * first["fit"]["se"])
    np.testing.assert_allclose(np.std(flat(second), axis=0), 1.2 * np.std(flat(first), axis=0))
    np.testing.assert_array_equal(
        first["fit"]["covariance"].sel(cov_type="HC0"),
        second["fit"]["covariance"].sel(cov_type="HC0"),
    )


def test_draws_depend_on_the_seed_alone() -> None:
    assert np.array_equal(flat(likelihood_tree(made_up())), flat(likelihood_tree(made_up())))
    other = flat(likelihood_tree(made_up(), random_seed=1))
    assert not np.allclose(other, flat(likelihood_tree(made_up())))


def test_positive_parameters_are_drawn_on_the_log_scale() -> None:
    tree = likelihood_tree(made_up(fit={}, positive={"phi": (2.0, 0.3), "alpha": (0.5, 2.0)}))
    posterior, fit = tree["posterior"], tree["fit"]
    for name, value, log_se in (("phi", 2.0, 0.3), ("alpha", 0.5, 2.0)):
        logs = np.log(posterior[name].values).ravel()
        np.testing.assert_allclose([logs.mean(), logs.std(ddof=1)], [np.log(value), log_se])
        together = np.column_stack([flat(tree), logs])
        np.testing.assert_allclose(np.corrcoef(together.T)[-1, :-1], 0, atol=ROUNDING)
        assert float(fit[name]) == value
        assert float(fit[f"se_log_{name}"]) == log_se


def test_known_or_moment_estimated_dispersion_is_in_fit_alone() -> None:
    tree = likelihood_tree(made_up())
    assert "phi" not in tree["posterior"]
    assert float(tree["fit"]["phi"]) == 1.0


def test_an_aliased_coefficient_is_nan_throughout_and_arviz_lives_with_it() -> None:
    tree = likelihood_tree(aliased(made_up(), 1))
    fit = tree["fit"].to_dataset()
    for name in ("beta", "se", "statistic", "p_value", "interval"):
        assert np.isnan(fit[name].isel(coef=1)).all()
        assert np.isfinite(fit[name].isel(coef=[0, 2, 3])).all()
    draws = flat(tree)
    assert np.isnan(draws[:, 1]).all()
    kept = [0, 2, 3]
    np.testing.assert_allclose(
        np.cov(draws[:, kept].T),
        fit["covariance"].values[0][np.ix_(kept, kept)],
        atol=ROUNDING,
    )
    table = az.summary(tree, round_to="none")
    assert table["mean"].isna().tolist() == [False, True, False, False]
    az.plot_forest(
        {"MLE": tree, "other": likelihood_tree(made_up())}, combined=True, backend="none"
    )


def test_without_standard_errors_there_are_no_draws() -> None:
    nothing = np.full((4, 4), np.nan)
    tree = likelihood_tree(made_up(covariances={"fisher": nothing}))
    assert np.isnan(flat(tree)).all()
    assert np.isfinite(tree["fit"]["beta"]).all()


def test_a_coefficient_that_cannot_vary_has_a_point_for_an_interval() -> None:
    fit = likelihood_tree(made_up(covariances={"fisher": np.zeros((4, 4))}))["fit"]
    np.testing.assert_array_equal(np.abs(fit["statistic"]), np.inf)
    np.testing.assert_array_equal(fit["p_value"], 0)
    np.testing.assert_array_equal(fit["interval"].sel(ci_bound="upper"), fit["beta"])


@pytest.mark.parametrize("use_t", [False, True])
def test_tests_and_intervals_are_those_of_statsmodels(use_t: bool) -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    X = sm.add_constant(rng.normal(size=(40, 3)))
    y = X @ [1.0, 30.0, 0.0, -0.1] + rng.normal(size=40)
    result = sm.GLM(y, X).fit(use_t=use_t)
    estimate = made_up(
        beta=result.params,
        covariances={"fisher": result.cov_params()},
        df=float(result.df_resid) if use_t else None,
    )
    fit = likelihood_tree(estimate, ci_prob=0.9)["fit"]
    np.testing.assert_allclose(fit["se"], result.bse, rtol=1e-12)
    np.testing.assert_allclose(fit["statistic"], result.tvalues, rtol=1e-12)
    np.testing.assert_allclose(fit["p_value"], result.pvalues, rtol=1e-9)
    np.testing.assert_allclose(fit["interval"], result.conf_int(alpha=0.1), rtol=1e-10)
    assert fit.attrs["ci_prob"] == 0.9
    assert (fit["df"] == (result.df_resid if use_t else np.inf)).all()


def test_degrees_of_freedom_may_differ_by_coefficient() -> None:
    df = np.array([3.0, 5.5, 40.0, np.inf])
    fit = likelihood_tree(made_up(df=df))["fit"]
    one = [
        likelihood_tree(made_up(df=float(d)))["fit"]["interval"].values[i] for i, d in enumerate(df)
    ]
    np.testing.assert_array_equal(fit["interval"], one)
    np.testing.assert_array_equal(fit["df"], df)


def test_interval_probability_is_arviz_setting_by_default() -> None:
    assert likelihood_tree(made_up())["fit"].attrs["ci_prob"] == az.rcParams["stats.ci_prob"]
    with az.rc_context({"stats.ci_prob": 0.7}):
        assert default_ci_prob(None) == 0.7


@pytest.mark.parametrize("ci_prob", [0, 1, -0.5, 95, np.nan])
def test_an_impossible_probability_is_refused(ci_prob: float) -> None:
    with pytest.raises(ArgumentError, match="not a probability"):
        likelihood_tree(made_up(), ci_prob=ci_prob)


def test_impossible_shapes_of_draws_are_refused() -> None:
    with pytest.raises(ArgumentError, match="chains=0"):
        likelihood_tree(made_up(), chains=0)
    with pytest.raises(ArgumentError, match="too few for 4 parameters"):
        likelihood_tree(made_up(), chains=2, draws=2)
    assert likelihood_tree(made_up(), chains=1, draws=5)["posterior"].sizes["draw"] == 5


def test_an_indefinite_covariance_is_refused() -> None:
    V = np.eye(4)
    V[0, 1] = V[1, 0] = 2
    with pytest.raises(ResultError, match="covariance 'HAC' is not positive semi-definite"):
        likelihood_tree(made_up(covariances={"HAC": V}))


def test_attributes_are_text_and_numbers_only() -> None:
    attrs = common_attrs(a=True, b=np.bool_(False), c=np.float64(2.5), d=np.int64(3), e="x")
    assert {k: attrs[k] for k in "abcde"} == {"a": 1, "b": 0, "c": 2.5, "d": 3, "e": "x"}
    assert {type(value) for value in attrs.values()} <= {str, int, float}
    for value in (None, {"a": 1}, [1, 2]):
        with pytest.raises(ResultError, match="'bad' is"):
            common_attrs(bad=value)


def test_the_design_matrix_is_not_copied() -> None:
    estimate = made_up(n=1000)
    X = likelihood_tree(estimate)["constant_data"]["X"].values
    assert np.shares_memory(X, estimate.constant["X"])


def test_the_tree_keeps_its_numbers_when_the_solver_reuses_its_arrays() -> None:
    estimate = made_up()
    tree = likelihood_tree(estimate)
    before = tree["fit"].to_dataset().copy(deep=True)
    estimate.beta[:] = 0
    estimate.covariances["fisher"][:] = 0
    xr.testing.assert_identical(tree["fit"].to_dataset(), before)


@pytest.mark.parametrize("store", ["netcdf", "zarr"])
@pytest.mark.parametrize("which", ["mle", "gee", "aliased"])
def test_files_give_back_the_same_tree(tmp_path: Path, store: str, which: str) -> None:
    estimate = {
        "mle": made_up(positive={"phi": (2.0, 0.1)}, fit={}, df=8.0),
        "gee": made_up_gee(),
        "aliased": aliased(made_up(), 2),
    }[which]
    n = 12
    estimate.constant.update(
        {
            "time": np.arange(n) * np.timedelta64(1, "D") + np.datetime64("2020-01-01", "ns"),
            "village": np.array(["a", 2, "ü/z", 4.5] * 3, dtype=object),
            "treated": np.arange(n) % 2 == 0,
        }
    )
    # HDF5 once held attributes of 64 kB at most
    estimate.attrs.update(design=json.dumps({"levels": ["x/ü"] * 20_000}), ratio=np.nan)
    tree = likelihood_tree(estimate)
    if store == "netcdf":
        tree.to_netcdf(tmp_path / "tree.nc")
        again = xr.open_datatree(tmp_path / "tree.nc")
    else:
        tree.to_zarr(tmp_path / "tree.zarr", zarr_format=2)
        again = xr.open_datatree(tmp_path / "tree.zarr", engine="zarr")
    with again:
        xr.testing.assert_identical(again.load(), tree)
        assert json.loads(again.attrs["design"])["levels"][0] == "x/ü"


def test_arviz_reads_the_tree() -> None:
    tree = likelihood_tree(made_up())
    table = az.summary(tree, round_to="none")
    np.testing.assert_allclose(table["mean"], made_up().beta, rtol=1e-9)
    np.testing.assert_allclose(table["sd"], tree["fit"]["se"], rtol=1e-9)
    assert (table["r_hat"] < 1.01).all()
    assert (table["ess_bulk"] > 3000).all()
