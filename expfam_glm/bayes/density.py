"""The log-posterior and its gradient by row kernels: the fast lane, with nothing to compile.

The value space is z = (β, log φ), that of the PyMC model under its default transforms. The priors
are PyMC's own log-densities, differentiated and lowered to NumPy like the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pymc as pm
from pymc.logprob.utils import CheckParameterValue
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort

from expfam_glm.bayes.priors import Applied, Prior, space_of
from expfam_glm.data.blocks import Block, MemoryBlocks
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


@lru_cache(maxsize=128)
def prior_kernel(distribution: str, names: tuple[str, ...]) -> Kernel | None:
    """(x, parameters) → log π, its derivative and its second derivative, elementwise.

    None where the log-density is no elementwise function that NumPy and SciPy can compute.
    """
    x, symbols = scalar("x"), [scalar(name) for name in names]
    variable = getattr(pm, distribution).dist(**dict(zip(names, symbols, strict=True)))
    variables = [x, *symbols]
    try:
        value = substitute(_without_checks(pm.logp(variable, x)), {})
        slope = derivative(value, x)
        return lower(variables, simplify([value, slope, derivative(slope, x)], variables))
    except (DeclarationError, NotImplementedError):
        return None


def _without_checks(graph: Variable) -> Variable:
    """The graph without PyMC's assertions on parameters, which are constants checked before."""
    replaced: dict[Variable, Variable] = {}
    for node in toposort([graph]):
        if isinstance(node.op, CheckParameterValue):
            replaced[node.outputs[0]] = replaced.get(node.inputs[0], node.inputs[0])
    return substitute(graph, replaced) if replaced else graph


class PriorTerms:
    """log π of several parameters at once, with first and second derivatives."""

    def __init__(self, priors: Sequence[Prior]) -> None:
        groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for k, prior in enumerate(priors):
            key = prior.distribution, tuple(sorted(prior.parameters))
            groups.setdefault(key, []).append(k)
        self.parts = []
        for (distribution, names), where in groups.items():
            kernel = prior_kernel(distribution, names)
            columns = [np.array([priors[k].parameters[name] for k in where]) for name in names]
            self.parts.append((np.array(where), kernel, columns))

    @property
    def complete(self) -> bool:
        """Whether every prior could be lowered."""
        return all(kernel is not None for _, kernel, _ in self.parts)

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log π, its derivative and its second derivative at x (…, k); zero where not known."""
        results = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
        for where, kernel, columns in self.parts:
            if kernel is not None:
                for result, values in zip(results, kernel(x[..., where], *columns), strict=True):
                    result[..., where] = values
        return results


@lru_cache(maxsize=128)
def _free_dispersion_kernel(family: Family, link: Link) -> Kernel:
    """(η, y, r) → log f, ∂/∂η and ∂/∂r of each row."""
    rows = row_model(family, link)
    outputs = [rows.loglik, rows.score, derivative(rows.loglik, rows.r)]
    return lower(rows.variables, simplify(outputs, rows.variables), rows=(rows.eta, rows.y))


class LogPosterior:
    """log π(β, φ) + Σ f log f(y) and its gradient in z = (β, log φ)."""

    def __init__(self, problem: Problem, applied: Applied) -> None:
        assert applied.beta is not None
        self.problem = problem
        self.p = problem.X.shape[1]
        self.blocks = list(MemoryBlocks(problem))
        self.image = problem.link.image(problem.family.mean_space)
        self.coefficients = PriorTerms([p for p in applied.beta if isinstance(p, Prior)])
        self.free = applied.phi is not None
        self.dispersion = PriorTerms([applied.phi] if isinstance(applied.phi, Prior) else [])
        family, link = problem.family, problem.link
        self.a_slope = family.a.derivative("phi")
        if self.free:
            self.rows = _free_dispersion_kernel(family, link)
            self.constant = 0.0
        else:
            closed = family.closed_deviance is not None
            q = "weighted_deviance" if closed else "kernel"
            self.rows = row_kernel(family, link, (q, "score"))
            self.sign = -0.5 if closed else 1.0
            self.a = float(family.a(family.phi))
            base = family.saturated if closed else family.base_measure
            self.constant = sum(
                block.total(base(block.y, self.a / np.asarray(block.w))) for block in self.blocks
            )

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.p + self.free

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        beta, gradient = z[: self.p], np.zeros(self.n_dim)
        log_prior, slope, _ = self.coefficients(beta)
        value, gradient[: self.p] = float(log_prior.sum()) + self.constant, slope
        phi, a, a_slope = 1.0, 1.0, 0.0
        if self.free:
            phi = float(np.exp(z[-1]))
            a, a_slope = float(self.problem.family.a(phi)), float(self.a_slope(phi))
            log_prior, slope, _ = self.dispersion(np.array([phi]))
            value += float(log_prior[0]) + z[-1]
            gradient[-1] = slope[0] * phi + 1.0
        else:
            a = self.a
        for block in self.blocks:
            part = self._block(block, beta, a, a_slope * phi)
            if part is None:
                return -np.inf, np.zeros(self.n_dim)
            value += part[0]
            gradient += part[1]
        return value, gradient

    def _block(
        self, block: Block, beta: np.ndarray, a: float, a_slope: float
    ) -> tuple[float, np.ndarray] | None:
        """Σ f log f and its gradient over a block; a_slope is ∂a/∂log φ."""
        eta = block.eta(beta)
        if not (self.image.low < eta.min() and eta.max() < self.image.high):
            return None
        r = block.w / a
        gradient = np.zeros(self.n_dim)
        if self.free:
            loglik, score, by_r = self.rows(eta, block.y, r)
            gradient[-1] = block.total(-by_r * r / a * a_slope)
        else:
            loglik, score = self.rows(eta, block.y, r)
            loglik = self.sign * loglik
        if block.f is not None:
            score = score * block.f
        gradient[: self.p] = block.X.T @ np.broadcast_to(score, eta.shape)
        return block.total(loglik), gradient


def has_fast_lane(applied: Applied) -> bool:
    """Whether priors and value space are those of `LogPosterior`."""
    if not applied.separable or applied.beta is None:
        return False
    if isinstance(applied.phi, Prior) and space_of(applied.phi) != "positive":
        return False
    priors = [p for p in (*applied.beta, applied.phi) if isinstance(p, Prior)]
    return PriorTerms(priors).complete
