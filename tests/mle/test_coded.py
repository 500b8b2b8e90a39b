"""Fits on factors kept as levels are those on the dense design, to the last digits."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import expfam_glm as eg
from expfam_glm.data import by_level
from expfam_glm.data import compress as compressing
from expfam_glm.kernels.coded import Coded
from expfam_glm.mle import coordinates, covariance, maximise, rank
from expfam_glm.results.fitted import stored_design
from tests.tolerances import BETA_IN_SE, DEFAULT, RELATIVE

N = 500
QUICK: dict[str, Any] = {"draws": 40, "chains": 1}
LIMIT = 1e-11  # tol of fits whose covariances are compared: these follow the last step but one


def data(n: int = N) -> pd.DataFrame:
    """Factors of every kind, numbers, weights, and responses of most families."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "a": pd.Categorical(rng.choice(list("pqr"), n), categories=list("rpqz")),  # one unused
        "b": rng.choice(["u", "v", "w"], n),
        "c": rng.integers(0, 6, n),
        "flag": rng.random(n) < 0.4,
        "x": rng.normal(size=n), "z": rng.normal(size=n), "g": rng.integers(0, 60, n),
        "w": rng.uniform(0.5, 2, n), "f": rng.integers(1, 4, n), "o": 0.1 * rng.normal(size=n),
        "t": rng.integers(1, 5, n).astype(float),
    })  # fmt: skip
    eta = 0.2 * frame["a"].cat.codes - 0.05 * frame["c"] + 0.3 * frame["x"]
    frame["count"] = rng.poisson(np.exp(eta))
    frame["size"] = rng.gamma(2, np.exp(eta) / 2) + 1e-3
    frame["level"] = eta + rng.normal(size=n)
    frame["hits"] = rng.binomial(frame["t"].astype(int), 1 / (1 + np.exp(-eta)))
    return frame


DATA = data()


def both(monkeypatch: pytest.MonkeyPatch, formula: str, given: Any = None, **options: Any) -> Any:
    """The model on a dense design, and on levels."""
    models = []
    for least in (np.inf, 1):
        monkeypatch.setattr(by_level, "_FEWEST_COLUMNS", least)
        monkeypatch.setattr(by_level, "_FEWEST_DOUBLES", least)
        models.append(eg.GLM(formula, DATA if given is None else given, **options))
        assert isinstance(models[-1].problem.matrix, Coded) == (least == 1)
    dense, levels = models
    np.testing.assert_array_equal(levels.problem.matrix.array(), dense.problem.X)
    assert levels.problem.labels == dense.problem.labels
    return dense, levels


def agree(one: Any, other: Any) -> None:
    """The same estimates, covariances and statistics, the same coefficients undetermined."""
    se = one["fit"]["se"].values
    beta = [tree["fit"]["beta"].values for tree in (one, other)]
    np.testing.assert_array_equal(*map(np.isnan, beta))
    assert np.nanmax(np.abs(beta[0] - beta[1]) / se) < BETA_IN_SE
    V = [tree["fit"]["covariance"].values for tree in (one, other)]
    size = np.sqrt(np.einsum("kii->ki", V[0]))
    assert np.nanmax(np.abs(V[0] - V[1]) / (size[:, :, None] * size[:, None])) < DEFAULT
    for name, values in one["fit_stats"].data_vars.items():
        if name not in ("n_iterations", "decrement"):
            np.testing.assert_allclose(values, other["fit_stats"][name], rtol=DEFAULT)
    assert one.attrs["warnings"] == other.attrs["warnings"]


FORMULAS = [
    ("count ~ a + b + C(c)", "poisson", {}),
    ("count ~ a*b + C(c) + x", "poisson", {"offset": "o"}),
    ("level ~ C(c, contr.sum) + C(b, contr.poly) + a:x", "normal",
     {"weights": "w", "freq_weights": "f"}),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("count ~ 0 + a + b + x:C(c)", "poisson", {"freq_weights": "f", "exposure": "t"}),
        ("size ~ C(c, contr.treatment(base=3)) + x*b + flag + poly(z, 2)", "gamma",
         {"link": "log", "weights": "w"}),
        ("hits ~ a + b:flag + C(c) + x", "binomial", {"trials": "t"}),
        ("count ~ a:b + C(c)", "quasi_poisson", {"sampling_weights": "w"}),
        ("size ~ a + C(c) + a:x:z", "inverse_gaussian", {"link": "log"}),
        ("count ~ a + C(c) + x", "negative_binomial", {}),
        ("hits ~ C(c):x + b - 1", "binomial", {"trials": "t", "link": "cloglog"}),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "family", "roles"), FORMULAS)
