"""Free shape parameters on the Bayesian road: priors, both densities, draws."""

import numpy as np
import pymc as pm
import pytest
from scipy import integrate, stats

import expfam_glm as eg
from expfam_glm.bayes.density import LogPosterior, has_fast_lane
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.pointwise import log_likelihood, predictive
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.errors import ArgumentError, SamplingError
from expfam_glm.numerics.random import draw
from tests.tolerances import DEFAULT

F = eg.families


def rain():
    """Draws of a Tweedie family."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    return {"x": x, "y": draw(F.tweedie(1.4), np.exp(0.5 + 0.4 * x), 0.7, rng)}


MODELS = {
    "negative_binomial": lambda: eg.GLM("days ~ sex + age", eg.load_data("quine"),
                                        family="negative_binomial"),
    "tweedie": lambda: eg.GLM("y ~ x", rain(), family="tweedie"),
}  # fmt: skip
PRIORS = {  # PyMC's own, on the scale of the parameter
    "alpha": pm.Weibull.dist(alpha=0.5, beta=1.0),
    "power": pm.Uniform.dist(lower=1.0, upper=2.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_both_roads_have_the_density_of_the_family(name):
    model = MODELS[name]()
    problem = model.problem
    applied = apply(problem, "default")
    start = near_mode(problem, applied)
    kernels = LogPosterior(problem, applied)
    assert has_fast_lane(applied, problem.family.shape)
    (shape,) = problem.family.shape
    value = start.shapes[shape] * 1.02
    beta, phi = start.beta + 0.05, start.phi
    u = kernels.scales[shape].to(value)
    z = np.concatenate([beta, [u], [np.log(phi)][: kernels.free]])
    found, gradient = kernels(z)

    compiled = build(problem, applied)
    point = {"beta": beta}
    for variable in compiled.value_vars:
        if variable.name.startswith(shape):
            point[variable.name] = np.array(u)
        if variable.name.startswith("phi"):
            point[variable.name] = np.array(np.log(phi))
    by_graph = float(compiled.compile_logp(mode="FAST_COMPILE")(point))

    mu = np.exp(problem.X @ beta)
    expected = problem.family.fix(**{shape: value}).logpdf(problem.y, mu, phi).sum()
    expected += sum(
        float(pm.logp(prior.variable(), b).eval(mode="FAST_COMPILE"))
        for prior, b in zip(applied.beta, beta, strict=True)
    )
    expected += float(pm.logp(PRIORS[shape], value).eval(mode="FAST_COMPILE"))
    expected += np.log(kernels.scales[shape].slopes(u)[0])
    if kernels.free:
        prior = pm.logp(applied.phi.variable(), phi).eval(mode="FAST_COMPILE")
        expected += float(prior) + np.log(phi)
    assert found == pytest.approx(expected, rel=DEFAULT)
    assert by_graph == pytest.approx(expected, rel=DEFAULT)
    for k in range(z.size):
        e = 1e-5 * np.eye(z.size)[k]
        slope = (kernels(z + e)[0] - kernels(z - e)[0]) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-6, abs=1e-5)  # a crude difference


def test_pointwise_groups_take_draws_of_the_shape():
    problem = MODELS["negative_binomial"]().problem
    beta = np.tile([2.5, 0.1, -0.2, 0.1, 0.2], (3, 1))
    alpha = np.array([0.3, 0.9, 2.0])
    found = log_likelihood(problem, beta, 1.0, alpha=alpha)
    mu = np.exp(problem.X @ beta[0])
    size = 1 / alpha[:, None]
    np.testing.assert_allclose(found, stats.nbinom.logpmf(problem.y, size, size / (size + mu)),
                               rtol=DEFAULT)  # fmt: skip
    many = np.repeat(alpha, 300)
    drawn = predictive(problem, np.tile(beta[0], (900, 1)), 1.0, np.random.default_rng(1),
                       alpha=many)  # fmt: skip
    variance = ((drawn - mu) ** 2 / mu**2 - 1 / mu).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(variance, alpha, rtol=0.1)


def test_priors_of_shapes_are_named():
    model = MODELS["negative_binomial"]()
    prior = eg.Prior("LogNormal", mu=0, sigma=0.5)
    applied = apply(model.problem, {"alpha": prior})
    assert (
        applied.shapes == {"alpha": prior} and '"alpha": {"name": "LogNormal"' in applied.record()
    )
    assert apply(model.problem, "flat").shapes["alpha"] == eg.Prior("HalfFlat")
    tweedie = MODELS["tweedie"]().problem
    narrow = apply(tweedie, {"power": eg.Prior("Uniform", lower=1.2, upper=1.8)})
    assert not has_fast_lane(narrow, tweedie.family.shape)
    for priors in ({"alpha": eg.Prior("Normal", mu=0, sigma=1)}, {"alpha": pm.Normal.dist(0, 1)}):
        with pytest.raises(ArgumentError, match=r"univariate prior on \(0, inf\)"):
            to_pymc(model.problem, priors)
    with pytest.raises(ArgumentError, match=r"prior on \(1, 2\)"):
        apply(tweedie, {"power": eg.Prior("Uniform", lower=0.5, upper=1.5)})
    with pytest.raises(ArgumentError, match="no parameter is called 'alpha'"):
        apply(tweedie, {"alpha": prior})


def test_a_flat_prior_that_is_improper():
    data = {"y": [0, 0, 0, 3, 0, 1, 0, 0], "x": [0.1, 1.0, 0.3, 2.0, 0.2, 0.5, 0.8, 1.5]}
    model = eg.GLM("y ~ x", data, family="negative_binomial")
    with pytest.raises(SamplingError, match="flat prior on alpha needs more counts above zero"):
        model.to_pymc("flat")


def test_a_tweedie_is_no_free_variable():
    with pm.Model(), pytest.raises(ArgumentError, match="mass at 0 and a density elsewhere"):
        F.tweedie(1.5).dist("y", mu=1.0, phi=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("road", ["kernels", "graph"])
def test_nuts_finds_the_posterior_of_alpha(road):
    """y ~ 1: the posterior by quadrature over (β, log α)."""
    model = eg.GLM("days ~ 1", eg.load_data("quine"), family="negative_binomial")
    tree = model.sample(road=road, random_seed=1, progressbar=False, posterior_predictive=False)
    problem = model.problem
    (prior,) = apply(problem, "default").beta
    centre, sd = prior.parameters["mu"], prior.parameters["sigma"]

    def density(u, beta):
        size, mu = np.exp(-u), np.exp(beta)
        value = stats.nbinom.logpmf(problem.y, size, size / (size + mu)).sum()
        value += stats.norm.logpdf(beta, centre, sd) + stats.weibull_min.logpdf(np.exp(u), 0.5) + u
        return np.exp(value + 560)

    def moment(power):
        return integrate.dblquad(lambda u, b: np.exp(power * u) * density(u, b),
                                 2.4, 3.2, -0.8, 0.8, epsabs=0, epsrel=1e-6)[0]  # fmt: skip

    mass, mean, square = (moment(k) for k in range(3))
    mean, square = mean / mass, square / mass
    draws = tree["posterior"]["alpha"].values
    error = np.sqrt(square - mean**2) / np.sqrt(draws.size / 4)
    assert abs(draws.mean() - mean) < 4 * error
    assert abs(draws.std() / np.sqrt(square - mean**2) - 1) < 0.1
    assert tree.attrs["road"] == {"kernels": "row kernels", "graph": "PyMC graph"}[road]
    assert tree["log_prior"]["alpha"].dims == ("chain", "draw")
