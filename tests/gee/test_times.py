"""Times as numbers: dates in any unit, and values at the edges of their types."""

import numpy as np
import pytest

from expfam_glm.errors import DataError
from expfam_glm.gee.clusters import arrange
from expfam_glm.gee.decay import Decay
from expfam_glm.gee.times import numbers
from tests.gee.trial import fit_of, with_gaps


@pytest.mark.parametrize("unit", ["D", "h", "m", "s", "ms", "us", "ns"])
def test_dates_are_days_since_the_first(unit):
    dates = np.array(["2024-03-01", "2024-02-28", "2024-02-29"], "M8[D]").astype(f"M8[{unit}]")
    assert numbers(dates).tolist() == [2.0, 0.0, 1.0]
    assert numbers(dates - dates.min()).tolist() == [2.0, 0.0, 1.0]


def test_weeks_months_and_years_are_counted_in_days():
    months = np.array(["2024-02", "2024-03", "2023-03"], "M8[M]")
    assert numbers(months).tolist() == [337.0, 366.0, 0.0]
    assert numbers(np.array(["2024", "2025"], "M8[Y]")).tolist() == [0.0, 366.0]
    assert numbers(np.array([2, 5], "m8[W]")).tolist() == [0.0, 21.0]
    assert numbers(np.array([0, 1], "m8[12h]")).tolist() == [0.0, 0.5]
    with pytest.raises(DataError, match="no fixed number of days"):
        numbers(np.array([0, 1], "m8[M]"))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8])
def test_integers_at_the_edges_of_their_type_do_not_overflow(dtype):
    info = np.iinfo(dtype)
    ends = np.array([info.max, info.min, info.min + 1], dtype)
    assert numbers(ends).tolist() == [float(int(info.max) - int(info.min)), 0.0, 1.0]


@pytest.mark.parametrize(
    "time", [[0.0, 1e308, 0.0, 1.0], [-1e308, 1e308, 0.0, 1.0], [0.0, 1e-200, 0.0, 1.0],
             [0.0, 1e160, 0.0, 1.0], np.array([0, 1, 2**62, 2**62 + 1])],
)  # fmt: skip
def test_distances_that_cannot_be_calculated_with_are_refused(time):
    with pytest.raises(DataError, match=r"cannot be calculated with: .* in cluster"):
        arrange(np.array([0, 0, 1, 1]), np.asarray(time), metric=True)


def test_months_as_times():
    data = with_gaps()
    months = np.datetime64("2024-01", "M") + data["visit"].to_numpy()
    days = months.astype("M8[D]")
    tree, same = (fit_of(data, "ar1", time=when) for when in (months, days))
    assert float(tree["fit"]["alpha"]) == float(same["fit"]["alpha"])


def test_the_origin_of_times_does_not_matter_to_a_negative_correlation():
    rng = np.random.default_rng(0)
    e = rng.normal(size=(60, 4))
    for j in range(1, 4):
        e[:, j] -= 0.6 * e[:, j - 1]
    time = np.cumsum(rng.integers(1, 3, (60, 4)), axis=1).astype(float)
    time[0, 3] += 4000  # too far apart for a regular grid
    groups = np.repeat(np.arange(60), 4)
    found = []
    for origin in (0.0, 0.5, 100.25):
        structure = Decay(arrange(groups, time.reshape(-1) + origin, metric=True))
        found.append(structure.alpha(structure.moments(e.reshape(-1), 1.0, 0)))
    assert found[0] < -0.1
    np.testing.assert_allclose(found, found[0], rtol=1e-12)
