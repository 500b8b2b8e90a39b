"""Penalised fits against brglm2, and each against the mode of the prior that it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy import optimize

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.priors import Prior, apply
from expfam_glm.errors import (
    AliasWarning,
    ArgumentError,
    ConvergenceError,
    ResultError,
    SeparationError,
)
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle.fit import fit
from tests.problems import problem
from tests.references import array, cases, model_of, read
from tests.tolerances import BETA_IN_SE, RELATIVE

TIGHT = {"tol": 1e-11, "draws": 20, "chains": 2, "max_iterations": 1000}
FAMILIES = ("poisson", "poisson-exposure", "binomial", "binomial-probit", "binomial-cloglog",
            "gamma-log", "inverse_gaussian-log", "normal-weighted", "negative_binomial",
            "zero_truncated_poisson", "continuous_bernoulli")  # fmt: skip


class Given:
    """A prior of all coefficients as `fit` reads it: a name and its parameters."""

    def __init__(self, distribution: str, **parameters: float) -> None:
        self.distribution, self.parameters = distribution, parameters


@pytest.mark.parametrize("case", cases("penalty"), ids=lambda case: case["id"])
def test_penalised_fits_agree_with_brglm2(case):
    options = (
        {"dispersion": "ml"} if case["family"] in ("normal", "gamma", "inverse_gaussian") else {}
    )
    tree = model_of("penalty", case).fit(penalty=case["penalty"], **options, **TIGHT)
    fitted = tree["fit"]
    assert fitted["coef"].values.tolist() == case["coef"]
    gap = np.abs(fitted["beta"].values - array(case["beta"])) / array(case["se"])
    assert gap.max() < BETA_IN_SE
    np.testing.assert_allclose(fitted["se"], array(case["se"]), rtol=RELATIVE)
    assert float(fitted["phi"]) == pytest.approx(case["phi"], rel=RELATIVE)


@pytest.mark.slow
@pytest.mark.parametrize("case", read("penalty")["ratios"], ids=lambda case: case["id"])
def test_penalised_ratios_and_profiles_agree_with_r(case):
    """The first is logistf's example: its published intervals too."""
    options = {"dispersion": "ml"} if case["df"] else {}
    penalty = case["scale"] or case["penalty"]
    tree = model_of("penalty", case).fit(penalty=penalty, **options, **TIGHT)
    for label, expected in zip(case["coef"], case["lr"], strict=True):
        found = eg.hypotheses(tree, [label], test="lr")
        assert found.statistic == pytest.approx(expected, rel=RELATIVE)
        assert found.df_denominator == (case["df"] or np.inf)
    profiled = eg.profile(tree, ci_prob=0.95)["interval"]
    assert profiled["coef"].values.tolist() == case["coef"]
    gap = (profiled.values - array(case["intervals"])) / array(case["se"])[:, None]
    assert np.abs(gap).max() < 1e-7  # the root of a difference of penalised log-likelihoods
    if case["id"] == "endometrial-binomial-logit-firth":
        printed = [[1.0825, 7.2093], [0.6097, 7.8546], [-0.1245, 0.0405], [-4.3652, -1.2327]]
        np.testing.assert_allclose(profiled, printed, atol=6e-5)


@pytest.mark.slow
def test_a_conjugate_prior_is_compared_as_pseudo_observations():
    """κ observations of the mean m: rows of their own in a fit without a penalty."""
    rings = eg.load_data("oring")
    n, kappa, m = len(rings), 4.0, 0.2
    tree = eg.GLM("damaged ~ temperature", rings, family="quasi_binomial", trials="rings").fit(
        penalty=Prior("Conjugate", kappa=kappa, mean=m), dispersion=1.0, **TIGHT
    )
    both = {
        "rate": np.append(rings["damaged"] / rings["rings"], np.full(n, m)),
        "t": np.tile(rings["temperature"], 2),
        "w": np.append(rings["rings"], np.full(n, kappa / n)),
    }
    longer = eg.GLM("rate ~ t", both, family="quasi_binomial", weights="w").fit(
        dispersion=1.0, tol=1e-11, draws=10
    )
    first, second = (
        eg.hypotheses(t, f"{label} = -0.1", test="lr").statistic
        for t, label in ((tree, "temperature"), (longer, "t"))
    )
    assert first == pytest.approx(second, rel=RELATIVE)
    ours, theirs = (eg.profile(t, coefs=[c])["interval"].values for t, c in
                    ((tree, "temperature"), (longer, "t")))  # fmt: skip
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
    held = eg.residuals(tree, "pearson", standardised=True).values
    expected = eg.influence(longer)["hat"].values[:n]
    share = (rings["rings"] / (rings["rings"] + kappa / n)).to_numpy()
    plain = eg.residuals(tree, "pearson").values
    # W = w V(μ): the row of n trials has the same h per unit of weight
    mu = eg.predict(longer)["estimate"].values[:n]
    X = np.column_stack([np.ones(n), rings["temperature"]])
    W = mu * (1 - mu) * rings["rings"].to_numpy()
    inverse = np.linalg.inv((X * (W / share)[:, None]).T @ X)
    h = W * np.einsum("ij,jk,ik->i", X, inverse, X)
    np.testing.assert_allclose(h, expected, rtol=1e-7)
    np.testing.assert_allclose(held, plain / np.sqrt(1 - h), rtol=1e-7)


