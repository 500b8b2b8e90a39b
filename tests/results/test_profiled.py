"""Comparisons by the profile likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.errors import ResultError
from tests.declared import zero_truncated_poisson


def logistic():
    rings = eg.load_data("oring")
    return eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings").fit()


def test_intervals_are_those_of_the_profile_at_both_probabilities():
    tree = logistic()
    table = eg.compare({"Wald": tree, "profile": (tree, "profile")}, ci_prob=0.95)
    one = table.sel(model="profile")
    for name, prob in (("interval", 0.95), ("inner_interval", 0.5)):
        np.testing.assert_array_equal(one[name], eg.profile(tree, ci_prob=prob)["interval"])
    np.testing.assert_array_equal(one["estimate"], tree["fit"]["beta"])
    assert "profile likelihood" in table.attrs["kind"]


def test_the_density_has_the_profile_intervals_for_its_tails():
    tree = logistic()
    table = eg.compare({"profile": (tree, "profile")}, ci_prob=0.9).sel(model="profile")
    for coef in table["coef"].values:
        one = table.sel(coef=coef)
        x, density = one["value"].values, one["density"].values
        mass = np.concatenate([[0], np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2)])
        found = np.interp(one["interval"].values, x, mass)
        # the curve ends at 1e-4 of its height, and is drawn with 161 straight pieces
        np.testing.assert_allclose(found, [0.05, 0.95], atol=2e-3)


def test_under_a_normal_response_it_is_the_wald_interval_and_density():
    cherries = {"y": [1.0, 2.5, 2.9, 4.2, 5.1, 5.9, 8.0], "x": [0.0, 1, 2, 3, 4, 5, 6]}
    tree = eg.GLM("y ~ x", cherries, family="normal").fit()
    table = eg.compare({"Wald": tree, "profile": (tree, "profile")})
    first, second = (table.sel(model=name) for name in ("Wald", "profile"))
    np.testing.assert_allclose(second["interval"], first["interval"], rtol=1e-7)
    np.testing.assert_allclose(second["overlap"], 1.0, atol=3e-3)


def test_a_declared_family_is_given_with_it():
    data = {"y": [1, 2, 1, 4, 3, 6], "x": [0.0, 1, 2, 3, 4, 5]}
    tree = eg.GLM("y ~ x", data, family=zero_truncated_poisson).fit()
    table = eg.compare({"profile": (tree, "profile")}, family=zero_truncated_poisson)
    assert np.isfinite(table["interval"]).all()


def test_draws_have_no_profile():
    draws = xr.Dataset({"beta": (("chain", "draw", "coef"), np.zeros((2, 9, 1)))}, {"coef": ["x"]})
    with pytest.raises(ResultError, match="profile"):
        eg.compare({"draws": (xr.DataTree.from_dict({"posterior": draws}), "profile")})
