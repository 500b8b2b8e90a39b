"""A declared family as a distribution in PyMC: its own log-density, its own random draws.

The log-density of the random variable is the graph of the declaration, [yθ − b(θ)]/a + c(y, a),
and nothing else. The mean and θ are both parameters of the variable, so that a model which knows
θ as a function of η never goes through μ, and its tails stay exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions import transforms
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import Distribution, SymbolicRandomVariable, _support_point
from pymc.distributions.shape_utils import implicit_size_from_params, rv_size_is_none
from pymc.distributions.transforms import _default_transform
from pymc.logprob.abstract import _logprob
from pytensor.graph.basic import Variable
from pytensor.tensor.random.utils import normalize_size_param

from expfam_glm.bayes import dispatch, dispatch_compound, dispatch_rows  # noqa: F401 - for numba
from expfam_glm.bayes.draws import FamilyDraw
from expfam_glm.bayes.fuse import FamilyDensity
from expfam_glm.bayes.membership import in_support, possible_parameters
from expfam_glm.errors import ArgumentError, DataError, show_rows
from expfam_glm.spec.family import Family

# What PyMC itself understands when a distribution is registered or made.
_PYMC_KEYWORDS = {
    "dims", "shape", "size", "initval", "transform", "default_transform", "total_size", "rng",
}  # fmt: skip


class FamilyRV(SymbolicRandomVariable):
    """The random variable of a family, with parameters μ, θ, a = a(φ)/w and the shapes."""

    _ndim_supp = 0
    family: Family
    dtype: str

    @classmethod
    def rv_op(
        cls, *parameters: Any, family: Family, dtype: str, size: Any = None, rng: Any = None
    ) -> Variable:
        """The variable for given parameters; all of them are broadcast to `size`."""
        symbols = [pt.as_tensor(v) for v in parameters]
        rng = pt.random.shared_rng(seed=None) if rng is None else rng
        size = normalize_size_param(size)
        full = size
        if rv_size_is_none(size):
            full = implicit_size_from_params(*symbols, ndims_params=[0] * len(symbols))
        spread = [pt.broadcast_to(v, full) for v in symbols]
        next_rng, y = FamilyDraw(family, dtype).make_node(rng, *spread).outputs
        places = ",".join(["()"] * len(symbols))
        op = cls(
            inputs=[rng, size, *symbols],
            outputs=[next_rng, y],
            extended_signature=f"[rng],[size],{places}->[rng],()",
        )
        op.family, op.dtype = family, dtype
        op._print_name = (family.name, rf"\operatorname{{{family.name}}}")
        return op(rng, size, *symbols)

    def rebuild_rv(self, *parameters: Any, **keywords: Any) -> Variable:
        """The same variable with other parameters or another size."""
        return self.rv_op(*parameters, family=self.family, dtype=self.dtype, **keywords)


class FamilyDistribution(Distribution):
    """The PyMC distribution of a family: `FamilyDistribution(name, family, mu, theta, a, …)`."""

    rv_type = FamilyRV
    rv_op = FamilyRV.rv_op

    @classmethod
    def dist(cls, family: Family, *parameters: Any, dtype: str, **keywords: Any) -> Variable:
        """An unregistered variable with parameters μ, θ, a and the shapes."""
        return super().dist(list(parameters), family=family, dtype=dtype, **keywords)


@_logprob.register(FamilyRV)
def _family_logprob(
    op: FamilyRV, values: Any, rng: Any, size: Any, mu: Any, theta: Any, a: Any, *shapes: Any,
    **keywords: Any,
) -> Variable:  # fmt: skip
    """The declared log-density, −∞ outside the support, with PyMC's checks of the parameters."""
    family, (y,) = op.family, values
    named = dict(zip(family.shape, shapes, strict=True))
    on_unit_lattice = np.dtype(y.type.dtype).kind in "iu"
    y = pt.cast(y, "float64")
    density = family.logpdf_at(y, mu, theta, a, **named)
    for inside in in_support(family, y, a, on_unit_lattice):
        density = pt.switch(inside, density, -np.inf)
    density = check_parameters(
        density,
        *possible_parameters(family, mu, theta, a, named),
        msg=f"theta in {family.theta_domain}, mu in {family.mean_space}, phi and weights positive",
    )
    return FamilyDensity(family, on_unit_lattice)(density, y, mu, theta, a, *shapes)


@_support_point.register(FamilyRV)
def _family_support_point(
    op: FamilyRV, rv: Any, rng: Any, size: Any, mu: Any, theta: Any, a: Any, *shapes: Any
) -> Variable:
    """The mean, moved to the nearest possible value of a discrete family."""
    support = op.family.support
    centre = mu
    if support.discrete:
        centre = pt.clip(pt.round(mu / a), support.low / a, support.high / a) * a
    return pt.broadcast_to(centre, rv.shape)


@_default_transform.register(FamilyRV)
def _family_transform(op: FamilyRV, rv: Any) -> Any:
    """From the open support of a continuous family to the whole real line."""
    low, high = op.family.support.low, op.family.support.high
    if op.family.support.discrete or (np.isinf(low) and np.isinf(high)):
        return None
    if (low, high) == (0.0, np.inf):
        return transforms.log
    if (low, high) == (0.0, 1.0):
        return transforms.logodds
    bounds = (None if np.isinf(bound) else np.float64(bound) for bound in (low, high))
    return transforms.Interval(*bounds)


# ---- the door ----------------------------------------------------------------------------------


