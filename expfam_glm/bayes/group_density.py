"""The log-posterior of a model with group effects and its gradient by row kernels.

The effects of level l of a group are b_l = R z_l with z_l ~ N(0, I) and R a lower triangular root
of their covariance, as in the PyMC model. The value space is that of `LogPosterior` followed, for
each group, by the logarithms of the standard deviations (or R row by row, its diagonal as
logarithms, where effects correlate) and by z.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce

import numpy as np
from scipy.special import gammaln

from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.group_effects import LKJ, correlates
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import Applied
from expfam_glm.data.bars import GroupEffects
from expfam_glm.data.response import Problem

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@lru_cache
def lkj_constant(q: int) -> float:
    """log c of the LKJ density c·|C|^(η − 1) of correlations C (q, q).

    References: Lewandowski, Kurowicka and Joe (2009), J. Multivariate Analysis 100, 1989-2001.
    """
    k = np.arange(1, q)
    half = LKJ + (q - 1) / 2
    return float(-np.sum(0.5 * k * np.log(np.pi) + gammaln(half - k / 2) - gammaln(half)))


def lkj_logpdf(corr: np.ndarray) -> np.ndarray:
    """The LKJ log-density of correlation matrices (…, q, q)."""
    return lkj_constant(corr.shape[-1]) + (LKJ - 1) * np.linalg.slogdet(corr)[1]


class Spread:
    """The root R of the covariance of one group's effects, and its prior, as functions of v."""

    def __init__(self, part: GroupEffects, applied: Applied) -> None:
        self.q = len(part.labels)
        self.full = correlates(part)
        self.terms = PriorTerms(applied.spreads[f"sd_{part.name}"])
        self.rows, self.columns = np.tril_indices(self.q) if self.full else [np.arange(self.q)] * 2
        self.diagonal = np.flatnonzero(self.rows == self.columns)
        self.size = self.rows.size

    def root(self, v: np.ndarray) -> np.ndarray:
        """R (q, q)."""
        R = np.zeros((self.q, self.q))
        R[self.rows, self.columns] = v
        R[np.diag_indices(self.q)] = np.exp(v[self.diagonal])
        return R

    def value_of(self, sd: np.ndarray) -> np.ndarray:
        """v of uncorrelated effects with these standard deviations."""
        v = np.zeros(self.size)
        v[self.diagonal] = np.log(sd)
        return v

    def log_prior(self, v: np.ndarray, R: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-density of v, and its derivative in the entries of R without the Jacobian's."""
        sd = np.sqrt(np.sum(R**2, axis=1))
        own, slope = self.terms(sd)
        value = float(own.sum() + v[self.diagonal].sum())
        bends = (slope / sd)[:, None] * R
        if self.full:
            i = np.arange(self.q)
            power = 2 * LKJ - 2 + self.q - i  # of Rᵢᵢ/sdᵢ, the Jacobian of sd and C included
            ratio = np.diagonal(R) / sd
            value += lkj_constant(self.q) + float(np.sum(power * np.log(ratio) - i * np.log(sd)))
            bends = bends - ((power + i) / sd**2)[:, None] * R
            bends[np.diag_indices(self.q)] += power / np.diagonal(R)
        return value, bends

    def to_v(self, R: np.ndarray, bends: np.ndarray) -> np.ndarray:
        """A derivative in the entries of R as one in v."""
        result = bends[self.rows, self.columns]
        result[self.diagonal] *= np.diagonal(R)
        return result


class Single(Spread):
    """The same of one effect a level, where R is its standard deviation: calls take most time."""

    def root(self, v: np.ndarray) -> np.ndarray:
        return np.exp(v).reshape(1, 1)

    def log_prior(self, v: np.ndarray, R: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = self.terms.total(R[0])
        return value + float(v[0]), slope.reshape(1, 1)

    def to_v(self, R: np.ndarray, bends: np.ndarray) -> np.ndarray:
        return (bends * R).ravel()


class Part:
    """One group: where its parameters stand in z, and the rows of its levels."""

    def __init__(self, part: GroupEffects, problem: Problem, applied: Applied, first: int) -> None:
        self.name, self.levels = part.name, len(part.levels)
        self.codes, self.Z = problem.restrict(part.codes), problem.restrict(part.Z)
        self.q = len(part.labels)
        self.spread = Spread(part, applied) if self.q > 1 else Single(part, applied)
        self.plain = self.q == 1 and bool(np.all(self.Z == 1.0))
        middle = first + self.spread.size
        self.v = slice(first, middle)
        self.z = slice(middle, middle + self.levels * self.q)

    def shift(self, b: np.ndarray) -> np.ndarray:
        """What effects b (levels, q) add to η (n,)."""
        if self.plain:
            return b.ravel().take(self.codes)
        return np.einsum("nq,nq->n", b[self.codes], self.Z)

    def totals(self, scores: np.ndarray) -> np.ndarray:
        """Derivatives in b (levels, q) from those in η."""
        if self.plain:
            return np.bincount(self.codes, scores, self.levels)[:, None]
        weights = scores * self.Z.T
        return np.column_stack([np.bincount(self.codes, w, self.levels) for w in weights])


class GroupPosterior(LogPosterior):
    """`LogPosterior` with group effects."""

    def __init__(self, problem: Problem, applied: Applied) -> None:
        super().__init__(problem, applied)
        self.problem, self.spreads = problem, applied.spreads
        self.base = super().n_dim
        self.parts: list[Part] = []
        for effects in problem.frame.effects:
            first = self.parts[-1].z.stop if self.parts else self.base
            self.parts.append(Part(effects, problem, applied, first))

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.parts[-1].z.stop

    def expand(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters at z by name, the effects themselves among them."""
        found = super().expand(z[: self.base])
        for part in self.parts:
            R = part.spread.root(z[part.v])
            sd = np.sqrt(np.sum(R**2, axis=1))
            found[f"b_{part.name}"] = z[part.z].reshape(part.levels, part.q) @ R.T
            found[f"sd_{part.name}"] = sd
            if part.spread.full:
                found[f"corr_{part.name}"] = (R @ R.T) / np.outer(sd, sd)
        return found

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        with np.errstate(all="ignore"):  # what is not finite is found in the sums
            value, gradient = self._with_effects(z)
        if not (math.isfinite(value) and math.isfinite(gradient.sum())):
            return -np.inf, np.zeros(z.size)
        return value, gradient

    def _with_effects(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        roots = [part.spread.root(z[part.v]) for part in self.parts]
        standard = [z[part.z].reshape(part.levels, part.q) for part in self.parts]
        several = zip(self.parts, roots, standard, strict=True)
        shift = reduce(np.add, [part.shift(own @ R.T) for part, R, own in several])
        gradient = np.empty(z.size)
        value, gradient[: self.base] = self._shifted(z[: self.base], shift)
        if not math.isfinite(value):
            return -np.inf, gradient
        scores = self.scores
        for part, R, own in zip(self.parts, roots, standard, strict=True):
            totals = part.totals(scores)
            flat = z[part.z]
            value += -0.5 * float(flat @ flat) - flat.size * _HALF_LOG_2PI
            gradient[part.z] = (totals @ R - own).ravel()
            log_prior, bends = part.spread.log_prior(z[part.v], R)
            value += log_prior
            gradient[part.v] = part.spread.to_v(R, bends + totals.T @ own)
            gradient[part.v][part.spread.diagonal] += 1.0  # of the Jacobian of the logarithms
        return value, gradient
