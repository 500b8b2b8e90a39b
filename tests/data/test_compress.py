"""Rows of equal covariates collapse to cells, and nothing that is computed from them changes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.data import compress as module
from expfam_glm.data.compress import Compressed, compress, distinct, worth_compressing
from expfam_glm.errors import ArgumentError
from tests.tolerances import DEFAULT

N = 600
FAMILIES = (
    "normal", "poisson", "binomial", "gamma", "inverse_gaussian", "quasi_poisson",
    "negative_binomial", "hyperbolic_secant",
)  # fmt: skip
ROLES = ((), ("weights", "offset"), ("freq_weights",))
FAST = ("normal", "poisson", "gamma")
CASES = [
    pytest.param(
        family,
        tuple(
            r for r in roles if r != "weights" or family not in ("binomial", "hyperbolic_secant")
        ),
        marks=() if family in FAST or (not roles and family == "binomial") else pytest.mark.slow,
    )
    for family in FAMILIES
    for roles in ROLES
]
QUICK = {"draws": 20, "chains": 1}
LIMIT = 1e-11  # tol of fits whose covariances are compared: these follow the last step but one


def data(family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Responses, a design of 12 patterns, clusters, and weights of every kind."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, N), rng.integers(0, 3, N)
    X = np.column_stack([np.ones(N), a == 1, a == 2, a == 3, b]).astype(float)
    roles = {
        "weights": rng.integers(1, 3, N).astype(float),
        "freq_weights": rng.integers(1, 3, N).astype(float),
        "offset": 0.2 * rng.integers(0, 2, N),
    }
    eta = X @ [0.3, 0.2, -0.3, 0.5, 0.1] + roles["offset"]
    mu = np.exp(eta)
    y = {
        "normal": lambda: eta + rng.normal(size=N),
        "hyperbolic_secant": lambda: eta + rng.normal(size=N),
        "binomial": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(mu).astype(float),
        "quasi_poisson": lambda: rng.negative_binomial(2, 2 / (2 + mu)).astype(float),
        "negative_binomial": lambda: rng.negative_binomial(2, 2 / (2 + mu)).astype(float),
        "gamma": lambda: rng.gamma(2, mu / 2),
        "inverse_gaussian": lambda: rng.wald(mu, 2.0),
    }[family]()
    return y, X, rng.integers(0, 12, N), roles


def model(family: str, *names: str) -> tuple[eg.GLM, np.ndarray]:
    """A model on the data with some of the weights, and the clusters."""
    y, X, groups, roles = data(family)
    link = "log" if family in ("gamma", "inverse_gaussian") else None
    given = {name: roles[name] for name in names}
    return eg.GLM.from_arrays(y, X, family=family, link=link, **given), groups


def agree(one, other, rtol=DEFAULT):
    """Two trees have the same numbers in the groups of the fit."""
    for group in ("fit", "fit_stats"):
        for name, values in one[group].data_vars.items():
            if name in ("n_iterations", "decrement"):
                continue
            a, b = values.values, other[group][name].values
            size = np.max(np.abs(a[np.isfinite(a)]), initial=1e-6)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * size, err_msg=str(name))


@pytest.mark.parametrize(("family", "roles"), CASES, ids=str)
def test_fits_are_those_of_the_rows(family, roles):
    whole, groups = model(family, *roles)
    cells = whole.compress()
    assert cells.problem.row_count < N / 5
    for options in (
        {"cov": ["fisher", "HC0", "HC1", "HC2", "HC3"]},
        {"cov": ["CR0", "CR1", "CR1S", "CR2", "CR3"], "groups": groups},
    ):
        first, second = (m.fit(tol=LIMIT, **QUICK, **options) for m in (whole, cells))
        agree(first, second)
        assert second.attrs["cells"] < N and "cells" not in first.attrs
        np.testing.assert_array_equal(second["constant_data"]["X"], first["constant_data"]["X"])
        np.testing.assert_array_equal(second["observed_data"]["y"], first["observed_data"]["y"])


@pytest.mark.parametrize("options", [{"penalty": 1.0}, {"penalty": "firth"}, {"dispersion": "ml"},
                                     {"information": "observed"}], ids=str)  # fmt: skip
def test_other_estimates_are_those_of_the_rows(options):
    whole, _ = model("gamma", "weights")
    cells = whole.compress()
    agree(*(m.fit(tol=LIMIT, **QUICK, **options) for m in (whole, cells)))


def test_a_saturated_design_keeps_its_residual_variance():
    y, X, _, _ = data("normal")
    codes = (X @ np.arange(1, 6)).astype(int)
    dummies = (codes[:, None] == np.unique(codes)).astype(float)
    whole = eg.GLM.from_arrays(y, dummies, family="normal")
    cells = whole.compress()
    assert cells.problem.row_count == dummies.shape[1]
    agree(*(m.fit(cov=["fisher", "HC0", "HC3"], **QUICK) for m in (whole, cells)))


def test_two_ways_of_clustering_and_aliased_columns():
    y, X, groups, _ = data("poisson")
    other = np.random.default_rng(5).integers(0, 30, N)
    whole = eg.GLM.from_arrays(y, np.column_stack([X, X[:, 1]]), family="poisson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eg.errors.AliasWarning)
        agree(*(m.fit(cov=["fisher", "CR0"], groups=[groups, other], tol=LIMIT, **QUICK)
                for m in (whole, whole.compress())))  # fmt: skip


def test_order_and_clusters_use_the_rows_themselves():
    whole, groups = model("poisson")
    cells = whole.compress()
    agree(*(m.fit(cov="HAC", **QUICK) for m in (whole, cells)))
    agree(*(m.gee(groups, "exchangeable", **QUICK) for m in (whole, cells)))


@pytest.mark.parametrize(("family", "roles"), CASES, ids=str)
def test_the_posterior_is_that_of_the_rows(family, roles):
    if family == "quasi_poisson":
        family = "poisson"
    whole = model(family, *roles)[0].problem
    cells = compress(whole)
    if family == "negative_binomial":
        cells = cells.origin.by_response
    applied = apply(whole, "default")
    start = near_mode(whole, applied)
    first, second = LogPosterior(whole, applied), LogPosterior(cells, applied)
    rng = np.random.default_rng(3)
    for far in (0.3, 0.3, 0.3, 3.0):  # the last beyond the table of the sums over responses
        z = start.beta + start.root @ rng.standard_normal(start.beta.size)
        z = np.append(z, np.log(start.phi) + far)[: first.n_dim]
        z = np.append(z, np.zeros(first.n_dim - z.size))
        (value, slope), (own, own_slope) = first(z), second(z)
        assert own == pytest.approx(value, rel=1e-11)
        np.testing.assert_allclose(own_slope, slope, rtol=DEFAULT, atol=1e-9 * np.abs(slope).max())


def test_a_declared_family_with_free_dispersion_has_the_same_posterior():
    own = eg.Family(
        "plain_normal", b=lambda theta: theta**2 / 2, support=eg.Real,
        c=lambda y, a: -(y**2) / (2 * a) - 0.5 * pt.log(2 * np.pi * a),
    )  # fmt: skip
    y, X, _, roles = data("normal")
    whole = eg.GLM.from_arrays(y, X, family=own, weights=roles["weights"]).problem
    applied = apply(whole, "default")
    z = np.array([0.2, 0.1, -0.2, 0.4, 0.1, 0.3])
    (value, slope), (same, own_slope) = (
        LogPosterior(p, applied)(z) for p in (whole, compress(whole))
    )
    assert same == pytest.approx(value, rel=1e-11)
    np.testing.assert_allclose(own_slope, slope, rtol=DEFAULT)


def test_default_priors_and_start_are_those_of_the_rows():
    for family in ("normal", "gamma"):
        whole = model(family, "weights")[0].problem
        cells = compress(whole)
        priors = apply(whole, "default"), apply(cells, "default")
        for one, other in zip(priors[0].beta, priors[1].beta, strict=True):
            assert one.parameters == pytest.approx(other.parameters, rel=1e-12)
        starts = [near_mode(p, prior) for p, prior in zip((whole, cells), priors, strict=True)]
        np.testing.assert_allclose(starts[0].beta, starts[1].beta, atol=1e-9)
        assert starts[0].phi == pytest.approx(starts[1].phi, rel=1e-9)


@pytest.mark.slow
def test_the_model_for_pymc_has_the_same_density():
    whole = model("normal", "weights")[0]
    point = {"beta": np.array([0.2, 0.1, -0.2, 0.4, 0.1]), "phi_log__": np.array(0.1)}
    values = []
    for one in (whole, whole.compress()):
        pymc = one.to_pymc(priors="flat")
        values.append(float(pymc.compile_logp(mode="FAST_COMPILE")(point)))
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_equal_responses_of_a_cell_stay_to_the_last_bit():
    X = np.ones((30, 1))
    cells = compress(eg.GLM.from_arrays(np.full(30, 0.1), X, family="normal").problem)
    assert cells.y.tolist() == [0.1] and cells.scatter.tolist() == [0.0]


def test_cells_of_cells_are_those_of_the_rows():
    whole, groups = model("poisson")
    cells = whole.compress()
    again = compress(cells.problem, groups)
    assert again.row_count > cells.problem.row_count
    assert compress(again).row_count == cells.problem.row_count
    assert repr(cells) == "<GLM 5 columns: poisson, link log, 600 rows in 12 cells>"


def test_compression_is_used_where_it_pays(monkeypatch):
    whole = model("poisson")[0].problem
    assert worth_compressing(whole) is whole  # few rows
    monkeypatch.setattr(module, "_FEW", 100)
    assert isinstance(worth_compressing(whole), Compressed)
    apart = eg.GLM.from_arrays(whole.y, np.arange(1.0, N + 1), family="poisson").problem
    assert worth_compressing(apart) is apart


def test_group_effects_are_refused():
    frame = eg.load_data("seizures")
    with pytest.raises(ArgumentError, match="group effects"):
        eg.GLM("seizures ~ age + (1 | patient)", frame, family="poisson").compress()


def test_distinct_rows_are_proven(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (200, 4)).astype(float)
    X[X == 0] *= np.where(rng.random(X.shape) < 0.5, -1, 1)[X == 0]  # −0 is 0
    expected = np.unique(X + 0.0, axis=0).shape[0]
    for hashes in (module._mixed, lambda values: np.zeros(values.shape, np.uint64)):
        monkeypatch.setattr(module, "_mixed", hashes)
        found = distinct([X])
        assert found.first.size == expected
        np.testing.assert_array_equal(X[found.first][found.codes], X)


@pytest.mark.parametrize(
    "columns",
    [
        [np.array([2.0, -1.0, 2.0, 0.0, -1.0, -0.0])],
        [np.array([2.0, -1.0, 2.0, 0.5, -1.0, 2.0])],
        [np.array([1e17, 1.0, 1e17, 2.0, 1.0, 2.0])],
        [np.array([3, 1, 3, 0, 1, 1]), np.array([1.0, 0.0, 1.0, 1.0, 0.0, 5.0])],
        [np.array([3, 1, 3, 0, 1, 1]), np.array([[1.0], [0.1], [1.0], [1.0], [0.1], [5.0]])],
        [np.array([True, False, True, True, False, True]), np.array([4, 5, 4, 4, 5, 6])],
        [np.array([9_000_000_000, 1, 9_000_000_000, 2, 1, 3])],
    ],
)
def test_distinct_rows_are_numbered_in_the_order_of_appearance(columns: list[np.ndarray]) -> None:
    first, codes = distinct(columns)
    rows = np.column_stack([column.astype(float) for column in columns])
    expected = np.unique(rows, axis=0)
    assert len(first) == len(expected)
    assert np.array_equal(codes[first], np.arange(len(first))) and list(first) == sorted(first)
    assert np.array_equal(rows, rows[first][codes])


@pytest.mark.parametrize("top", [1, 7, 2**20])
def test_means_of_counts_and_means_of_numbers_agree(top: int) -> None:
    rng = np.random.default_rng(0)
    g = rng.integers(0, 20, 2000)
    y = rng.integers(0, top + 1, 2000).astype(float)
    counts, numbers = (
        compress(eg.GLM("y ~ C(g)", {"y": y, "g": g}, family=family).problem)
        for family in ("poisson", "quasi_poisson")
    )
    table = pd.DataFrame({"y": y, "g": g}).groupby("g", sort=False)["y"]
    for found in (counts, numbers):
        np.testing.assert_allclose(found.y, table.mean(), rtol=1e-15)
        np.testing.assert_allclose(found.scatter, table.var(ddof=0) * table.size(), rtol=1e-13)
