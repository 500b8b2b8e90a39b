"""Few clusters under an uncorrected robust covariance, and rows that stand for times."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import FitWarning, ResultError


def model(K: int) -> eg.GLM:
    rng = np.random.default_rng(K)
    data = {"y": rng.poisson(3, 4 * K), "x": rng.normal(size=4 * K), "id": np.repeat(range(K), 4)}
    return eg.GLM("y ~ x", data, family="poisson")


def test_few_clusters_are_a_warning_with_the_way_out() -> None:
    with pytest.warns(FitWarning, match=r"9 clusters are few.*mancl-derouen.*df='t'"):
        tree = model(9).gee("id", "independence")
    assert "9 clusters are few for 2 coefficients" in tree.attrs["warnings"]
    with pytest.warns(FitWarning, match="9 clusters are few.*CR1 .*cov='CR2'"):
        tree = model(9).fit(cov=["fisher", "CR1"], groups="id")
    assert "9 clusters are few" in tree.attrs["warnings"]


def test_no_warning_with_more_clusters_or_a_correction() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(10).gee("id", "independence")
        model(9).gee("id", "independence", cov=["mancl-derouen", "robust"], df="t")
        model(9).gee("id", "independence", cov="naive")
        model(9).fit(cov=["CR0", "CR2"], groups="id")
        model(10).fit(cov="CR1", groups="id")


def test_the_order_of_rows_as_times_is_said() -> None:
    seizures = eg.load_data("seizures")
    gee = eg.GLM("seizures ~ age", seizures, family="poisson").gee
    assert "(times: the order of rows)" in str(eg.summary(gee("patient", "ar1")))
    for tree in (gee("patient", "ar1", time="visit"), gee("patient")):
        assert "order of rows" not in str(eg.summary(tree))


def test_refusals_name_functions() -> None:
    with pytest.raises(ResultError, match=r"not of gee\(\)"):
        eg.deviance_table(model(12).gee("id"))