def test_fits_are_those_of_the_dense_design(formula, family, roles, monkeypatch):
    dense, levels = both(monkeypatch, formula, family=family, **roles)
    model = [] if "sampling_weights" in roles else ["fisher"]
    for options in (
        {"cov": [*model, "HC0", "HC1", "HC2", "HC3"]},
        {"cov": ["CR0", "CR1", "CR1S", "CR2", "CR3"], "groups": "g"},
    ):
        first = dense.fit(tol=LIMIT, **QUICK, **options)
        again = levels.fit(tol=LIMIT, **QUICK, **options)
        agree(first, again)
    agree(first, levels.compress().fit(tol=LIMIT, **QUICK, **options))
    stored = again["constant_data"].to_dataset()
    assert "X" not in stored
    np.testing.assert_allclose(stored_design(stored), dense.problem.X, rtol=DEFAULT)


@pytest.mark.slow
def test_observed_information_and_order(monkeypatch):
    dense, levels = both(
        monkeypatch, "hits ~ a + C(c)", family="binomial", trials="t", link="probit"
    )
    agree(*(m.fit(information="observed", tol=LIMIT, **QUICK) for m in (dense, levels)))
    agree(*(m.fit(cov="HAC", lags=2, tol=LIMIT, **QUICK) for m in (dense, levels)))


@pytest.mark.parametrize("numbers", ["", " + x"])
def test_rows_alike_are_one_cell_only_where_nothing_else_tells_them_apart(numbers, monkeypatch):
    monkeypatch.setattr(compressing, "_WORTHWHILE", 0.5)
    dense, levels = both(monkeypatch, f"count ~ a + b{numbers}", family="poisson")
    cells = compressing.cheaply_compressed(levels.problem)
    assert cells.row_count == (N if numbers else 9)
    tree = levels.fit(tol=LIMIT, **QUICK)
    agree(dense.fit(tol=LIMIT, **QUICK), tree)
    assert "cells" not in tree.attrs and tree["observed_data"].sizes["obs_id"] == N


@pytest.mark.parametrize(
    "formula",
    [
        "count ~ a*b + C(c)",
        "level ~ C(c) + x + near",
        *(
            pytest.param(formula, marks=pytest.mark.slow)
            for formula in (
                "count ~ a*b + C(c) + x",
                "count ~ C(c) + C(twin) + a",
                "count ~ C(c, levels=[0, 1, 2, 3, 4, 5, 9]) + x",
                "level ~ C(c) + far + a",
            )
        ),
    ],
)
def test_the_same_coefficients_are_undetermined(formula, monkeypatch):
    given = DATA[(DATA["a"] != "p") | (DATA["b"] != "v")].reset_index(drop=True)
    noise = np.random.default_rng(1).normal(size=len(given))
    given = given.assign(twin="s" + given["c"].astype(str), near=given["x"] + 1e-9 * noise,
                         far=1e5 + given["x"])  # fmt: skip
    family = "poisson" if formula.startswith("count") else "normal"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eg.errors.AliasWarning)
        agree(*(m.fit(cov=["fisher", "HC3"], tol=LIMIT, **QUICK)
                for m in both(monkeypatch, formula, given, family=family)))  # fmt: skip


def test_robust_covariances_of_badly_conditioned_designs_go_by_rows(monkeypatch):
    given = DATA.assign(near=DATA["x"] + 1e-4 * DATA["z"])
    _, levels = both(monkeypatch, "level ~ C(c) + x + near", given, family="normal")
    used, by_row = [], coordinates._ByRow
    monkeypatch.setattr(coordinates, "_ByRow", lambda X: used.append(X.shape) or by_row(X))
    levels.fit(cov="HC3", **QUICK)
    assert used == [(N, 8)]


by_row = coordinates._ByRow


@pytest.mark.slow
def test_separation_is_found(monkeypatch):
    given = DATA.assign(yes=np.where(DATA["c"] == 2, 1, (DATA["x"] > 0).astype(int)))
    messages = []
    for model in both(monkeypatch, "yes ~ C(c) + z", given, family="binomial"):
        with pytest.raises(eg.errors.SeparationError) as caught:
            model.fit()
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "C(c)[2] → +∞" in messages[0]


@pytest.mark.slow
def test_other_roads_take_the_dense_design(monkeypatch):
    dense, levels = both(monkeypatch, "count ~ a + C(c) + x", family="poisson")
    one, other = (m.gee(groups="g", correlation="exchangeable", **QUICK) for m in (dense, levels))
    np.testing.assert_allclose(one["fit"]["beta"], other["fit"]["beta"], rtol=DEFAULT)
    ridge = [m.fit(penalty=1.0, **QUICK) for m in (dense, levels)]
    np.testing.assert_allclose(ridge[0]["fit"]["beta"], ridge[1]["fit"]["beta"], rtol=RELATIVE)


