"""Toeplitz, m-dependent, nested, pattern and custom correlations against literal equations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import toeplitz

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, CorrelationError, DataError, FitWarning
from expfam_glm.gee import lagged
from expfam_glm.gee.lagged import inverse_factor
from tests.gee.dense import dense_gee
from tests.gee.test_dense import chain, clustered, compare
from tests.gee.trial import fit_of, same, with_gaps
from tests.tolerances import DEFAULT

PAIRS = np.array([["", "a", "a", "b", ""], ["a", "", "b", "b", "c"], ["a", "b", "", "c", "c"],
                  ["b", "b", "c", "", "a"], ["", "c", "c", "a", ""]])  # fmt: skip


def apart(data):
    return lambda i, j: abs(int(data["time"][i]) - int(data["time"][j]))


def keys(data):
    """For each correlation, which parameter two rows of a cluster share."""
    time, distance = data["time"], apart(data)
    half, third = time % 2, time // 3
    return {
        "toeplitz": (eg.correlation.Toeplitz(), distance),
        "1-dependent": (
            eg.correlation.MDependent(1),
            lambda i, j: distance(i, j) if distance(i, j) <= 1 else None,
        ),
        "2-dependent": (
            eg.correlation.MDependent(2),
            lambda i, j: distance(i, j) if distance(i, j) <= 2 else None,
        ),
        "2-dependent by times": (
            eg.correlation.MDependent(2, stationary=False),
            lambda i, j: tuple(sorted((time[i], time[j]))) if distance(i, j) <= 2 else None,
        ),
        "pattern": (
            eg.correlation.Pattern(PAIRS, times=range(5)),
            lambda i, j: PAIRS[time[i], time[j]] or None,
        ),
        "nested": (eg.correlation.Nested(half), lambda i, j: int(half[i] == half[j])),
        "nested twice": (
            eg.correlation.Nested(half, third),
            lambda i, j: int(half[i] == half[j]) + int(half[i] == half[j] and third[i] == third[j]),
        ),
    }


NAMES = list(keys({"time": np.zeros(2, int)}))


@pytest.mark.parametrize("ddof", ["none", "p"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [("poisson", "log"), ("gamma", "inverse")], ids="-".join)
def test_every_structure_with_weights_and_offset(model, name, ddof):
    family, link = model
    data = clustered(21, family, link)
    correlation, key = keys(data)[name]
    glm = eg.GLM.from_arrays(
        data["y"], data["X"], family=family, link=link, weights=data["w"], offset=data["offset"]
    )
    tree = glm.gee(data["groups"], correlation, time=data["time"], ddof=ddof, tol=1e-12)
    compare(tree, dense_gee(
        data["y"], data["X"], data["groups"], data["time"], model, name, w=data["w"],
        offset=data["offset"], ddof=ddof, key=key, start=tree["fit"]["beta"].values,
    ))  # fmt: skip


def test_half_steps_of_time_are_a_grid(seizures):
    whole = fit_of(seizures, "toeplitz")
    halves = fit_of(seizures.assign(visit=seizures["visit"] / 2), "toeplitz")
    same(whole, halves)
    assert halves["fit"]["alpha"].coords["alpha_lag"].values.tolist() == ["0.5", "1", "1.5"]


@pytest.fixture(scope="module")
def seizures():
    return with_gaps()


def test_special_cases_agree(seizures):
    plain = fit_of(seizures, "exchangeable")
    one = eg.correlation.Pattern(np.ones((4, 4)), times=range(1, 5))
    same(plain, fit_of(seizures, one))
    unstructured = fit_of(seizures, "unstructured")
    same(unstructured, fit_of(seizures, eg.correlation.MDependent(3, stationary=False)))
    same(fit_of(seizures, "toeplitz"), fit_of(seizures, eg.correlation.MDependent(3)))


def test_a_custom_correlation_is_estimated_by_least_squares(seizures):
    """The AR(1) of one's own, and the exchangeable correlation: two known answers."""

    def decay(alpha, times):
        return alpha[0] ** np.abs(np.subtract.outer(times, times))

    def common(alpha, times):
        return np.where(np.eye(len(times)) > 0, 1.0, alpha[0])

    for function, name in ((decay, "ar1"), (common, "exchangeable")):
        for ddof in ("none", "p"):
            custom = eg.correlation.Custom(function, 0.2, bounds=(-0.3, 0.99), names=["rho"])
            ours = fit_of(seizures, name, ddof=ddof, tol=1e-10)
            tree = fit_of(seizures, custom, ddof=ddof, tol=1e-10)
            np.testing.assert_allclose(tree["fit"]["beta"], ours["fit"]["beta"], rtol=1e-9)
            np.testing.assert_allclose(tree["fit"]["se"], ours["fit"]["se"], rtol=1e-9)
            np.testing.assert_allclose(tree["fit"]["alpha"], [ours["fit"]["alpha"]], rtol=1e-8)
            assert tree["fit"]["alpha"].coords["alpha_name"].values.tolist() == ["rho"]


