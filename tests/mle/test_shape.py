"""Shape parameters by maximum likelihood: against R, a numerical Hessian, and at the edge."""

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy import stats
from scipy.special import wright_bessel

import expfam_glm as eg
from expfam_glm.errors import (
    ArgumentError,
    ConvergenceError,
    FitWarning,
    ResultError,
    SeparationError,
)
from expfam_glm.mle.shape_profile import row_derivatives
from tests.references import array, cases, model_of, read
from tests.tolerances import BETA_IN_SE, RELATIVE

ESTIMATED = [case for case in cases("shape") if "shapes" in case]
# α̂ from R is settled to the rounding of its score.
ESTIMATE = 1e-9


@pytest.mark.parametrize("case", ESTIMATED, ids=lambda case: case["id"])
def test_fit_agrees_with_r(case):
    tree = model_of("shape", case).fit()
    fit, found = tree["fit"], tree["fit_stats"]
    assert fit["coef"].values.tolist() == case["coef"]
    se = array(case["se"])
    gap = np.abs(fit["beta"].values - array(case["beta"])) / se
    assert gap.max() < BETA_IN_SE
    np.testing.assert_allclose(fit["se"].values, se, rtol=RELATIVE)
    for name, value in case["shapes"].items():
        np.testing.assert_allclose(float(fit[name]), value, rtol=ESTIMATE)
        log_error = float(fit[f"se_log_{name}"])
        np.testing.assert_allclose(log_error, case["se_scale"][name], rtol=RELATIVE)
    for name in ("loglik", "aic", "bic", "deviance", "null_deviance"):
        assert float(found[name]) == pytest.approx(case[name], rel=RELATIVE)


def quine(**keywords):
    return eg.GLM("days ~ ethnicity + sex", eg.load_data("quine"), **keywords)


def negative_loglik(model):
    """−ℓ of (β, log α) for log-link counts, from SciPy's density."""
    X, y = model.problem.X, model.problem.y

    def value(z):
        size, mu = np.exp(-z[-1]), np.exp(X @ z[:-1])
        return -stats.nbinom.logpmf(y, size, size / (size + mu)).sum()

    return value


def hessian(function, at, step=1e-4):
    """Second differences of fourth order."""
    k = at.size
    result = np.empty((k, k))
    for i in range(k):
        for j in range(i + 1):
            total = 0.0
            for weight_i, reach_i in ((8, 1), (-8, -1), (-1, 2), (1, -2)):
                for weight_j, reach_j in ((8, 1), (-8, -1), (-1, 2), (1, -2)):
                    z = at.copy()
                    z[i] += reach_i * step
                    z[j] += reach_j * step
                    total += weight_i * weight_j * function(z)
            result[i, j] = result[j, i] = total / (12 * step) ** 2
    return result


