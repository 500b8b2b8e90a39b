"""What must not change a fit, and what must change it in a known way; no reference values."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import expfam_glm as eg
from expfam_glm.data import blocks
from expfam_glm.errors import AliasWarning, ConvergenceError, FitWarning
from expfam_glm.kernels import threads
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle import maximise
from expfam_glm.spec import families, links
from tests.tolerances import DEFAULT, RELATIVE

# Two fits, each iterated until the step is below TIGHT standard errors, in standard errors.
TIGHT = 1e-11
SAME = 1e-9
P = 3

CASES = {
    "normal": ("normal", "identity"),
    "normal-log": ("normal", "log"),
    "poisson": ("poisson", "log"),
    "poisson-sqrt": ("poisson", "sqrt"),
    "binomial": ("binomial", "logit"),
    "binomial-probit": ("binomial", "probit"),
    "binomial-cloglog": ("binomial", "cloglog"),
    "gamma": ("gamma", "inverse"),
    "gamma-log": ("gamma", "log"),
    "inverse_gaussian": ("inverse_gaussian", "inverse_squared"),
    "inverse_gaussian-log": ("inverse_gaussian", "log"),
    "negative_binomial": (eg.families.negative_binomial(0.5), "log"),
    "quasi_poisson": ("quasi_poisson", "log"),
    "quasi_binomial": ("quasi_binomial", "loglog"),
}
CANONICAL = [k for k in CASES if "-" not in k and k not in ("negative_binomial", "quasi_binomial")]


class Rows:
    """Simulated rows of a case: y, X with η between 0.4 and 1.2, prior weights and the roles."""

    def __init__(self, case: str, seed: int = 0, n: int = 40) -> None:
        family, link = CASES[case]
        self.family, self.link = families.named(family), links.named(link)
        rng = np.random.default_rng([seed, len(case)])
        self.rng = rng
        self.X = np.column_stack([np.ones(n), rng.uniform(size=(n, P - 1))])
        mu = self.link.inverse(self.X @ [0.4, 0.5, 0.3])
        self.w = rng.integers(1, 4, n).astype(float)
        name = self.family.name
        if "poisson" in name:
            self.y = rng.poisson(mu * self.w) / self.w
        elif name == "negative_binomial":
            self.y = rng.poisson(rng.gamma(2 * self.w, mu / 2)) / self.w
        elif "binomial" in name:
            self.w = rng.integers(3, 9, n).astype(float)
            self.y = rng.binomial(self.w.astype(int), mu) / self.w
        elif name == "normal":
            self.y = rng.normal(mu, 0.4 / np.sqrt(self.w))
        else:
            self.y = rng.gamma(4 * self.w, mu / (4 * self.w))

    def fit(
        self, y: Any = None, X: Any = None, *, options: Any = None, **roles: Any
    ) -> xr.DataTree:
        """Fit with prior weights, unless `weights` says otherwise."""
        y, X = self.y if y is None else y, self.X if X is None else X
        roles = {"weights": self.w} | roles
        model = eg.GLM.from_arrays(y, X, family=self.family, link=self.link, **roles)
        return model.fit(**{"tol": TIGHT, "draws": 10, "chains": 2, **(options or {})})


def gap(first: xr.DataTree, second: xr.DataTree) -> float:
    """The largest difference of two estimates in standard errors."""
    se = first["fit"]["se"].values
    return float(np.max(np.abs(first["fit"]["beta"].values - second["fit"]["beta"].values) / se))


def assert_same(first: xr.DataTree, second: xr.DataTree, *, without: tuple[str, ...] = ()) -> None:
    assert gap(first, second) < SAME
    np.testing.assert_allclose(
        first["fit"]["covariance"].values, second["fit"]["covariance"].values, rtol=RELATIVE,
        atol=RELATIVE * first["fit"]["se"].values.max() ** 2,
    )  # fmt: skip
    for name in ("phi", *first["fit_stats"]):
        if name in ("n_iterations", "decrement", *without):
            continue
        group = "fit" if name == "phi" else "fit_stats"
        np.testing.assert_allclose(
            float(first[group][name]), float(second[group][name]), rtol=RELATIVE, err_msg=name
        )


seeds = st.integers(0, 10_000)
quickly = settings(max_examples=4, deadline=None)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@given(seed=seeds)
@quickly
def test_freq_weights_are_repeated_rows(case, seed):
    rows = Rows(case, seed)
    f = np.random.default_rng(seed).integers(0, 4, rows.y.size)
    again = np.repeat(np.arange(rows.y.size), f)
    weighted = rows.fit(freq_weights=f)
    repeated = rows.fit(rows.y[again], rows.X[again], weights=rows.w[again])
    assert_same(weighted, repeated)
    assert float(weighted["fit_stats"]["n_observations"]) == f.sum()


@pytest.mark.parametrize("case", CASES)
def test_rows_twice_are_freq_weights_of_two(case):
    rows = Rows(case)
    twice = rows.fit(np.tile(rows.y, 2), np.tile(rows.X, (2, 1)), weights=np.tile(rows.w, 2))
    assert_same(rows.fit(freq_weights=np.full(rows.y.size, 2)), twice)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@given(seed=seeds)
@quickly
def test_another_basis_of_the_columns(case, seed):
    """X → XA gives β → A⁻¹β and V → A⁻¹VA⁻ᵀ."""
    rows = Rows(case, seed)
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(P, P)) + 3 * np.eye(P)
    if np.linalg.cond(A) > 50:
        A = A + 10 * np.eye(P)
    first, second = rows.fit(), rows.fit(X=rows.X @ A)
    assert np.max(np.abs(A @ second["fit"]["beta"].values - first["fit"]["beta"].values)
                  / first["fit"]["se"].values) < SAME * 100  # fmt: skip
    V = first["fit"]["covariance"].values[0]
    np.testing.assert_allclose(
        A @ second["fit"]["covariance"].values[0] @ A.T, V, rtol=1e-7, atol=1e-7 * np.abs(V).max()
    )
    for name in ("deviance", "loglik", "aic", "pearson_chi2"):
        np.testing.assert_allclose(
            float(first["fit_stats"][name]), float(second["fit_stats"][name]), rtol=RELATIVE
        )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@given(seed=seeds)
@quickly
def test_the_order_of_rows_does_not_matter(case, seed):
    rows = Rows(case, seed)
    order = np.random.default_rng(seed).permutation(rows.y.size)
    mixed = rows.fit(rows.y[order], rows.X[order], weights=rows.w[order])
    assert_same(rows.fit(), mixed)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scales_of_columns_do_not_matter(case, scale):
    rows = Rows(case)
    sizes = np.array([1.0, scale, 1 / scale])
    first, second = rows.fit(), rows.fit(X=rows.X * sizes)
    se = first["fit"]["se"].values
    assert np.max(np.abs(second["fit"]["beta"].values * sizes - first["fit"]["beta"]) / se) < SAME
    np.testing.assert_allclose(second["fit"]["se"].values * sizes, se, rtol=RELATIVE)


@pytest.mark.parametrize("case", CASES)
def test_an_offset_is_a_coefficient_of_one(case):
    rows = Rows(case)
    first, second = rows.fit(), rows.fit(offset=rows.X[:, 2])
    moved = first["fit"]["beta"].values - [0, 0, 1]
    assert np.max(np.abs(second["fit"]["beta"].values - moved) / first["fit"]["se"].values) < SAME
    np.testing.assert_allclose(second["fit"]["se"], first["fit"]["se"], rtol=RELATIVE)
    at = float(first["fit"]["beta"][2])
    held = rows.fit(X=rows.X[:, :2], offset=at * rows.X[:, 2])
    np.testing.assert_allclose(held["fit"]["beta"], first["fit"]["beta"][:2], rtol=1e-7)
    for name in ("deviance", "loglik"):
        np.testing.assert_allclose(
            float(held["fit_stats"][name]), float(first["fit_stats"][name]), rtol=RELATIVE
        )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("role", ["weights", "freq_weights"])
def test_rows_of_weight_zero_are_left_out(case, role):
    rows = Rows(case)
    kept = rows.rng.random(rows.y.size) < 0.7
    roles = {role: kept * (rows.w if role == "weights" else 1.0)}
    without = rows.fit(rows.y[kept], rows.X[kept], weights=rows.w[kept])
    assert_same(rows.fit(**roles), without)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog", "cauchit"])
def test_trials_are_single_rows_together(link):
    rows = Rows("binomial")
    counts, trials = np.round(rows.y * rows.w).astype(int), rows.w.astype(int)
    together = eg.GLM.from_arrays(counts, rows.X, family="binomial", link=link, trials=trials).fit(
        tol=TIGHT
    )
    which = np.repeat(np.arange(trials.size), trials)
    single = np.concatenate([np.arange(n) < k for k, n in zip(counts, trials, strict=True)])
    apart = eg.GLM.from_arrays(
        single.astype(float), rows.X[which], family="binomial", link=link
    ).fit(tol=TIGHT)
    assert gap(together, apart) < SAME
    np.testing.assert_allclose(together["fit"]["covariance"], apart["fit"]["covariance"], rtol=1e-7)
    proportions = eg.GLM.from_arrays(
        counts / trials, rows.X, family="binomial", link=link, weights=trials
    ).fit(tol=TIGHT)
    assert_same(together, proportions)
    # Σ log C(N, k) is what the single rows leave out
    choose = np.log([math.comb(n, k) for k, n in zip(counts, trials, strict=True)]).sum()
    difference = float(together["fit_stats"]["loglik"]) - float(apart["fit_stats"]["loglik"])
    assert difference == pytest.approx(choose, rel=1e-9)
    change = [float(t["fit_stats"]["null_deviance"] - t["fit_stats"]["deviance"])
              for t in (together, apart)]  # fmt: skip
    assert change[0] == pytest.approx(change[1], rel=1e-7)


@pytest.mark.parametrize("case", ["poisson", "negative_binomial", "gamma-log", "quasi_poisson"])
def test_exposure_is_the_offset_of_its_logarithm(case):
    rows = Rows(case)
    years = rows.rng.uniform(0.5, 3, rows.y.size)
    assert_same(rows.fit(exposure=years), rows.fit(offset=np.log(years)))
    both = rows.fit(exposure=years, offset=0.3 * rows.X[:, 1])
    assert_same(both, rows.fit(offset=np.log(years) + 0.3 * rows.X[:, 1]))


@pytest.mark.parametrize("link", ["identity", "sqrt", "log"])
def test_exposure_is_a_weighted_rate(link):
    """Poisson: y/t with weight t is y with the offset log t; another link has only the first."""
    rows = Rows("poisson")
    counts = np.round(rows.y * rows.w)
    years = rows.rng.integers(1, 5, counts.size).astype(float)
    given = {"family": "poisson", "link": link}
    rate = eg.GLM.from_arrays(counts / years, rows.X, weights=years, **given).fit(tol=TIGHT)
    exposed = eg.GLM.from_arrays(counts, rows.X, exposure=years, **given).fit(tol=TIGHT)
    assert gap(rate, exposed) < SAME
    np.testing.assert_allclose(rate["fit"]["se"], exposed["fit"]["se"], rtol=RELATIVE)
    assert float(rate["fit_stats"]["loglik"]) == pytest.approx(
        float(exposed["fit_stats"]["loglik"]), rel=1e-9
    )


# ---- information ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CANONICAL)
def test_observed_is_expected_information_for_canonical_links(case):
    rows = Rows(case)
    expected, observed = (rows.fit(options={"information": i}) for i in ("expected", "observed"))
    np.testing.assert_allclose(
        expected["fit"]["covariance"].values, observed["fit"]["covariance"].values, rtol=DEFAULT
    )
    assert observed.attrs["cov_type"] == "observed" and expected.attrs["cov_type"] == "fisher"


@pytest.mark.parametrize("case", [k for k in CASES if k not in CANONICAL])
def test_observed_information_is_minus_the_hessian_in_statsmodels(case):
    from statsmodels.genmod import families as theirs
    from statsmodels.genmod.generalized_linear_model import GLM

    rows = Rows(case)
    kinds = {
        "normal": theirs.Gaussian, "poisson": theirs.Poisson, "binomial": theirs.Binomial,
        "gamma": theirs.Gamma, "inverse_gaussian": theirs.InverseGaussian,
        "quasi_binomial": theirs.Binomial,
        "negative_binomial": lambda link: theirs.NegativeBinomial(link=link, alpha=0.5),
    }  # fmt: skip
    link = {"log": theirs.links.Log, "sqrt": theirs.links.Sqrt, "probit": theirs.links.Probit,
            "cloglog": theirs.links.CLogLog, "loglog": theirs.links.LogLog}  # fmt: skip
    tree = rows.fit(options={"information": "observed"})
    family = kinds[rows.family.name](link=link[rows.link.name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of links that do not keep to the means
        other = GLM(rows.y, rows.X, family=family, var_weights=rows.w)
    phi = float(tree["fit"]["phi"])
    hessian = other.hessian(tree["fit"]["beta"].values, scale=phi, observed=True)
    # statsmodels differentiates some links by differences
    np.testing.assert_allclose(
        np.linalg.inv(-hessian), tree["fit"]["covariance"].values[0], rtol=1e-6, atol=1e-9
    )
    expected = rows.fit()["fit"]["covariance"].values[0]
    assert not np.allclose(expected, tree["fit"]["covariance"].values[0], rtol=1e-4)


# ---- dispersion and likelihood -------------------------------------------------------------------

FREE = ["normal", "gamma-log", "gamma", "inverse_gaussian-log", "quasi_poisson", "quasi_binomial"]


@pytest.mark.parametrize("case", FREE)
def test_estimates_of_the_dispersion(case):
    rows = Rows(case)
    pearson = rows.fit()
    df = rows.y.size - P
    stats_ = pearson["fit_stats"]
    assert float(pearson["fit"]["phi"]) == pytest.approx(float(stats_["pearson_chi2"]) / df)
    deviance = rows.fit(options={"dispersion": "deviance"})
    assert float(deviance["fit"]["phi"]) == pytest.approx(float(stats_["deviance"]) / df)
    given = rows.fit(options={"dispersion": 0.25})
    assert float(given["fit"]["phi"]) == 0.25
    for tree in (deviance, given):
        np.testing.assert_array_equal(tree["fit"]["beta"], pearson["fit"]["beta"])
        ratio = math.sqrt(float(tree["fit"]["phi"]) / float(pearson["fit"]["phi"]))
        np.testing.assert_allclose(tree["fit"]["se"], ratio * pearson["fit"]["se"], rtol=DEFAULT)
    assert np.all(np.isinf(given["fit"]["df"])) and np.all(pearson["fit"]["df"] == df)
    if not rows.family.is_quasi:  # a given φ is used as given and not counted
        loglik = float(given["fit_stats"]["loglik"])
        assert float(given["fit_stats"]["aic"]) == pytest.approx(-2 * loglik + 2 * P)
        mu = rows.link.inverse(rows.X @ given["fit"]["beta"].values)
        direct = rows.family.logpdf(rows.y, mu, 0.25, weights=rows.w).sum()
        assert loglik == pytest.approx(direct, rel=DEFAULT)


def test_scaled_standard_errors_of_a_quasi_family():
    rows = Rows("poisson")
    plain, quasi = rows.fit(), Rows("poisson")
    quasi.family = eg.families.quasi_poisson
    scaled = quasi.fit()
    np.testing.assert_allclose(scaled["fit"]["beta"], plain["fit"]["beta"], rtol=DEFAULT)
    ratio = math.sqrt(float(scaled["fit"]["phi"]))
    np.testing.assert_allclose(scaled["fit"]["se"], ratio * plain["fit"]["se"], rtol=DEFAULT)


SCIPY = {
    "normal": lambda y, mu, a: stats.norm.logpdf(y, mu, np.sqrt(a)),
    "gamma": lambda y, mu, a: stats.gamma.logpdf(y, 1 / a, scale=mu * a),
    "inverse_gaussian": lambda y, mu, a: stats.invgauss.logpdf(y, mu * a, scale=1 / a),
}


@pytest.mark.parametrize("case", ["normal", "gamma", "gamma-log", "inverse_gaussian-log"])
@pytest.mark.parametrize("freq", [False, True])
def test_likelihood_at_its_maximum_in_the_dispersion(case, freq):
    rows = Rows(case)
    f = rows.rng.integers(1, 4, rows.y.size) if freq else np.ones(rows.y.size)
    tree = rows.fit(freq_weights=f)
    mu = rows.link.inverse(rows.X @ tree["fit"]["beta"].values)

    def loglik(phi: float) -> float:
        return float(f @ SCIPY[rows.family.name](rows.y, mu, phi / rows.w))

    best = optimize.minimize_scalar(
        lambda t: -loglik(math.exp(t)), bounds=(-8, 3), method="bounded", options={"xatol": 1e-9}
    )
    phi, n = math.exp(best.x), f.sum()
    found = tree["fit_stats"]
    assert float(found["loglik"]) == pytest.approx(loglik(phi), rel=DEFAULT)
    assert float(found["aic"]) == pytest.approx(-2 * loglik(phi) + 2 * (P + 1), rel=DEFAULT)
    assert float(found["bic"]) == pytest.approx(
        -2 * loglik(phi) + math.log(n) * (P + 1), rel=DEFAULT
    )
    ml = rows.fit(freq_weights=f, options={"dispersion": "ml"})
    # the maximum of a parabola known to 1e-16 is found to the root of that
    assert float(ml["fit"]["phi"]) == pytest.approx(phi, rel=1e-6)
    h = 1e-3
    curvature = (2 * loglik(phi) - loglik(phi * math.exp(h)) - loglik(phi * math.exp(-h))) / h**2
    assert float(ml["fit"]["se_log_phi"]) == pytest.approx(curvature**-0.5, rel=1e-5)
    np.testing.assert_allclose(
        ml["fit"]["se"] / tree["fit"]["se"],
        math.sqrt(float(ml["fit"]["phi"]) / float(tree["fit"]["phi"])), rtol=DEFAULT,
    )  # fmt: skip


@pytest.mark.parametrize("case", [k for k in CASES if "quasi" not in k and k in CANONICAL])
def test_the_likelihood_is_highest_at_the_estimate(case):
    rows = Rows(case)
    tree = rows.fit(options={"dispersion": 0.3} if rows.family.phi is None else None)
    kernel = row_kernel(rows.family, rows.link, ("loglik",))
    r = rows.w / (0.3 if rows.family.phi is None else 1.0)
    beta, se = tree["fit"]["beta"].values, tree["fit"]["se"].values

    def loglik(b: np.ndarray) -> float:
        return float(np.sum(kernel(rows.X @ b, rows.y, r)[0]))

    assert float(tree["fit_stats"]["loglik"]) == pytest.approx(loglik(beta), rel=DEFAULT)
    for direction in [*np.eye(P), *-np.eye(P)]:
        assert loglik(beta + 1e-3 * se * direction) < loglik(beta)


def test_the_null_deviance_is_that_of_the_intercept_alone():
    for case in ("poisson", "gamma-log", "binomial-probit", "inverse_gaussian-log"):
        rows = Rows(case)
        for offset in (None, rows.X[:, 1]):
            null = rows.fit(X=rows.X[:, :1], offset=offset)
            full = rows.fit(offset=offset)
            assert float(full["fit_stats"]["null_deviance"]) == pytest.approx(
                float(null["fit_stats"]["deviance"]), rel=RELATIVE
            )


# ---- blocks, starts and conditioning -------------------------------------------------------------


@pytest.mark.parametrize("case", ["normal", "poisson", "binomial-probit", "gamma-log"])
@pytest.mark.parametrize("parallel", [False, True])
def test_the_size_of_blocks_does_not_matter(case, parallel, monkeypatch):
    rows = Rows(case, n=12_345)
    roles = {"offset": 0.1 * rows.X[:, 1], "freq_weights": np.arange(12_345) % 3}
    whole = rows.fit(**roles)
    monkeypatch.setattr(blocks, "_BLOCK_DOUBLES", 1)
    assert blocks.MemoryBlocks(
        eg.GLM.from_arrays(rows.y, rows.X, family=rows.family, weights=rows.w).problem
    ).size == blocks._FEWEST_ROWS  # fmt: skip
    if parallel:
        monkeypatch.setattr(blocks, "_PARALLEL_DOUBLES", 1)
        monkeypatch.setattr(threads, "_FEWEST_ON_TWO", 1)
        monkeypatch.setattr(threads, "_FEWEST_DOUBLES", 1)
    assert_same(whole, rows.fit(**roles))


@pytest.mark.parametrize("case", ["poisson", "binomial", "gamma-log", "normal", "poisson-sqrt"])
def test_a_start_from_a_part_of_the_rows_does_not_matter(case, monkeypatch):
    rows = Rows(case, n=6_000)
    whole = rows.fit()
    asked = []
    cheap = maximise._cheap_start

    def remembered(problem, near):
        asked.append(problem.row_count)
        return cheap(problem, near)

    monkeypatch.setattr(maximise, "_SUBSAMPLE_FROM", 500)
    monkeypatch.setattr(maximise, "_cheap_start", remembered)
    assert_same(whole, rows.fit())
    assert asked[0] == 6_000 and len(asked) >= 2  # a part of the part too


@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_step_to_the_top_of_a_parabola(noise, weighted):
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(60_000), rng.normal(3, 1, size=(60_000, 4))])
    y = X @ [5.0, 1.0, -2.0, 0.5, 0.0] + noise * rng.normal(size=60_000)
    w = rng.uniform(0.5, 2.0, 60_000) if weighted else np.ones(60_000)
    fit = eg.GLM.from_arrays(y, X, family="normal", weights=w).fit()
    beta = np.linalg.lstsq(X * np.sqrt(w)[:, None], y * np.sqrt(w))[0]
    left = float(w @ (y - X @ beta) ** 2)
    rounding = 2e-14  # of least squares
    distance = np.abs(fit["fit"]["beta"].values - beta)
    assert np.all(distance < 1e-7 * fit["fit"]["se"].values + rounding)
    assert float(fit["fit_stats"]["deviance"]) == pytest.approx(left, rel=1e-9)
    assert float(fit["fit"]["phi"]) == pytest.approx(left / 59_995, rel=1e-9)


def test_a_start_from_a_part_that_is_singular_or_separated(monkeypatch):
    rows = Rows("binomial", n=6_000)
    n = rows.y.size
    early = (np.arange(n) < n // 2).astype(float)
    never = (np.arange(n) % 320 == 200).astype(float)  # in no row of the part
    X = np.column_stack([rows.X, never])
    whole = rows.fit(X=X)
    monkeypatch.setattr(maximise, "_SUBSAMPLE_FROM", 500)
    assert_same(whole, rows.fit(X=X))
    ordered = np.argsort(rows.y, kind="stable")
    assert_same(rows.fit(), rows.fit(rows.y[ordered], rows.X[ordered], weights=rows.w[ordered]))
    design = np.column_stack([rows.X, early])
    assert_same(rows.fit(X=design), rows.fit(X=design, options={"start": np.zeros(P + 1)}))


def test_a_start_from_a_part_that_leads_astray():
    rng = np.random.default_rng(2)
    rare = np.zeros(50_000)
    rare[rng.choice(50_000, 10, replace=False)] = 1  # of whom the part has one or none
    y = (rng.random(50_000) < 0.3).astype(float)
    model = eg.GLM.from_arrays(y, np.column_stack([np.ones(50_000), rare]), family="binomial")
    odds = [y[rare == k].mean() for k in (0, 1)]
    level, other = (math.log(p / (1 - p)) for p in odds)
    np.testing.assert_allclose(model.fit()["fit"]["beta"].values, [level, other - level], rtol=1e-8)


def test_a_far_start_is_no_maximum():
    """Where the Pearson dispersion is so large that every step is short beside it."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(100), rng.normal(size=100)])
    y = rng.poisson(np.exp(X @ [1.0, 0.5])).astype(float)
    model = eg.GLM.from_arrays(y, X, family=eg.families.tweedie(power=1.5))
    assert_same(model.fit(tol=TIGHT), model.fit(tol=TIGHT, start=[0.0, 30.0]))
    with pytest.raises(ConvergenceError, match="vanished"):
        eg.GLM.from_arrays(y, X, family="quasi_poisson").fit(start=[-20.0, 30.0])