def test_a_custom_correlation_knows_distances_in_days(seizures):
    def decay(alpha, times):
        return alpha[0] ** (np.abs(np.subtract.outer(times, times)) / 14)

    dates = np.datetime64("2024-02-25") + 14 * seizures["visit"].to_numpy()
    tree = fit_of(seizures.assign(when=dates), eg.correlation.Custom(decay, 0.3), time="when")
    assert float(tree["fit"]["alpha"][0]) == pytest.approx(
        float(fit_of(seizures, "ar1")["fit"]["alpha"]), rel=1e-7
    )


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a, t: np.eye(2), r"has shape \(2, 2\)"),
        (lambda a, t: np.full((len(t),) * 2, np.nan), "missing"),
        (lambda a, t: 2 * np.eye(len(t)), "diagonal"),
        (lambda a, t: np.tri(len(t)), "not symmetric"),
        (lambda a, t: np.eye(len(t)) + 0j, "is complex"),
        (lambda a, t: t["x"], r"failed at alpha = .*IndexError"),
        (lambda a, t: 3 * a[0] - (3 * a[0] - 1) * np.eye(len(t)), "not positive definite"),
    ],
)
def test_what_a_custom_function_may_not_return(seizures, function, says):
    with pytest.raises(CorrelationError, match=says):
        fit_of(seizures, eg.correlation.Custom(function, 0.4, bounds=(0.39, 0.9)))


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
@pytest.mark.parametrize(
    ("rows", "correlation", "says"),
    [
        (16_100, "toeplitz", r"a cluster of 16090 rows is too large .* 2\.1 GB"),
        (2_010, "unstructured", "2010 distinct times has 2019045 parameters, for 2 clusters"),
    ],
)
def test_matrices_beyond_memory_are_refused(rows, correlation, says):
    y = np.tile([0.0, 1.0], rows // 2)
    model = eg.GLM.from_arrays(y, np.ones((rows, 1)), family="normal")
    with pytest.raises(CorrelationError, match=says):
        model.gee(np.arange(rows) < 10, correlation, time=np.arange(rows))


def off_diagonal(value, times):
    return np.where(np.eye(len(times)) > 0, 1.0, value)


@pytest.mark.parametrize(
    ("function", "start", "bounds", "says", "same_as"),
    [
        (lambda a, t: np.eye(len(t)), [0.7], None, "alpha a .* not determined", "independence"),
        (
            lambda a, t: off_diagonal(a[0] + a[1], t),
            [0.1, 0.1], None, "alpha a, b .* not determined", "exchangeable",
        ),
        (
            lambda a, t: off_diagonal(a[1] + 0 * a[0], t),
            [0.1, 0.1], None, "alpha a of .* not determined", "exchangeable",
        ),
        (
            lambda a, t: off_diagonal(-a[0], t), [0.1], (0, 0.2),
            "alpha a .* at its bound", "independence",
        ),
    ],
)  # fmt: skip
def test_an_alpha_that_the_data_do_not_tell(seizures, function, start, bounds, says, same_as):
    custom = eg.correlation.Custom(function, start, bounds=bounds, names="ab"[: len(start)])
    with pytest.warns(FitWarning, match=says):
        tree = fit_of(seizures, custom)
    np.testing.assert_allclose(
        tree["fit"]["beta"], fit_of(seizures, same_as)["fit"]["beta"], rtol=1e-8
    )
    assert np.isnan(eg.association(tree, correlation=custom)["se_alpha"]).all()


@pytest.mark.filterwarnings("ignore:.* clusters are few")  # numbers are compared, not trusted
def test_large_clusters_of_consecutive_times():
    rng = np.random.default_rng(7)
    sizes = [70, 40, 40, 9, 1]
    groups = np.repeat(np.arange(5), sizes)
    time = np.concatenate([np.arange(size) for size in sizes])
    e = np.concatenate([chain(rng, np.arange(size), 0.4) for size in sizes])
    X = np.column_stack([np.ones(time.size), rng.normal(size=time.size)])
    glm = eg.GLM.from_arrays(e, X, family="normal")
    tree = glm.gee(groups, eg.correlation.MDependent(2), time=time, tol=1e-12)
    compare(tree, dense_gee(
        e, X, groups, time, ("normal", "identity"), "2-dependent",
        key=lambda i, j: abs(time[i] - time[j]) if abs(time[i] - time[j]) <= 2 else None,
        start=tree["fit"]["beta"].values,
    ))  # fmt: skip


# ---- refusals ------------------------------------------------------------------------------------


def test_irregular_times_have_no_lags(seizures):
    odd = seizures.assign(when=seizures["visit"] + 0.1 * np.sin(seizures.index))
    with pytest.raises(DataError, match="equally spaced"):
        fit_of(odd, "toeplitz", time="when")
    with pytest.raises(DataError, match=r"some are 0\.5 apart"):
        fit_of(odd.assign(when=odd["visit"] / 2), eg.correlation.MDependent(1), time="when")


def test_no_pairs_within_m(seizures):
    far = seizures.assign(when=10 * seizures["visit"])
    for stationary in (True, False):
        with pytest.raises(CorrelationError, match=r"no two rows .* are 9 or less apart"):
            fit_of(far, eg.correlation.MDependent(9, stationary=stationary), time="when")


def test_the_bound_of_neighbours_is_named():
    rng = np.random.default_rng(1)
    e = np.repeat(rng.normal(size=40), 5) + 0.1 * rng.normal(size=200)
    glm = eg.GLM.from_arrays(e + 3, np.ones((200, 1)), family="normal")
    with pytest.raises(CorrelationError, match=r"m-dependent .* need \|alpha\| < 0\.57735"):
        glm.gee(np.repeat(np.arange(40), 5), eg.correlation.MDependent(1))


def test_nested_cells_have_bounds_too():
    rng = np.random.default_rng(2)
    e = rng.normal(size=(40, 4))
    e -= e.mean(axis=1, keepdims=True) - 0.01 * rng.normal(size=(40, 1))
    glm = eg.GLM.from_arrays(e.reshape(-1) + 5, np.ones((160, 1)), family="normal")
    half = np.tile([0, 0, 1, 1], 40)
    with pytest.raises(
        CorrelationError, match=r"nested .* not positive definite for groups with 4 rows"
    ):
        glm.gee(np.repeat(np.arange(40), 4), eg.correlation.Nested(half), phi=0.5)
    with pytest.raises(CorrelationError, match=r"within groups cannot be estimated: only 0 pair"):
        glm.gee(np.repeat(np.arange(40), 4), eg.correlation.Nested(np.zeros(160)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: eg.correlation.MDependent(0), "m=0"),
        (lambda: eg.correlation.MDependent(1.5), "m=1.5"),
        (lambda: eg.correlation.MDependent(1, stationary="no"), "stationary='no'"),
        (lambda: eg.correlation.Nested(), "at least one level"),
        (lambda: eg.correlation.Pattern([[0, 1]]), "square"),
        (lambda: eg.correlation.Pattern("ab"), "square"),
        (lambda: eg.correlation.Pattern([[0, 1], [2, 0]]), r"symmetric: \(1, 0\) is 2"),
        (lambda: eg.correlation.Pattern(np.zeros((3, 3))), "name no parameter"),
        (lambda: eg.correlation.Pattern(np.ones((2, 2)), times=[1, 1]), "2 distinct"),
        (lambda: eg.correlation.Custom(3, 0.1), "must be a function"),
        (lambda: eg.correlation.Custom(len, "a"), "start='a'"),
        (lambda: eg.correlation.Custom(len, 1.0, bounds=(0, 1)), "inside bounds"),
        (lambda: eg.correlation.Custom(len, [0.1, 0.2], names=["a", "a"]), "2 distinct names"),
    ],
)
def test_declarations_that_make_no_sense(build, says):
    with pytest.raises(ArgumentError, match=says):
        build()


