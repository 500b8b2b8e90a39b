"""Where a fit begins: the road by a sample of clusters finds what the plain one finds."""

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import AliasWarning, SeparationError
from expfam_glm.gee import fitting
from tests.tolerances import DEFAULT


@pytest.fixture
def sampled(monkeypatch):
    """Every road counts; small data are sampled too."""
    monkeypatch.setattr(fitting, "_SAMPLE_FROM", 100)
    found = []
    plain = fitting._by_sample

    def spy(*arguments):
        found.append(plain(*arguments))
        return found[-1]

    monkeypatch.setattr(fitting, "_by_sample", spy)
    return found


def simulated(clusters=1200, seed=3):
    """Binary data in clusters of two to five rows."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, clusters)
    groups = np.repeat(np.arange(clusters), sizes)
    X = np.column_stack([np.ones(groups.size), rng.normal(size=(groups.size, 2))])
    eta = X @ [0.2, 0.5, -0.3] + rng.normal(size=clusters)[groups]
    y = (rng.random(groups.size) < 1 / (1 + np.exp(-eta))).astype(float)
    return y, X, groups


@pytest.mark.parametrize("correlation", ["independence", "exchangeable", "ar1", "unstructured"])
def test_a_sample_leads_to_the_same_solution(sampled, monkeypatch, correlation):
    y, X, groups = simulated()
    model = eg.GLM.from_arrays(y, X, family="binomial")
    fast = model.gee(groups, correlation, tol=1e-11)
    assert sampled[0] is not None
    monkeypatch.setattr(fitting, "_SAMPLE_FROM", 10**9)
    plain = model.gee(groups, correlation, tol=1e-11)
    se = plain["fit"]["se"].values
    assert np.max(np.abs(fast["fit"]["beta"].values - plain["fit"]["beta"].values) / se) < 1e-10
    np.testing.assert_allclose(fast["fit"]["covariance"], plain["fit"]["covariance"], rtol=1e-8)
    np.testing.assert_allclose(fast["fit"]["phi"], plain["fit"]["phi"], rtol=DEFAULT)


def test_too_few_clusters_give_no_sample(sampled):
    y, X, groups = simulated(clusters=100)
    eg.GLM.from_arrays(y, X, family="binomial").gee(groups)
    assert sampled == [None]


def test_doubt_leads_to_the_plain_road(sampled):
    y, X, groups = simulated()
    with pytest.warns(AliasWarning):
        tree = eg.GLM.from_arrays(y, np.column_stack([X, X[:, 1]]), family="binomial").gee(groups)
    assert np.isnan(tree["fit"]["beta"][-1])
    with pytest.raises(SeparationError):
        separated = (X[:, 1] > 0).astype(float)
        eg.GLM.from_arrays(separated, X, family="binomial").gee(groups, "independence")
    rare = np.column_stack([X, np.arange(y.size) < 7])
    y[:7] = 1.0
    with pytest.raises(SeparationError, match="x3"):
        eg.GLM.from_arrays(y, rare, family="binomial").gee(groups, "independence")
    assert sampled == [None, None, None]