def test_what_has_no_penalised_likelihood_says_so():
    data = eg.load_data("oring")
    model = eg.GLM("damaged ~ temperature", data, family="binomial", trials="rings", link="probit")
    tree = model.fit(penalty="firth", **TIGHT)
    for call in (
        lambda: eg.hypotheses(tree, "temperature", test="lr"),
        lambda: eg.profile(tree),
    ):
        with pytest.raises(ResultError, match=r"gradient of none under the link 'probit'"):
            call()
    with pytest.raises(ResultError, match="use test='lr' or 'wald'"):
        eg.hypotheses(tree, "temperature", test="score")


def log_likelihood(p, beta, phi):
    """Σ f log f(y) from the family's own density."""
    eta = p.X @ beta + (0 if p.offset is None else p.offset)
    w = np.ones(p.row_count) if p.w is None else p.w
    rows = p.family.logpdf(p.y, p.link.inverse(eta), phi, weights=w)
    return float(np.sum(rows if p.f is None else p.f * rows))


def log_prior(p, kind, beta, phi):
    """The prior that a penalty is, up to a constant; nothing of the solver is used."""
    eta = p.X @ beta + (0 if p.offset is None else p.offset)
    w = np.ones(p.row_count) if p.w is None else p.w
    if kind == "ridge":
        constant = np.all(p.X == p.X[0], axis=0)
        return -0.5 * np.sum(beta[~constant] ** 2) / 0.7**2
    if kind == "jeffreys":
        step = 1e-6
        slope = (p.link.inverse(eta + step) - p.link.inverse(eta - step)) / (2 * step)
        W = w * slope**2 / p.family.variance(p.link.inverse(eta))
        return 0.5 * np.linalg.slogdet(p.X.T @ (W[:, None] * p.X))[1]
    theta = p.family.theta_of(p.link.inverse(eta))
    kernel = 1.3 * CENTRES[p.family.name] * theta - 1.3 * p.family.cumulant(theta)
    return float(np.sum(kernel)) / p.row_count * 2 / p.family.a(phi)


FIXED = eg.Family(
    "gamma_of_known_shape",
    b=lambda theta: -pt.log(-theta),
    c=lambda y, a: (1 / a - 1) * pt.log(y) - pt.log(a) / a - pt.gammaln(1 / a),
    support=eg.Positive,
    theta_domain=eg.Interval(None, 0),
    phi=0.05,
)

CENTRES = {"poisson": 2.0, "binomial": 0.4, "gamma": 20.0, "inverse_gaussian": 20.0, "normal": 20.0,
           "negative_binomial": 10.0, "zero_truncated_poisson": 1.8,
           "continuous_bernoulli": 0.4}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["ridge", "jeffreys", "conjugate"])