def dist(
    family: Family,
    name: str | None = None,
    *,
    mu: Any = None,
    theta: Any = None,
    phi: Any = None,
    weights: Any = 1.0,
    observed: Any = None,
    **keywords: Any,
) -> Variable:
    """A family as a distribution: registered in the current `pm.Model`, or by itself.

    Parameters
    ----------
    family : Family
        With a density.
    name : str, optional
        Name of the variable in the model; without it an unregistered distribution is returned,
        as by `pm.Normal.dist`.
    mu : array_like or symbolic, response scale
        The mean; give this or `theta`.
    theta : array_like or symbolic
        The canonical parameter.
    phi : array_like or symbolic, optional
        The dispersion; the family's own if it is known.
    weights : array_like or symbolic
        Prior weights w; for the binomial the numbers of trials.
    observed : array_like, optional
        Responses on the scale of the mean; with trials that is count/N.
    **keywords
        The shape parameters by name, and what PyMC takes: dims, shape, initval, transform, …

    Returns
    -------
    TensorVariable
        Integers where y itself is one and nothing fractional is observed, else float64.

    Raises
    ------
    ArgumentError
        For a quasi family, for none or both of mu and theta, for a missing φ or shape parameter,
        for an unknown keyword, and for a free variable on a lattice of fractions.
    DataError
        If observed responses lie outside the support.

    Notes
    -----
    log f(y) = [yθ − b(θ)]/a + c(y, a) with a = a(φ)/w. A continuous free variable is sampled on
    the logarithm or log-odds of its support.

    Examples
    --------
    >>> import pymc as pm
    >>> import expfam_glm as eg
    >>> with pm.Model() as model:
    ...     rate = pm.Exponential("rate", 1.0)
    ...     y = eg.families.poisson.dist("y", mu=rate, observed=[2, 0, 1])
    >>> model.observed_RVs
    [y]
    >>> float(pm.logp(eg.families.poisson.dist(mu=2.0), 3).eval().round(6))
    -1.712318
    """
    where = f"{family.name}.dist"
    if family.is_quasi:
        raise ArgumentError(
            f"{where}: the quasi family {family.name!r} declares no density (c=None), so it is no "
            "distribution; use the family with the density that you have in mind."
        )
    if (mu is None) == (theta is None):
        raise ArgumentError(f"{where}: give one of mu= (the mean) and theta= (canonical).")
    missing = [key for key in family.shape if key not in keywords]
    if missing:
        raise ArgumentError(f"{where}: give the shape parameter {', '.join(missing)}.")
    shapes = {key: _symbol(keywords.pop(key)) for key in family.shape}
    unknown = sorted(set(keywords) - _PYMC_KEYWORDS)
    if unknown:
        raise ArgumentError(
            f"{where}: {', '.join(map(repr, unknown))} is no argument; besides mu, theta, phi, "
            f"weights and observed there are {', '.join([*shapes, *sorted(_PYMC_KEYWORDS)])}."
        )
    a = family.a(family._dispersion(phi)) / (
        weights if isinstance(weights, Variable) else np.asarray(weights, dtype=float)
    )
    if theta is None:
        mean = _symbol(mu)
        canonical = family.theta_of(mean, **shapes)
    else:
        canonical = _symbol(theta)
        mean = family.mean(canonical, **shapes)
    parameters = (mean, canonical, _symbol(a), *shapes.values())
    dtype = _dtype(family, a, observed)
    if name is None:
        if observed is not None:
            raise ArgumentError(f"{where}: observed= needs the name of a variable in a model.")
        return FamilyDistribution.dist(family, *parameters, dtype=dtype, **keywords)
    if observed is None and family.support.discrete and dtype == "float64":
        raise ArgumentError(
            f"{where}: {name!r} would be a free variable on fractions (y times weights is an "
            "integer), which no sampler of PyMC can move; leave out weights, or observe it."
        )
    if observed is None and family.support.atom is not None:
        raise ArgumentError(
            f"{where}: {name!r} would be a free variable with mass at "
            f"{family.support.atom:g} and a density elsewhere, which "
            "no sampler of PyMC can move; observe it."
        )
    _check_observed(family, name, observed, a)
    return FamilyDistribution(name, family, *parameters, dtype=dtype, observed=observed, **keywords)


def _symbol(value: Any) -> Variable:
    """A float64 tensor; bare numbers would become float32."""
    if isinstance(value, Variable):
        return pt.cast(value, "float64")
    return pt.as_tensor(np.asarray(value, dtype=float))


def _dtype(family: Family, a: Any, observed: Any) -> str:
    """Integers for a discrete family with a = 1, unless what is observed are floats."""
    unit = not isinstance(a, Variable) and bool(np.all(np.asarray(a) == 1))
    if not (family.support.discrete and unit):
        return "float64"
    given = getattr(observed, "dtype", None)
    if given is None and observed is not None:
        given = np.asarray(observed).dtype
    return "int64" if given is None or np.dtype(given).kind in "biu" else "float64"


def _check_observed(family: Family, name: str, observed: Any, a: Any) -> None:
    """Refuse known responses outside the support; NaN is PyMC's to impute."""
    if observed is None or isinstance(observed, Variable) or isinstance(a, Variable):
        return
    y, r = np.broadcast_arrays(np.ma.filled(np.ma.asarray(observed, dtype=float), np.nan), 1 / a)
    bad = ~(family.contains(y, r) | np.isnan(y))
    if np.any(bad):
        raise DataError(
            f"{name}: {int(bad.sum())} observed value(s) outside the support {family.support} of "
            f"{family.name!r}; found {show_rows(y.ravel(), bad.ravel())}. Responses are on the "
            "scale of the mean, so counts out of N trials are given as count/N with weights=N."
        )
