"""Posteriors against rstanarm's under the same normal priors, within Monte-Carlo error."""

import numpy as np
import pytest

import expfam_glm as eg
from tests.references import array, cases, model_of

# Means of two independent Monte-Carlo runs differ by more than this many standard errors once in
# some thousands of times.
MONTE_CARLO = 4.0


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("rstanarm"), ids=lambda case: case["id"])
def test_posterior_agrees_with_rstanarm(case):
    model = model_of("rstanarm", case)
    priors = {}
    for label, prior in case["priors"].items():
        numbers = {key: value for key, value in prior.items() if key != "name"}
        priors[label] = eg.Prior(prior["name"], **numbers)
    tree = model.sample(draws=4000, random_seed=2, priors=priors, progressbar=False)
    beta = tree["posterior"]["beta"].values
    assert tree["posterior"]["coef"].values.tolist() == case["coef"]
    sd = beta.std(axis=(0, 1))
    ours = sd / np.sqrt(float(tree.attrs["min_ess_bulk"]))
    error = np.hypot(ours, array(case["mcse_mean"]))
    assert np.max(np.abs(beta.mean(axis=(0, 1)) - array(case["mean"])) / error) < MONTE_CARLO
    np.testing.assert_allclose(sd, array(case["sd"]), rtol=0.05)