@pytest.mark.slow
def test_what_reads_the_rows_of_a_tree_reads_levels(monkeypatch, tmp_path):
    dense, levels = both(monkeypatch, "count ~ a + C(c)*x", family="poisson")
    first, again = (m.fit(tol=LIMIT, **QUICK) for m in (dense, levels))
    again.to_netcdf(tmp_path / "tree.nc")
    with eg_open(tmp_path / "tree.nc") as kept:
        for of in (
            lambda tree: eg.predict(tree)["estimate"],
            lambda tree: eg.residuals(tree, standardised=True),
            lambda tree: eg.hypotheses(tree, "x = 0", test="score").statistic,
        ):
            np.testing.assert_allclose(of(kept), of(first), rtol=RELATIVE)


def eg_open(path: Any) -> Any:
    import xarray as xr

    return xr.open_datatree(path)


def test_missing_and_unseen_levels(monkeypatch):
    given = DATA.assign(b=DATA["b"].where(DATA["x"] > -1.5, None))
    dense, levels = both(
        monkeypatch, "count ~ a + b + C(c)", given, family="poisson", missing="drop"
    )
    tree = levels.fit(tol=LIMIT, **QUICK)
    agree(dense.fit(tol=LIMIT, **QUICK), tree)
    assert tree.attrs["rows_dropped"] == int((DATA["x"] <= -1.5).sum())
    with pytest.raises(eg.errors.DataError, match="not among its levels"):
        eg.predict(tree, DATA.assign(c=77))


def test_a_few_dummies_or_rows_stay_dense():
    assert isinstance(
        eg.GLM("count ~ a + b + C(c)", DATA, family="poisson").problem.matrix, np.ndarray
    )


