"""Group effects in the PyMC model and in the result tree."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.group_density import GroupPosterior, lkj_logpdf
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.prior import QUICK as PLAIN
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.bayes.whiten import whitened_groups
from expfam_glm.errors import ArgumentError, DataError, ResultError

QUICK = {"mode": "FAST_COMPILE"}
DENSITY = 1e-10


def data() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(6), 5)
    x = rng.normal(size=g.size)
    return {"y": rng.poisson(np.exp(0.3 + 0.2 * x + 0.5 * rng.normal(size=6)[g])), "x": x, "g": g}


def test_independent_effects_have_the_density_written_by_hand() -> None:
    columns = data()
    own = eg.GLM("y ~ x + (1 + x || g)", columns, family="poisson").problem
    priors = {"beta": eg.Prior("Normal", mu=0, sigma=2), "sd_g": eg.Prior("HalfNormal", sigma=1.5)}
    model = to_pymc(own, priors)
    rng = np.random.default_rng(1)
    beta, log_sd, z = rng.normal(size=2), rng.normal(size=2), rng.normal(size=(6, 2))
    point = {"beta": beta, "sd_g_log__": log_sd, "z_g": z}
    b = z * np.exp(log_sd)
    eta = own.X @ beta + b[columns["g"], 0] + b[columns["g"], 1] * columns["x"]
    expected = (
        stats.norm.logpdf(beta, 0, 2).sum() + stats.norm.logpdf(z).sum()
        + (stats.halfnorm.logpdf(np.exp(log_sd), scale=1.5) + log_sd).sum()
        + stats.poisson.logpmf(columns["y"], np.exp(eta)).sum()
    )  # fmt: skip
    found = float(model.compile_logp(**QUICK)(point))
    assert found == pytest.approx(expected, rel=DENSITY)


def test_correlated_effects_have_the_correlation_of_their_draws() -> None:
    own = eg.GLM("y ~ x + (1 + x | g)", data(), family="poisson").problem
    model = to_pymc(own)
    assert model.named_vars_to_dims["b_g"] == ("g", "effect_g")
    assert model.named_vars_to_dims["corr_g"] == ("effect_g", "effect_g2")
    assert list(model.coords["effect_g"]) == ["Intercept", "x"]
    wanted = [model[name] for name in ("b_g", "sd_g", "corr_g", "z_g")]
    b, sd, corr, z = pm.draw(wanted, random_seed=3, mode=PLAIN)
    root = sd[:, None] * np.linalg.cholesky(corr)
    np.testing.assert_allclose(b, z @ root.T, rtol=1e-10)


def test_priors_of_the_standard_deviations() -> None:
    own = eg.GLM("y ~ x + (1 | g)", data(), family="poisson").problem
    (prior,) = apply(own, "default").spreads["sd_g"]
    assert prior == eg.Prior("HalfNormal", sigma=2.5)  # log link: the unit of η is 1
    for bad in ("flat", eg.Prior("Normal", mu=0, sigma=1)):
        with pytest.raises(ArgumentError, match="sd_g"):
            apply(own, {"sd_g": bad})
    with pytest.raises(ArgumentError, match="group effects go with"):
        to_pymc(own, "jeffreys")
    with pytest.raises(ArgumentError, match="group effects go with"):
        to_pymc(eg.GLM("y ~ x + (1 | g)", data(), family="quasi_poisson").problem)


def tree_of(link: str, sd: float, family: str = "poisson") -> xr.DataTree:
    """A tree as `sample` lays it out, with one draw of known coefficients."""
    columns = data()
    if family == "binomial":
        columns["y"] = (columns["y"] > 1) + 0.0
    own = eg.GLM("y ~ x + (1 | g)", columns, family=family, link=link).problem
    from expfam_glm.bayes.groups import posterior_tree
    from expfam_glm.bayes.roads import Chains
    from expfam_glm.tree import common_attrs

    effects = {"b_g": np.zeros((1, 2, 6, 1)), "sd_g": np.full((1, 2, 1), sd)}
    beta = np.array([[[0.4, 0.3], [0.2, -0.1]]])
    found = Chains(beta, None, xr.Dataset(), effects=effects)
    attrs = common_attrs(kind="NUTS", estimator="posterior", **own.attrs())
    return posterior_tree(own, apply(own, "default"), found, {}, attrs, 1)


@pytest.mark.parametrize(
    ("family", "link", "gain", "factor"),
    [
        ("poisson", "log", 0.5 * 0.7**2, 1.0),
        ("binomial", "probit", 0.0, 1 / np.sqrt(1 + 0.7**2)),
    ],
)
def test_population_averages_with_closed_forms(
    family: str, link: str, gain: float, factor: float
) -> None:
    tree = tree_of(link, 0.7, family)
    before = tree["posterior"]["beta"].values
    after = eg.population_average(tree)["posterior"]["beta"].values
    np.testing.assert_allclose(after, before * factor + [gain, 0.0], rtol=1e-7, atol=1e-9)


def test_population_average_of_a_logit_by_quadrature() -> None:
    tree = tree_of("logit", 1.5, "binomial")
    within = tree["posterior"]["beta"].values[0, 0]
    X = tree["constant_data"]["X"].values
    b = np.linspace(-12, 12, 4001)
    density = stats.norm.pdf(b, scale=1.5)
    mean = [(density / (1 + np.exp(-(eta + b)))).sum() / density.sum() for eta in X @ within]
    fitted = eg.GLM.from_arrays(mean, X, family="quasi_binomial").fit()
    found = eg.population_average(tree)["posterior"]["beta"].values[0, 0]
    np.testing.assert_allclose(found, fitted["fit"]["beta"].values, rtol=1e-6)
    assert "posterior_within_groups" in eg.population_average(tree).children


def test_an_average_is_not_averaged_again() -> None:
    with pytest.raises(ResultError, match=r"averages over 'g' already"):
        eg.population_average(eg.population_average(tree_of("log", 0.7)))


def test_what_ignores_group_effects_is_refused() -> None:
    tree = tree_of("log", 0.7)
    calibrate = partial(eg.calibrate, cov=np.eye(2))
    posterior_of = [eg.residuals, eg.predict, eg.marginal_effects, eg.loo, calibrate]
    for function in posterior_of:
        with pytest.raises(ResultError, match=r"does not know the effects of the groups \(g\)"):
            function(tree)
    model = eg.GLM("y ~ x + (1 | g)", data(), family="poisson")
    for refused in (model.laplace, model.fit):
        with pytest.raises(ArgumentError, match=r"takes no group effects \(… \| g\)"):
            refused()


@pytest.mark.parametrize(
    ("name", "family", "reason"),
    [
        *((name, "poisson", f"'{name}' is taken") for name in ("coef", "draw", "obs_id", "beta")),
        ("phi", "gamma", "'phi' is taken"),
        ("alpha", "negative_binomial", "'alpha' is taken"),
        ("a/b", "poisson", "a name with a '/' cannot stand there"),
        ("effect_g", "poisson", "'effect_g' is taken"),
        ("b_g", "poisson", "'b_g' is taken"),
    ],
)
def test_groups_with_a_name_that_the_result_needs(name: str, family: str, reason: str) -> None:
    given = data()
    given |= {"y": given["y"] + 1, name: given["g"]}
    model = eg.GLM(f"y ~ x + (1 | g) + (1 | `{name}`)", given, family=family, link="log")
    for road in (model.prior_predictive, model.to_pymc, model.sample):
        with pytest.raises(DataError, match=f"'{name}'.*{reason}; rename the column"):
            road()


def test_groups_with_a_name_that_the_model_of_pymc_needs() -> None:
    given = data()
    model = eg.GLM("y ~ x + (1 | X)", given | {"X": given["g"]}, family="poisson")
    with pytest.raises(DataError, match="'X' is taken; rename the column"):
        model.to_pymc()
    assert "X" in model.prior_predictive(draws=2)["prior"].dims


def test_predictions_for_the_population() -> None:
    tree = eg.population_average(tree_of("log", 0.7))
    beta = tree["posterior"]["beta"].values[0]
    found = eg.predict(tree, {"x": [0.0, 1.0]})
    expected = np.exp(beta @ [[1.0, 1.0], [0.0, 1.0]]).mean(axis=0)
    np.testing.assert_allclose(found["estimate"], expected, rtol=1e-12)
    with pytest.raises(ResultError, match="does not know the effects"):
        eg.predict(tree, {"x": [0.0]}, interval="new")  # a new response has its own group's effect


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::expfam_glm.errors.SamplingWarning")  # enough for 1 se
@pytest.mark.parametrize(
    ("data_name", "formula", "group", "family"),
    [
        ("ohio", "wheeze ~ age + smoke", "child", "binomial"),
        ("respiratory", "outcome ~ treatment + age + baseline", "person", "binomial"),
    ],
)
def test_population_average_agrees_with_estimating_equations(
    data_name: str, formula: str, group: str, family: str
) -> None:
    columns = eg.load_data(data_name)
    if data_name == "respiratory":  # patients are numbered within centres
        columns = columns.assign(person=1000 * columns["center"] + columns["patient"])
    gee = eg.GLM(formula, columns, family=family).gee(groups=group)
    model = eg.GLM(f"{formula} + (1 | {group})", columns, family=family)
    tree = model.sample(draws=500, tune=700, random_seed=1, progressbar=False,
                        log_likelihood=False, posterior_predictive=False)  # fmt: skip
    beta = eg.population_average(tree)["posterior"]["beta"]
    pull = (beta.mean(("chain", "draw")) - gee["fit"]["beta"]) / gee["fit"]["se"]
    assert float(np.abs(pull).max()) < 1.0
    within = tree["posterior"]["beta"].mean(("chain", "draw"))
    assert float(tree["posterior"][f"sd_{group}"].mean()) > 0.3
    assert not np.allclose(within, beta.mean(("chain", "draw")), rtol=0.01)


FORMULAS = {
    "intercepts": "y ~ x + (1 | g)",
    "independent": "y ~ x + (1 + x || g)",
    "correlated": "y ~ x + (1 + x + I(x**2) | g)",
    "crossed": "y ~ x + (1 + x | g) + (1 | h)",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")  # the graph has products
@pytest.mark.parametrize("family", ["poisson", "gamma", "negative_binomial"])
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS.keys())
def test_kernels_are_the_model(formula: str, family: str) -> None:
    columns = data() | {"h": np.tile(np.arange(5), 6)}
    columns["y"] = columns["y"] + (0.5 if family == "gamma" else 0.0)
    glm = eg.GLM(formula, columns, family=family, link="log", freq_weights=1 + columns["h"] % 2)
    own, applied = glm.problem, apply(glm.problem, "default")
    model, density = build(own, applied), GroupPosterior(own, applied)
    logp, dlogp = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    rng = np.random.default_rng(4)
    for _ in range(3):
        z = 0.4 * rng.standard_normal(density.n_dim)
        places = places_of(density)
        order = [places[v.name.removesuffix("__").split("_cholesky")[0]] for v in model.value_vars]
        shapes = {name: np.shape(value) for name, value in model.initial_point().items()}
        named = {
            v.name: z[place].reshape(shapes[v.name])
            for v, place in zip(model.value_vars, order, strict=True)
        }
        value, gradient = density(z)
        assert value == pytest.approx(float(logp(named)), rel=DENSITY)
        slope = np.empty(z.size)
        slope[np.concatenate(order)] = dlogp(named)
        np.testing.assert_allclose(gradient, slope, rtol=DENSITY, atol=DENSITY)


def places_of(density: GroupPosterior) -> dict[str, np.ndarray]:
    """Where the value variables of the model stand in z."""
    places = {"beta": np.arange(density.p)}
    places |= {f"{name}_log": np.array([density.p + k]) for k, name in enumerate(density.scales)}
    places |= {"phi_log": np.array([density.base - 1])} if density.free else {}
    for part in density.parts:
        name = f"root_{part.name}" if part.spread.full else f"sd_{part.name}_log"
        places |= {f"z_{part.name}": np.r_[part.z], name: np.r_[part.v]}
    return places


@pytest.mark.parametrize("q", [2, 3, 4])
def test_density_of_correlations(q: int) -> None:
    corr = np.corrcoef(np.random.default_rng(q).normal(size=(q, 9)))
    L = np.linalg.cholesky(corr)
    of_factor = pm.logp(pm.LKJCorr.dist(n=q, eta=np.float64(2.0)), L).eval(mode=PLAIN)
    jacobian = np.sum(np.arange(q - 1, -1, -1) * np.log(np.diagonal(L)))
    assert float(lkj_logpdf(corr)) == pytest.approx(float(of_factor) - jacobian, rel=DENSITY)


@pytest.mark.slow
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", FORMULAS["crossed"]])
def test_whitened_coordinates(formula: str) -> None:
    columns = data() | {"h": np.tile(np.arange(5), 6)}
    own = eg.GLM(formula, columns, family="poisson").problem
    applied = apply(own, "default")
    density = GroupPosterior(own, applied)
    partly, found = whitened_groups(density, near_mode(own, applied))
    rng = np.random.default_rng(1)
    u, g = rng.standard_normal((2, density.n_dim))
    moved = found.forward(u) - found.centre
    assert float(moved @ g) == pytest.approx(float(u @ found.backward(g)), rel=1e-9)
    # given the variances: a mode, and precision I there
    inner = np.setdiff1d(np.arange(density.n_dim), found.outer)
    root = np.column_stack([found.forward(e) - found.centre for e in np.eye(density.n_dim)])
    assert np.max(np.abs(density(found.centre)[1] @ root[:, inner])) < 1e-3
    step = 1e-4 * root[:, inner].T
    bend = [density(found.centre - h)[1] - density(found.centre + h)[1] for h in step]
    precision = np.array(bend)[:, :] @ root[:, inner] / 2e-4
    np.testing.assert_allclose(precision, np.eye(inner.size), atol=1e-3)
    # between centred and not: the same density with the Jacobian of the effects' scale
    w = found.forward(0.5 * u)
    z, jacobian = w.copy(), 0.0
    for group in partly.groups:
        own = np.exp(-group.share * (w[group.v] - found.centre[group.v]))
        z[group.z], jacobian = w[group.z] * own, jacobian + float(np.log(own).sum())
    value, gradient = partly(w)
    assert value == pytest.approx(density(z)[0] + jacobian, rel=1e-12)
    numeric = [(partly(w + h)[0] - partly(w - h)[0]) / 2e-5 for h in 1e-5 * np.eye(w.size)]
    np.testing.assert_allclose(gradient, numeric, atol=1e-5 * (1 + np.abs(gradient).max()))
    for name, values in density.expand(z).items():
        np.testing.assert_array_equal(partly.expand(w)[name], values)
    for far in (-1e5, 1e5):  # where the factors overflow or vanish
        beyond = w.copy()
        beyond[[group.v for group in partly.groups]] = far
        value, gradient = partly(beyond)
        assert value == -np.inf and not gradient.any()


@pytest.mark.slow
def test_variances_of_normal_responses_by_integration() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 5)
    y = 1.0 + 0.8 * rng.standard_normal(12)[g] + rng.standard_normal(60)
    priors = {
        "Intercept": eg.Prior("Normal", mu=0, sigma=2),
        "sd_g": eg.Prior("HalfNormal", sigma=1.5),
        "phi": eg.Prior("HalfNormal", sigma=3),
    }
    model = eg.GLM("y ~ 1 + (1 | g)", {"y": y, "g": g}, family="normal")
    tree = model.sample(draws=2000, random_seed=1, priors=priors, progressbar=False,
                        log_likelihood=False, posterior_predictive=False)  # fmt: skip
    sd, phi = np.meshgrid(np.linspace(0.01, 3, 120), np.linspace(0.3, 3, 100), indexing="ij")
    same = (g[:, None] == g) * 1.0
    log_p = np.empty(sd.shape)
    for where in np.ndindex(sd.shape):
        V = 4.0 + sd[where] ** 2 * same + phi[where] * np.eye(60)
        L = np.linalg.cholesky(V)
        log_p[where] = -np.log(np.diagonal(L)).sum() - 0.5 * np.sum(np.linalg.solve(L, y) ** 2)
    log_p += stats.halfnorm.logpdf(sd, scale=1.5) + stats.halfnorm.logpdf(phi, scale=3)
    weight = np.exp(log_p - log_p.max())
    for name, grid in (("sd_g", sd), ("phi", phi)):
        mean = float(np.sum(grid * weight) / weight.sum())
        spread = float(np.sqrt(np.sum((grid - mean) ** 2 * weight) / weight.sum()))
        draws = tree["posterior"][name]
        error = spread / np.sqrt(tree.attrs["min_ess_bulk"])
        assert abs(float(draws.mean()) - mean) < 4 * error, name
        assert float(draws.std()) == pytest.approx(spread, rel=0.1)
