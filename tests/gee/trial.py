"""The seizure trial with gaps, and how the tests fit and compare it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

import expfam_glm as eg
from tests.tolerances import DEFAULT

ALL = ["independence", "exchangeable", "ar1", "unstructured"]
FORMULA = "seizures ~ lbase * treatment + age"


def with_gaps() -> pd.DataFrame:
    """Clusters of one to four visits: some rows of the trial are left out."""
    data = eg.load_data("seizures")
    return data.drop(index=[1, 2, 3, 10, 40, 41, 77, 120]).reset_index(drop=True)


def fit_of(
    data, correlation="exchangeable", formula=FORMULA, family="poisson", roles=None, **more
) -> xr.DataTree:
    """A GEE of the trial."""
    more = {"groups": "patient", "time": "visit"} | more
    return eg.GLM(formula, data, family=family, **(roles or {})).gee(
        correlation=correlation, **more
    )


def same(one: xr.DataTree, other: xr.DataTree, tolerance: float = DEFAULT) -> None:
    """Whether two fits have the same estimates and covariances."""
    for name in ("beta", "se", "phi", "working_correlation", "covariance"):
        np.testing.assert_allclose(
            one["fit"][name].values, other["fit"][name].values, rtol=tolerance, atol=tolerance**1.5
        )
