"""Draws of an estimate are made when they are looked at, and are then like any other array."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.asymptotic import NormalDraws
from expfam_glm.errors import AliasWarning, ArgumentError

rng = np.random.default_rng(0)
N = 200
DATA = {"x": rng.normal(size=N), "g": rng.choice(list("abc"), N), "y": rng.gamma(2.0, size=N)}


@pytest.fixture
def made(monkeypatch):
    """How often draws were made."""
    values, counted = NormalDraws.values.func, []

    def counting(self):
        counted.append(self)
        return values(self)

    property_ = copy.copy(NormalDraws.values)
    property_.func = counting
    monkeypatch.setattr(NormalDraws, "values", property_)
    return counted


def tree(**options):
    model = eg.GLM("y ~ x + g", DATA, family="gamma", link="log")
    return model.fit(dispersion="ml", **options)


def test_draws_are_made_once_and_only_when_asked_for(made):
    found = tree()
    assert "beta" in repr(found) and np.isfinite(found["fit"].to_dataset().load()["se"]).all()
    assert not made
    moments = found["posterior"].mean(("chain", "draw"))
    np.testing.assert_allclose(moments["beta"], found["fit"]["beta"], rtol=1e-12)
    assert float(moments["phi"]) > 0 and float(found["posterior"]["beta"].values.std()) > 0
    assert len(made) == 1


def test_parts_copies_and_files_hold_the_same_draws(tmp_path):
    whole = tree()["posterior"].to_dataset().load()
    np.testing.assert_allclose(np.log(whole["phi"]).mean(), np.log(tree()["fit"]["phi"]))
    part = tree()["posterior"]["beta"][1, ::-3].sel(coef=["g[c]", "x"])
    np.testing.assert_array_equal(part, whole["beta"][1, ::-3].sel(coef=["g[c]", "x"]))
    mixed = whole["beta"].values[1, [5, 2, 5]][:, [3, 0]]
    found = tree()["posterior"]["beta"][1, [5, 2, 5], [3, 0]]
    np.testing.assert_array_equal(found, mixed)
    points = xr.DataArray([3, 1, 3], dims="point")
    picked = tree()["posterior"]["beta"].isel(chain=points, draw=points)
    np.testing.assert_array_equal(picked, whole["beta"].isel(chain=points, draw=points))
    for other in (pickle.loads(pickle.dumps(tree())), copy.deepcopy(tree()), tree().copy()):
        xr.testing.assert_identical(other["posterior"].to_dataset(), whole)
    tree().to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as back:
        xr.testing.assert_identical(back["posterior"].to_dataset().load(), whole)


def test_draws_can_be_written_to():
    found = tree()
    found["posterior"]["beta"][0, 0, 1] = 7.0
    assert found["posterior"]["beta"].values[0, 0, 1] == 7.0
    assert tree()["posterior"]["beta"].values[0, 0, 1] != 7.0
    found["posterior"]["phi"].values[0, 0] = 7.0
    assert found["posterior"]["phi"].values[0, 0] == 7.0


def test_draws_of_an_aliased_coefficient_are_nan():
    with pytest.warns(AliasWarning):
        found = eg.GLM("y ~ x + I(2 * x) + g", DATA, family="gamma", link="log").fit()
    missing = np.isnan(found["posterior"]["beta"].values)
    assert missing[..., 2].all() and not np.delete(missing, 2, axis=2).any()


def test_too_few_draws_are_refused_at_once():
    with pytest.raises(ArgumentError, match="at least 6 draws"):
        tree(chains=1, draws=5)
