"""Log-likelihoods with η = Xβ + … are one pass over X, with the value and gradient of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pymc.pytensorf import rewrite_pregrad
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.fused_sum import RowSum
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.roads import _initial_values
from expfam_glm.bayes.start import near_mode
from tests.declared import logarithmic, zero_truncated_poisson
from tests.problems import NAMES, problem

SAME = 1e-10  # of sums in another order, relative to the largest number
QUICK = Mode(linker="py", optimizer="fast_compile")


def fused(graph: Variable) -> list[RowSum]:
    """The sums over rows in a graph."""
    return [v.owner.op for v in ancestors([graph]) if v.owner and isinstance(v.owner.op, RowSum)]


def value_and_gradient(model: pm.Model, mode: Any, ordinary: bool) -> Any:
    """Value and gradient in the value space; `ordinary` without the pass over rows."""
    if ordinary:
        cost, mode = model.logp(), get_mode(mode).excluding("expfam_glm_fuse")
    else:
        cost = rewrite_pregrad(model.logp())
        assert fused(cost)
    gradient = pt.grad(cost, model.value_vars)
    return pm.compile(model.value_vars, [cost, *gradient], mode=mode, on_unused_input="ignore")


def points(name: str) -> tuple[pm.Model, list[list[np.ndarray]]]:
    """The model of a problem, and points around its mode in the value space."""
    own = problem(name)
    applied = apply(own, "default")
    model = build(own, applied)
    near = _initial_values(model, applied, near_mode(own, applied))
    start = model.initial_point()
    values = [near.get(v.name, start[model.rvs_to_values[v].name]) for v in model.free_RVs]
    for k, v in enumerate(model.free_RVs):
        if model.rvs_to_transforms[v] is not None:
            values[k] = np.log(values[k]) if v.name in near else values[k]
    rng = np.random.default_rng(3)
    return model, [
        [v * (1 + 0.003 * rng.standard_normal(v.shape)) for v in map(np.asarray, values)]
        for _ in range(3)
    ]


def compare(model: pm.Model, where: list[list[np.ndarray]], mode: Any) -> None:
    """The pass over rows in a backend against the ordinary graph in Python."""
    found = value_and_gradient(model, mode, ordinary=False)
    expected = value_and_gradient(model, QUICK, ordinary=True)
    for point in where:
        for u, v in zip(found(*point), expected(*point), strict=True):
            assert np.all(np.isfinite(v))
            np.testing.assert_allclose(u, v, rtol=SAME, atol=SAME * np.max(np.abs(v)))


@pytest.mark.parametrize(
    "name",
    [
        name if name == "poisson"
        else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ],
)  # fmt: skip
def test_value_and_gradient_are_those_of_the_ordinary_graph(name: str) -> None:
    compare(*points(name), QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NUMBA", "JAX"])
@pytest.mark.parametrize("name", ["binomial", "gamma", "hyperbolic_secant", "logarithmic"])
def test_backends_agree(name: str, mode: str) -> None:
    if mode == "JAX":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    compare(*points(name), mode)


def rows(n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    return X, np.repeat(np.arange(4), n // 4), rng.poisson(np.exp(0.3 + 0.4 * X[:, 1]))


def written_by_a_user(potential: bool = False) -> pm.Model:
    """A varying intercept, and the dispersion of a known family held by its weights."""
    X, g, y = rows()
    with pm.Model(coords={"g": range(4)}) as model:
        beta = pm.Normal("beta", 0, 2, shape=2)
        sd = pm.HalfNormal("sd", 1)
        b = pm.Normal("b", 0, 1, dims="g")
        mu = pt.exp(pt.as_tensor(X) @ beta + sd * b[g])
        eg.families.poisson.dist("y", mu=mu, observed=y)
        if potential:
            pm.Potential("slope", -10.0 * (beta[1] - 0.5) ** 2)
    return model


def at(model: pm.Model) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [0.3 * rng.standard_normal(v.shape) for v in model.initial_point().values()]


@pytest.mark.slow
@pytest.mark.parametrize("potential", [False, True])
def test_a_users_own_terms_are_part_of_it(potential: bool) -> None:
    model = written_by_a_user(potential)
    compare(model, [at(model)], QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("impossible", [{"phi": -1.0}, {"beta": np.array([-800.0, 0.0])}])
def test_impossible_parameters_have_the_density_zero(impossible: dict[str, Any]) -> None:
    """A dispersion below zero, and means that underflow to zero, where the sum is not a number."""
    X, _, y = rows()
    with pm.Model() as model:
        beta, phi = pm.Normal("beta", 0, 500, shape=2), pm.Normal("phi", 1, 5)
        mu = pt.exp(pt.as_tensor(X) @ beta)
        eg.families.gamma.dist("y", mu=mu, phi=phi, observed=y + 1.0)
    value = value_and_gradient(model, QUICK, ordinary=False)
    point = {"beta": np.zeros(2), "phi": 1.0}
    assert np.isfinite(value(**point)[0])
    assert value(**{**point, **impossible})[0] == -np.inf


@pytest.mark.slow
def test_frequencies_multiply_the_rows() -> None:
    X, _, y = rows()
    f = np.arange(y.size) % 3 + 1
    own = eg.GLM.from_arrays(y, X, family="poisson", freq_weights=f).to_pymc()
    assert len(set(fused(rewrite_pregrad(own.logp())))) == 2
    compare(own, [at(own)], QUICK)


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_ordinary_graph() -> None:
    X, _, y = rows()
    model = eg.GLM.from_arrays(y, X, family="poisson").to_pymc()
    beta = model.value_vars[0]
    vector = pt.vector("vector")
    found = []
    for cost in (rewrite_pregrad(model.logp()), model.logp()):
        product = pt.grad((pt.grad(cost, beta) * vector).sum(), beta)
        found.append(pytensor.function([beta, vector], product, mode=QUICK))
    point = np.array([0.1, 0.3]), np.array([1.0, -2.0])
    np.testing.assert_allclose(found[0](*point), found[1](*point), rtol=SAME)
    mu = np.exp(X @ point[0])
    priors = apply(eg.GLM.from_arrays(y, X, family="poisson").problem, "default").beta or ()
    sd = np.array([prior.parameters["sigma"] for prior in priors])
    hessian = -X.T @ (mu[:, None] * X) - np.diag(1 / sd**2)
    np.testing.assert_allclose(found[0](*point), hessian @ point[1], rtol=SAME)


def test_a_value_alone_needs_no_derivatives() -> None:
    model = written_by_a_user()
    function = model.compile_fn(model.logp(), mode=Mode(linker="py", optimizer="fast_run"))
    ops = [node.op for node in function.f.maker.fgraph.apply_nodes]
    (sums,) = [op for op in ops if isinstance(op, RowSum)]
    assert sums.slopes == ()


@pytest.mark.slow
def test_outside_the_domain_there_is_no_density() -> None:
    own = problem("gamma")  # η > 0
    model = to_pymc(own)
    function = value_and_gradient(model, QUICK, ordinary=False)
    assert function(np.full(own.X.shape[1], -1.0), np.array(0.0))[0] == -np.inf


def test_what_is_no_function_of_one_product_stays_as_it_is() -> None:
    X, _, y = rows()
    with pm.Model() as no_product:
        theta = pm.Normal("level") + np.zeros(y.size)
        zero_truncated_poisson.dist("y", theta=theta, observed=y + 1)
    with pm.Model() as by_iteration:
        beta = pm.Normal("beta", shape=2)
        logarithmic.dist("y", mu=1 + pt.exp(pt.as_tensor(X) @ beta), observed=y + 1)
    for model in (no_product, by_iteration):
        assert not fused(rewrite_pregrad(model.logp()))


@pytest.mark.slow
def test_sums_of_many_terms_in_a_row_stay_as_they_are() -> None:
    X, _, y = rows()
    tweedie = eg.families.tweedie(power=1.5)
    model = eg.GLM.from_arrays(y.astype(float), X, family=tweedie).to_pymc()
    assert not fused(rewrite_pregrad(model.logp()))


def test_rows_of_another_number_are_refused() -> None:
    with pm.Model() as model:
        X = pm.Data("X", rows()[0])
        beta = pm.Normal("beta", shape=2)
        eg.families.poisson.dist("y", mu=pt.exp(X @ beta), observed=rows()[2])
    function = model.compile_logp(mode=Mode(linker="py", optimizer="fast_run"))
    model.set_data("X", rows()[0][:10])
    with pytest.raises(ValueError, match="10"):
        function({"beta": np.zeros(2)})


@pytest.mark.slow
def test_jax_differentiates_it() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from pymc.sampling.jax import get_jaxified_logp

    model = written_by_a_user()
    point = at(model)
    expected = value_and_gradient(model, QUICK, ordinary=True)(*point)
    function = get_jaxified_logp(model)
    value, gradient = jax.value_and_grad(function)([jax.numpy.asarray(v) for v in point])
    np.testing.assert_allclose(value, expected[0], rtol=SAME)
    for u, v in zip(gradient, expected[1:], strict=True):
        np.testing.assert_allclose(u, v, rtol=SAME, atol=SAME * np.max(np.abs(v)))


@pytest.mark.slow
def test_a_users_model_is_sampled_and_stays_a_model() -> None:
    model = written_by_a_user()
    with model:
        tree = pm.sample(
            200, tune=300, chains=2, cores=1, random_seed=4, progressbar=False,
            nuts_sampler="nutpie", compute_convergence_checks=False,
        )  # fmt: skip
        tree = pm.compute_log_likelihood(tree, progressbar=False)
        predictive = pm.sample_posterior_predictive(
            tree, random_seed=4, progressbar=False, compile_kwargs={"mode": QUICK}
        )
    X, g, y = rows()
    draws = tree["posterior"]
    eta = draws["beta"].values @ X.T + (draws["sd"].values[..., None] * draws["b"].values)[..., g]
    expected = stats.poisson.logpmf(y, np.exp(eta))
    np.testing.assert_allclose(tree["log_likelihood"]["y"].values, expected, rtol=SAME)
    assert predictive["posterior_predictive"]["y"].shape == (2, 200, y.size)
    assert abs(float(draws["beta"].values[..., 1].mean()) - 0.4) < 0.3
    fixed = pm.do(model, {"sd": 0.0})
    assert fused(rewrite_pregrad(fixed.logp()))