def test_a_penalty_is_the_mode_of_its_prior(kind, name):
    """SciPy climbs the log posterior from elsewhere and comes to the same point."""
    p = problem(name)
    phi = 0.05 if p.family.phi is None else p.family.phi
    given = {
        "ridge": 0.7,
        "jeffreys": "jeffreys",
        "conjugate": Given("Conjugate", kappa=2.6, mean=CENTRES[p.family.name]),
    }[kind]
    options = {"dispersion": phi} if p.family.phi is None else {}
    tree = fit(p, penalty=given, **options, **TIGHT)
    beta = tree["fit"]["beta"].values
    root = np.linalg.cholesky(tree["fit"]["covariance"].values[0])

    def objective(z):
        at = beta + root @ z
        return -log_likelihood(p, at, phi) - log_prior(p, kind, at, phi)

    found = optimize.minimize(objective, np.full(beta.size, 0.3), method="Nelder-Mead",
                              options={"xatol": 1e-5, "fatol": 1e-11, "maxiter": 4000})  # fmt: skip
    # a simplex sees the maximum to √ of the rounding of the log posterior
    assert np.max(np.abs(found.x)) < 3e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ridge", "jeffreys", "conjugate"])
@pytest.mark.parametrize("name", ["poisson", "binomial-probit", "negative_binomial", "gamma-log"])
def test_a_penalty_is_the_mode_of_the_other_road(name, kind):
    """The gradient of the sampler's log-posterior vanishes at the penalised estimate."""
    p = problem(name)
    if kind == "conjugate" and p.family.phi is None:
        p = replace(p, family=FIXED)
    phi = 0.05 if p.family.phi is None else p.family.phi
    conjugate = Prior("Conjugate", kappa=2.6)
    penalty = {"ridge": 0.7, "jeffreys": "jeffreys", "conjugate": conjugate}[kind]
    priors = {
        "ridge": {"Intercept": "flat", "beta": Prior("Normal", mu=0, sigma=0.7)},
        "jeffreys": "jeffreys",
        "conjugate": conjugate,
    }[kind]
    options = {"dispersion": phi} if p.family.phi is None else {}
    tree = fit(p, penalty=penalty, **options, **TIGHT)
    beta = tree["fit"]["beta"].values
    posterior = LogPosterior(p, apply(p, priors))
    z = np.append(beta, np.log(phi))[: posterior.n_dim]
    gradient = posterior(z)[1][: beta.size]
    se = tree["fit"]["se"].values
    assert np.max(np.abs(gradient) * se) < 1e-6


def test_ridge_covariance_is_the_inverse_of_information_and_precision():
    p = problem("gamma-log")
    tree = fit(p, penalty=0.2, **TIGHT)
    phi, beta = float(tree["fit"]["phi"]), tree["fit"]["beta"].values
    (W,) = row_kernel(p.family, p.link, ("weight",))(p.X @ beta, p.y, 1.0)
    W = np.broadcast_to(W, p.y.shape)
    precision = p.X.T @ (p.X * W[:, None]) / phi + np.diag([0, 1, 1]) / 0.2**2
    np.testing.assert_allclose(tree["fit"]["covariance"].values[0], np.linalg.inv(precision),
                               rtol=1e-9, atol=1e-15)  # fmt: skip


def test_firth_is_jeffreys_only_under_the_canonical_link_with_known_dispersion():
    for name, same in (("poisson", True), ("binomial", True), ("binomial-probit", False),
                       ("binomial-cloglog", False), ("gamma", False)):  # fmt: skip
        p = problem(name)
        # where φ is free, it takes a different value too, if it is adjusted with β
        how = {"dispersion": "ml"} if p.family.phi is None else {}
        first, second = (fit(p, penalty=k, **how, **TIGHT)["fit"] for k in ("firth", "jeffreys"))
        gap = np.max(np.abs(first["beta"].values - second["beta"].values) / first["se"].values)
        assert (gap < 1e-8) == same, name


def test_firth_removes_the_bias_of_first_order():
    """The mean of the estimate over all samples of a small binomial model, computed exactly."""
    N, x = 12, np.array([0.0, 1.0])
    mu = 1 / (1 + np.exp(-(-0.3 + 0.8 * x)))
    bias = 0.0
    from scipy.stats import binom

    for first in range(N + 1):
        for second in range(N + 1):
            chance = binom.pmf(first, N, mu[0]) * binom.pmf(second, N, mu[1])
            # saturated: Firth adds a half to successes and to failures
            estimate = np.log((second + 0.5) / (N - second + 0.5)) - np.log(
                (first + 0.5) / (N - first + 0.5)
            )
            bias += chance * (estimate - 0.8)
    assert abs(bias) < 0.01
    data = {"y": [3, 9], "x": x, "n": [N, N]}
    found = eg.GLM("y ~ x", data, family="binomial", trials="n").fit(penalty="firth", **TIGHT)
    exact = [np.log(3.5 / 9.5), np.log(9.5 / 3.5) - np.log(3.5 / 9.5)]
    np.testing.assert_allclose(found["fit"]["beta"], exact, rtol=1e-9)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
