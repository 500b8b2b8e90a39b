"""The penalised likelihood under linear constraints Cβ = r, and how much the constraints cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ResultError
from expfam_glm.mle.constrained import Constrained, Peak, nearest_under
from expfam_glm.mle.fitness import deviance
from expfam_glm.mle.irls import Scoring
from expfam_glm.mle.penalised import Penalised
from expfam_glm.mle.penalty import Adjustment, Conjugate, Penalty, Ridge

_MOST_ITERATIONS = 1000  # scoring converges linearly where an adjustment is not small
# Row weights of Firth's and of Jeffreys' adjustment that differ by less are one adjustment.
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class PenalisedPeak:
    """A maximum of ℓ + log prior and what constrained ones are compared with, at a held φ.

    Parameters
    ----------
    problem : Problem
        Without aliased columns.
    penalty : Ridge or Adjustment
        Of all coefficients, also under constraints: what it is worth depends on β alone.
    beta : ndarray (p,)
    phi : float
    scale : float
        a(φ).
    """

    problem: Problem
    penalty: Ridge | Adjustment
    beta: np.ndarray
    phi: float
    scale: float

    def _scoring(self, C: np.ndarray | None) -> Penalised:
        return Penalised(self.problem, self.penalty, self.phi, 1e-9, _MOST_ITERATIONS, C)

    @cached_property
    def V(self) -> np.ndarray:
        """The covariance of β̂ at φ = 1."""
        return self._scoring(None).at(self.beta).factor.inverse()

    @cached_property
    def _height(self) -> float:
        return self._scoring(None).at(self.beta).objective

    def under(self, C: np.ndarray, r: np.ndarray, near: np.ndarray | None = None) -> Constrained:
        """The maximum among the β with Cβ = r, beginning near `near`."""
        start = nearest_under(self.beta if near is None else near, self.V, C, r)
        solving = self._scoring(C)
        beta = solving.solve(start)[0].beta
        return Constrained(beta, np.nan, solving.at(beta).objective)

    def cost(self, found: Constrained) -> float:
        """The penalised likelihood-ratio statistic 2{ℓ*(β̂) − ℓ*(β̃)}."""
        return max(2 * (self._height - found.loglik), 0.0)


def penalised_peak(
    problem: Problem, penalty: Penalty, beta: np.ndarray, phi: float, function: str
) -> Peak | PenalisedPeak:
    """What fits under hypotheses are compared with.

    Raises
    ------
    ResultError
        If the fit solves an adjusted score that is the gradient of nothing.
    """
    scale = float(problem.family.a(phi))
    if isinstance(penalty, Conjugate):
        rows = penalty.pseudo(problem)
        height = deviance(rows, MemoryBlocks(rows), beta)
        state = Scoring(rows, MemoryBlocks(rows), 1e-8, 1).evaluate(beta)
        if state is None:
            raise ResultError("the information matrix of the fit is not positive definite.")
        return Peak(rows, beta, state.factor.inverse(), height, scale)
    if penalty == Adjustment("firth"):
        if not _is_gradient(problem, beta):
            raise ResultError(
                f"{function} needs a penalised likelihood, and Firth's adjusted score is the "
                f"gradient of none under the link {problem.link.name!r}, which is not the "
                "canonical one: use the Wald test or interval, or penalty='jeffreys'."
            )
        penalty = replace(penalty, kind="jeffreys")
    return PenalisedPeak(problem, penalty, beta, phi, scale)


def _is_gradient(problem: Problem, beta: np.ndarray) -> bool:
    """Whether Firth's adjustment is Jeffreys', as under the canonical link."""
    block = next(iter(MemoryBlocks(problem)))
    with np.errstate(all="ignore"):
        first, second = (
            Adjustment(kind).row_weights(problem)(block.eta(beta), block.y, block.w)[0]
            for kind in ("firth", "jeffreys")
        )
    return bool(np.allclose(first, second, rtol=_SAME, atol=_SAME * np.max(np.abs(second))))
