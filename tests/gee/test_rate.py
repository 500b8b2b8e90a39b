"""The decay that fits products of residuals best."""

import numpy as np
import pytest

from expfam_glm.errors import CorrelationError
from expfam_glm.gee import rate as module
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.lags import Lags, lags_of
from expfam_glm.gee.rate import Chains, OnChains, OnLags, best_rate
from tests.tolerances import DEFAULT


def made(distance, alpha, whole=False):
    """Distances whose products are exactly those of a decay."""
    distance = np.asarray(distance, float)
    number = np.arange(1.0, distance.size + 1)
    return Lags(distance, number, lambda r: r, whole), number * np.sign(alpha) ** np.rint(
        distance if whole else 0 * distance
    ) * np.abs(alpha) ** distance


def rate_of(lags, products):
    """The best rate, of either sign where all distances are whole."""
    if not lags.whole:
        return best_rate(OnLags(lags, products), None)
    mirror = np.where(lags.distance % 2 == 0, products, -products)
    return best_rate(OnLags(lags, products), OnLags(lags, mirror))


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.5, 0.99, 1 - 1e-9])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_an_exact_decay_is_found_in_any_unit_of_time(alpha, scale):
    lags, products = made(np.array([0.3, 1.0, 2.5, 7.0]), alpha)
    scaled = lags._replace(distance=scale * lags.distance)
    rate = rate_of(scaled, products)
    assert rate * scale == pytest.approx(-np.log(alpha), rel=1e-7)


@pytest.mark.parametrize("alpha", [-0.95, -0.3, 0.3, 0.95])
def test_whole_distances_allow_both_signs(alpha):
    lags, products = made([1, 2, 3, 4], alpha, whole=True)
    rate = rate_of(lags, products)
    assert np.copysign(np.exp(-abs(rate)), rate) == pytest.approx(alpha, rel=DEFAULT)


def test_many_distances_are_searched_in_bins():
    rng = np.random.default_rng(6)
    lags, products = made(np.sort(10 * rng.random(5000)), 0.7)
    noisy = products + rng.normal(size=5000)
    power = np.exp(-rate_of(lags, noisy) * lags.distance)
    slope = lags.distance * power * (noisy - lags.number * power)
    assert abs(slope.sum()) < 1e-12 * np.abs(slope).sum()
    assert rate_of(lags, products) == pytest.approx(-np.log(0.7), rel=DEFAULT)


def test_negative_products_between_real_times_give_zero():
    lags, products = made([0.5, 1.5], 0.4)
    assert rate_of(lags, -products) == np.inf


@pytest.mark.parametrize("sign", [1, -1])
def test_alpha_at_one_is_refused(sign):
    lags, _ = made([1, 2, 3], 0.5, whole=True)
    products = lags.number * np.array([sign, 1, sign]) * 1.2
    with pytest.raises(CorrelationError, match=r"would reach [+-]1.*\|alpha\| < 1"):
        rate_of(lags, products)


def irregular(seed, sizes):
    """Clusters at irregular times, and residuals that fade."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    time = rng.exponential(size=groups.size) ** 3
    clusters = arrange(groups, time, metric=True)
    r = np.sin(clusters.instants / 3) + 0.5 * rng.normal(size=groups.size)
    return clusters, r


@pytest.mark.parametrize("block", [1, 1 << 13])
def test_recursions_are_sums_over_all_pairs(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    clusters, r = irregular(1, [1, 30, 7, 7, 2, 65])
    lags = lags_of(clusters)
    chains, listed = OnChains(Chains(clusters), r, 0.7), OnLags(lags, 0.7 * lags.products(r))
    assert (chains.nearest, chains.farthest) == (listed.nearest, listed.farthest)
    for u in (0.0, 1e-6, 0.1, 1.0, 30.0):
        assert chains.loss(u) == pytest.approx(listed.loss(u), rel=DEFAULT)
        assert chains.slope(u) == pytest.approx(listed.slope(u), rel=DEFAULT)
    assert best_rate(chains, None) == pytest.approx(best_rate(listed, None), rel=1e-9)


def test_the_neighbourhood_is_found_on_a_sample_of_clusters(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE", 100)
    clusters, r = irregular(2, np.random.default_rng(2).integers(1, 9, 300))
    chains = Chains(clusters)
    assert 100 <= chains.sample.clusters.order.size < 300
    lags = lags_of(clusters)
    listed = OnLags(lags, lags.products(r))
    assert best_rate(OnChains(chains, r, 1.0), None) == pytest.approx(
        best_rate(listed, None), rel=1e-9
    )