def test_observed_information_is_joint():
    model = quine(family="negative_binomial")
    tree = model.fit(information="observed")
    fit = tree["fit"]
    at = np.append(fit["beta"].values, np.log(float(fit["alpha"])))
    V = np.linalg.inv(hessian(negative_loglik(model), at, 1e-3))
    np.testing.assert_allclose(fit["covariance"].values[0], V[:-1, :-1], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(float(fit["se_log_alpha"]), np.sqrt(V[-1, -1]), rtol=1e-6)
    expected = model.fit()["fit"]
    held = 1 / np.sqrt(np.linalg.inv(V)[-1, -1])
    np.testing.assert_allclose(float(expected["se_log_alpha"]), held, rtol=1e-6)


def test_draws_of_a_shape_are_normal_on_its_scale():
    tree = quine(family="negative_binomial").fit()
    logged = np.log(tree["posterior"]["alpha"].values)
    assert abs(logged.mean() - np.log(float(tree["fit"]["alpha"]))) < 1e-12
    assert abs(logged.std(ddof=1) / float(tree["fit"]["se_log_alpha"]) - 1) < 1e-10
    assert tree["fit"]["se_log_alpha"].attrs["scale"] == "log(alpha)"
    table = eg.compare({"free": tree, "given": quine(family="poisson").fit()}, mixed_families=True)
    assert table["alpha"].values[0] == float(tree["fit"]["alpha"])
    assert np.isnan(table["alpha"].values[1])
    assert f"alpha: {float(tree['fit']['alpha']):.6g} (" in str(eg.summary(tree))
    assert "standard error of its logarithm" in str(eg.summary(tree))


def test_at_the_poisson_boundary():
    formula, data = "deaths ~ smoker + C(age)", eg.load_data("doctors")
    with pytest.warns(FitWarning, match=r"alpha → 0, where it becomes 'poisson'.*give alpha a val"):
        tree = eg.GLM(formula, data, family="negative_binomial").fit()
    poisson = eg.GLM(formula, data, family="poisson").fit()
    for name in ("beta", "se"):
        np.testing.assert_allclose(tree["fit"][name], poisson["fit"][name], rtol=1e-9)
    assert float(tree["fit"]["alpha"]) == 0.0
    assert np.isnan(float(tree["fit"]["se_log_alpha"]))
    assert "alpha" not in tree["posterior"]
    assert tree.attrs["limit_family"] == "poisson"
    loglik = float(poisson["fit_stats"]["loglik"])
    assert float(tree["fit_stats"]["loglik"]) == pytest.approx(loglik, rel=1e-12)
    aic = float(poisson["fit_stats"]["aic"])
    assert float(tree["fit_stats"]["aic"]) == pytest.approx(aic + 2, rel=1e-12)
    assert "alpha: 0 (at the edge of its domain, without standard error)" in str(eg.summary(tree))


@pytest.mark.slow
def test_frequency_weights_repeat_rows():
    data = eg.load_data("quine")
    data["times"] = np.arange(len(data)) % 3 + 1
    weighted = eg.GLM("days ~ sex", data, family="negative_binomial", freq_weights="times").fit()
    repeated = data.loc[data.index.repeat(data["times"])]
    longer = eg.GLM("days ~ sex", repeated, family="negative_binomial").fit()
    for name in ("beta", "se", "alpha", "se_log_alpha"):
        np.testing.assert_allclose(weighted["fit"][name], longer["fit"][name], rtol=1e-9)
    for name in ("loglik", "aic", "bic"):
        np.testing.assert_allclose(
            weighted["fit_stats"][name], longer["fit_stats"][name], rtol=1e-10
        )


def test_aliased_columns_stay_aliased():
    data = eg.load_data("quine")
    data["again"] = data["sex"]
    with pytest.warns(eg.errors.AliasWarning):
        tree = eg.GLM("days ~ sex + again", data, family="negative_binomial").fit()
    plain = eg.GLM("days ~ sex", data, family="negative_binomial").fit()
    np.testing.assert_allclose(tree["fit"]["beta"].values[:2], plain["fit"]["beta"], rtol=1e-9)
    assert np.isnan(tree["fit"]["beta"].values[2])
    np.testing.assert_allclose(tree["fit"]["alpha"], plain["fit"]["alpha"], rtol=1e-9)


def test_a_start_changes_nothing():
    model = quine(family="negative_binomial")
    started = model.fit(start=[1.0, 0.0, 0.0])
    np.testing.assert_allclose(started["fit"]["alpha"], model.fit()["fit"]["alpha"], rtol=1e-10)


def test_all_zeros_are_separated():
    with pytest.raises(SeparationError):
        eg.GLM("y ~ 1", {"y": np.zeros(8)}, family="negative_binomial").fit()


def test_gee_asks_for_a_value():
    with pytest.raises(ArgumentError, match=r"family\.fix\(alpha=…\).*fit\(\) estimates"):
        quine(family="negative_binomial").gee(groups="learner")


# ---- Tweedie -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_derivatives_of_the_tweedie_density():
    """First and second derivatives in (ξ, log a) against mpmath's in (ξ, φ)."""
    slopes = read("tweedie")["slopes"]
    kernel = row_derivatives(eg.families.tweedie(), eg.links.log, True)
    for record in slopes:
        phi = record["phi"]
        rows = kernel(np.log([record["mu"]]), np.array([record["y"]]), 1 / phi, record["power"])
        *_, by_xi, by_a, xi_xi, a_xi, a_a = (float(np.squeeze(v)) for v in rows)
        found = [by_xi, by_a / phi, xi_xi, a_xi / phi, (a_a - by_a) / phi**2]
        np.testing.assert_allclose(found, record["derivatives"], rtol=RELATIVE, atol=RELATIVE)


@pytest.mark.parametrize("case", [case for case in cases("shape") if case["family"] == "tweedie"],
                         ids=lambda case: case["id"])  # fmt: skip
def test_tweedie_of_a_given_power_agrees_with_r(case):
    tree = model_of("shape", case).fit()
    fit, found = tree["fit"], tree["fit_stats"]
    gap = np.abs(fit["beta"].values - array(case["beta"])) / array(case["se"])
    assert gap.max() < BETA_IN_SE
    np.testing.assert_allclose(fit["se"].values, array(case["se"]), rtol=RELATIVE)
    np.testing.assert_allclose(float(fit["phi"]), case["phi"], rtol=RELATIVE)
    for name in ("deviance", "null_deviance"):
        assert float(found[name]) == pytest.approx(case[name], rel=RELATIVE)


@pytest.mark.slow
def test_power_by_maximum_likelihood():
    """The maximum over (ξ, φ) of SciPy's density (Wright's function), at the fitted means."""
    data = eg.load_data("quine")
    model = eg.GLM("days ~ sex", data, family="tweedie")
    fit = (tree := model.fit(dispersion="ml"))["fit"]
    y, X = model.problem.y, model.problem.X

    def value(z):
        power, phi = 1 + 1 / (1 + np.exp(-z[0])), np.exp(z[1])
        mu, positive = np.exp(X @ z[2:]), y[y > 0]
        A = (2 - power) / (power - 1)
        kernel = (y * mu ** (1 - power) / (1 - power) - mu ** (2 - power) / (2 - power)) / phi
        z = (positive / (power - 1)) ** A / phi ** (1 + A) / (2 - power)
        return -(kernel.sum() - np.log(positive).sum() + np.log(wright_bessel(A, 0, z)).sum())

    power = float(fit["power"])
    at = np.array([np.log((power - 1) / (2 - power)), np.log(float(fit["phi"])), *fit["beta"]])
    assert float(tree["fit_stats"]["loglik"]) == pytest.approx(-value(at), rel=RELATIVE)
    H = hessian(value, at, 2e-3)
    gradient = np.array([(value(at + e) - value(at - e)) / 2e-4 for e in 1e-4 * np.eye(4)])
    assert np.abs(np.linalg.solve(H, gradient)).max() < 1e-6  # Newton's step from here
    V = np.linalg.inv(H[:2, :2])
    np.testing.assert_allclose(float(fit["se_logit_power"]), np.sqrt(V[0, 0]), rtol=1e-5)
    np.testing.assert_allclose(float(fit["se_log_phi"]), np.sqrt(V[1, 1]), rtol=1e-5)
    drawn = tree["posterior"]
    u = np.log((drawn["power"] - 1) / (2 - drawn["power"])).values.ravel()
    found = np.corrcoef(u, np.log(drawn["phi"].values.ravel()))[0, 1]
    assert found == pytest.approx(V[0, 1] / np.sqrt(V[0, 0] * V[1, 1]), rel=1e-4)


@pytest.mark.slow
def test_at_the_gamma_boundary():
    model = eg.GLM("time ~ log(u)", eg.load_data("clotting"), family="tweedie")
    with pytest.warns(FitWarning, match="power → 2, where it becomes 'gamma'"):
        tree = model.fit()
    gamma = eg.GLM("time ~ log(u)", eg.load_data("clotting"), family="gamma", link="log").fit()
    np.testing.assert_allclose(tree["fit"]["beta"], gamma["fit"]["beta"], rtol=1e-9)
    assert float(tree["fit"]["power"]) == 2.0 and "power" not in tree["posterior"]
    assert tree.attrs["limit_family"] == "gamma"


# ---- shapes of a user's own ----------------------------------------------------------------------


def gamma_by(name, domain, size):
    """The gamma family with φ = 1 and the shape size(parameter)."""
    return eg.Family(
        f"gamma_by_{name}",
        b=lambda theta, **shape: -size(shape[name]) * pt.log(-theta),
        c=lambda y, a, **shape: (size(shape[name]) - 1) * pt.log(y) - pt.gammaln(size(shape[name])),
        support=eg.Positive,
        theta_domain=eg.Interval(None, 0),
        theta=lambda mu, **shape: -size(shape[name]) / mu,
        phi=1.0,
        shape={name: domain},
        link="log",
    )


REWRITTEN = {  # each with dk/du · 1/k on its working scale
    "k": (eg.Positive, lambda k: k, "se_log_k", lambda k: k),
    "share": (eg.UnitInterval, lambda share: share / (1 - share), "se_logit_share",
              lambda k: k / (1 + k)),
    "height": (eg.Real, pt.exp, "se_height", np.log),
    "below": (eg.Interval(None, 3), lambda below: 3 - below, "se_log_below", lambda k: 3 - k),
    "off": (eg.Interval(-2, None), lambda off: off + 2, "se_log_off", lambda k: k - 2),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_shape_of_the_users_own_is_the_gamma_dispersion(name):
    domain, size, error, back = REWRITTEN[name]
    model = eg.GLM("time ~ log(u) + lot", eg.load_data("clotting"),
                   family=gamma_by(name, domain, size))  # fmt: skip
    tree = model.fit()
    gamma = eg.GLM("time ~ log(u) + lot", eg.load_data("clotting"), family="gamma", link="log")
    known = gamma.fit(dispersion="ml")
    k = 1 / float(known["fit"]["phi"])
    np.testing.assert_allclose(float(tree["fit"][name]), back(k), rtol=1e-9)
    np.testing.assert_allclose(float(tree["fit"][error]), known["fit"]["se_log_phi"], rtol=1e-8)
    np.testing.assert_allclose(tree["fit"]["beta"], known["fit"]["beta"], rtol=1e-9)
    np.testing.assert_allclose(tree["fit"]["se"], known["fit"]["se"], rtol=1e-8)
    for stat in ("loglik", "aic", "bic"):
        np.testing.assert_allclose(tree["fit_stats"][stat], known["fit_stats"][stat], rtol=1e-9)
    assert np.all(domain.contains(tree["posterior"][name].values))


def test_an_edge_without_a_known_limit_is_refused():
    family = gamma_by("k", eg.Interval(0, 20), lambda k: k)  # the maximum is at 56
    model = eg.GLM("time ~ log(u) + lot", eg.load_data("clotting"), family=family)
    with pytest.raises(ConvergenceError, match=r"still rises as k → 20, .*family\.fix\(k=…\)"):
        model.fit()


def test_a_wrong_density_is_refused_at_a_value_of_the_shape():
    family = eg.Family(
        "wrong", b=lambda theta, k: -k * pt.log(-theta), c=lambda y, a, k: (k - 1) * pt.log(y),
        support=eg.Positive, theta_domain=eg.Interval(None, 0), theta=lambda mu, k: -k / mu,
        phi=1.0, shape={"k": eg.Interval(2, 4)}, link="log",
    )  # fmt: skip
    with pytest.raises(eg.errors.DeclarationError, match=r"total mass 2 at μ = .*, k = 3"):
        eg.GLM("time ~ lot", eg.load_data("clotting"), family=family)


# ---- hypotheses and profiles with the shape estimated again ------------------------------------


COMPARED = [
    pytest.param(case, id=case["id"], marks=[pytest.mark.slow] * (case["data"] != "insurance"))
    for case in read("shape")["compared"]
]


@pytest.mark.parametrize("case", COMPARED)
def test_ratios_and_scores_agree_with_r(case):
    large = model_of("shape", case).fit(tol=1e-10, draws=10)
    small = model_of("shape", case | {"formula": case["small"]}).fit(tol=1e-10, draws=10)
    for test in ("lr", "score"):
        nested = eg.deviance_table([small, large], test=test).table.iloc[-1]
        last = eg.deviance_table(large, test=test).table.iloc[-1]
        for found in (nested, last):
            assert found["df"] == case["df"]
            # a difference of log-likelihoods of several hundred
            assert found["statistic"] == pytest.approx(case[test], rel=1e-7)
    gone = [c for c in large["fit"]["coef"].values if c not in small["fit"]["coef"].values]
    joint = eg.hypotheses(large, [str(c) for c in gone], test="score")
    assert joint.statistic == pytest.approx(case["score"], rel=1e-7)
    assert eg.hypotheses(large, [str(c) for c in gone], test="lr").p_value == pytest.approx(
        stats.chi2.sf(case["lr"], case["df"]), rel=1e-6
    )


@pytest.mark.parametrize("case", COMPARED)
def test_profile_agrees_with_the_maximum_over_all_else(case):
    large = model_of("shape", case).fit(tol=1e-10, draws=10)
    found = eg.profile(large, coefs=case["coef"], ci_prob=0.95)
    gap = (found["interval"].values[0] - array(case["interval"])) / case["se"]
    assert np.abs(gap).max() < 1e-6  # uniroot of a difference of log-likelihoods
    assert found.attrs["df"] == np.inf


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] * (case["data"] != "clotting"))
        for case in read("shape")["profiles"]
    ],
)
def test_profiles_of_parameters_agree_with_r(case):
    tree = model_of("shape", case).fit(draws=10)
    found = eg.profile(tree, parameters=case["parameter"], ci_prob=0.95)
    assert found["coef"].values.tolist() == [case["parameter"]]
    estimate = float(found["estimate"][0])
    assert estimate == pytest.approx(case["estimate"], rel=1e-6)  # optimize()'s √ of rounding
    # uniroot of a difference of log-likelihoods of several hundred
    np.testing.assert_allclose(found["interval"].values[0], array(case["interval"]), rtol=1e-8)
    log_error = float(found["se"][0]) / estimate
    likely = model_of("shape", case).fit(
        draws=10, **({"dispersion": "ml"} if case["parameter"] == "phi" else {})
    )
    name = f"se_log_{case['parameter']}"
    joint = model_of("shape", case).fit(draws=10, information="observed") if (
        case["parameter"] == "alpha") else likely  # fmt: skip
    assert log_error == pytest.approx(float(joint["fit"][name]), rel=1e-6)
    assert float(likely["fit"][case["parameter"]]) == pytest.approx(estimate, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["power", "phi"])