def test_a_null_model_that_cannot_be_fitted_leaves_the_fit():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=300), rng.poisson(3.0, 300)
    X = np.column_stack([np.ones(300), z])
    roles = {"family": "poisson", "link": "identity"}
    tree = eg.GLM.from_arrays(y, X, offset=3 * z, **roles).fit(start=[3, -3])
    plain = eg.GLM.from_arrays(y, X, **roles).fit()
    shifted = plain["fit"]["beta"].values - [0.0, 3.0]
    np.testing.assert_allclose(tree["fit"]["beta"].values, shifted, rtol=1e-7)
    assert np.isnan(tree["fit_stats"]["null_deviance"])


@pytest.mark.parametrize("case", ["poisson", "binomial-cloglog", "gamma-log", "normal"])
def test_the_start_does_not_matter(case):
    rows = Rows(case)
    first = rows.fit()
    for start in ([0.5, 0.5, 0.5], [1.0, -0.3, 0.2]):
        assert_same(first, rows.fit(options={"start": start}))
    at = rows.fit(options={"start": first["fit"]["beta"].values})
    assert int(at["fit_stats"]["n_iterations"]) <= 1
    assert_same(first, at)


def test_longley_against_the_certified_values():
    """NIST StRD, Longley: condition number 5e9; 9 digits of the certified values."""
    from statsmodels.datasets import longley

    data = longley.load_pandas().data
    certified = {
        "Intercept": (-3482258.63459582, 890420.383607373),
        "GNPDEFL": (15.0618722713733, 84.9149257747669),
        "GNP": (-0.358191792925910e-01, 0.334910077722432e-01),
        "UNEMP": (-2.02022980381683, 0.488399681651699),
        "ARMED": (-1.03322686717359, 0.214274163161675),
        "POP": (-0.511041056535807e-01, 0.226073200069370),
        "YEAR": (1829.15146461355, 455.478499142212),
    }
    formula = "TOTEMP ~ GNPDEFL + GNP + UNEMP + ARMED + POP + YEAR"
    fit = eg.GLM(formula, data, family="normal").fit()["fit"]
    assert fit["coef"].values.tolist() == list(certified)
    beta, se = np.array(list(certified.values())).T
    np.testing.assert_allclose(fit["beta"], beta, rtol=1e-9)
    np.testing.assert_allclose(fit["se"], se, rtol=1e-9)
    assert math.sqrt(float(fit["phi"])) == pytest.approx(304.854073561965, rel=1e-9)


