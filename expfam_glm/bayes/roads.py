"""Ways to run NUTS on one posterior: row kernels, compiled graph, PyMC's own sampler, JAX's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from nutpie.compiled_pyfunc import from_pyfunc
from pytensor.graph.basic import Variable

from expfam_glm.bayes.centring import PartlyCentred
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.group_density import GroupPosterior, lkj_logpdf
from expfam_glm.bayes.horseshoe import log_prior as log_prior_of_shrunk
from expfam_glm.bayes.joint import joint_prior
from expfam_glm.bayes.model import build, pieces_of
from expfam_glm.bayes.preconditioned import Whitened
from expfam_glm.bayes.prior import QUICK, variable_of
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import PHI_SCALES, Applied
from expfam_glm.bayes.shrunk_density import ShrunkPosterior
from expfam_glm.bayes.start import Start
from expfam_glm.bayes.trajectory import ONE_ROTATION, steps_of
from expfam_glm.bayes.whiten import Dense, Whitening, around_mode, shrunk_start, whitened_groups
from expfam_glm.data.response import Problem
from expfam_glm.errors import SamplingError

_TRANSFORMED_SD = 0.1  # of starting points on a log or log-odds scale
_HELPERS = ("z_", "sd_", "root_", "lambda_", "tau_", "slab_")  # behind effects and horseshoes
_TRIALS = 30  # starting points tried for a chain, each closer to the mode


@dataclass(frozen=True)
class Chains:
    """Draws of β (chain, draw, p), φ (chain, draw) or None, shapes; the sampler's statistics.

    effects: draws of b_<g>, sd_<g> and corr_<g>.
    """

    beta: np.ndarray
    phi: np.ndarray | None
    stats: xr.Dataset
    shapes: dict[str, np.ndarray] = field(default_factory=dict)
    effects: dict[str, np.ndarray] = field(default_factory=dict)

    def log_prior(self, problem: Problem, applied: Applied) -> dict[str, np.ndarray]:
        """log π of the draws, on the scale of the parameters; joint priors up to a constant."""
        if applied.joint is not None:
            joint = joint_prior(problem, applied.joint)
            result = {"beta": np.apply_along_axis(lambda beta: joint(beta)[0], -1, self.beta)}
        else:
            result = {"beta": _log_prior(applied.beta or applied.vector, self.beta)}
        if applied.phi is not None and self.phi is not None:
            k = applied.phi_power
            scaled = _log_prior((applied.phi,), self.phi[..., None] ** k)[..., 0]
            result["phi"] = scaled + np.log(abs(k)) + (k - 1) * np.log(self.phi)
        for name, prior in applied.shapes.items():
            result[name] = _log_prior((prior,), self.shapes[name][..., None])[..., 0]
        if applied.shrunk is not None:
            where = list(applied.shrunk.where)
            found = log_prior_of_shrunk(applied.shrunk, self.beta[..., where], self.effects)
            result["beta"][..., where] = found.pop("beta")
            result |= found
        for name, own in applied.spreads.items():
            result[name] = _log_prior(own, self.effects[name]).sum(axis=-1)
            together = name.replace("sd_", "corr_", 1)
            if together in self.effects:
                result[together] = lkj_logpdf(self.effects[together])
        return result


def _log_prior(prior: Any, draws: np.ndarray) -> np.ndarray:
    """log π of draws (chain, draw, k) under k univariate priors or one of k dimensions."""
    if isinstance(prior, Variable):
        return pm.logp(prior, draws).eval(mode=QUICK)
    terms = PriorTerms(prior)
    result = terms(draws)[0]
    for j, own in enumerate(prior):
        if not terms.complete and not PriorTerms([own]).complete:
            result[..., j] = pm.logp(variable_of(own), draws[..., j]).eval(mode=QUICK)
    return result


def by_kernels(
    problem: Problem, applied: Applied, start: Start, settings: dict[str, Any]
) -> Chains:
    """nutpie on the log-posterior of the row kernels; nothing is compiled.

    It samples u with z = mode + L u, LLᵀ the covariance there, so that NUTS sees nearly N(0, I)
    however correlated the coefficients are.
    """
    density: LogPosterior | PartlyCentred
    whitening: Whitening
    if problem.frame.effects:
        density, whitening = whitened_groups(GroupPosterior(problem, applied), start)
    elif applied.shrunk is not None:
        density = ShrunkPosterior(problem, applied)
        whitening = Dense(*shrunk_start(density, start))
    else:
        density = LogPosterior(problem, applied)
        whitening = Dense(*around_mode(density, start))

    def standard() -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        own = density.for_another_thread()

        def at(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = own(whitening.forward(u))
            return value, whitening.backward(gradient)

        return at

    example = density.expand(whitening.forward(np.zeros(density.n_dim)))
    names = list(example)
    compiled = from_pyfunc(
        density.n_dim,
        standard,
        lambda *_: lambda u: density.expand(whitening.forward(u)),
        [np.dtype(np.float64)] * len(names),
        [value.shape for value in example.values()],
        names,
        make_initial_point_fn=_starter(
            np.zeros(density.n_dim), np.ones(density.n_dim), lambda u: standard()(u)
        ),
    )
    # One chain after another: between calls of some 10 µs the interpreter's lock is handed over so
    # slowly that two threads take longer than one.
    settings = {"cores": 1} | settings
    groups = bool(problem.frame.effects)
    steps = steps_of(standard(), density.n_dim, settings, groups=groups, corners=start.corners)
    chains = _run_nutpie(compiled, applied, steps | settings)
    if steps is ONE_ROTATION:  # by intent, not because a tree was cut off
        return replace(chains, stats=chains.stats.drop_vars("maxdepth_reached"))
    return chains


def by_graph(problem: Problem, applied: Applied, start: Start, settings: dict[str, Any]) -> Chains:
    """nutpie on the compiled graph of the PyMC model."""
    model = build(problem, applied, start)
    compiled = nutpie.compile_pymc_model(
        model,
        jitter_rvs=set(),
        initial_points=_initial_values(model, applied, start),
        var_names=["beta", "phi", *applied.shapes, *applied.effects],
    )
    starter = _starter(
        compiled.initial_point_func(0), _jitter(model, applied, start), compiled.logp_func
    )
    return _run_nutpie(replace(compiled, initial_point_func=starter), applied, settings)


def by_pymc(problem: Problem, applied: Applied, start: Start, settings: dict[str, Any]) -> Chains:
    """PyMC's own NUTS."""
    model = build(problem, applied, start)
    options = dict(settings)
    with _quiet(), model:
        tree = pm.sample(
            random_seed=options.pop("seed"),
            initvals=_initial_values(model, applied, start),
            init=options.pop("init", "adapt_diag"),
            nuts_sampler="pymc",
            compute_convergence_checks=False,
            **options,
        )
    return _chains(tree, applied)