def test_the_profile_of_tweedie_is_the_highest_over_all_else(name):
    """−2ℓ minimised by SciPy over the rest at either end of the interval."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(8)
    x = np.linspace(-1, 1, 60)
    y = np.array([rng.gamma(1.5, 1.0, rng.poisson(np.exp(0.4 + 0.3 * v))).sum() for v in x])
    tree = eg.GLM("y ~ x", {"x": x, "y": y}, family="tweedie").fit(draws=10)
    found = eg.profile(tree, parameters=name, ci_prob=0.9)

    def lowest(held):
        def height(z):
            logit, log_phi = [(held, z[2]), (z[2], held)][name == "phi"]
            mu = np.exp(z[0] + z[1] * x)
            return -tweedie_logpdf(y, mu, np.exp(log_phi), 1 + 1 / (1 + np.exp(-logit))).sum()

        return minimize(height, [0.5, 0.3, 0.0], method="Nelder-Mead",
                        options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 4000}).fun  # fmt: skip

    top = float(tree["fit_stats"]["loglik"])
    for end in found["interval"].values[0]:
        u = np.log(end) if name == "phi" else np.log((end - 1) / (2 - end))
        assert 2 * (top + lowest(u)) == pytest.approx(stats.norm.ppf(0.95) ** 2, rel=1e-6)


def test_an_interval_may_reach_the_edge_of_a_shape():
    """α̂ > 0, but the Poisson likelihood is not far below: gone down to it by SciPy's density."""
    data = {"y": [2, 0, 3, 1, 4, 3, 2, 5, 1, 3, 9, 2], "x": np.arange(12) / 12}
    tree = eg.GLM("y ~ x", data, family="negative_binomial").fit(draws=10)
    poisson = eg.GLM("y ~ x", data, family="poisson").fit(draws=10)["fit_stats"]["loglik"]
    assert 0 < 2 * (float(tree["fit_stats"]["loglik"]) - float(poisson)) < 3.8
    found = eg.profile(tree, parameters="alpha", ci_prob=0.95)
    low, high = found["interval"].values[0]
    assert low == 0 and float(tree["fit"]["alpha"]) < high < np.inf


