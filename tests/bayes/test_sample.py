"""NUTS on three roads, and the tree it fills."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.bayes import groups as module
from expfam_glm.bayes.pointwise import log_likelihood
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.roads import Chains, _starter
from expfam_glm.bayes.sample import sample
from expfam_glm.errors import ArgumentError, SamplingError, SamplingWarning
from expfam_glm.mle.fit import fit
from tests.problems import problem

TINY = {"draws": 100, "tune": 150, "chains": 2, "random_seed": 7, "progressbar": False}
MONTE_CARLO = 4.5  # standard errors of the mean of the draws


def tiny(name: str, **keywords: Any) -> xr.DataTree:
    """A short run, whose warnings about shortness do not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return sample(problem(name), **(TINY | keywords))


@pytest.fixture(scope="module")
def gamma() -> xr.DataTree:
    """A run long enough to be silent."""
    return sample(problem("gamma-log"), draws=500, tune=500, random_seed=3, progressbar=False)


@pytest.mark.slow
def test_groups_variables_and_dimensions(gamma: xr.DataTree) -> None:
    each = ("chain", "draw")
    found = {
        group: {name: v.dims for name, v in node.data_vars.items()}
        for group, node in gamma.children.items()
        if group != "sample_stats"
    }
    assert found == {
        "posterior": {"beta": (*each, "coef"), "phi": each},
        "log_prior": {"beta": (*each, "coef"), "phi": each},
        "log_likelihood": {"y": (*each, "obs_id")},
        "posterior_predictive": {"y": (*each, "obs_id")},
        "observed_data": {"y": ("obs_id",)},
        "constant_data": {"X": ("obs_id", "coef")},
    }
    assert gamma["posterior"]["coef"].values.tolist() == list(problem("gamma-log").labels)
    assert gamma["posterior"].sizes["chain"] == 4
    assert {"diverging", "energy", "n_steps"} <= set(gamma["sample_stats"].data_vars)


@pytest.mark.slow
def test_attributes_are_text_and_numbers(gamma: xr.DataTree) -> None:
    for node in gamma.subtree:
        assert all(isinstance(v, str | int | float) for v in node.attrs.values())
    attrs = gamma.attrs
    assert attrs["kind"] == "NUTS"
    assert attrs["road"] == "row kernels"
    assert attrs["family"] == "gamma"
    assert attrs["link"] == "log"
    assert attrs["random_seed"] == 3
    assert attrs["family_digest"] == problem("gamma-log").family.digest
    assert json.loads(attrs["priors"])["specified"] == "default"
    assert set(json.loads(attrs["priors"])["applied"]) == {"Intercept", "log(u)", "lot", "phi"}
    assert json.loads(attrs["design"])["formula"] == "time ~ log(u) + lot"
    assert attrs["n_divergences"] == 0
    assert attrs["max_rhat"] < 1.01
    assert attrs["diagnosis"] == "nothing to report"


@pytest.mark.slow
def test_the_posterior_is_near_the_likelihood_under_weak_priors(gamma: xr.DataTree) -> None:
    tree = fit(problem("gamma-log"))
    beta = gamma["posterior"]["beta"]
    pull = (beta.mean(("chain", "draw")) - tree["fit"]["beta"]) / tree["fit"]["se"]
    assert float(np.abs(pull).max()) < 0.25
    spread = beta.std(("chain", "draw")) / tree["fit"]["se"]
    np.testing.assert_allclose(spread, 1.0, atol=0.3)


@pytest.mark.slow
def test_pointwise_groups_are_functions_of_the_draws(gamma: xr.DataTree) -> None:
    own = problem("gamma-log")
    beta = gamma["posterior"]["beta"].values.reshape(-1, 3)
    phi = gamma["posterior"]["phi"].values.ravel()
    expected = log_likelihood(own, beta, phi).reshape(4, 500, -1)
    np.testing.assert_allclose(gamma["log_likelihood"]["y"], expected)
    priors = apply(own, "default")
    logs = [pm.logp(prior.variable(), beta[:, j]).eval(mode="FAST_COMPILE")
            for j, prior in enumerate(priors.beta)]  # fmt: skip
    np.testing.assert_allclose(gamma["log_prior"]["beta"].values.reshape(-1, 3).T, logs)
    log_phi = pm.logp(priors.phi.variable(), phi).eval(mode="FAST_COMPILE")
    np.testing.assert_allclose(gamma["log_prior"]["phi"].values.ravel(), log_phi)


@pytest.mark.slow
def test_netcdf_and_zarr_bring_it_back(gamma: xr.DataTree, tmp_path: Path) -> None:
    gamma.to_netcdf(tmp_path / "tree.nc")
    gamma.to_zarr(tmp_path / "tree.zarr", zarr_format=2)
    for opened in (
        xr.open_datatree(tmp_path / "tree.nc"),
        xr.open_datatree(tmp_path / "tree.zarr", engine="zarr"),
    ):
        with opened:
            for name, node in gamma.children.items():
                xr.testing.assert_equal(opened[name].to_dataset(), node.to_dataset())
            assert opened.attrs == gamma.attrs


