"""Log-densities of univariate priors with their derivatives, elementwise and by NumPy alone.

The priors are PyMC's own log-densities, differentiated and lowered like the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
from pymc.logprob.utils import CheckParameterValue
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, toposort
from pytensor.scalar.basic import Add, Mul, Neg, Pow, Second, Sqr, Sub, TrueDiv

from expfam_glm.bayes.prior import Prior
from expfam_glm.errors import DeclarationError
from expfam_glm.spec.graph import derivative, scalar, substitute
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify

type Kernel = Callable[..., Any]  # of `lower`

_OF_POLYNOMIALS = (Add, Sub, Mul, Neg, Sqr, Pow, TrueDiv, Second)


@lru_cache(maxsize=256)
def _prior_kernel(distribution: str, names: tuple[str, ...], bend: bool) -> Kernel | None:
    """(x, parameters) → log π and its first derivative, or its second derivative, elementwise.

    None where the log-density is no elementwise function that NumPy and SciPy can compute.
    """
    symbols = [scalar(name) for name in names]
    variable = getattr(pm, distribution).dist(**dict(zip(names, symbols, strict=True)))
    return _lowered(variable, symbols, bend)


@lru_cache(maxsize=256)
def _variable_kernel(variable: Variable, bend: bool) -> Kernel | None:
    """`_prior_kernel` of a distribution whose parameters are constants."""
    return _lowered(variable, [], bend)


def _lowered(variable: Variable, symbols: list[Variable], bend: bool) -> Kernel | None:
    x = scalar("x")
    variables = [x, *symbols]
    try:
        value = substitute(_without_checks(pm.logp(variable, x)), {})
        slope = derivative(value, x)
        outputs = simplify([derivative(slope, x)] if bend else [value, slope], variables)
        kernel = lower(variables, outputs, rows=(x,))
        straight = bend and x not in ancestors(outputs) and _is_polynomial(value, x)
        kernel.straight = straight
        return kernel
    except (DeclarationError, NotImplementedError):
        # ours for what NumPy cannot compute; PyMC's and PyTensor's for a distribution without a
        # density or an operation without a derivative
        return None


def _is_polynomial(value: Variable, x: Variable) -> bool:
    """Whether x goes through no other operations than those of polynomials: no ends, no corners."""
    moving = {x}
    for node in toposort([value]):
        if moving.isdisjoint(node.inputs):
            continue
        moving.update(node.outputs)
        if not isinstance(getattr(node.op, "scalar_op", None), _OF_POLYNOMIALS):
            return False
    return True


def _without_checks(graph: Variable) -> Variable:
    """The graph without PyMC's assertions on parameters, which are constants checked before."""
    while checks := [n for n in toposort([graph]) if isinstance(n.op, CheckParameterValue)]:
        first = checks[0]  # one at a time: the graph is rebuilt, and checks may be nested
        graph = substitute(graph, {first.outputs[0]: first.inputs[0]})
    return graph


class Parabola(NamedTuple):
    """top + ½ Σ bend (x − centre)², what normal and flat priors add up to."""

    top: float
    centre: np.ndarray
    bend: np.ndarray


class PriorTerms:
    """log π of several parameters at once, with its derivatives; zero where it is not known."""

    def __init__(self, priors: Sequence[Prior | Variable]) -> None:
        groups: dict[Any, list[int]] = {}
        for k, prior in enumerate(priors):
            key = prior
            if isinstance(prior, Prior):
                key = prior.distribution, tuple(sorted(prior.parameters))
            groups.setdefault(key, []).append(k)
        self.parts: list[tuple[Any, ...]] = []
        for key, where in groups.items():
            columns: list[np.ndarray] = []
            if isinstance(key, Variable):
                kernels = [_variable_kernel(key, bend) for bend in (False, True)]
            else:
                kernels = [_prior_kernel(*key, bend) for bend in (False, True)]
                given = [p.parameters for k in where if isinstance(p := priors[k], Prior)]
                columns = [np.array([values[name] for values in given]) for name in key[1]]
            every = slice(None) if len(where) == len(priors) else np.array(where)
            self.parts.append((every, *kernels, columns))
        self.parabola = self._parabola(len(priors))

    @property
    def complete(self) -> bool:
        """Whether every prior could be lowered."""
        return all(kernel is not None for _, kernel, _, _ in self.parts)

    def _parabola(self, k: int) -> Parabola | None:
        """The sum of all, where no second derivative depends on x."""
        if not all(kernel is not None and kernel.straight for _, _, kernel, _ in self.parts):
            return None
        zero = np.zeros(k)
        (value, slope), bend = self(zero), self.curvature(zero)
        flat = bend == 0
        if np.any(slope[flat] != 0):
            return None
        centre = -slope / np.where(flat, 1.0, bend)
        return Parabola(float(np.sum(value + 0.5 * slope * centre)), centre, bend)

    def total(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Σ log π and its gradient at x (k,)."""
        if self.parabola is not None:
            top, centre, bend = self.parabola
            apart = x - centre
            slope = bend * apart
            return top + 0.5 * float(np.dot(slope, apart)), slope
        value, slope = self(x)
        return float(value.sum()), slope

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log π and its derivative at x (…, k)."""
        if len(self.parts) == 1 and (kernel := self.parts[0][1]) is not None:
            value, slope = kernel(x, *self.parts[0][3])
            return value + np.zeros(x.shape), slope + np.zeros(x.shape)
        value, slope = np.zeros(x.shape), np.zeros(x.shape)
        for where, kernel, _, columns in self.parts:
            if kernel is not None:
                value[..., where], slope[..., where] = kernel(x[..., where], *columns)
        return value, slope

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """The second derivative at x (…, k)."""
        result = np.zeros(x.shape)
        for where, _, kernel, columns in self.parts:
            if kernel is not None:
                (result[..., where],) = kernel(x[..., where], *columns)
        return result