def test_parameters_that_have_no_profile():
    quine_data = eg.load_data("quine")
    poisson = eg.GLM("days ~ sex", quine_data, family="poisson").fit(draws=10)
    with pytest.raises(ArgumentError, match="no parameter of 'poisson' was estimated"):
        eg.profile(poisson, parameters="phi")
    quasi = eg.GLM("days ~ sex", quine_data, family="quasi_poisson").fit(draws=10)
    with pytest.raises(ResultError, match="no likelihood of its dispersion"):
        eg.profile(quasi, parameters="phi")
    clotting = eg.GLM("time ~ lot", eg.load_data("clotting"), family="gamma")
    with pytest.raises(ArgumentError, match="no parameter of 'gamma' was estimated"):
        eg.profile(clotting.fit(dispersion=0.1, draws=10), parameters="phi")
    with pytest.raises(ArgumentError, match=r"'alpha' is not among the estimated parameters phi"):
        eg.profile(clotting.fit(draws=10), parameters=["alpha"])
    with pytest.raises(ArgumentError, match="each in a call of its own"):
        eg.profile(clotting.fit(draws=10), coefs="lot", parameters="phi")
    with pytest.raises(ResultError, match="without a penalty"):
        eg.profile(clotting.fit(penalty="jeffreys", draws=10), parameters="phi")