@pytest.mark.slow
def test_arviz_reads_it(gamma: xr.DataTree) -> None:
    summary = az.summary(gamma)
    assert summary.index.tolist() == [
        "beta[Intercept]", "beta[log(u)]", "beta[lot]", "phi",
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto")  # 18 rows
        loo = az.loo(gamma)
    assert np.isfinite(loo.elpd)
    import matplotlib

    matplotlib.use("agg")
    az.plot_ppc_dist(gamma, num_samples=20, backend="matplotlib")
    import matplotlib.pyplot as plt

    plt.close("all")


def test_counts_are_integers_on_both_sides_of_a_predictive_check() -> None:
    tree = tiny("poisson")
    assert tree["posterior_predictive"]["y"].dtype.kind == "i"
    assert "phi" not in tree["posterior"]


@pytest.mark.slow
def test_a_seed_fixes_everything() -> None:
    first, again = tiny("binomial"), tiny("binomial")
    other = tiny("binomial", random_seed=8)
    for group in ("posterior", "posterior_predictive"):
        xr.testing.assert_equal(first[group].to_dataset(), again[group].to_dataset())
    assert not first["posterior"].to_dataset().equals(other["posterior"].to_dataset())
    fresh = tiny("binomial", random_seed=None)
    assert isinstance(fresh.attrs["random_seed"], int)


def test_groups_on_request_only() -> None:
    tree = tiny("binomial", log_likelihood=False, posterior_predictive=False)
    assert {"log_likelihood", "posterior_predictive"}.isdisjoint(tree.children)


def test_large_groups_are_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_GROUP", 1000.0)
    with pytest.warns(SamplingWarning) as caught:
        tree = sample(problem("binomial"), **TINY)
    for name in ("log_likelihood", "posterior_predictive"):
        assert any(f"{name} would take" in str(w.message) for w in caught)
    assert {"log_likelihood", "posterior_predictive"}.isdisjoint(tree.children)


def test_frequency_weights_narrow_the_posterior() -> None:
    own = problem("poisson")
    often = replace(own, f=np.full(own.row_count, 4.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        tree = sample(often, **(TINY | {"draws": 400}))
    spread = tree["posterior"]["beta"].std(("chain", "draw")) / fit(own)["fit"]["se"]
    np.testing.assert_allclose(spread, 0.5, rtol=0.15)


def test_a_bounded_link_keeps_the_draws_inside() -> None:
    own = problem("gamma")
    tree = tiny("gamma")
    beta = tree["posterior"]["beta"].values.reshape(-1, 3)
    assert np.all(beta @ own.X.T > 0)
    assert np.all(np.isfinite(tree["log_likelihood"]["y"]))


def test_separated_data_have_a_posterior() -> None:
    x = np.linspace(-1, 1, 30)
    own = eg.GLM("y ~ x", {"y": (x > 0) + 0.0, "x": x}, family="binomial").problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        tree = sample(own, **TINY)
    assert float(tree["posterior"]["beta"].sel(coef="x").min()) > 0


def test_a_declared_family_is_sampled() -> None:
    tree = tiny("logarithmic")
    pull = (
        tree["posterior"]["beta"].mean(("chain", "draw"))
        - fit(problem("logarithmic"))["fit"]["beta"]
    ) / fit(problem("logarithmic"))["fit"]["se"]
    assert float(np.abs(pull).max()) < 0.6
    assert int(tree["posterior_predictive"]["y"].min()) >= 1


# ---- warnings and refusals ---------------------------------------------------------------------


def test_too_short_a_run_is_said() -> None:
    with pytest.warns(SamplingWarning, match="independent ones"):
        sample(problem("binomial"), **(TINY | {"draws": 20}))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"draws": 0}, "draws=0"),
        ({"tune": -1}, "tune=-1"),
        ({"chains": 2.5}, "chains=2.5"),
        ({"nuts_sampler": "stan"}, "nuts_sampler='stan' is not known"),
        ({"road": "fast"}, "road='fast' is not known"),
        ({"priors": "vague"}, "priors='vague' is not known"),
        ({"road": "kernels", "nuts_sampler": "pymc"}, "goes with nuts_sampler='nutpie'"),
        (
            {"road": "kernels", "priors": {"beta": "default", "phi": pm.Uniform.dist(0, 1)}},
            "needs univariate priors",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sample(problem("gamma-log"), **keywords)


def test_a_start_without_density_is_refused_with_its_value() -> None:
    with pytest.raises(SamplingError, match="is -inf"):
        _starter(np.zeros(2), np.ones(2), lambda z: (-np.inf, np.zeros(2)))


def test_starts_retreat_to_where_there_is_density() -> None:
    def narrow(z: np.ndarray) -> tuple[float, np.ndarray]:
        inside = np.all(np.abs(z) < 0.05)
        return (0.0 if inside else -np.inf), np.zeros(2)

    start = _starter(np.zeros(2), np.ones(2), narrow)
    points = [start(seed) for seed in range(20)]
    assert all(np.all(np.abs(z) < 0.05) for z in points)


def test_log_prior_of_priors_that_cannot_be_lowered() -> None:
    beta = np.array([[[0.1, 0.2], [0.3, 0.4]]])
    chains = Chains(beta, None, xr.Dataset())
    own = problem("binomial")
    mixed = apply(own, {own.labels[0]: pm.Normal.dist(0, 2), own.labels[1]: Prior("Flat")})
    found = chains.log_prior(own, mixed)["beta"]
    expected = pm.logp(pm.Normal.dist(0, 2), beta[..., 0]).eval(mode="FAST_COMPILE")
    np.testing.assert_allclose(found[..., 0], expected)
    assert np.all(found[..., 1] == 0)
    joint = apply(own, {"beta": pm.MvNormal.dist(np.zeros(2), np.eye(2))})
    assert chains.log_prior(own, joint)["beta"].shape == (1, 2)


# ---- the other roads ---------------------------------------------------------------------------


def agree(first: xr.DataTree, second: xr.DataTree) -> None:
    """Means of the same posterior, within Monte-Carlo error."""
    for name in first["posterior"].data_vars:
        a, b = first["posterior"][name], second["posterior"][name]
        error = np.hypot(az.mcse(a), az.mcse(b))
        gap = a.mean(("chain", "draw")) - b.mean(("chain", "draw"))
        assert float(np.abs(gap / error).max()) < MONTE_CARLO


@pytest.mark.slow
def test_the_compiled_graph_is_the_same_posterior(gamma: xr.DataTree) -> None:
    graph = sample(problem("gamma-log"), road="graph", draws=2000, tune=500, random_seed=5,
                   progressbar=False)  # fmt: skip
    assert graph.attrs["road"] == "PyMC graph"
    agree(gamma, graph)


@pytest.mark.slow
def test_a_declared_family_on_the_compiled_graph() -> None:
    options = {"draws": 500, "tune": 500, "random_seed": 5, "progressbar": False}
    own = problem("zero_truncated_poisson")
    agree(sample(own, **options), sample(own, road="graph", **options))


@pytest.mark.slow
def test_priors_of_several_kinds_on_the_compiled_graph() -> None:
    own = problem("poisson")
    priors = {
        own.labels[1]: pm.Normal.dist(0, 1.5),
        own.labels[3]: Prior("HalfNormal", sigma=0.1),
        own.labels[4]: Prior("StudentT", nu=5, mu=0, sigma=2),
    }
    tree = sample(own, priors=priors, draws=2000, tune=500, random_seed=5, progressbar=False)
    assert tree.attrs["road"] == "PyMC graph"
    assert list(tree["posterior"].data_vars) == ["beta"]
    assert float(tree["posterior"]["beta"].sel(coef=own.labels[3]).min()) > 0
    pull = (tree["posterior"]["beta"].mean(("chain", "draw")) - fit(own)["fit"]["beta"]) / fit(own)[
        "fit"
    ]["se"]
    assert float(np.abs(pull).max()) < 0.5


@pytest.mark.slow
def test_pymc_s_own_sampler(gamma: xr.DataTree, caplog: pytest.LogCaptureFixture) -> None:
    # one process: PyMC forks its workers, which a process with JAX's threads must not do
    own = sample(problem("gamma-log"), nuts_sampler="pymc", draws=1500, tune=1000, random_seed=5,
                 progressbar=False, cores=1, target_accept=0.95)  # fmt: skip
    assert own.attrs["sampler"] == "pymc"
    assert caplog.text == ""
    agree(gamma, own)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["numpyro", "blackjax"])
def test_samplers_of_jax_draw_from_the_same_posterior(sampler: str) -> None:
    """Within 0.25 posterior standard deviations, five standard errors of such means."""
    pytest.importorskip(sampler)
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    theirs = model.sample(
        draws=1000, chains=2, nuts_sampler=sampler, target_accept=0.85, random_seed=1,
        progressbar=False,
    )  # fmt: skip
    ours = model.sample(draws=1000, chains=4, random_seed=1, progressbar=False)
    assert theirs.attrs["sampler"] == sampler and "diverging" in theirs["sample_stats"]
    found, expected = (tree["posterior"]["beta"] for tree in (theirs, ours))
    sd = expected.std(("chain", "draw"))
    apart = (found.mean(("chain", "draw")) - expected.mean(("chain", "draw"))) / sd
    assert abs(apart).max() < 0.25
    assert abs(np.log(found.std(("chain", "draw")) / sd)).max() < 0.2
    with pytest.raises(ArgumentError, match="chain_metod"):
        model.sample(nuts_sampler=sampler, chain_metod="parallel")