@pytest.mark.parametrize("penalty", ["firth", "jeffreys"])
def test_separated_data_have_finite_estimates(link, penalty):
    data = {"y": [0, 0, 0, 1, 1, 1], "x": [1, 2, 3, 4, 5, 6]}
    model = eg.GLM("y ~ x", data, family="binomial", link=link)
    with pytest.raises(SeparationError, match="penalty='firth'"):
        model.fit()
    found = model.fit(penalty=penalty)["fit"]
    assert np.all(np.isfinite(found["beta"])) and np.all(np.isfinite(found["se"]))
    assert 0 < float(found["beta"].sel(coef="x")) < 5


def test_a_response_without_variation_has_a_finite_estimate():
    for family, y in (("binomial", [0, 0, 0, 0]), ("poisson", [0, 0, 0, 0]), ("binomial", [1] * 4)):
        model = eg.GLM("y ~ x", {"y": y, "x": [0, 1, 2, 3]}, family=family)
        assert np.all(np.isfinite(model.fit(penalty="firth")["fit"]["beta"]))


def test_conjugate_prior_is_pseudo_observations():
    """κ successes-and-failures in the mean m: the same as data with these added to every row."""
    rings = eg.load_data("oring")
    n, kappa, m = len(rings), 4.6, 0.2
    prior = Given("Conjugate", kappa=kappa, mean=m)
    model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    tree = model.fit(penalty=prior, **TIGHT)
    added = rings.assign(
        share=(rings["damaged"] + m * kappa / n) / (rings["rings"] + kappa / n),
        w=rings["rings"] + kappa / n,
    )
    other = eg.GLM("share ~ temperature", added, family="quasi_binomial", weights="w").fit(
        dispersion=1.0, **TIGHT
    )
    for name in ("beta", "se"):
        np.testing.assert_allclose(tree["fit"][name], other["fit"][name], rtol=1e-9)
    stats = tree["fit_stats"]
    assert float(stats["n_observations"]) == n and float(stats["df_residual"]) == n - 2
    # deviance and X² are those of the rows themselves
    mu = 1 / (1 + np.exp(-model.problem.X @ tree["fit"]["beta"].values))
    expected = np.sum(model.problem.w * model.family.deviance(model.problem.y, mu))
    assert float(stats["deviance"]) == pytest.approx(expected, rel=1e-10)
    assert tree.attrs["penalty"] == "conjugate(kappa=4.6, mean=0.2)"
    separated = eg.GLM("y ~ x", {"y": [0, 0, 1, 1], "x": [1, 2, 3, 4]}, family="binomial")
    assert np.all(np.isfinite(separated.fit(penalty=Given("Conjugate", kappa=1.0))["fit"]["beta"]))


@pytest.mark.parametrize("penalty", ["firth", "jeffreys", 0.5, Given("Conjugate", kappa=3.0)])
def test_invariances_of_penalised_fits(penalty):
    """Frequencies are repeated rows; the order of rows and (but for a ridge) the basis of the
    columns do not matter."""
    quine = eg.load_data("quine")
    f = 1 + np.arange(len(quine)) % 3
    roles = {"family": "negative_binomial"}
    roles["family"] = eg.families.negative_binomial(0.8)
    weighted = eg.GLM("days ~ sex + age", quine, freq_weights=f, **roles).fit(
        penalty=penalty, **TIGHT
    )
    again = quine.loc[np.repeat(quine.index, f)].sample(frac=1, random_state=1)
    repeated = eg.GLM("days ~ sex + age", again, **roles).fit(penalty=penalty, **TIGHT)
    for name in ("beta", "se"):
        np.testing.assert_allclose(weighted["fit"][name], repeated["fit"][name], rtol=1e-8)
    if penalty == 0.5:
        return
    p = eg.GLM("days ~ sex + age", quine, **roles).problem
    A = np.random.default_rng(0).normal(size=(5, 5)) @ np.diag([1e6, 1, 1e-6, 10, 0.1])
    plain, turned = (
        eg.GLM.from_arrays(p.y, X, **roles).fit(penalty=penalty, **TIGHT)["fit"]
        for X in (p.X, p.X @ A)
    )
    gap = A @ turned["beta"].values - plain["beta"].values
    assert np.max(np.abs(gap) / plain["se"].values) < 1e-7