@pytest.mark.parametrize("case", ["poisson", "binomial", "gamma-log", "normal"])
@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-6])
def test_nearly_collinear_columns(case, near):
    """X → XA again, where A is nearly singular: a fit in the difference and in the sum."""
    rows = Rows(case)
    A = np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, near]])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*nearly linear combinations", FitWarning)
        first, second = rows.fit(), rows.fit(X=rows.X @ A)
    back = A @ second["fit"]["beta"].values
    # rounding of the columns is 1e-16/near of their difference, and the fit stops in its noise,
    # which over sixty drawn designs reached 1e-11/near
    slack = SAME + 2e-11 / near
    assert np.max(np.abs(back - first["fit"]["beta"].values) / first["fit"]["se"].values) < slack
    V = A @ second["fit"]["covariance"].values[0] @ A.T
    # elements as large as near⁻² cancel here
    rtol = 1e-7 + 1e-15 / near**2
    np.testing.assert_allclose(np.sqrt(np.diag(V)), first["fit"]["se"], rtol=rtol)


@pytest.mark.parametrize("place", ["memory", "file"])
@pytest.mark.parametrize("far", [1e3, 1e5])
def test_one_row_that_rules_a_direction(place, far, tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    n = 60_000
    x = rng.normal(size=n)
    x[7777] = far
    data: Any = {"y": (rng.random(n) < 0.3) * 1.0, "x": x}
    if place == "file":
        import pyarrow as pa
        import pyarrow.parquet as pq

        from expfam_glm.data import census

        monkeypatch.setattr(census, "_SAMPLE_ROWS", 5000)
        pq.write_table(pa.table(data), tmp_path / "data.parquet")
        data = tmp_path / "data.parquet"
    model = eg.GLM("y ~ x", data, family="binomial")
    found = model.fit(cov=["fisher", "HC3"], draws=20, chains=1)
    start = found["fit"]["beta"].values * (1 + 1e-9)
    exact = model.fit(cov=["fisher", "HC3"], start=start, tol=1e-13, draws=20, chains=1)
    for kind, rtol in (("fisher", 1e-8), ("HC3", 1e-6)):
        np.testing.assert_allclose(
            *(np.diagonal(t["fit"]["covariance"].sel(cov_type=kind)) for t in (found, exact)),
            rtol=rtol,
        )


def test_counts_of_blocks_that_lie_far_apart():
    x = np.repeat([0.0, 1.0], 140_000)
    y = np.where(x == 0, np.arange(x.size) % 5, 1e10 + np.arange(x.size) % 9)
    tree = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson").fit(draws=20, chains=1)
    means = np.log([y[x == 0].mean(), y[x == 1].mean()])
    np.testing.assert_allclose(tree["fit"]["beta"], [means[0], means[1] - means[0]], rtol=1e-10)


def test_no_column_but_zeros():
    with pytest.warns(AliasWarning):
        tree = eg.GLM("y ~ x - 1", {"y": np.arange(30.0) % 4, "x": np.zeros(30)},
                      family="poisson").fit(cov=["HC0", "fisher"])  # fmt: skip
    assert np.isnan(tree["fit"]["beta"].values).all() and np.isnan(tree["fit"]["se"].values).all()


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_the_deviance_of_large_counts_keeps_its_digits(size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=3000)
    y = rng.poisson(size * np.exp(0.1 * x)).astype(float)
    tree = eg.GLM("y ~ x", {"y": y, "x": x}, family="poisson").fit(draws=20, chains=1)
    mu = np.exp(tree["fit"]["beta"].values @ np.stack([np.ones_like(x), x]))
    t = (y - mu) / mu
    expected = 2 * np.sum(mu * ((1 + t) * np.log1p(t) - t))
    np.testing.assert_allclose(float(tree["fit_stats"]["deviance"]), expected, rtol=1e-7)
    t = (y - y.mean()) / y.mean()
    null = 2 * np.sum(y.mean() * ((1 + t) * np.log1p(t) - t))
    np.testing.assert_allclose(float(tree["fit_stats"]["null_deviance"]), null, rtol=1e-7)


def test_a_deviance_of_rounding_errors_is_remarked():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    y = 1e9 * np.exp(0.2 * x) * (1 + 1e-8 * rng.normal(size=1000))
    with pytest.warns(FitWarning, match="rounding errors"):
        eg.GLM("y ~ x", {"y": y, "x": x}, family="quasi_poisson").fit(dispersion="deviance")


def test_the_same_is_remarked_where_the_dispersion_is_known():
    y = np.random.default_rng(0).poisson(1e14, 1000).astype(float)
    with pytest.warns(FitWarning, match="rounding errors. Pearson"):
        eg.GLM("y ~ 1", {"y": y}, family="poisson").fit()


@pytest.mark.parametrize("largest", [1, 7, 300, 70_000, 2**40])
def test_the_response_of_a_tree_is_that_of_the_fit(largest):
    y = np.arange(40.0) % 3
    y[-1] = largest
    kept = y.copy()
    tree = eg.GLM("y ~ 1", {"y": y}, family="poisson").fit()
    y[:] = np.nan
    found = tree["observed_data"]["y"].values
    assert found.dtype == np.int64 and np.array_equal(found, kept)


def test_steps_that_are_not_finite_raise_no_warning_of_numpy():
    X = np.random.default_rng(2).standard_cauchy((60_000, 18)) ** 3
    X[:, 0] = 1.0
    y = np.arange(60_000) % 2
    for scale in (1.0, 1e60):
        try:
            eg.GLM.from_arrays(
                y, np.column_stack([X[:, :1], X[:, 1:] * scale]), family="binomial"
            ).fit()
        except eg.errors.ExpfamError:
            continue
