"""The quasi-posterior: prior times the quasi-likelihood, its dispersion held at an estimate."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from expfam_glm.data.compress import by_response, uncompressed, worth_compressing
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import need_rows
from expfam_glm.errors import SamplingError
from expfam_glm.mle.dispersion import estimate
from expfam_glm.mle.maximum import find_maximum
from expfam_glm.spec.expression import Expression
from expfam_glm.spec.family import Family
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.simplify import simplify


@dataclass(frozen=True)
class QuasiProblem(Problem):
    """A problem whose quasi family has its φ known and the quasi-likelihood as its density."""


def hold_dispersion(problem: Problem) -> Problem:
    """The problem as it is or, of a quasi family, with φ held at Pearson's estimate.

    Raises
    ------
    SamplingError
        If φ cannot be estimated: the fit is perfect, or leaves no degree of freedom.
    SeparationError, ConvergenceError
        If there is no finite estimate to take Pearson's χ² at.

    Notes
    -----
    The quasi-posterior is π(β) exp{Σ f w [yθ − b(θ)]/a(φ̂)}; φ has no part in it, because the
    quasi-likelihood, which is no density of y, tells nothing of φ.

    References
    ----------
    Agnoletto, Rigon and Dunson (2025), Bayesian inference for generalized linear models via
    quasi-posteriors.
    """
    family = problem.family
    if not family.is_quasi:
        return problem
    maximum = find_maximum(problem)
    inner, fitness = maximum.problem, maximum.measures
    if maximum.solution.perfect or not (inner.n > inner.X.shape[1] and fitness.pearson > 0):
        raise SamplingError(
            f"the dispersion of {family.name!r}, at which the quasi-posterior holds it, cannot be "
            "estimated: the fit is perfect. Use more data, or fewer terms."
        )
    phi, _, _ = estimate(inner, "pearson", fitness, maximum.saturated)
    held = Family(
        family.name, family.b, lambda y, a: 0.0 * y, a=family.a, support=family.support,
        theta_domain=family.theta_domain, theta=family.theta, phi=phi, link=family.link,
        deviance=family.closed_deviance, conjugate=family.closed_conjugate, _verified=True,
    )  # fmt: skip
    parts = {field.name: getattr(problem, field.name) for field in fields(problem)}
    return QuasiProblem(**{**parts, "family": held})


def sampled_rows(problem: Problem) -> Problem:
    """The problem that is sampled: φ held for a quasi family, cells where many rows share one."""
    need_rows(problem, "a posterior")
    if problem.family.is_quasi or problem.frame.effects:
        return hold_dispersion(uncompressed(problem))
    problem = worth_compressing(problem)
    return by_response(problem) if problem.family.shape else problem


def add_quasi_likelihood(
    problem: Problem, eta: Variable, inside: list[Variable], a: Variable
) -> None:
    """The quasi-log-likelihood as a potential of the current model: there is no density of y."""
    rows = row_model(problem.family, problem.link)
    (graph,) = simplify([rows.loglik], rows.variables)
    y = pm.Data("y", problem.y, dims="obs_id")
    terms = Expression(rows.variables, graph)(eta, y, 1.0 / a)
    for condition in inside:
        terms = pt.switch(condition, terms, -np.inf)
    if problem.f is not None:
        terms = terms * problem.f
    pm.Potential("quasi_likelihood", terms.sum())
