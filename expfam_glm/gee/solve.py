"""Solving the estimating equations: steps B⁻¹U, of which B is renewed only where it must be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, ConvergenceError, CorrelationError
from expfam_glm.gee import covariance
from expfam_glm.gee.equations import Equations, State

_MOST_HALVINGS = 40
_MOST_SHORTER = 8  # halvings while the equations are not nearer to their solution
# Robust standard errors below this part of the naive ones do not set the length of a step: they
# vanish where every cluster is fitted exactly.
_LEAST_ROBUST = 1e-4
# A step no longer than this that no longer shrinks is a rounding error of ill-scaled columns.
_ROUNDING_STEP = 1e-5
_STALLED = 4
_SPARE = 0.1  # the part of the tolerance that is used: looks are cheap
_LEFT = 0.5  # the part of it that may be left after a last step that is not looked at
_RENEW = 0.2  # steps that shrink less than this want another B


class Solution(NamedTuple):
    """The state at which the iteration ended."""

    state: State
    iterations: int
    length: float  # of the last step, in robust standard errors: the largest over coefficients


class Ruler:
    """Steps by the bread of one state, and their length in its standard errors.

    The state may be that of a sample which holds a `share` of the rows.
    """

    def __init__(self, state: State, share: float = 1.0) -> None:
        self.bread = state.bread
        self.share = share
        meat = state.scores.T @ state.scores  # good enough for a length, and cheaper
        robust = np.sqrt(np.diagonal(state.bread.sandwich(meat)).clip(0.0))
        naive = np.sqrt(np.diagonal(covariance.naive(state.bread, state.dispersion)))
        self.unit = np.maximum(robust, _LEAST_ROBUST * naive) * np.sqrt(share)

    def step(self, score: np.ndarray) -> np.ndarray:
        """B⁻¹U."""
        return self.bread.solve(score) * self.share

    def length(self, step: np.ndarray) -> float:
        """The largest over coefficients."""
        return float(np.max(np.abs(step) / self.unit))


class Here(NamedTuple):
    """A β, the step that the equations ask for there, and its length."""

    beta: np.ndarray
    step: np.ndarray
    length: float
    state: State | None  # None where only the equations were looked at


def solve(
    equations: Equations,
    start: np.ndarray,
    *,
    ruler: Ruler | None = None,
    tol: float = 1e-8,
    max_iterations: int = 200,
    near: float = 0.0,
) -> Solution:
    """Iterate from `start` until the step is below `tol` robust standard errors.

    The first step is made with the bread of `ruler`, if one is given, else with that at the start.
    A point within `near` standard errors is left by one step, which is not looked at.

    Raises
    ------
    ConvergenceError
        If that is not reached, or no step stays inside the domain of the link.
    CorrelationError
        If the working correlation cannot be estimated or is not positive definite.
    """
    if not 0 < tol < 1 or max_iterations < 1:
        raise ArgumentError(
            f"tol={tol!r} must lie in (0, 1) and max_iterations={max_iterations!r} be at least 1."
        )
    if ruler is None:
        state = equations.evaluate(start)
        ruler = None if state is None else Ruler(state)
        here = None if state is None else Here(start, state.step, np.inf, state)
        ratio = _RENEW
    else:  # near the solution a bread of its own is worth its price
        here, ratio = _at(equations, ruler, start, full=False), np.inf
    if here is None or ruler is None:
        raise ConvergenceError(f"the start {start} is not admissible; give start=.", None)
    here = here._replace(length=ruler.length(here.step))
    shortest, stalled = here.length, 0
    for iteration in range(1, max_iterations + 1):
        before = here.length
        # the covariance is asked for where the next step should be the last, and for another B
        full = _ends(before * ratio, ratio, near, tol) or ratio > _RENEW or equations.always_full
        here = _advance(equations, ruler, here, full, iteration)
        ratio = here.length / before if before > 0 else 0.0
        stalled = 0 if here.length < shortest else stalled + 1
        shortest = min(shortest, here.length)
        at_rounding = stalled >= _STALLED and here.length < _ROUNDING_STEP
        state = here.state
        if state is None:
            ratio = max(ratio, 1.0) if at_rounding else ratio
            continue
        ruler = Ruler(state)
        length = ruler.length(here.step)
        here = here._replace(length=length)
        # where steps shrink slowly, many more of them lie ahead
        ahead = max(1.0, ratio / (1 - ratio)) if ratio < 1 else 1.0
        if length * ahead < _SPARE * tol or at_rounding:
            return Solution(state, iteration, length)
        if _ends(length, ratio, near, tol):
            return Solution(state._replace(beta=state.beta + state.step), iteration, length)
    raise ConvergenceError(
        f"the estimating equations were not solved in {max_iterations} iterations: the last step "
        f"is {here.length:.3g} robust standard errors long (tol = {tol:g}). "
        f"{_text(equations, here.beta)} {_independence(start)} Try a simpler working "
        "correlation, give phi=, or raise max_iterations; the last state is in `.state`.",
        equations.evaluate(here.beta),
    )


def _ends(length: float, ratio: float, near: float, tol: float) -> bool:
    """Whether a step of this length, where steps shrink by this ratio, is the last."""
    if length < _SPARE * tol:
        return True
    return ratio < _RENEW and length < near and length * ratio < _LEFT * tol


def _advance(equations: Equations, ruler: Ruler, here: Here, full: bool, iteration: int) -> Here:
    """After the step, halved while η leaves its domain, R(α) is indefinite, or U grows."""
    part, first, trouble = 1.0, None, None
    for halving in range(_MOST_HALVINGS):
        beta = here.beta + part * here.step
        try:
            new = _at(equations, ruler, beta, full)
        except CorrelationError as failure:
            new, trouble = None, failure
        if new is not None:
            if new.length <= here.length or here.length < _ROUNDING_STEP:
                return new
            first = first or new
        if first is not None and halving >= _MOST_SHORTER:
            return first
        part /= 2
    if trouble is not None:
        raise trouble
    raise ConvergenceError(
        f"iteration {iteration} of the estimating equations finds no step that keeps the linear "
        f"predictor inside {equations.link.image(equations.family.mean_space)}, the domain of the "
        f"link {equations.link.name!r}. {_text(equations, here.beta)} Use another link or working "
        "correlation; the last state is in `.state`.",
        equations.evaluate(here.beta),
    )


def _at(equations: Equations, ruler: Ruler, beta: np.ndarray, full: bool) -> Here | None:
    """What the equations ask for at β; None where β is not admissible."""
    if full:
        state = equations.evaluate(beta)
        return None if state is None else Here(beta, state.step, ruler.length(state.step), state)
    score = equations.score(beta)
    if score is None:
        return None
    step = ruler.step(score)
    return Here(beta, step, ruler.length(step), None)


def _text(equations: Equations, beta: np.ndarray) -> str:
    """A state in a message."""
    parts = [f"beta = {_listed(beta)}"]
    moments = equations.moments_at(beta)
    if moments is not None:
        dispersion, parameter = moments
        if equations.structure.alpha_dims is not None:
            parts.append(f"alpha = {_listed(equations.structure.alpha(parameter))}")
        parts.append(f"phi = {dispersion:.6g}")
    return f"Last state: {'; '.join(parts)}."


def _independence(start: np.ndarray) -> str:
    return f"The fit under independence, where it began: beta = {_listed(start)}."


def _listed(values: np.ndarray, most: int = 8) -> str:
    """The first few numbers of an array as text."""
    flat = values.reshape(-1)
    return ", ".join(f"{v:.6g}" for v in flat[:most]) + (", …" if flat.size > most else "")
