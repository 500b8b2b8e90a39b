"""Priors of all coefficients together that follow from the likelihood: Jeffreys and conjugate.

Each is known up to a constant: value and gradient in β by row kernels, and the same as a graph.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from scipy.linalg import solve_triangular

from expfam_glm.bayes.prior import Prior
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, RankError
from expfam_glm.kernels.row import RowKernel, row_kernel
from expfam_glm.kernels.sums import weighted_gram
from expfam_glm.mle.rank import aliased
from expfam_glm.spec.family import Family
from expfam_glm.spec.graph import derivative, substitute
from expfam_glm.spec.likelihood import row_model
from expfam_glm.spec.link import Link
from expfam_glm.spec.lower import lower
from expfam_glm.spec.simplify import simplify


class JointPrior(Protocol):
    """log π(β) up to a constant."""

    def __call__(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""

    def information(self, beta: np.ndarray) -> np.ndarray:
        """What the prior adds to the Fisher information, (p, p)."""

    def graph(self, eta: Variable) -> Variable:
        """The same as a graph of the linear predictors."""


def joint_prior(problem: Problem, prior: Prior) -> JointPrior:
    """The prior of a name for a problem.

    Raises
    ------
    ArgumentError
        If φ or a shape parameter is free where the prior needs it, or a mean is no mean.
    RankError
        If columns are aliased, so that the prior is improper along some direction.
    """
    gone = aliased(problem.X)
    if gone.any():
        raise RankError(
            f"Prior({prior.distribution!r}) needs a design of full rank; the column(s) "
            f"{', '.join(np.array(problem.labels)[gone])} are linear combinations of earlier ones. "
            "Leave them out, or give each coefficient a prior of its own."
        )
    family = problem.family
    if family.shape:
        raise ArgumentError(
            f"Prior({prior.distribution!r}) needs known shape parameters; give "
            f"{', '.join(family.shape)} a value with family.fix(…)."
        )
    if prior.distribution == "Jeffreys":
        return Jeffreys(problem)
    if family.phi is None:
        raise ArgumentError(
            f"the conjugate prior needs a known dispersion, and that of {family.name!r} is free. "
            "Use Prior('Ridge', scale=…), or priors of single coefficients."
        )
    mean = prior.parameters.get("mean", problem.mean)
    if not family.mean_space.contains(np.asarray(mean)):
        raise ArgumentError(
            f"{prior!r}: the mean {mean:g} is not in the mean space {family.mean_space} of "
            f"{family.name!r}; give Prior('Conjugate', kappa=…, mean=…)."
        )
    return Conjugate(problem, prior.parameters["kappa"], float(mean))


@lru_cache(maxsize=128)
def _weight_rows(family: Family, link: Link) -> RowKernel:
    """(η, y, r) → W and dW/dη of each row."""
    rows = row_model(family, link)
    outputs = [rows.weight, derivative(rows.weight, rows.eta)]
    return lower(rows.variables, simplify(outputs, rows.variables), rows=(rows.eta, rows.y))


class Jeffreys:
    """½ log |XᵀWX|, W the Fisher weights at φ = 1."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.blocks = list(MemoryBlocks(problem))
        self.rows = _weight_rows(problem.family, problem.link)
        self.image = problem.link.image(problem.family.mean_space)

    def __call__(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        """Gradient ½ Σ f W′ᵢ xᵢᵀ(XᵀWX)⁻¹xᵢ xᵢ."""
        nothing = -np.inf, np.zeros(beta.size)
        information, bends = np.zeros((beta.size, beta.size)), []
        for block in self.blocks:
            eta = block.eta(beta)
            if not (self.image.low < eta.min() and eta.max() < self.image.high):
                return nothing
            W, bend = (np.broadcast_to(v, eta.shape) for v in self.rows(eta, block.y, block.w))
            f = 1.0 if block.f is None else block.f
            information += weighted_gram(block.X, W * f)
            bends.append(bend * f)
        try:
            L = np.linalg.cholesky(information)
        except np.linalg.LinAlgError:  # the weights have underflowed
            return nothing
        gradient = np.zeros(beta.size)
        for block, bend in zip(self.blocks, bends, strict=True):
            half = solve_triangular(L, block.X.T, lower=True)
            gradient += 0.5 * block.X.T @ (bend * np.einsum("ij,ij->j", half, half))
        return float(np.log(np.diagonal(L)).sum()), gradient

    def information(self, beta: np.ndarray) -> np.ndarray:
        """None is added: steps are those of the likelihood."""
        return np.zeros((beta.size, beta.size))

    def graph(self, eta: Variable) -> Variable:
        """By a Cholesky factor, NaN where there is none."""
        problem, rows = self.problem, row_model(self.problem.family, self.problem.link)
        w = np.ones(problem.row_count) if problem.w is None else problem.w
        given = {rows.eta: eta, rows.y: pt.as_tensor(problem.y), rows.r: pt.as_tensor(w)}
        W = substitute(rows.weight, given) * (1.0 if problem.f is None else problem.f)
        W = pt.broadcast_to(W, (problem.row_count,))
        information = problem.X.T @ (W[:, None] * problem.X)
        return pt.log(pt.diagonal(pt.linalg.cholesky(information, on_error="nan"))).sum()


class Conjugate:
    """(κ/n) Σ [m θᵢ(β) − b(θᵢ(β))]/a(φ): κ observations of mean m, spread over the rows."""

    def __init__(self, problem: Problem, kappa: float, mean: float) -> None:
        y = np.full(problem.row_count, mean)
        self.w = np.full(problem.row_count, kappa / problem.n)
        self.pseudo = replace(problem, y=y, w=self.w)
        self.blocks = list(MemoryBlocks(self.pseudo))
        family, link = problem.family, problem.link
        self.rows = row_kernel(family, link, ("kernel", "score", "weight"))
        self.image = link.image(family.mean_space)
        self.a = float(family.a(family.phi))

    def __call__(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        """The sums of the rows' kernels and scores."""
        value, gradient = 0.0, np.zeros(beta.size)
        for block in self.blocks:
            eta = block.eta(beta)
            if not (self.image.low < eta.min() and eta.max() < self.image.high):
                return -np.inf, np.zeros(beta.size)
            kernel, score, _ = self.rows(eta, block.y, block.w / self.a)
            value += block.total(kernel)
            gradient += block.X.T @ (score if block.f is None else score * block.f)
        return value, gradient

    def information(self, beta: np.ndarray) -> np.ndarray:
        """XᵀWX of the pseudo-observations."""
        result = np.zeros((beta.size, beta.size))
        for block in self.blocks:
            eta = block.eta(beta)
            W = np.broadcast_to(self.rows(eta, block.y, block.w / self.a)[2], eta.shape)
            result += weighted_gram(block.X, W if block.f is None else W * block.f)
        return result

    def graph(self, eta: Variable) -> Variable:
        """The kernels of the pseudo-observations, summed."""
        pseudo = self.pseudo
        rows = row_model(pseudo.family, pseudo.link)
        r = pt.as_tensor(self.w / self.a)
        kernel = substitute(rows.kernel, {rows.eta: eta, rows.y: pt.as_tensor(pseudo.y), rows.r: r})
        return (kernel if pseudo.f is None else kernel * pseudo.f).sum()