def test_the_largest_shown_element_of_alpha_and_its_labels(seizures):
    tree = fit_of(seizures, eg.correlation.Pattern(PAIRS[:4, :4], times=range(1, 5)))
    R = tree["fit"]["working_correlation"]
    alpha = tree["fit"]["alpha"]
    assert alpha.coords["alpha_label"].values.tolist() == ["a", "b", "c"]
    for name, (j, k) in {"a": (1, 2), "b": (2, 3), "c": (3, 4)}.items():
        assert float(R.sel(time=j, time2=k)) == pytest.approx(
            float(alpha.sel(alpha_label=name)), rel=DEFAULT
        )


def test_times_on_a_fine_grid_cost_no_more_than_their_distances():
    """Seconds instead of occasions: the grid is fine, the distances are few."""
    rng = np.random.default_rng(0)
    x, visit = rng.normal(size=30), np.tile(np.arange(5), 6)
    data = {"y": rng.poisson(np.exp(0.3 + 0.2 * x)), "x": x, "g": np.repeat(np.arange(6), 5)}
    data["seconds"] = visit * 10**9 + (visit == 2)
    with pytest.raises(CorrelationError, match=r"2e\+09.*fewer distinct times"):
        eg.GLM("y ~ x", data, family="poisson").gee("g", "toeplitz", time="seconds")


