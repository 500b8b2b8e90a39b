"""The log-posterior and its gradient by row kernels: the fast lane, with nothing to compile.

The value space is z = (β, shapes on their working scales, log φ), that of the PyMC model under its
default transforms. The priors are PyMC's own log-densities, differentiated and lowered to NumPy
like the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.utils import CheckParameterValue
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise

from expfam_glm.bayes.joint import joint_prior
from expfam_glm.bayes.prior import Prior, space_of, spans
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.responses import ResponseTerms
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import DeclarationError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.expression import derivative, scalar, substitute
from expfam_glm.spec.family import Family
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.scale import Scale
from expfam_glm.spec.simplify import simplify

type Kernel = Callable[..., Any]  # of `lower`


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

    @property
    def complete(self) -> bool:
        """Whether every prior could be lowered."""
        return all(kernel is not None for _, kernel, _, _ in self.parts)

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log π and its derivative at x (…, k)."""
        if len(self.parts) == 1 and (kernel := self.parts[0][1]) is not None and x.ndim == 1:
            value, slope = kernel(x, *self.parts[0][3])
            return np.broadcast_to(value, x.shape), np.broadcast_to(slope, x.shape)
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
def _rows_with_slopes(family: Family, link: Link) -> Kernel:
    """(η, y, r, *shapes) → log f, ∂/∂η, ∂/∂ of each shape and −∂/∂log r of each row."""
    rows = row_model(family, link)
    by_shape = [derivative(rows.loglik, shape) for shape in rows.shapes.values()]
    by_a = -rows.r * derivative(rows.loglik, rows.r)
    outputs = [rows.loglik, rows.score, *by_shape, *([by_a] if family.phi is None else [])]
    return lower(rows.variables, simplify(outputs, rows.variables), rows=(rows.eta, rows.y))


@lru_cache(maxsize=128)
def _rows_of_one(family: Family, link: Link, names: tuple[str, ...]) -> Kernel:
    """`row_kernel` where r = 1 for every row, and is left out."""
    rows = row_model(family, link)
    outputs = [substitute(getattr(rows, name), {rows.r: pt.constant(1.0)}) for name in names]
    variables = [v for v in rows.variables if v is not rows.r]
    kernel = lower(variables, simplify(outputs, variables), rows=(rows.eta, rows.y))

    def without(eta: np.ndarray, y: np.ndarray, r: float, *shapes: Any, out: Any = None) -> Any:
        return kernel(eta, y, *shapes, out=out)

    without.buffers = kernel.buffers  # type: ignore[attr-defined]
    return without


@lru_cache(maxsize=128)
def _dispersion_kernel(family: Family) -> Kernel:
    """φ → a(φ) and d log a/d log φ."""
    (phi,) = family.a.variables
    a = family.a.output
    return lower([phi], simplify([a, phi * derivative(a, phi) / a], [phi]))


