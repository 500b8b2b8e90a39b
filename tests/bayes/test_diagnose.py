"""What is said about draws that are not what they should be."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from expfam_glm.bayes.diagnose import diagnose
from expfam_glm.errors import SamplingWarning

RNG = np.random.default_rng(0)


def tree(draws: np.ndarray, diverging: int = 0, deepest: int = 0) -> xr.DataTree:
    """A posterior and the sampler's flags."""
    flags = {
        name: (("chain", "draw"), (np.arange(draws.size) < count).reshape(draws.shape))
        for name, count in (("diverging", diverging), ("maxdepth_reached", deepest))
    }
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"beta": (("chain", "draw"), draws)}),
            "sample_stats": xr.Dataset(flags),
        }
    )


def test_good_draws_are_reported_silently() -> None:
    found = diagnose(tree(RNG.normal(size=(4, 500))))
    assert found["diagnosis"] == "nothing to report"
    assert found["n_divergences"] == 0
    assert found["max_rhat"] < 1.01
    assert found["min_ess_bulk"] > 1500


def test_divergences_are_counted() -> None:
    with pytest.warns(SamplingWarning, match="7 of 2000 draws diverged"):
        found = diagnose(tree(RNG.normal(size=(4, 500)), diverging=7))
    assert found["n_divergences"] == 7


def test_chains_that_disagree() -> None:
    apart = RNG.normal(size=(4, 500)) + np.array([[0], [0], [0], [2]])
    with pytest.warns(SamplingWarning, match="chains do not agree"):
        assert diagnose(tree(apart))["max_rhat"] > 1.1


def test_draws_that_are_worth_little() -> None:
    with pytest.warns(SamplingWarning, match="independent ones"):
        diagnose(tree(RNG.normal(size=(4, 30))))


def test_trajectories_that_were_cut() -> None:
    with pytest.warns(SamplingWarning, match="100 of 2000 trajectories"):
        diagnose(tree(RNG.normal(size=(4, 500)), deepest=100))


def test_one_chain_has_no_rhat() -> None:
    found = diagnose(tree(RNG.normal(size=(1, 2000))))
    assert np.isnan(found["max_rhat"])
    assert "not assessed" in str(found["diagnosis"])


def test_a_chain_that_never_moved_is_told() -> None:
    draws = RNG.normal(size=(4, 500))
    draws[2] = 0.1
    with pytest.warns(SamplingWarning, match=r"A chain never moved \(its draws of beta are all eq"):
        diagnose(tree(draws))


@pytest.mark.parametrize("value", [0.1, -1.1e151])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_chains_of_which_none_moves_are_told(value: float, apart: float) -> None:
    """The standard deviation of equal numbers is not 0, R-hat is NaN, or ∞ where chains differ."""
    still = np.full((2, 150), value) + apart * value * np.arange(2.0)[:, None]
    said = r"A chain never moved.*the chains do not agree \(R-hat is infinite.*only 0 indep"
    with pytest.warns(SamplingWarning, match=said):
        found = diagnose(tree(still))
    assert (found["max_rhat"], found["min_ess_bulk"], found["min_ess_tail"]) == (np.inf, 0.0, 0.0)


def test_the_diagonal_of_a_correlation_may_stand_still() -> None:
    own = tree(RNG.normal(size=(4, 500)))
    pairs = np.stack([np.ones((4, 500)), 0.5 + 0.1 * RNG.normal(size=(4, 500))], axis=-1)
    posterior = own["posterior"].to_dataset()
    own["posterior"] = xr.DataTree(posterior.assign(corr_g=(("chain", "draw", "pair"), pairs)))
    assert diagnose(own)["diagnosis"] == "nothing to report"
