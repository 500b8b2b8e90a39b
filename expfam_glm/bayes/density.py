"""The log-posterior and its gradient by row kernels: the fast lane, with nothing to compile.

The value space is z = (β, log φ), that of the PyMC model under its default transforms. The priors
are PyMC's own log-densities, differentiated and lowered to NumPy like the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pymc as pm
from pymc.logprob.utils import CheckParameterValue
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort

from expfam_glm.bayes.priors import Applied, Prior, space_of
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import DeclarationError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec.expression import derivative, scalar, substitute
from expfam_glm.spec.family import Family
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify

type Kernel = Callable[..., tuple[np.ndarray, ...]]


@lru_cache(maxsize=256)
def _prior_kernel(distribution: str, names: tuple[str, ...], bend: bool) -> Kernel | None:
    """(x, parameters) → log π and its first derivative, or its second derivative, elementwise.

    None where the log-density is no elementwise function that NumPy and SciPy can compute.
    """
    x, symbols = scalar("x"), [scalar(name) for name in names]
    variable = getattr(pm, distribution).dist(**dict(zip(names, symbols, strict=True)))
    variables = [x, *symbols]
    try:
        value = substitute(_without_checks(pm.logp(variable, x)), {})
        slope = derivative(value, x)
        outputs = [derivative(slope, x)] if bend else [value, slope]
        return lower(variables, simplify(outputs, variables), rows=(x,))
    except (DeclarationError, NotImplementedError):
        return None


def _without_checks(graph: Variable) -> Variable:
    """The graph without PyMC's assertions on parameters, which are constants checked before."""
    while checks := [n for n in toposort([graph]) if isinstance(n.op, CheckParameterValue)]:
        first = checks[0]  # one at a time: the graph is rebuilt, and checks may be nested
        graph = substitute(graph, {first.outputs[0]: first.inputs[0]})
    return graph


class PriorTerms:
    """log π of several parameters at once, with its derivatives; zero where it is not known."""

    def __init__(self, priors: Sequence[Prior]) -> None:
        groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for k, prior in enumerate(priors):
            key = prior.distribution, tuple(sorted(prior.parameters))
            groups.setdefault(key, []).append(k)
        self.parts: list[tuple[Any, ...]] = []
        for (distribution, names), where in groups.items():
            kernels = [_prior_kernel(distribution, names, bend) for bend in (False, True)]
            columns = [np.array([priors[k].parameters[name] for k in where]) for name in names]
            every = slice(None) if len(where) == len(priors) else np.array(where)
            self.parts.append((every, *kernels, columns))

    @property
    def complete(self) -> bool:
        """Whether every prior could be lowered."""
        return all(kernel is not None for _, kernel, _, _ in self.parts)

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log π and its derivative at x (…, k)."""
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


@lru_cache(maxsize=128)
def _free_dispersion_rows(family: Family, link: Link) -> Kernel:
    """(η, y, r) → log f, ∂/∂η and −∂/∂log r of each row."""
    rows = row_model(family, link)
    outputs = [rows.loglik, rows.score, -rows.r * derivative(rows.loglik, rows.r)]
    return lower(rows.variables, simplify(outputs, rows.variables), rows=(rows.eta, rows.y))


@lru_cache(maxsize=128)
def _dispersion_kernel(family: Family) -> Kernel:
    """φ → a(φ) and d log a/d log φ."""
    (phi,) = family.a.variables
    a = family.a.output
    return lower([phi], simplify([a, phi * derivative(a, phi) / a], [phi]))


class LogPosterior:
    """log π(β, φ) + Σ f log f(y) and its gradient in z = (β, log φ)."""

    def __init__(self, problem: Problem, applied: Applied) -> None:
        assert applied.beta is not None
        family, link = problem.family, problem.link
        self.p = problem.X.shape[1]
        self.blocks = list(MemoryBlocks(problem))
        self.image = link.image(family.mean_space)
        self.coefficients = PriorTerms([p for p in applied.beta if isinstance(p, Prior)])
        self.free = applied.phi is not None
        self.constant, self.sign = 0.0, 1.0
        if isinstance(applied.phi, Prior):
            self.dispersion = PriorTerms([applied.phi])
            self.a_of_phi = _dispersion_kernel(family)
            self.rows = _free_dispersion_rows(family, link)
            return
        closed = family.closed_deviance is not None
        self.sign = -0.5 if closed else 1.0
        self.rows = row_kernel(family, link, ("weighted_deviance" if closed else "kernel", "score"))
        self.a = float(family.a(family.phi))
        base = family.saturated if closed else family.base_measure
        for block in self.blocks:
            self.constant += block.total(base(block.y, self.a / np.asarray(block.w)))

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.p + self.free

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        log_prior, slope = self.coefficients(z[: self.p])
        value, gradient = self.constant + float(log_prior.sum()), np.zeros(self.n_dim)
        gradient[: self.p] = slope
        a, elasticity = (0.0, 0.0) if self.free else (self.a, 0.0)
        if self.free:
            phi = np.exp(z[-1:])
            a, elasticity = (float(v) for v in map(np.squeeze, self.a_of_phi(phi)))
            log_prior, slope = self.dispersion(phi)
            value += float(log_prior[0] + z[-1])
            gradient[-1] = slope[0] * phi[0] + 1.0
        for block in self.blocks:
            eta = block.eta(z[: self.p])
            if not (self.image.low < eta.min() and eta.max() < self.image.high):
                return -np.inf, np.zeros(self.n_dim)
            loglik, score, *by_phi = self.rows(eta, block.y, block.w / a)
            value += self.sign * block.total(loglik)
            gradient[: self.p] += block.X.T @ (score if block.f is None else score * block.f)
            if by_phi:
                gradient[-1] += elasticity * block.total(by_phi[0])
        return value, gradient


def has_fast_lane(applied: Applied) -> bool:
    """Whether priors and value space are those of `LogPosterior`."""
    if not applied.separable or applied.beta is None:
        return False
    if isinstance(applied.phi, Prior) and space_of(applied.phi) != "positive":
        return False
    priors = [p for p in (*applied.beta, applied.phi) if isinstance(p, Prior)]
    return PriorTerms(priors).complete
