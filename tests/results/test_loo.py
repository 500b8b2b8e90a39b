"""Leave-one-out cross-validation, stored or in blocks, and ArviZ's comparison of models."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pytest
import xarray as xr

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


def test_power_scaling_reads_the_tree(poisson: xr.DataTree) -> None:
    weak = az.psense(poisson)
    tight = {"lbase": eg.Prior("Normal", mu=0, sigma=0.02)}
    model = eg.GLM(FORMULA, eg.load_data("seizures"), family="poisson")
    strong = az.psense(model.laplace(random_seed=1, priors=tight))
    coef = {"coef": "lbase"}
    assert float(weak["beta"].sel(coef).max()) < 0.05
    assert float(strong["beta"].sel(coef).max()) > 0.05