def by_jax(problem: Problem, applied: Applied, start: Start, settings: dict[str, Any]) -> Chains:
    """NUTS of numpyro or blackjax on the graph as JAX compiles it, all chains at once."""
    from pymc.sampling.jax import sample_jax_nuts

    model = build(problem, applied, start)
    options = {"chain_method": "vectorized"} | settings
    tree = sample_jax_nuts(
        model=model,
        random_seed=options.pop("seed"),
        initvals=_initial_values(model, applied, start),
        nuts_sampler=options.pop("sampler"),
        compute_convergence_checks=False,
        quiet=True,
        **options,
    )
    return _chains(tree, applied)


@contextmanager
def _quiet() -> Iterator[None]:
    """PyMC's progress bar without its lines of log."""
    log = logging.getLogger("pymc")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _initial_values(model: pm.Model, applied: Applied, start: Start) -> dict[str, np.ndarray]:
    """The start as values of the model's free variables, in their order."""
    values = {name: start.beta[where] for name, where in pieces_of(applied).items()}
    power, name = PHI_SCALES[applied.phi_scale]
    values[name] = np.asarray(start.phi**power)
    values |= {name: np.asarray(value) for name, value in start.shapes.items()}
    return {v.name: values[v.name].reshape(_shape(v)) for v in model.free_RVs if v.name in values}


