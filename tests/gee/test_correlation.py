"""Working correlations as values, and what is refused."""

import pickle

import numpy as np
import pytest

from expfam_glm import correlation
from expfam_glm.errors import ArgumentError, CorrelationError, DataError
from expfam_glm.gee.correlation import named

GROUPS = np.repeat([1, 2, 3], 3)
TIME = np.tile([0, 1, 2], 3)
R = [[1.0, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 1.0]]


@pytest.mark.parametrize("name", ["independence", "exchangeable", "ar1", "unstructured"])
def test_strings_name_the_plain_ones(name):
    assert named(name).name == name
    assert named(named(name)) is named(name)


def test_they_are_values():
    assert correlation.AR1() == correlation.AR1() != correlation.Exchangeable()
    fixed = correlation.Fixed(R, times=["a", "b", "c"])
    assert fixed == correlation.Fixed(np.array(R), times=np.array(["a", "b", "c"]))
    assert hash(fixed) == hash(pickle.loads(pickle.dumps(fixed)))
    assert fixed != correlation.Fixed(R)
    with pytest.raises(AttributeError):
        fixed.times = None


@pytest.mark.parametrize("wrong", ["ar", 3, correlation.AR1])
def test_unknown_words_are_refused(wrong):
    with pytest.raises(ArgumentError, match=r"correlation="):
        named(wrong)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[1, 0.5]], "square"),
        ("a", "square matrix of real numbers"),
        ([["a", "b"], ["c", "d"]], "square matrix of real numbers"),
        (np.eye(2) + 0j, "square matrix of real numbers"),
        ([[1.0, 0.5], [0.5]], "square matrix of real numbers"),
        (None, "square matrix"),
        (np.empty((0, 0)), "square"),
        ([[1, np.nan], [np.nan, 1]], "missing"),
        ([[1, 0.5], [0.4, 1]], "not symmetric"),
        ([[2, 0.5], [0.5, 2]], "diagonal"),
        ([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], r"3 rows.*smallest eigenvalue is -0.8"),
    ],
)
def test_a_fixed_matrix_must_be_a_correlation(matrix, says):
    with pytest.raises(CorrelationError, match=says):
        correlation.Fixed(matrix)


@pytest.mark.parametrize("times", [[0, 1], [0, 1, 1]])
def test_the_times_of_a_fixed_matrix_are_distinct_and_complete(times):
    with pytest.raises(ArgumentError, match="3 distinct values"):
        correlation.Fixed(R, times=times)


def test_a_fixed_matrix_is_read_by_its_times():
    shuffled = np.array(R)[np.ix_([2, 0, 1], [2, 0, 1])]
    structure = correlation.Fixed(shuffled, times=[2, 0, 1]).on(GROUPS, TIME)
    assert structure.shown(np.empty(0)).matrix.tolist() == R
    with pytest.raises(DataError, match=r"time 2 of the data is not among"):
        correlation.Fixed(R, times=[0, 1, 3]).on(GROUPS, TIME)


def test_a_fixed_matrix_without_times_stands_for_all_of_them():
    assert correlation.Fixed(R).on(GROUPS, 10 * TIME).shown(np.empty(0)).matrix.tolist() == R
    with pytest.raises(DataError, match=r"2 distinct times, but .* 3 rows"):
        correlation.Fixed(R).on(GROUPS[TIME < 2], TIME[TIME < 2])
    with pytest.raises(DataError, match="cluster 1 has 3 rows"):
        correlation.Fixed(np.eye(2)).on(GROUPS, TIME, given=False)
    short = correlation.Fixed(R).on(GROUPS[TIME < 2], TIME[TIME < 2], given=False)
    assert short.shown(np.empty(0)).matrix.tolist() == [[1.0, 0.5], [0.5, 1.0]]