def test_a_changed_tree_is_refused(monkeypatch):
    _, levels = both(monkeypatch, "count ~ a + C(c) + x", family="poisson")
    tree = levels.fit(**QUICK)
    whole = tree["constant_data"].to_dataset()
    for changed, text in (
        (whole.drop_vars("X_of_level"), "X_of_level"),
        (whole.drop_vars("X_places"), "X_places"),
        (whole.assign(X_levels=whole["X_levels"] + 99), "levels that there are not"),
    ):
        tree["constant_data"] = changed
        with pytest.raises(eg.errors.ResultError, match=text):
            eg.predict(tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    "formula",
    ["days ~ ethnicity*sex + age*learner", "days ~ C(age, contr.sum) + ethnicity:learner"],
)
def test_real_absences_against_statsmodels(formula, monkeypatch):
    import statsmodels.api as sm

    quine = eg.load_data("quine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eg.errors.AliasWarning)  # no slow learner is in form 3
        dense, levels = both(monkeypatch, formula, quine, family="poisson")
        tree = levels.fit(cov=["fisher", "HC0"], tol=LIMIT, **QUICK)
    known = np.isfinite(tree["fit"]["beta"].values)
    assert known.sum() == known.size - ("age*learner" in formula)
    peer = sm.GLM(dense.problem.y, dense.problem.X[:, known], family=sm.families.Poisson())
    for row, cov_type in enumerate(["nonrobust", "HC0"]):
        found = peer.fit(tol=1e-14, maxiter=200, cov_type=cov_type)
        V = tree["fit"]["covariance"].values[row][np.ix_(known, known)]
        np.testing.assert_allclose(V, found.cov_params(), rtol=RELATIVE, atol=RELATIVE * V.max())
        distance = (tree["fit"]["beta"].values[known] - found.params) / found.bse
        assert np.abs(distance).max() < BETA_IN_SE
    np.testing.assert_allclose(tree["fit_stats"]["deviance"], found.deviance, rtol=RELATIVE)


def test_products_of_many_levels_keep_those_that_occur(monkeypatch):
    formula = "count ~ C(c):b:flag - 1"
    plain = both(monkeypatch, formula, family="poisson")[1].problem.matrix
    monkeypatch.setattr(by_level, "_MOST_LEVELS", 1)
    given = DATA[DATA["c"] != 3].assign(c=lambda d: d["c"].where(d["b"] != "u", 0))
    dense, levels = both(monkeypatch, formula, given, family="poisson")
    assert len(plain.terms[0].table) == 36 > len(levels.problem.matrix.terms[0].table) == 22
    np.testing.assert_array_equal(levels.problem.matrix.array(), dense.problem.X)


def test_clear_combinations_of_factors_are_set_apart_without_qr(monkeypatch):
    given = DATA[(DATA["a"] != "p") | (DATA["b"] == "u")]
    dense, levels = both(monkeypatch, "count ~ a*b + x", given, family="poisson")
    expected = rank.aliased(dense.problem.X)
    np.testing.assert_array_equal(rank.plainly_aliased(levels.problem.matrix), expected)
    assert expected.sum() == 2
    monkeypatch.setattr(rank, "_CLEAR", 2.0)
    assert not rank.plainly_aliased(levels.problem.matrix).any()
    assert not rank.plainly_aliased(dense.problem.X).any()


@pytest.mark.parametrize("rare", [False, True], ids=["common levels", "a level of few rows"])
def test_a_part_of_the_rows_begins_the_fit_of_many_levels(rare, monkeypatch):
    monkeypatch.setattr(maximise, "_SUBSAMPLE_FROM", 4000)
    monkeypatch.setattr(maximise, "_CODED_ROWS", 10)
    given = data(12_000)
    if rare:  # they are not among the tenth, which has no maximum then
        given.loc[100:110, "b"] = "rare"
    dense, levels = both(monkeypatch, "count ~ a + b + C(c) + x", given, family="poisson")
    starts = []
    cheap = maximise._cheap_start
    monkeypatch.setattr(
        maximise, "_cheap_start", lambda *a: (starts.append(cheap(*a)), starts[-1])[1]
    )
    agree(dense.fit(tol=LIMIT, **QUICK), levels.fit(tol=LIMIT, **QUICK))
    assert len(starts) == 2 and all((start.beta is None) == rare for start in starts)


@pytest.mark.parametrize(
    ("correlation", "options"),
    [
        ("exchangeable", {"cov": ["robust", "naive", "mancl-derouen"], "df": "satterthwaite"}),
        ("ar1", {"cov": ["robust", "pan"], "time": "when"}),
        pytest.param("independence", {"cov": "jackknife-one-step"}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("arranged", [True, False], ids=["in order", "scattered"])
def test_estimating_equations_of_levels(correlation, options, arranged, monkeypatch):
    given = DATA.sort_values("g") if arranged else DATA
    given = given.assign(when=given.groupby("g").cumcount()).reset_index(drop=True)
    dense, levels = both(
        monkeypatch,
        "count ~ a*b + C(c) + x",
        given,
        family="quasi_poisson",
        weights="w",
        offset="o",
    )
    monkeypatch.setattr(Coded, "whole", property(lambda self: pytest.fail("written out")))
    trees = [m.gee("g", correlation, tol=LIMIT, **options, **QUICK) for m in (dense, levels)]
    assert "X_levels" in trees[1]["constant_data"]
    for name in (
        "beta",
        "se",
        "covariance",
        "phi",
        *(["alpha"] if "alpha" in trees[0]["fit"] else []),
    ):
        np.testing.assert_allclose(
            trees[1]["fit"][name].values, trees[0]["fit"][name].values, rtol=1e-9, atol=1e-13
        )


@pytest.mark.parametrize(
    "penalty", ["firth", "jeffreys", 0.7, eg.Prior("Conjugate", kappa=5.0)], ids=str
)
def test_penalties_on_levels(penalty, monkeypatch):
    dense, levels = both(monkeypatch, "count ~ a*b + C(c) + x", family="poisson", freq_weights="f")
    monkeypatch.setattr(Coded, "whole", property(lambda self: pytest.fail("written out")))
    agree(*(m.fit(penalty=penalty, tol=LIMIT, **QUICK) for m in (dense, levels)))


@pytest.mark.parametrize("lags", [0, 3, 40])
@pytest.mark.parametrize("groups", [None, "g"])
def test_serial_scores_are_summed_in_pieces(lags, groups, monkeypatch):
    dense, levels = both(monkeypatch, "count ~ a + C(c) + x", family="poisson")
    time = np.random.default_rng(0).permutation(N)
    options = {"cov": "HAC", "lags": lags, "time": time, "groups": groups, "tol": LIMIT, **QUICK}
    whole = dense.fit(**options)
    monkeypatch.setattr(covariance, "_SERIAL_ROWS", 37)
    for model in (dense, levels):
        agree(whole, model.fit(**options))


def test_predictions_write_out_the_design_once():
    n, levels = 60_000, 200
    data = {"g": np.arange(n) % levels, "y": np.arange(n) % 7 * 1.0}
    tree = eg.GLM("y ~ C(g)", data, family="poisson").fit()
    eg.predict(tree)
    tracemalloc.start()
    try:
        found = eg.predict(tree)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * n * levels * 8
    means = np.bincount(data["g"], data["y"]) / np.bincount(data["g"])
    np.testing.assert_allclose(found["estimate"], means[data["g"]], rtol=1e-8)
    rows = np.bincount(data["g"])
    np.testing.assert_allclose(found["se"], np.sqrt(means / rows)[data["g"]], rtol=1e-7)
