"""The PyMC model of a problem: its variables, its likelihood, and when it has no posterior."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.model import pieces_of, to_pymc
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.start import near_mode
from expfam_glm.errors import (
    AliasWarning,
    RankError,
    SamplingError,
    SeparationError,
)
from expfam_glm.mle.fit import fit
from tests.problems import NAMES, problem

QUICK = {"mode": "FAST_COMPILE"}
LIKELIHOOD = 1e-10
MODE_IN_SE = 1e-6


def test_variables_data_and_coordinates() -> None:
    model = to_pymc(problem("poisson-exposure"))
    assert model.named_vars_to_dims == {
        "beta": ("coef",), "X": ("obs_id", "coef"), "offset": ("obs_id",), "y": ("obs_id",),
    }  # fmt: skip
    assert list(model.coords["coef"]) == list(problem("poisson-exposure").labels)
    assert [v.name for v in model.free_RVs] == ["beta"]
    assert [v.name for v in to_pymc(problem("gamma")).free_RVs] == ["beta", "phi"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_likelihood_is_the_family_s(name: str) -> None:
    own = problem(name)
    model = to_pymc(own)
    start = near_mode(own, apply(own, "flat"))
    rng = np.random.default_rng(3)
    logp = model.compile_logp(vars=[model["y"]], sum=False, **QUICK)
    for _ in range(3):
        beta = start.beta + 0.3 * start.root @ rng.standard_normal(start.beta.size)
        eta = own.X @ beta + (0.0 if own.offset is None else own.offset)
        point = {"beta": beta}
        if own.family.phi is None:
            point["phi_log__"] = np.array(np.log(start.phi) + 0.1)
        phi = start.phi * np.exp(0.1) if own.family.phi is None else None
        weights = 1.0 if own.w is None else own.w
        expected = own.family.logpdf(own.y, own.link.inverse(eta), phi, weights=weights)
        np.testing.assert_allclose(logp(point)[0], expected, rtol=LIKELIHOOD, atol=1e-12)


@pytest.mark.parametrize("name", ["poisson-sqrt", "gamma", "inverse_gaussian"])
def test_outside_the_domain_of_the_link_there_is_no_density(name: str) -> None:
    own = problem(name)
    model = to_pymc(own)
    point: dict[str, Any] = {"beta": -near_mode(own, apply(own, "flat")).beta}
    if own.family.phi is None:
        point["phi_log__"] = np.array(0.0)
    assert np.isneginf(model.compile_logp(**QUICK)(point))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "binomial-probit", "gamma-log", "inverse_gaussian"])
def test_mode_under_a_flat_prior_is_the_maximum_of_the_likelihood(name: str) -> None:
    own = problem(name)
    tree = fit(own, dispersion="ml") if own.family.phi is None else fit(own)
    beta, se = tree["fit"]["beta"].values, tree["fit"]["se"].values
    model = to_pymc(own, {"beta": "flat", "phi": "flat"} if own.family.phi is None else "flat")
    phi = float(tree["fit"]["phi"])
    tail = {"phi_log__": np.array(np.log(phi))} if own.family.phi is None else {}
    slope = model.compile_dlogp(vars=[model["beta"]], **QUICK)
    now = near_mode(own, apply(own, "flat")).beta
    for _ in range(8):  # Newton's method with the model's own gradient
        step = 1e-5 * se
        columns = [slope({"beta": now + s, **tail}) - slope({"beta": now - s, **tail})
                   for s in np.diag(step)]  # fmt: skip
        hessian = np.array(columns) / (2 * step)[:, None]
        now = now - np.linalg.solve(hessian, slope({"beta": now, **tail}))
    assert np.max(np.abs(now - beta) / se) < MODE_IN_SE


# ---- priors ------------------------------------------------------------------------------------


def test_priors_of_several_kinds_make_one_deterministic_beta() -> None:
    own = problem("poisson")
    priors = {
        own.labels[0]: Prior("StudentT", nu=3, mu=0, sigma=1),
        own.labels[2]: pm.Normal.dist(0, np.float64(1.5)),
        own.labels[3]: Prior("HalfNormal", sigma=0.1),
        own.labels[4]: Prior("StudentT", nu=5, mu=0, sigma=2),
    }
    model = to_pymc(own, priors)
    names = ["beta_StudentT_mu_nu_sigma", "beta_Normal_mu_sigma", "beta_2",
             "beta_HalfNormal_sigma"]  # fmt: skip
    assert [v.name for v in model.free_RVs] == names
    assert list(pieces_of(apply(own, priors))) == names
    point = dict(zip((v.name for v in model.value_vars), (
        np.array([0.1, 0.5]), np.array([0.2]), np.array([0.3]), np.log([0.04]),
    ), strict=True))  # fmt: skip
    graph = model.replace_rvs_by_values([model["beta"]])
    (beta,) = model.compile_fn(graph, inputs=model.value_vars, **QUICK)(point)
    np.testing.assert_allclose(beta, [0.1, 0.2, 0.3, 0.04, 0.5])
    default = apply(own, "default").beta[1]
    expected = (
        stats.t.logpdf(0.1, 3) + stats.norm.logpdf(0.2, 0, default.parameters["sigma"])
        + stats.norm.logpdf(0.3, 0, 1.5) + stats.halfnorm.logpdf(0.04, scale=0.1) + np.log(0.04)
        + stats.t.logpdf(0.5, 5, scale=2)
    )  # fmt: skip
    found = model.compile_logp(vars=model.free_RVs, **QUICK)(point)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_a_joint_prior_is_one_variable() -> None:
    own = problem("binomial")
    prior = pm.MvNormal.dist(np.zeros(2), np.diag([4.0, 0.01]))
    model = to_pymc(own, {"beta": prior})
    assert model.named_vars_to_dims["beta"] == ("coef",)
    found = model.compile_logp(vars=[model["beta"]], **QUICK)({"beta": np.array([1.0, 0.05])})
    expected = stats.norm.logpdf([1.0, 0.05], 0, [2.0, 0.1]).sum()
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_a_given_distribution_serves_several_models_and_coefficients() -> None:
    own, wide = problem("binomial"), pm.Normal.dist(0, 3)
    for _ in range(2):
        model = to_pymc(own, dict.fromkeys(own.labels, wide))
        assert [v.name for v in model.free_RVs] == ["beta"]
    assert wide.name is None
    with model:
        first, second = pm.draw(model["beta"], random_seed=1, **QUICK)
    assert first != second


def test_frequency_weights_count_a_row_so_often() -> None:
    own = problem("poisson")
    f = 1.0 + np.arange(own.row_count) % 3
    point = {"beta": near_mode(own, apply(own, "flat")).beta}
    once = to_pymc(own, "flat").compile_logp(vars=None, sum=False, **QUICK)(point)
    terms = once[-1]
    weighted = to_pymc(replace(own, f=f), "flat").compile_logp(**QUICK)(point)
    assert float(weighted) == pytest.approx(float(f @ terms), rel=1e-12)


def test_prior_predictive_draws_come_out() -> None:
    with to_pymc(problem("binomial"), {"beta": Prior("Normal", mu=0, sigma=0.02)}):
        prior = pm.sample_prior_predictive(20, random_seed=1, compile_kwargs=QUICK)
    y = prior["prior_predictive"]["y"]
    assert y.dims == ("chain", "draw", "obs_id")
    trials = problem("binomial").w
    np.testing.assert_allclose(y * trials, np.rint(y * trials), atol=1e-9)


# ---- no posterior ------------------------------------------------------------------------------


def twice(flat: Any) -> Any:
    x = np.arange(8.0)
    data = {"y": np.array([0.0, 1, 0, 1, 1, 0, 1, 0]), "x": x, "z": 2 * x}
    return to_pymc(eg.GLM("y ~ x + z", data, family="binomial").problem, flat)


def test_aliased_columns_are_kept_under_a_proper_prior_with_a_warning() -> None:
    with pytest.warns(AliasWarning, match=r"column\(s\) z"):
        model = twice("default")
    assert model["beta"].type.shape in ((3,), (None,))


def test_aliased_columns_need_one_proper_prior_only() -> None:
    with pytest.warns(AliasWarning):
        twice({"beta": "flat", "z": Prior("Normal", mu=0, sigma=1)})
    with pytest.raises(RankError, match="z are not determined"):
        twice({"x": "flat", "z": "flat"})


def test_separation_matters_in_the_columns_with_a_flat_prior() -> None:
    x = np.arange(8.0)
    own = eg.GLM("y ~ x", {"y": (x > 3) + 0.0, "x": x}, family="binomial").problem
    to_pymc(own, {"Intercept": "flat"})
    with pytest.raises(SeparationError,
                       match="a flat prior is improper here"):  # fmt: skip
        to_pymc(own, "flat")


def test_a_flat_dispersion_needs_spare_observations() -> None:
    data = {"y": [1.0, 2.0, 4.0, 3.0], "x": [1.0, 2.0, 3.0, 4.0]}
    own = eg.GLM("y ~ x", data, family="normal").problem
    with pytest.raises(SamplingError, match="there are 2"):
        to_pymc(own, "flat")
    to_pymc(own, {"beta": "flat"})
