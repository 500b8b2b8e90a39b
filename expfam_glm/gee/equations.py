"""The equations Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0 at one β, as least squares on whitened rows.

All that is asked of the rows is a sum over parts of whole clusters (`expfam_glm.gee.part`): of one
part where they are in memory, of many where they are read in batches (`expfam_glm.gee.streamed`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, CorrelationError, DataError, one_of
from expfam_glm.gee.part import Part, Sums
from expfam_glm.kernels.sums import join
from expfam_glm.mle.linear import DOUBTFUL_PIVOT, Factor, factor_gram, factor_triangle

DDOF = ("none", "p", "geepack")

_EPS = np.finfo(float).eps


class State(NamedTuple):
    """Everything at one β; the dispersion is a(φ)."""

    beta: np.ndarray  # (p,)
    sums: Sums
    dispersion: float
    parameter: np.ndarray
    bread: Factor  # of WᵀW = φB
    scores: np.ndarray  # (K, p) as in `Squares`
    step: np.ndarray  # (p,) B⁻¹U


class _Both[T](NamedTuple):
    """Two sums from one pass."""

    sums: Sums
    more: T

    def __add__(self, other: Any) -> _Both[T]:
        return _Both(self.sums + other.sums, self.more + other.more)


@dataclass(frozen=True, eq=False)
class Equations(Part):
    """The estimating equations of one data set, its only part where it is in memory."""

    ddof: str = "none"
    dispersion: float | None = None  # a(φ), if it is given
    parameter: np.ndarray | None = None  # of the working correlation, if it is given

    def __post_init__(self) -> None:
        if self.ddof not in DDOF:
            raise one_of("ddof", self.ddof, DDOF)
        if self.dispersion is not None and not 0 < self.dispersion < np.inf:
            raise ArgumentError(f"phi={self.dispersion!r} must be a positive number.")
        if self.phi_count <= 0:
            raise DataError(
                f"{self.n} rows and {self.X.shape[1]} coefficients: phi = Σr²/(n − p) "
                "cannot be estimated. Give phi=, or leave terms out."
            )

    @property
    def always_full(self) -> bool:
        """Whether the equations with B cost no more than without."""
        return False

    @property
    def lost(self) -> int:
        """What is taken off the number of pairs in every moment of α."""
        return self.X.shape[1] if self.ddof == "p" else 0

    @property
    def phi_count(self) -> int:
        """The divisor of Σr² in φ."""
        held = self.ddof == "geepack" or self.dispersion is not None
        return self.n if held else self.n - self.X.shape[1]

    @property
    def n(self) -> int:
        """How many rows there are, in all parts."""
        return self.y.shape[0]

    @property
    def cluster_count(self) -> int:
        """K, in all parts."""
        return self.structure.clusters.totals.clusters

    def total[T](self, function: Callable[[Part], T], add: Callable[[T, T], T] = operator.add) -> T:
        """The sum of a function of each part."""
        return function(self)

    @property
    def known(self) -> np.ndarray | None:
        """The parameter of the working correlation, where it is no estimate."""
        if self.parameter is None and self.structure.alpha_dims is None:
            return np.empty(0)
        return self.parameter

    def moments(self, sums: Sums) -> tuple[float, np.ndarray]:
        """a(φ) and the parameter of the working correlation."""
        if sums.pearson <= (1e3 * _EPS) ** 2 * sums.signal:
            raise CorrelationError(
                "the fit is perfect: the residuals are rounding errors, so neither phi and alpha "
                "nor standard errors can be estimated. Check the response and the terms."
            )
        dispersion = self.dispersion or sums.pearson / self.phi_count
        if self.known is not None:
            return dispersion, self.known
        return dispersion, self.structure.estimate(sums.pairs, dispersion, self.lost)

    def moments_at(self, beta: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The moments at β; None where it is not admissible."""
        sums = self.total(partial(Part.sums, beta=beta, products=self.known is None))
        return self.moments(sums) if np.isfinite(sums.pearson) else None

    def _with_moments[T](
        self, beta: np.ndarray, function: Callable[[Part, np.ndarray, np.ndarray], T]
    ) -> tuple[Sums, float, np.ndarray, T] | None:
        """Moments at β, and the sum of a function of each part, β and the parameter.

        Both come from one pass over the parts where the parameter is known before.
        """
        known = self.known
        if known is None:
            sums = self.total(partial(Part.sums, beta=beta))
        else:
            sums, more = self.total(
                lambda part: _Both(part.sums(beta, products=False), function(part, beta, known))
            )
        if not np.isfinite(sums.pearson):
            return None
        dispersion, parameter = self.moments(sums)
        if known is None:
            more = self.total(lambda part: function(part, beta, parameter))
        return sums, dispersion, parameter, more

    def score(self, beta: np.ndarray) -> np.ndarray | None:
        """φU alone, without B; None where β is not admissible."""
        found = self._with_moments(beta, Part.score_sum)
        return None if found is None else found[3]

    def information(self, state: State) -> np.ndarray:
        """DᵀA⁻¹D, the information under independence times φ."""
        return self.total(partial(Part.independent, beta=state.beta))

    def evaluate(self, beta: np.ndarray) -> State | None:
        """Moments, equations and standard errors at β; None where β is not admissible."""
        found = self._with_moments(beta, Part.squares)
        if found is None:
            return None
        sums, dispersion, parameter, (gram, scores) = found
        p = beta.size
        bread = factor_gram(gram[:p, :p])
        if bread is None or bread.smallest_pivot < DOUBTFUL_PIVOT:
            triangles = partial(Part.whitened_triangle, beta=beta, parameter=parameter)
            bread = factor_triangle(self.total(triangles, join))
        if bread is None:
            return None
        return State(beta, sums, dispersion, parameter, bread, scores, bread.solve(gram[:p, p]))
