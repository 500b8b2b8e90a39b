"""Products of residuals by distance, and the decay that fits them."""

import numpy as np
import pytest

from expfam_glm.errors import CorrelationError
from expfam_glm.gee import lags as module
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.lags import Lags, best_decay, lags_of
from tests.tolerances import DEFAULT, ROUNDING


def made(distance, alpha, whole=False):
    """Distances whose products are exactly those of a decay."""
    distance = np.asarray(distance, float)
    number = np.arange(1.0, distance.size + 1)
    return Lags(distance, number, lambda r: r, whole), number * np.sign(alpha) ** np.rint(
        distance if whole else 0 * distance
    ) * np.abs(alpha) ** distance


@pytest.mark.parametrize("road", ["grid", "fourier", "pairs"])
@pytest.mark.parametrize("unit", [1, 3, 0.25])
def test_all_roads_find_the_same_products(road, unit, monkeypatch):
    rng = np.random.default_rng(2)
    groups, time = np.divmod(rng.permutation(12 * 20)[:90], 20)
    clusters = arrange(groups, unit * time, metric=True)
    r = rng.normal(size=90)
    monkeypatch.setattr(module, "_SHORT", 0 if road == "fourier" else 64)
    if road == "pairs":
        monkeypatch.setattr(module, "_CELLS", -1000)
    lags = lags_of(clusters)
    assert lags.whole == (unit != 0.25)
    expected: dict[float, list[float]] = {}
    for i in range(90):
        for j in range(i):
            if clusters.cluster[i] == clusters.cluster[j]:
                d = float(abs(clusters.instants[i] - clusters.instants[j]))
                expected.setdefault(d, []).append(r[i] * r[j])
    assert lags.distance.tolist() == sorted(expected)
    assert lags.number.tolist() == [len(expected[d]) for d in sorted(expected)]
    np.testing.assert_allclose(
        lags.products(r), [sum(expected[d]) for d in sorted(expected)], atol=1e-12
    )


def test_irregular_times_keep_every_pair():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), rng.integers(1, 9, 8))
    clusters = arrange(groups, rng.random(groups.size), metric=True)
    lags = lags_of(clusters)
    assert lags.distance.size == clusters.pairs
    assert not lags.whole
    r = rng.normal(size=groups.size)
    sums = clusters.sums(r)
    assert lags.products(r).sum() == pytest.approx((np.sum(sums**2) - r @ r) / 2, rel=ROUNDING)


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.5, 0.99, 1 - 1e-9])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_an_exact_decay_is_found_in_any_unit_of_time(alpha, scale):
    lags, products = made(np.array([0.3, 1.0, 2.5, 7.0]), alpha)
    scaled = lags._replace(distance=scale * lags.distance)
    rate = best_decay(scaled, products)
    assert rate * scale == pytest.approx(-np.log(alpha), rel=1e-7)


@pytest.mark.parametrize("alpha", [-0.95, -0.3, 0.3, 0.95])
def test_whole_distances_allow_both_signs(alpha):
    lags, products = made([1, 2, 3, 4], alpha, whole=True)
    rate = best_decay(lags, products)
    assert np.copysign(np.exp(-abs(rate)), rate) == pytest.approx(alpha, rel=DEFAULT)


def test_many_distances_are_searched_in_bins():
    rng = np.random.default_rng(6)
    lags, products = made(np.sort(10 * rng.random(5000)), 0.7)
    noisy = products + rng.normal(size=5000)
    power = np.exp(-best_decay(lags, noisy) * lags.distance)
    slope = lags.distance * power * (noisy - lags.number * power)
    assert abs(slope.sum()) < 1e-12 * np.abs(slope).sum()
    assert best_decay(lags, products) == pytest.approx(-np.log(0.7), rel=DEFAULT)


def test_negative_products_between_real_times_give_zero():
    lags, products = made([0.5, 1.5], 0.4)
    assert best_decay(lags, -products) == np.inf


@pytest.mark.parametrize("sign", [1, -1])
def test_alpha_at_one_is_refused(sign):
    lags, _ = made([1, 2, 3], 0.5, whole=True)
    products = lags.number * np.array([sign, 1, sign]) * 1.2
    with pytest.raises(CorrelationError, match=r"would reach [+-]1.*\|alpha\| < 1"):
        best_decay(lags, products)
