"""What the samplers can be told, checked before anything is sampled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
import nutpie
import pymc as pm

from expfam_glm.data.frames import close_to
from expfam_glm.errors import ArgumentError, need, one_of

# What sample() itself takes, and what of the samplers it needs for itself.
_OWN = (
    "draws", "tune", "chains", "random_seed", "priors", "nuts_sampler", "road", "progressbar",
    "log_likelihood", "posterior_predictive",
)  # fmt: skip
_TAKEN = {
    "seed", "save_warmup", "progress_bar", "sampler", "init_mean", "return_raw_trace", "blocking",
    "zarr_store", "store_unconstrained", "compiled_model", "num_draws", "num_tune", "num_chains",
    "model", "initvals", "trace", "step", "var_names", "return_inferencedata", "quiet",
    "compute_convergence_checks", "discard_tuned_samples", "nuts_sampler_kwargs", "idata_kwargs",
    "jitter", "keep_untransformed",
    "kwargs", "self", "vars", "store_gradient",
}  # fmt: skip
# Names from other programs that look like none of ours.
_MEANT = {"seed": "random_seed", "sampler": "nuts_sampler", "iter": "draws", "warmup": "tune"}


_ADAPTATIONS = ("diag", "low_rank")  # of nutpie's that need nothing more
_DEEPEST = 10  # nutpie's largest depth, where none is given
OF_JAX = ("numpyro", "blackjax")  # samplers
_OFTEN = ("target_accept", "maxdepth", "mindepth", "max_energy_error", "check_turning")


@cache
def _known(nuts_sampler: str) -> frozenset[str]:
    """Names of further arguments that a sampler takes; nutpie's settings know more."""
    if nuts_sampler == "pymc":
        names = {*inspect.signature(pm.sample).parameters, "target_accept"}
        names |= set(inspect.signature(pm.NUTS).parameters)
    elif nuts_sampler in OF_JAX:
        need(nuts_sampler, "jax")
        names = set(inspect.signature(need("pymc.sampling.jax", "jax").sample_jax_nuts).parameters)
    else:
        names = {*inspect.signature(nutpie.sample).parameters, *_OFTEN}
    return frozenset(names - _TAKEN - set(_OWN))


def seed_for(random_seed: int) -> int:
    """The seed for a sampler, which takes 64 bits; others take any whole number."""
    if random_seed < 2**64:
        return int(random_seed)
    return int(np.random.SeedSequence(random_seed).generate_state(1, np.uint64)[0])


def check_settings(nuts_sampler: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The further arguments for a sampler, checked.

    Raises
    ------
    ArgumentError
        For names that the sampler does not take, and for values of the wrong type.
    """
    known = _known(nuts_sampler)
    signature = inspect.signature(nutpie.sample).parameters
    for name, value in given.items():
        taken = name in known
        if nuts_sampler == "nutpie" and name not in signature and name not in _OWN:
            try:
                nutpie._lib.PyNutsSettings.Diag(0).update({name: value})
                taken = name not in _TAKEN
            except AttributeError:
                taken = False
            except (TypeError, ValueError, OverflowError) as error:
                raise ArgumentError(f"sample(): {name}={value!r} cannot be used: {error}") from None
        if not taken:
            meant = _MEANT.get(name)
            hint = f"did you mean {meant!r}?" if meant else close_to(name, [*_OWN, *sorted(known)])
            raise ArgumentError(f"sample() takes no argument {name!r}; {hint}")
    cores, accept = given.get("cores", 1), given.get("target_accept", 0.8)
    if not (isinstance(cores, Integral) and int(cores) >= 1):
        raise ArgumentError(f"cores={cores!r} must be a whole number from 1.")
    for name in ("maxdepth", "max_treedepth"):
        if name in given and not (isinstance(given[name], Integral) and int(given[name]) >= 1):
            raise ArgumentError(
                f"{name}={given[name]!r} must be a whole number from 1: at 0 no chain moves."
            )
    if not (isinstance(accept, Real) and 0 < float(accept) < 1):
        raise ArgumentError(f"target_accept={accept!r} must be a number in (0, 1).")
    if given.get("adaptation", "diag") not in _ADAPTATIONS:
        raise one_of("adaptation", given["adaptation"], _ADAPTATIONS)
    for name in ("max_step_size", "max_energy_error", "initial_step"):
        value = given.get(name, 1.0)
        if not (isinstance(value, Real) and float(value) > 0):
            raise ArgumentError(f"{name}={value!r} must be a positive number: else no chain moves.")
    rate = given.get("progress_rate", 100)
    if isinstance(rate, bool) or not (isinstance(rate, Integral) and int(rate) >= 1):
        raise ArgumentError(f"progress_rate={rate!r} must be a whole number from 1 (milliseconds).")
    if given.get("mindepth", 0) > given.get("maxdepth", _DEEPEST):
        raise ArgumentError(
            f"mindepth={given['mindepth']!r} must not exceed maxdepth, "
            f"{given.get('maxdepth', _DEEPEST)!r}."
        )
    if not callable(given.get("progress_callback", print)):
        raise ArgumentError("progress_callback must be a function.")
    if nuts_sampler in OF_JAX:
        return {"sampler": nuts_sampler, **given}
    return dict(given)
