"""Data whose log-density or design has too few digits for chains."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.bayes.digits import check_digits
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.errors import SamplingError

pytestmark = pytest.mark.slow  # every family's kernels are lowered

X = np.arange(10.0)
ROADS = [
    lambda model: model.sample(progressbar=False, random_seed=1),
    lambda model: model.laplace(random_seed=1),
]


@pytest.mark.parametrize("road", ROADS)
def test_counts_that_leave_the_density_no_digits(road) -> None:
    model = eg.GLM("y ~ x", {"x": X, "y": 10.0**15 + X}, family="poisson")
    with pytest.raises(SamplingError, match=r"too large.*Use fit\(\)"):
        road(model)


def test_large_numbers_that_leave_digits() -> None:
    for family, y in (("poisson", 10.0**12 + X), ("normal", 10.0**12 + X % 3)):
        own = eg.GLM("y ~ x", {"x": X, "y": y}, family=family).problem
        check_digits(own, near_mode(own, apply(own, "default")))


@pytest.mark.parametrize("road", ROADS)
def test_a_column_that_hardly_varies_must_be_centred(road) -> None:
    data = {"x": 1e8 + 1e-3 * X, "y": [3, 2, 4, 1, 3, 2, 5, 3, 2, 4]}
    with pytest.raises(SamplingError, match=r"column x varies by 0.009 around 1e\+08.*Centre it"):
        road(eg.GLM("y ~ x", data, family="poisson"))
