"""The PyMC road is the likelihood road under another name: densities, modes, and result trees."""

import json

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import RankError, SeparationError
from expfam_glm.numerics.random import draw
from tests.declared import DECLARED
from tests.references import model_of, read

QUICK = {"mode": "FAST_COMPILE"}
# One case a family and a few links, of the references for maximum likelihood.
CASES = [
    case
    for case in read("glm")["cases"]
    if not case["family"].startswith("quasi") and None not in case["beta"]
]
CHOSEN = list({(case["family"], case["link"]): case for case in CASES}.values())
# A mode found from β̂ by one Newton step, in standard errors.
MODE_IN_SE = 1e-6


def _point(tree, model):
    """β̂ (and φ = 1.3 where it is free) in the value space of the model."""
    point = {"beta": tree["fit"]["beta"].values}
    if "phi" in model.named_vars:
        point["phi_log__"] = np.array(np.log(1.3))
    return point


@pytest.mark.slow
@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case["id"])
def test_flat_posterior_is_the_likelihood_and_has_its_mode(case):
    glm = model_of("glm", case)
    tree = glm.fit()
    model = glm.to_pymc(priors={"beta": "flat"})
    point = _point(tree, model)
    terms = model.compile_logp(vars=[model["y"]], sum=False, **QUICK)(point)[0]
    phi = 1.3 if glm.family.phi is None else glm.family.phi
    w = 1.0 if glm.problem.w is None else glm.problem.w
    eta = glm.problem.X @ point["beta"]
    if glm.problem.offset is not None:
        eta = eta + glm.problem.offset
    expected = glm.family.logpdf(glm.problem.y, glm.link.inverse(eta), phi, weights=w)
    np.testing.assert_allclose(terms, expected, rtol=1e-10, atol=1e-10)
    slope = model.compile_dlogp(vars=[model["beta"]], **QUICK)(point)
    a = float(glm.family.a(phi))
    covariance = tree["fit"]["covariance"].values[0] / float(
        glm.family.a(float(tree["fit"]["phi"]))
    )
    step = covariance * a @ slope
    se = np.sqrt(np.diagonal(covariance) * a)
    assert np.max(np.abs(step) / se) < MODE_IN_SE


@pytest.mark.parametrize("family", DECLARED.values(), ids=DECLARED.keys())
def test_declared_families_on_both_roads(family):
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 40)
    theta = {"zero_truncated_poisson": 0.5, "logarithmic": -0.7}.get(family.name, 0.4)
    mu = family.mean(theta + 0.3 * x)
    y = draw(family, mu, None, rng)
    glm = eg.GLM("y ~ x", {"y": y, "x": x}, family=family)
    tree = glm.fit()
    model = glm.to_pymc(priors="flat")
    beta = tree["fit"]["beta"].values
    value = float(model.compile_logp(**QUICK)({"beta": beta}))
    assert value == pytest.approx(float(tree["fit_stats"]["loglik"]), rel=1e-10)
    slope = model.compile_dlogp(**QUICK)({"beta": beta})
    covariance = tree["fit"]["covariance"].values[0]
    assert np.max(np.abs(covariance @ slope) / np.sqrt(np.diagonal(covariance))) < MODE_IN_SE


@pytest.fixture(scope="module")
def sampled():
    beetles = eg.load_data("beetles")
    model = eg.GLM("killed ~ log_dose", beetles, family="binomial", trials="number", link="cloglog")
    return model, model.sample(draws=500, tune=500, random_seed=1, progressbar=False)


def test_tree_of_the_sampler(sampled, tmp_path):
    model, tree = sampled
    posterior = tree["posterior"]
    assert posterior["beta"].dims == ("chain", "draw", "coef")
    assert posterior["coef"].values.tolist() == list(model.problem.labels)
    groups = {"sample_stats", "log_likelihood", "log_prior", "posterior_predictive"}
    assert groups | {"observed_data", "constant_data"} <= set(tree.children)
    assert json.loads(tree.attrs["priors"])
    beta = posterior["beta"].values
    eta = beta @ model.problem.X.T
    expected = model.family.logpdf(
        model.problem.y, model.link.inverse(eta), weights=model.problem.w
    )
    np.testing.assert_allclose(tree["log_likelihood"]["y"].values, expected, rtol=1e-10)
    tree.to_netcdf(tmp_path / "bayes.nc")
    with xr.open_datatree(tmp_path / "bayes.nc") as again:
        assert again.equals(tree)


def test_arviz_reads_the_tree(sampled):
    _, tree = sampled
    assert az.summary(tree, var_names=["beta"]).shape[0] == 2
    data = {"y": np.arange(60) % 5, "x": np.linspace(-1, 1, 60)}
    counts = eg.GLM("y ~ x", data, family="poisson")
    drawn = counts.sample(draws=300, tune=300, random_seed=1, progressbar=False)
    assert np.isfinite(az.loo(drawn).elpd)
    assert drawn["observed_data"]["y"].dtype.kind == "i"


def test_priors_of_ones_own():
    x = np.linspace(-1, 1, 30)
    data = {"y": np.arange(30) % 4, "x": x}
    model = eg.GLM("y ~ x", data, family="poisson")
    wide = model.to_pymc(priors={"beta": eg.Prior("Normal", mu=0, sigma=2)})
    point = {"beta": np.array([0.3, -0.2])}
    prior = float(wide.compile_logp(vars=[wide["beta"]], **QUICK)(point))
    assert prior == pytest.approx(stats.norm.logpdf([0.3, -0.2], 0, 2).sum(), rel=1e-12)


def test_improper_posteriors_are_refused():
    x = np.arange(8.0)
    separated = {"y": (x > 3).astype(float), "x": x}
    with pytest.raises(SeparationError):
        eg.GLM("y ~ x", separated, family="binomial").to_pymc(priors="flat")
    twice = {"y": np.array([0.0, 1, 0, 1, 1, 0, 1, 0]), "x": x, "z": 2 * x}
    with pytest.raises(RankError, match="z"):
        eg.GLM("y ~ x + z", twice, family="binomial").to_pymc(priors="flat")
