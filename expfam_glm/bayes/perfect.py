"""Fits without residuals under a dispersion that is free: what is left of the posterior of φ.

With r the rank of the design, saturated densities ~ (2πφV)^{−1/2} as φ → 0 and β integrated out,
the likelihood of φ goes as φ^{−(n − r)/2}. Its posterior is proper if and only if the prior of
log φ falls faster than e^{(n − r)/2 log φ}. The joint density of (β, log φ) goes as e^{g log φ}
φ^{−n/2}, g the exponent of that prior, and does not fall towards φ = 0 where g ≤ n/2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.scaling import weakly_informative
from expfam_glm.data.response import Problem
from expfam_glm.errors import ExpfamError, SamplingError, SamplingWarning, warn
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased
from expfam_glm.spec.domain import inner_point

_TOL = 1e-13  # or else the last step is longer than what rounding leaves of a perfect fit
_SMALL = 1e-60  # of φ's scale, where the prior's exponent is looked at


def check_dispersion(problem: Problem, applied: Applied, *, needs_mode: bool) -> None:
    """Refuse a perfect fit that leaves φ no proper posterior, or no mode; warn of others.

    Raises
    ------
    SamplingError
        If the posterior of φ is improper, or, where a mode is needed, its density has no bound.
    """
    if applied.phi is None or not applied.separable or (rank := _perfect_rank(problem)) is None:
        return
    prior = PriorTerms([applied.phi])
    if not prior.complete:
        return
    scaled = (_SMALL * weakly_informative(problem).phi) ** applied.phi_power
    slope = float(prior.total(np.array([scaled]))[1][0])
    exponent = applied.phi_power * (slope * scaled + 1.0)
    effects = sum(len(part.levels) * len(part.labels) for part in problem.frame.effects)
    spare = problem.n - rank - effects
    what = "the fit is perfect (the residuals are zero, or rounding errors)"
    way_out = (
        "Give phi a prior that keeps away from 0, such as priors={'phi': Prior('InverseGamma', "
        "alpha=3, beta=…)}, leave out terms, or look where the responses come from."
    )
    if exponent <= spare / 2:
        raise SamplingError(
            f"{what}: the posterior of phi is improper, all of it at 0, where the prior does not "
            f"outweigh the likelihood, phi^(-{spare / 2:g}). {way_out}"
        )
    if exponent > problem.n / 2:
        return
    if needs_mode:
        raise SamplingError(
            f"{what}: the posterior density does not fall as phi goes to 0, so that it has no "
            f"mode and no normal approximation. {way_out}"
        )
    warn(
        f"{what}: the posterior of phi is proper, but heaped up at 0, and hard to sample. "
        f"{way_out}",
        SamplingWarning,
    )


def _perfect_rank(problem: Problem) -> int | None:
    """The rank of the design where the fit is perfect, else None."""
    family = problem.family  # residuals that vanish do so under every shape
    shapes = {name: inner_point(domain) for name, domain in family.shape.items()}
    if shapes:
        problem = replace(problem, family=family.fix(**shapes))
    try:
        solution, gone = maximise(problem, tol=_TOL, check_rank=aliased)
    except ExpfamError:
        return None
    return int(np.sum(~gone)) if solution.perfect else None
