"""Sorting rows into clusters."""

import numpy as np
import pytest

from expfam_glm.data.codes import code
from expfam_glm.errors import DataError
from expfam_glm.gee.clusters import arrange, positions

LABELS = [
    np.array(["b", "a", "b", "c", "a", "b"], dtype=object),
    np.array(["b", "a", "b", "c", "a", "b"]),
    np.array([20, 10, 20, 30, 10, 20]),
    np.array([0.2, 0.1, 0.2, 0.3, 0.1, 0.2]),
    np.array([("x", 2), ("x", 1), ("x", 2), ("y", 1), ("x", 1), ("x", 2)], dtype="U1,i4"),
    np.array(["2020-02-01", "2020-01-01", "2020-02-01", "2021-01-01", "2020-01-01", "2020-02-01"],
             dtype="M8[D]"),
]  # fmt: skip


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: str(labels.dtype))
def test_labels_of_any_type(labels):
    clusters = arrange(labels)
    assert clusters.sizes.tolist() == [3, 2, 1]
    assert clusters.order.tolist() == [0, 2, 5, 1, 4, 3]
    assert clusters.labels.tolist() == labels[[0, 1, 3]].tolist()
    assert clusters.position.tolist() == [0, 1, 2, 0, 1, 0]
    assert clusters.pairs == 4
    assert positions(labels).tolist() == [0, 0, 1, 0, 1, 2]


def test_labels_of_several_types_keep_their_order_of_appearance():
    mixed = np.array(["b", 1, "b", None], dtype=object)
    assert code(mixed).codes.tolist() == [0, 1, 0, 2]


def test_rows_follow_time_within_a_cluster():
    clusters = arrange(np.array([1, 1, 2, 1]), np.array([3, 1, 5, 2]), metric=True)
    assert clusters.order.tolist() == [1, 3, 0, 2]
    assert clusters.gaps.tolist() == [np.inf, 1, 1, np.inf]


def test_dates_are_counted_in_days():
    days = np.array(["2024-02-28", "2024-03-01", "2024-02-28"], dtype="M8[ns]")
    assert arrange(np.array([1, 1, 2]), days, metric=True).gaps[1] == 2.0


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("most", [1, 7, 100])
def test_sums_over_clusters_by_pieces(most, equal):
    rng = np.random.default_rng(1)
    groups, values = rng.integers(0, 9, 40), rng.normal(size=(3, 40))
    clusters = arrange(groups)
    expected = np.stack([values[:, groups == k].sum(axis=1) for k in clusters.labels], axis=1)
    ordered = values[:, clusters.order]
    np.testing.assert_allclose(clusters.sums(ordered), expected, rtol=1e-13)
    found, rows = [], 0
    for piece in clusters.pieces(most, equal=equal):
        assert piece.rows.start == rows
        rows = piece.rows.stop
        assert rows - piece.rows.start <= max(most, piece.sizes[0])
        assert piece.size == (piece.sizes[0] if np.ptp(piece.sizes) == 0 else 0)
        assert piece.size or not equal
        found.append(piece.sums(ordered[:, piece.rows]))
        spread = piece.spread(found[-1])
        np.testing.assert_array_equal(spread[:, piece.starts], found[-1])
        assert spread.shape == (3, rows - piece.rows.start)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-13)
    assert rows == 40


@pytest.mark.parametrize(
    ("groups", "time", "says"),
    [
        ([1, 1, 1], None, r"one cluster only \(1, 3 rows\)"),
        ([1.0, np.nan, 2.0], None, r"groups has 1 missing .* row 1: nan"),
        (np.array(["a", None, "b"], dtype=object), None, "row 1: None"),
        ([1, 1, 2], [0.0, np.inf, 1.0], "time has 1 missing or infinite"),
        ([1, 1, 2], np.array(["2020-01-01", "NaT", "2020-01-02"], dtype="M8[D]"), "row 1: NaT"),
        ([1, 1, 2], ["a", "b", "a"], "must hold numbers or dates.*row 0: a"),
        ([7, 7, 8], [2, 2, 2], r"time 2 occurs more than once in cluster 7 \(rows 0 and 1\)"),
    ],
)
def test_what_cannot_be_sorted_is_refused(groups, time, says):
    with pytest.raises(DataError, match=says):
        arrange(np.asarray(groups), None if time is None else np.asarray(time), metric=True)


@pytest.mark.parametrize(
    "values", [[3, 3, 3], [5, -2, 5, 7], [10**9, 1, 4], [2**62, -(2**62), 0], [0, 1, 2, 1]]
)
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_integers_are_numbered_as_they_are_sorted(values, dtype):
    if dtype == np.int32 and max(map(abs, values)) > 2**31:
        values = [v // 2**40 for v in values]
    array = np.array(values, dtype)
    levels, codes = np.unique(array, return_inverse=True)
    found = code(array)
    assert found.levels.tolist() == levels.tolist()
    assert found.levels.dtype == dtype
    assert found.codes.tolist() == codes.tolist()