def test_ridge_tells_collinear_columns_apart():
    data = {"y": [1, 3, 2, 6, 7, 9], "x": [0.0, 1, 2, 3, 4, 5]}
    data["again"] = data["x"]
    tree = eg.GLM("y ~ x + again", data, family="poisson").fit(penalty=1.0)
    beta = tree["fit"]["beta"].values
    assert beta[1] == pytest.approx(beta[2], rel=1e-6) and np.isfinite(tree["fit"]["se"]).all()
    with pytest.warns(AliasWarning):
        firth = eg.GLM("y ~ x + again", data, family="poisson").fit(penalty="firth")
    assert np.isnan(firth["fit"]["beta"].values[2])


def test_dispersion_is_taken_at_the_penalised_estimate():
    p = problem("gamma-log")
    for penalty in ("firth", "jeffreys", 0.3):
        for method, df in (("pearson", "pearson_chi2"), ("deviance", "deviance")):
            tree = fit(p, penalty=penalty, dispersion=method, **TIGHT)
            expected = float(tree["fit_stats"][df]) / float(tree["fit_stats"]["df_residual"])
            assert float(tree["fit"]["phi"]) == pytest.approx(expected, rel=1e-9)
        assert float(fit(p, penalty=penalty, dispersion=0.2)["fit"]["phi"]) == 0.2


def test_criteria_and_tests_of_penalised_fits():
    model = eg.GLM("days ~ sex + age", eg.load_data("quine"), family="poisson")
    tree = model.fit(penalty="firth", cov=["fisher", "HC0"])
    for name in ("aic", "bic"):
        assert np.isnan(tree["fit_stats"][name])
    assert np.isfinite(tree["fit_stats"]["loglik"])
    assert tree.attrs["penalty"] == "firth"
    assert tree.attrs["estimator"] == "penalised maximum likelihood"
    assert eg.hypotheses(tree, "sex[M] = 0").p_value > 0
    for call in (
        lambda: eg.hypotheses(tree, "sex[M]", test="score"),
        lambda: eg.deviance_table(tree),
    ):
        with pytest.raises(ResultError, match="without a penalty"):
            call()
    with pytest.raises(ArgumentError, match="no HC0 covariance"):
        eg.hypotheses(tree, "sex[M]", test="lr", cov_type="HC0")


def test_refusals():
    quine = eg.load_data("quine")
    model = eg.GLM("days ~ sex + age", quine, family="poisson")
    for options, message in (
        ({"penalty": "lasso"}, "'lasso' is not known"),
        ({"penalty": 0}, "positive number"),
        ({"penalty": True}, "must be 'firth'"),
        ({"penalty": [1, 2]}, "must be 'firth'"),
        ({"penalty": Given("Horseshoe")}, "must be 'firth'"),
        ({"penalty": Given("Conjugate", kappa=-1)}, "kappa=-1"),
        ({"penalty": Given("Conjugate", kappa=1, mean=-2.0)}, "mean space"),
        ({"penalty": 1.0, "cov": "HC0"}, "no meaning with penalty"),
        ({"penalty": "firth", "information": "observed"}, "not offered"),
        ({"penalty": "firth", "dispersion": "moments"}, "dispersion='moments'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            model.fit(**options)
    sampled = eg.GLM("days ~ sex", quine, family="poisson", sampling_weights=np.arange(1.0, 147))
    with pytest.raises(ArgumentError, match="sampling_weights"):
        sampled.fit(penalty="firth")
    free = eg.GLM("days ~ sex", quine, family="negative_binomial")
    with pytest.raises(ArgumentError, match=r"family.fix"):
        free.fit(penalty="firth")
    with pytest.raises(ConvergenceError, match="did not converge in 2"):
        model.fit(penalty="firth", max_iterations=2)
    quasi = eg.GLM("days ~ sex", quine, family="quasi_poisson")
    assert np.isfinite(quasi.fit(penalty="firth")["fit"]["se"]).all()