def tweedie_logpdf(y, mu, phi, power):
    """A Poisson sum of gamma variables, written out."""
    rate = mu ** (2 - power) / (phi * (2 - power))
    shape, scale = (2 - power) / (power - 1), phi * (power - 1) * mu ** (power - 1)
    n = np.arange(1, 200)[:, None]
    some = stats.poisson.pmf(n, rate) * stats.gamma.pdf(y, n * shape, scale=scale)
    with np.errstate(divide="ignore"):
        return np.where(y == 0, -rate, np.log(some.sum(axis=0)))


@pytest.mark.slow
def test_tweedie_is_compared_with_power_and_dispersion_estimated_again():
    """−2ℓ minimised by SciPy over β, φ and the power."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(8)
    x = np.linspace(-1, 1, 60)
    y = np.array([rng.gamma(1.5, 1.0, rng.poisson(np.exp(0.4 + 0.3 * v))).sum() for v in x])
    tree = eg.GLM("y ~ x", {"x": x, "y": y}, family="tweedie").fit(draws=10)

    def lowest(design):
        def height(z):
            mu = np.exp(design @ z[:-2])
            return -tweedie_logpdf(y, mu, np.exp(z[-2]), 1 + 1 / (1 + np.exp(-z[-1]))).sum()

        start = np.array([*[0.3] * design.shape[1], 0.0, 0.0])
        return minimize(height, start, method="Nelder-Mead",
                        options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 4000}).fun  # fmt: skip

    one = np.ones((60, 1))
    expected = 2 * (lowest(one) - lowest(np.column_stack([one, x])))
    found = eg.hypotheses(tree, "x = 0", test="lr")
    assert (found.df, found.df_denominator) == (1, np.inf)
    assert found.statistic == pytest.approx(expected, abs=1e-6)
    table = eg.deviance_table(tree).table
    assert table["minus_2_loglik"].iloc[0] == pytest.approx(2 * lowest(one), abs=1e-6)


@pytest.mark.slow
def test_a_shape_at_its_edge_is_compared_all_the_same():
    """Counts that vary less than Poisson's: α̂ = 0 in the larger model and in the smaller."""
    data = {"y": [2, 3, 3, 4, 4, 5, 5, 6, 6, 7], "x": np.arange(10) / 10}
    with pytest.warns(FitWarning, match="still rises as alpha"):
        tree = eg.GLM("y ~ x", data, family="negative_binomial").fit(draws=10)
    poisson = eg.GLM("y ~ x", data, family="poisson").fit(draws=10)
    for test in ("lr", "score"):
        ours, theirs = (eg.hypotheses(t, "x = 0", test=test) for t in (tree, poisson))
        assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
    first, second = (eg.profile(t, coefs="x")["interval"].values for t in (tree, poisson))
    np.testing.assert_allclose(first, second, rtol=1e-7)
    every = eg.hypotheses(tree, "x = 0, Intercept = 1.5", test="lr").statistic
    assert every == pytest.approx(
        eg.hypotheses(poisson, "x = 0, Intercept = 1.5", test="lr").statistic, rel=1e-9
    )
