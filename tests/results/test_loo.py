"""Leave-one-out cross-validation, stored or in blocks, and ArviZ's comparison of models."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ResultError
from expfam_glm.results import loo as module

FORMULA = "seizures ~ lbase + age"


def fitted(**keywords: object) -> xr.DataTree:
    return eg.GLM(FORMULA, eg.load_data("seizures"), **keywords).laplace(random_seed=1, draws=250)


@pytest.fixture(scope="module")
def poisson() -> xr.DataTree:
    return fitted(family="poisson")


def quiet_loo(tree: xr.DataTree) -> object:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto")
        return eg.loo(tree)


def test_blocks_give_what_arviz_gives(
    poisson: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quiet_loo(poisson)
    bare = poisson.copy()
    del bare["log_likelihood"]
    monkeypatch.setattr(module, "_ENTRIES", 1000 * 50)
    blocks = quiet_loo(bare)
    for name in ("elpd", "se", "p", "n_data_points", "good_k"):
        assert getattr(blocks, name) == pytest.approx(getattr(whole, name), rel=1e-9)
    np.testing.assert_allclose(blocks.elpd_i, whole.elpd_i, rtol=1e-9)
    np.testing.assert_allclose(blocks.pareto_k, whole.pareto_k, rtol=1e-6)


@pytest.fixture(scope="module")
def often() -> dict[str, xr.DataTree]:
    """Rows of several patients each, one by one and with their frequency."""
    f = np.array([3.0, 40.0, 2.0, 1.0, 12.0, 7.0])
    data = {"y": np.array([0.0, 1.0, 3.0, 9.0, 2.0, 4.0]), "x": np.array([0.0, 0, 0, 1, 1, 1])}
    apart = {name: np.repeat(values, f.astype(int)) for name, values in data.items()}
    once = eg.GLM("y ~ x", data, family="poisson", freq_weights=f)
    tree = once.laplace(random_seed=1, draws=250)
    posterior, X = tree["posterior"].to_dataset(), np.column_stack([np.ones(65), apart["x"]])
    logpmf = stats.poisson(np.exp(posterior["beta"].values @ X.T)).logpmf(apart["y"])
    rows = xr.Dataset(
        {"y": (("chain", "draw", "obs_id"), logpmf)},
        {"chain": posterior["chain"], "draw": posterior["draw"], "obs_id": range(65)},
    )
    expected = {"posterior": posterior, "log_likelihood": rows}  # the same draws
    return {"apart": xr.DataTree.from_dict(expected), "once": tree}


def test_a_row_with_a_frequency_is_as_many_observations(
    often: dict[str, xr.DataTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, found = az.loo(often["apart"]), az.loo(often["once"])
    bare = often["once"].copy()
    del bare["log_likelihood"]
    monkeypatch.setattr(module, "_ENTRIES", 1000 * 4)
    for one in (found, eg.loo(often["once"]), eg.loo(bare)):
        assert one.n_data_points == 65
        for name in ("elpd", "se", "p"):
            assert getattr(one, name) == pytest.approx(getattr(expected, name), rel=1e-6)


def test_old_layouts_and_parts_of_observations_are_refused(often: dict[str, xr.DataTree]) -> None:
    tree = often["once"].copy()
    rows = tree["log_likelihood"].to_dataset().isel(obs_id=np.unique(
        tree["log_likelihood"]["obs_id"], return_index=True)[1])  # fmt: skip
    tree["log_likelihood"] = xr.DataTree(rows)
    with pytest.raises(ResultError, match="'log_likelihood' are not the same"):
        eg.loo(tree)
    half = often["once"].copy()
    del half["log_likelihood"]
    half["constant_data"]["freq_weights"] = half["constant_data"]["freq_weights"] / 2
    with pytest.raises(ResultError, match=r"not whole numbers \(row 0: 1\.5"):
        eg.loo(half)
    table = eg.compare({"whole": often["once"], "half": half})
    assert "frequencies not whole" in table.attrs["criteria"]


def test_parts_of_observations_have_no_stored_log_likelihood() -> None:
    data = {"y": np.array([0.0, 1.0, 3.0, 9.0]), "x": np.array([0.0, 0, 1, 1])}
    model = eg.GLM("y ~ x", data, family="poisson", freq_weights=[9.5, 22, 33, 41])
    with pytest.warns(eg.errors.SamplingWarning, match="log_likelihood was left out: the freq_w"):
        tree = model.laplace(random_seed=1, draws=250)
    assert "log_likelihood" not in tree.children


def test_likelihoods_of_other_observations_are_not_compared() -> None:
    trials = {"y": np.array([3.0, 5.0, 1.0]), "N": np.array([6.0, 6.0, 6.0])}
    ones = {"y": np.concatenate([np.r_[np.ones(int(y)), np.zeros(int(6 - y))] for y in (3, 5, 1)])}
    fits = {
        "apart": eg.GLM("y ~ 1", ones, family="binomial").fit(),
        "trials": eg.GLM("y ~ 1", trials, family="binomial", trials="N").fit(),
    }
    table = eg.compare(fits)
    assert np.isfinite(table["aic"][0]) and np.isnan(table["aic"][1])
    shown = str(eg.summary(table))
    assert "n = 3" in shown
    assert "trials: its likelihood is of 3 observations, that of 'apart' of 18" in shown


@pytest.mark.slow
def test_free_shapes_and_dispersions_in_blocks() -> None:
    for keywords in ({"family": "negative_binomial"}, {"family": "gamma", "link": "log"}):
        data = eg.load_data("quine")
        data = data[data["days"] > 0] if keywords["family"] == "gamma" else data
        tree = eg.GLM("days ~ sex", data, **keywords).laplace(random_seed=1, draws=250)
        bare = tree.copy()
        del bare["log_likelihood"]
        assert quiet_loo(bare).elpd == pytest.approx(quiet_loo(tree).elpd, rel=1e-9)


@pytest.mark.slow
def test_comparison_across_families_and_links(poisson: xr.DataTree) -> None:
    trees = {
        "poisson": poisson,
        "root": fitted(family="poisson", link="sqrt"),
        "negative binomial": fitted(family="negative_binomial"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = az.compare(trees)
        mine = az.compare({name: eg.loo(tree) for name, tree in trees.items()})
    assert table.index[0] == "negative binomial"
    np.testing.assert_allclose(table["elpd"], mine["elpd"])


def test_refusals_say_why(poisson: xr.DataTree) -> None:
    model = eg.GLM(FORMULA, eg.load_data("seizures"), family="poisson")
    with pytest.raises(ResultError, match="needs draws of a posterior"):
        eg.loo(model.fit())
    with pytest.raises(ResultError, match="recalibrated"):
        eg.loo(eg.calibrate(poisson, model.fit()))
    with pytest.raises(ResultError, match="no density"):
        eg.loo(fitted(family="quasi_poisson"))
    damaged = poisson.copy(deep=True)
    damaged["log_likelihood"]["y"].values[0, 0, 0] = np.nan
    with pytest.raises(ResultError, match="the stored log_likelihood has NaN"):
        eg.loo(damaged)


def test_power_scaling_reads_the_tree(poisson: xr.DataTree) -> None:
    weak = az.psense(poisson)
    tight = {"lbase": eg.Prior("Normal", mu=0, sigma=0.02)}
    model = eg.GLM(FORMULA, eg.load_data("seizures"), family="poisson")
    strong = az.psense(model.laplace(random_seed=1, priors=tight))
    coef = {"coef": "lbase"}
    assert float(weak["beta"].sel(coef).max()) < 0.05
    assert float(strong["beta"].sel(coef).max()) > 0.05