def _shape(variable: Variable) -> tuple[int, ...]:
    """() for one coefficient with a distribution of its own, else a vector."""
    return () if variable.type.ndim == 0 else (-1,)


def _jitter(model: pm.Model, applied: Applied, start: Start) -> np.ndarray:
    """Standard deviations of the starting points in the value space, free variable by variable."""
    sd = np.sqrt(np.sum(start.root**2, axis=1))
    pieces = pieces_of(applied)
    parts = []
    power, phi = PHI_SCALES[applied.phi_scale]
    point = model.initial_point() if applied.effects else {}
    for variable in model.free_RVs:
        value = point.get(model.rvs_to_values[variable].name)
        if value is not None and variable.name.startswith(_HELPERS):
            parts.append(np.full(value.size, _TRANSFORMED_SD))
        elif variable.name == phi:
            parts.append(np.array([abs(power) * start.log_phi_sd]))
        elif variable.name in start.shape_sd:
            parts.append(np.array([start.shape_sd[variable.name]]))
        elif isinstance(model.rvs_to_transforms[variable], Whitened):
            parts.append(np.ones(len(pieces[variable.name])))
        elif model.rvs_to_transforms[variable] is not None:
            parts.append(np.full(len(pieces[variable.name]), _TRANSFORMED_SD))
        else:
            parts.append(sd[pieces[variable.name]])
    return np.concatenate(parts)


def _starter(
    centre: np.ndarray,
    sd: np.ndarray,
    density: Callable[[np.ndarray], tuple[float, np.ndarray]],
) -> Callable[[int], np.ndarray]:
    """Starting points around the mode at which the density and its gradient are finite."""
    _require(centre, density)

    def start(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        for k in range(_TRIALS):
            z = centre + sd * rng.standard_normal(sd.size) * 0.8**k
            value, gradient = density(z)
            if np.isfinite(value) and np.isfinite(gradient).all():
                return z
        return centre

    return start


def _require(centre: np.ndarray, density: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> None:
    """Refuse a starting point without density, before the sampler hides the reason."""
    value, gradient = density(centre)
    if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
        raise SamplingError(
            f"the log-posterior at the starting point {np.array2string(centre, precision=4)} is "
            f"{float(value):g}, its gradient {np.array2string(np.asarray(gradient), precision=4)}: "
            "priors and data agree on no point near the mode of the likelihood. Widen the priors."
        )


def _run_nutpie(compiled: Any, applied: Applied, settings: dict[str, Any]) -> Chains:
    options = dict(settings)
    bar = options.pop("progressbar")
    try:
        tree = nutpie.sample(compiled, save_warmup=False, progress_bar=bar, **options)
    except BaseException as stop:
        if type(stop).__name__ != "PanicException":  # of Rust, and no Exception
            raise
        reason = str(stop).splitlines()[0][:200]
        raise SamplingError(
            f"nutpie broke off ({reason}): where the posterior is all but improper or runs over "
            "many orders of magnitude, narrower priors help."
        ) from None
    return _chains(tree, applied)


def _chains(tree: Any, applied: Applied) -> Chains:
    """Draws and statistics of a sampler's result, without objects, which netCDF cannot hold."""
    posterior = tree["posterior"]
    stats = tree["sample_stats"].to_dataset()
    numeric = [name for name, v in stats.data_vars.items() if v.dtype.kind in "fiub"]
    settings = {
        key: value for key, value in stats.attrs.items() if isinstance(value, str | int | float)
    }
    kept = stats[numeric]
    kept.attrs = settings
    return Chains(
        np.asarray(posterior["beta"].values),
        np.asarray(posterior["phi"].values) if "phi" in posterior else None,
        kept,
        {name: np.asarray(posterior[name].values) for name in applied.shapes},
        {name: np.asarray(posterior[name].values) for name in applied.effects},
    )
