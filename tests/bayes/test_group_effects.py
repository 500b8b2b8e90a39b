"""Group effects in the PyMC model and in the result tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.model import to_pymc
from expfam_glm.bayes.prior import QUICK as PLAIN
from expfam_glm.bayes.priors import apply
from expfam_glm.errors import ArgumentError

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
