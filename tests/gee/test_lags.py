"""Products of residuals by distance."""

import numpy as np
import pytest

from expfam_glm.gee import lags as module
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.lags import lags_of
from tests.tolerances import ROUNDING


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