@pytest.mark.parametrize("size", [128, 300])
def test_the_recursion_is_the_inverse_of_the_factor(size: int) -> None:
    """Against SciPy's Toeplitz matrix; where it ends, the leading matrix is indefinite."""
    row = 0.3 * 0.9 ** np.arange(size)
    row[0] = 1.0
    inverse, good = inverse_factor(row)
    assert good == size
    factor = np.linalg.cholesky(toeplitz(row))
    np.testing.assert_allclose(inverse @ factor, np.eye(size), atol=1e-13)
    row = np.zeros(size)
    row[:2] = 1.0, 0.6
    _, good = inverse_factor(row)
    assert good < size
    assert np.linalg.eigvalsh(toeplitz(row[:good]))[0] > 0
    assert np.linalg.eigvalsh(toeplitz(row[: good + 1]))[0] < 0


@pytest.mark.parametrize("correlation", [eg.correlation.MDependent(2), "toeplitz"])
def test_long_clusters_by_recursion_are_those_by_factors(correlation, monkeypatch) -> None:
    rng = np.random.default_rng(3)
    sizes = [140, *[3] * 40]
    groups, times = np.repeat(np.arange(41), sizes), np.concatenate([*map(np.arange, sizes)])
    x, noise = rng.normal(size=(2, groups.size))
    y = 1 + 0.5 * x + noise + 0.6 * np.where(times > 0, np.roll(noise, 1), 0)
    model = eg.GLM.from_arrays(y, np.column_stack([np.ones(x.size), x]), family="normal")
    alpha = None if correlation != "toeplitz" else 0.44 * 0.3 ** np.arange(139)
    options = {"time": times, "alpha": alpha, "draws": 10}
    recursive = model.gee(groups, correlation, **options)["fit"]
    monkeypatch.setattr(lagged, "_RECURSION_FROM", 10**6)
    factored = model.gee(groups, correlation, **options)["fit"]
    for name in ("beta", "se"):
        np.testing.assert_allclose(recursive[name], factored[name], rtol=1e-10)
