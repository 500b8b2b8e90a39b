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

import expfam_glm as eg
from expfam_glm.bayes.model import build, to_pymc
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.roads import _initial_values
from expfam_glm.bayes.row_sum import RowSum
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
        name if name in ("poisson", "normal-weighted", "logarithmic")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ],
)  # fmt: skip
def test_value_and_gradient_are_those_of_the_ordinary_graph(name: str) -> None:
    compare(*points(name), QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NUMBA", "JAX"])
@pytest.mark.parametrize(
    "name", ["binomial", "gamma", "hyperbolic_secant", "zero_truncated_poisson", "logarithmic"]
)
def test_backends_agree(name: str, mode: str) -> None:
    if mode == "JAX":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    compare(*points(name), mode)