class LogPosterior:
    """log π(β, ψ, φ) + Σ f log f(y) and its gradient in z = (β, u(ψ), log φ), ψ the free shapes.

    Where the prior is one of s = φ^k, it is the density of (β, u(ψ), log s) at z.
    """

    rows: Any  # a function of `lower`, with its number of buffers

    def __init__(self, problem: Problem, applied: Applied) -> None:
        assert applied.beta is not None
        family, link = problem.family, problem.link
        self.p = problem.X.shape[1]
        blocks = MemoryBlocks(problem)
        self.blocks = list(blocks)
        self.rows: Any
        self.image = link.image(family.mean_space)
        self.bounded = np.isfinite(self.image.low), np.isfinite(self.image.high)
        self.coefficients = PriorTerms(applied.beta)
        self.joint = None if applied.joint is None else joint_prior(problem, applied.joint)
        self.free = applied.phi is not None
        self.constant, self.sign = 0.0, 1.0
        self.scales = {name: Scale(domain) for name, domain in family.shape.items()}
        self.shape_priors = PriorTerms(list(applied.shapes.values()))
        self.responses: ResponseTerms | None = None
        self.within = 0.0
        if not self.free:
            self.a = float(family.a(family.phi))
        if applied.phi is not None:
            self.dispersion, self.power = PriorTerms([applied.phi]), applied.phi_power
            self.a_of_phi = _dispersion_kernel(family)
        if self.scales or (self.free and problem.scatter is None):
            self.rows = _rows_with_slopes(family, link)
            self._lend()
            return
        closed = family.closed_deviance is not None
        self.sign = -0.5 if closed else 1.0
        names = ("weighted_deviance" if closed else "kernel", "score")
        plain = problem.w is None and not self.free and self.a == 1.0
        self.rows = (_rows_of_one if plain else row_kernel)(family, link, names)
        self.within = self.sign * blocks.within_deviance if closed else 0.0
        if self.free:
            self.responses = ResponseTerms(blocks.responses, family, closed)
            self._lend()
            return
        base = family.saturated if closed else family.base_measure
        self.constant = self.within / self.a
        for block in blocks.responses:
            self.constant += block.total(base(block.y, self.a / np.asarray(block.w)))
        self._lend()

    def _lend(self) -> None:
        """Memory for η, the scores and the row kernels, block by block."""
        self.scores: np.ndarray | None = None  # f·∂ log f/∂η of the last call with a shift
        self.memory = [np.empty((1 + self.rows.buffers, block.y.size)) for block in self.blocks]

    def for_another_thread(self) -> LogPosterior:
        """The same function with memory of its own."""
        twin = copy(self)
        twin._lend()
        return twin

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.p + len(self.scales) + self.free

    def shapes_at(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The free shapes at z (…, d)."""
        values = zip(self.scales.items(), np.moveaxis(z, -1, 0)[self.p :], strict=False)
        return {name: np.asarray(scale.back(u)) for (name, scale), u in values}

    def values(self, z: np.ndarray) -> np.ndarray:
        """The values alone at many points (m, d)."""
        return np.array([self(row)[0] for row in z])

    def expand(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters at z by name."""
        found = {"beta": z[: self.p]}
        found |= self.shapes_at(z)
        return found | ({"phi": np.array(np.exp(z[-1]))} if self.free else {})

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        return self.shifted(z, None)

    def shifted(self, z: np.ndarray, shift: np.ndarray | None) -> tuple[float, np.ndarray]:
        """The same where η is Xβ + offset + shift; the rows' scores are then kept in `scores`."""
        log_prior, slope = self.coefficients(z[: self.p])
        value, gradient = self.constant + float(log_prior.sum()), np.zeros(z.size)
        gradient[: self.p] = slope
        if self.joint is not None:
            together, slope = self.joint(z[: self.p])
            value, gradient[: self.p] = value + together, gradient[: self.p] + slope
            if not np.isfinite(value):
                return -np.inf, np.zeros(z.size)
        shaped = slice(self.p, self.p + len(self.scales))
        a, elasticity = (0.0, 0.0) if self.free else (self.a, 0.0)
        if self.free:
            phi = np.exp(z[-1:])
            a, elasticity = (float(v) for v in map(np.squeeze, self.a_of_phi(phi)))
            scaled = phi**self.power
            log_prior, slope = self.dispersion(scaled)
            value += float(log_prior[0] + self.power * z[-1])
            gradient[-1] = self.power * (slope[0] * scaled[0] + 1.0)
        psi = self.shapes_at(z)
        if psi:
            slopes, bends = np.transpose(
                [scale.slopes(u) for scale, u in zip(self.scales.values(), z[shaped], strict=True)]
            )
            log_prior, slope = self.shape_priors(np.array(list(psi.values())))
            value += float(log_prior.sum() + np.log(np.abs(slopes)).sum())
            gradient[shaped] = slope * slopes + bends / slopes
        fit = 0.0
        first = 0
        for block, (eta, *memory) in zip(self.blocks, self.memory, strict=True):
            np.dot(block.X, z[: self.p], out=eta)
            if block.offset is not None:
                eta += block.offset
            if shift is not None:
                eta += shift[first : first + eta.size]
            if (self.bounded[0] and not eta.min() > self.image.low) or (
                self.bounded[1] and not eta.max() < self.image.high
            ):
                return -np.inf, np.zeros(z.size)
            found = self.rows(eta, block.y, block.w / a, *psi.values(), out=memory)
            loglik, score, *others = found
            fit += self.sign * block.total(loglik)
            score = score if block.f is None else score * block.f
            gradient[: self.p] += block.X.T @ score
            if shift is not None:
                if self.scores is None:
                    self.scores = np.empty(shift.size)
                self.scores[first : first + eta.size] = score
                first += eta.size
            if psi:
                totals = [block.total(v) for v in others[: len(psi)]]
                gradient[shaped] += np.array(totals) * slopes
            if self.free and others:
                gradient[-1] += elasticity * block.total(others[-1])
        if self.responses is not None:
            fit += self.within / a
            apart, by_a = self.responses(float(np.log(a)))
            value += apart
            gradient[-1] += elasticity * (by_a - fit)
        value += fit
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(z.size)
        return value, gradient


def sums_in_rows(family: Family) -> bool:
    """Whether c(y, a) is a sum of many terms for each row, which numba does faster than NumPy."""
    nodes = toposort([family.c.output]) if family.c is not None else ()
    return any(not isinstance(node.op, Elemwise) for node in nodes)


def has_fast_lane(applied: Applied, domains: Mapping[str, Domain] = MappingProxyType({})) -> bool:
    """Whether priors and value space are those of `LogPosterior`."""
    if not applied.separable or applied.beta is None:
        return False
    if applied.phi is not None and space_of(applied.phi) != "positive":
        return False
    if not all(spans(prior, domains[name]) for name, prior in applied.shapes.items()):
        return False
    further = [] if applied.phi is None else [applied.phi]
    return PriorTerms([*applied.beta, *further, *applied.shapes.values()]).complete
