"""Where chains begin: near the posterior mode, found by Fisher scoring with the prior's curvature.

It need not be precise. It must be inside the domain of η and of the priors, and it must exist
where no maximum-likelihood estimate does (separated data, aliased columns).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from expfam_glm.bayes.joint import joint_prior
from expfam_glm.bayes.prior import Prior, centre_of, has_density, rounded, space_of
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.scaling import weakly_informative
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import (
    ConvergenceError,
    DataError,
    ExpfamError,
    FitWarning,
    SamplingError,
)
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.dispersion import invert_dispersion
from expfam_glm.mle.linear import factor_gram
from expfam_glm.mle.maximise import maximise
from expfam_glm.mle.rank import aliased
from expfam_glm.mle.shape import estimate_shapes

_MOST_STEPS = 50
_FAR = 1.0  # a step of so many posterior standard deviations is no end, but where η has an edge
_MOST_FROM_AFAR = 1000  # steps: from η = 700 the mean comes down by a factor e in each
_MOST_HALVINGS = 40
_CLOSE = 1e-3  # a step of so many posterior standard deviations ends the search
_LEAST_PHI = 1e-16  # of its prior's scale: below it is one of rounding errors
_SHOWN = 5  # coefficients in a message
_SHAPE_SD = 0.5  # of a shape parameter on its working scale where nothing better is known
_RIDGE = 1e-8  # of the diagonal, where neither data nor prior bend the density


@dataclass(frozen=True)
class Start:
    """Near the mode: β (p,), its covariance's root L with LLᵀ = V, φ, and the sd of log φ.

    shapes: values of the free shape parameters; shape_sd: their sd on the working scales.
    corners: whether a prior has a corner, where the mode may lie; it was rounded here.
    """

    beta: np.ndarray
    root: np.ndarray
    phi: float
    log_phi_sd: float
    shapes: Mapping[str, float] = field(default_factory=dict)
    shape_sd: Mapping[str, float] = field(default_factory=dict)
    corners: bool = False


def near_mode(problem: Problem, applied: Applied) -> Start:
    """A point near the posterior mode and the spread of the posterior there.

    Raises
    ------
    SamplingError
        If no coefficients are found whose linear predictors are all in the domain of the link.
    """
    shapes, spread = _shapes_near_mode(problem, applied)
    family = problem.family.fix(**shapes)
    found = _Search(replace(problem, family=family), applied).run()
    return replace(found, shapes=shapes, shape_sd=spread)


def _shapes_near_mode(
    problem: Problem, applied: Applied
) -> tuple[dict[str, float], dict[str, float]]:
    """Free shapes at the maximum of the likelihood, or else at the centre of their priors."""
    names = list(problem.family.shape)
    values = {name: centre_of(prior) for name, prior in applied.shapes.items()}
    spread = dict.fromkeys(names, _SHAPE_SD)
    if not names:
        return values, spread
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            found = estimate_shapes(problem)
    except ExpfamError:
        return values, spread
    errors = np.sqrt(np.diagonal(found.held))
    for k, name in enumerate(names):
        if np.isfinite(errors[k]) and has_density(applied.shapes[name], found.values[name]):
            values[name] = found.values[name]
            spread[name] = min(float(errors[k]), _SHAPE_SD)
    return values, spread


class _Search:
    """Fisher scoring of log f + log π in the coefficients that live on the whole real line."""

    def __init__(self, problem: Problem, applied: Applied) -> None:
        self.problem = problem
        self.scales = weakly_informative(problem)
        self.blocks = list(MemoryBlocks(problem))
        flat = Prior.known("Flat")
        given = applied.beta or (flat,) * len(applied.labels)
        self.free = np.array([space_of(prior) == "real" for prior in given])
        self.held = np.array([0.0 if free else centre_of(prior)
                              for prior, free in zip(given, self.free, strict=True)])  # fmt: skip
        wanted = [p if free else flat for p, free in zip(given, self.free, strict=True)]
        smooth = [rounded(prior) for prior in wanted]
        self.corners = any(a is not b for a, b in zip(wanted, smooth, strict=True))
        self.terms = PriorTerms(smooth)
        self.joint = None if applied.joint is None else joint_prior(problem, applied.joint)
        image = problem.link.image(problem.family.mean_space)
        self.low, self.high = image.low, image.high
        self.edge = bool(np.isfinite(image.low) or np.isfinite(image.high))
        # c is no function of means, and no difference of values at one φ needs it
        value = "loglik" if problem.scatter is None else "kernel"
        self.gram_rows = row_kernel(problem.family, problem.link, ("score", "weight", value))

    def run(self) -> Start:
        """Iterate until the step is small; at an edge of η the last point is as good as any."""
        phi = self.scales.phi
        beta = self._begin(phi)
        far, free = np.inf, self.free
        for k in range(_MOST_FROM_AFAR):
            value, gradient, information = self._sums(beta, phi)
            root = _inverse_root(information[np.ix_(free, free)])
            half = root.T @ gradient[free]
            before, far = far, float(np.linalg.norm(half))
            if k >= _MOST_STEPS and (self.edge or before / 2 < far < _FAR):
                break  # where it comes no nearer, or but slowly
            step = np.zeros(beta.size)
            step[free] = root @ half
            moved = self._halve(beta, step, value, phi)
            if moved is None:
                break
            beta = moved
            if self.problem.family.phi is None:
                phi = self._dispersion(beta, phi)
            if far < _CLOSE:
                break
        if not (self.edge or far < _FAR):
            self._refuse(beta, far)
        root = _inverse_root(self._sums(beta, phi)[2])
        spread = float(np.sqrt(2 / max(self.problem.n, 2.0)))
        return Start(beta, root, phi, spread, corners=self.corners)

    def _refuse(self, beta: np.ndarray, far: float) -> NoReturn:
        """The error for a search that came to no mode."""
        named = ", ".join(
            f"{label} = {value:.6g}"
            for label, value in zip(self.problem.labels[:_SHOWN], beta, strict=False)
        )
        raise SamplingError(
            "no point to start the chains from was found: the search for the posterior mode ended "
            f"at {named}, where its step is {far:.3g} posterior standard deviations long. Rescale "
            "or centre covariates, offset and exposure; see whether the priors and the data can "
            "agree."
        )

    def _begin(self, phi: float) -> np.ndarray:
        """Coefficients with η next to g(ȳ), or else the maximum-likelihood estimate."""
        problem = self.problem
        target = self.scales.eta - problem.X @ self.held
        if problem.offset is not None:
            target += np.average(problem.offset, weights=problem.f) - problem.offset
        beta = self.held.copy()
        beta[self.free] = np.linalg.lstsq(problem.X[:, self.free], target, rcond=None)[0]
        if np.isfinite(self._sums(beta, phi)[0]):
            return beta
        beta = self.held.copy()
        try:
            solution, gone = maximise(problem, check_rank=aliased)
            beta[~gone] = solution.beta
        except (ConvergenceError, DataError) as error:
            raise SamplingError(f"no point to start the chains from was found: {error}") from error
        if not np.isfinite(self._sums(beta, phi)[0]):
            raise SamplingError(
                "no point to start the chains from was found: under the link "
                f"{problem.link.name!r} the linear predictor must stay in "
                f"{problem.link.image(problem.family.mean_space)} for every row. Use a link that "
                "takes every linear predictor, or other priors."
            )
        return beta

    def _halve(
        self, beta: np.ndarray, step: np.ndarray, value: float, phi: float
    ) -> np.ndarray | None:
        """The full step, halved while the density falls or η leaves its domain."""
        for k in range(_MOST_HALVINGS):
            moved = beta + step * 0.5**k
            new = self._sums(moved, phi)[0]
            if np.isfinite(new) and new >= value - 1e-9 * abs(value):
                return moved
        return None

    def _sums(self, beta: np.ndarray, phi: float) -> tuple[float, np.ndarray, np.ndarray]:
        """log π + log f, its gradient and the information with the prior's curvature."""
        log_prior, slope = self.terms(beta)
        value, gradient = float(log_prior.sum()), slope
        information = np.diag(np.maximum(-self.terms.curvature(beta), 0.0))
        if self.joint is not None:
            together, slope = self.joint(beta)
            value, gradient = value + together, gradient + slope
            if not np.isfinite(value):
                return -np.inf, gradient, information
            information = information + self.joint.information(beta)
        a = float(self.problem.family.a(phi))
        for block in self.blocks:
            eta = block.eta(beta)
            if not (self.low < eta.min() and eta.max() < self.high):
                return -np.inf, gradient, information
            u, W, loglik = self.gram_rows(eta, block.y, block.w / a)
            f = 1.0 if block.f is None else block.f
            value += block.total(loglik)
            gradient = gradient + block.X.T @ (np.broadcast_to(u, eta.shape) * f)
            information = information + weighted_gram(block.X, np.broadcast_to(W, eta.shape) * f)
        return value, gradient, information

    def _dispersion(self, beta: np.ndarray, phi: float) -> float:
        """Pearson's estimate of φ; the one at hand where there is none."""
        kernel = row_kernel(self.problem.family, self.problem.link, ("pearson", "variance"))
        squares = 0.0
        for block in self.blocks:
            unit, variance = kernel(block.eta(beta), block.y, 1.0)
            squares += block.total(unit, weighted=True) + block.within(variance)
        df = self.problem.n - beta.size
        if not df > 0 < squares:
            return phi
        found = invert_dispersion(self.problem.family, squares / df)
        return found if found > _LEAST_PHI * self.scales.phi else phi


def _inverse_root(information: np.ndarray) -> np.ndarray:
    """L with LLᵀ = information⁻¹, ridged where the information is singular."""
    factor = factor_gram(information)
    if factor is None:
        diagonal = np.diag(information)
        ridge = _RIDGE * np.where(diagonal > 0, diagonal, max(float(diagonal.max()), 1.0))
        factor = factor_gram(information + np.diag(ridge))
    if factor is None:
        return np.diag(1 / np.sqrt(np.maximum(np.diag(information), _RIDGE)))
    return factor.root
