"""Robust covariances of β̂: bread · meat · bread, told apart by their meat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations
from typing import NamedTuple

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import RankError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle.bias_reduced import BiasReduced, Rows
from expfam_glm.mle.coordinates import turned
from expfam_glm.mle.layout import HETEROSCEDASTIC, Layout
from expfam_glm.mle.linear import Factor

# A leverage above this is one but for rounding: the row determines a coefficient by itself.
_DETERMINED = 1 - 1e-7
# Rows whose scores are written out at once for serial correlation.
_SERIAL_ROWS = 1 << 12


class Robust(NamedTuple):
    """One covariance, and the degrees of freedom of its t tests (None for z)."""

    covariance: np.ndarray  # (p, p)
    df: np.ndarray | None  # (p,)


@dataclass(frozen=True, eq=False)
class Sandwich:
    """The rows of a fit at β, in coordinates in which the expected information is 1.

    Parameters
    ----------
    problem : Problem
    blocks : Blocks
    beta : ndarray (p,)
    factor : Factor
        Of the expected information at φ = 1, which the leverages come from.
    bread : Factor
        Of the information, expected or observed, that stands on both sides of the meat.
    layout : Layout

    Notes
    -----
    φ cancels everywhere. A row of frequency f enters a sum f times, with the leverage of one row;
    in a cluster it is f equal rows.
    """

    problem: Problem
    blocks: Blocks
    beta: np.ndarray
    factor: Factor
    bread: Factor
    layout: Layout

    def covariance(self, name: str) -> Robust:
        """One of HC0–HC3, CR0–CR3, CR1S or HAC."""
        if name in ("CR2", "CR3"):
            reduced = self.bias_reduced
            half = reduced.scores(name)
            each = self.inward(np.eye(self.beta.size))
            df = reduced.degrees_of_freedom(each) if name == "CR2" else None
            return Robust(self._outward(half.T @ half), df)
        if name in HETEROSCEDASTIC:
            n, p = self.problem.n, self.beta.size
            share = n / (n - p) if name == "HC1" else 1.0
            return Robust(self._outward(share * self.meat(name)), None)
        if name == "HAC":
            return Robust(self._outward(self._serial()), None)
        return Robust(self._outward(self._clustered(name)), None)

    @cached_property
    def rows(self) -> Rows:
        """u, W and V(μ) of every row, and X in the coordinates of the information."""
        kernel = row_kernel(self.problem.family, self.problem.link, ("score", "weight", "variance"))

        def one(block: Block) -> np.ndarray:
            found = kernel(block.eta(self.beta), block.y, block.w)
            return np.stack([np.broadcast_to(v, block.y.shape) for v in found], axis=1)

        score, weight, variance = self.blocks.concatenate(one).T
        return Rows(turned(self.problem.matrix, self.factor), score, weight, variance)

    @cached_property
    def _outer(self) -> np.ndarray:
        """From the coordinates of the information to β."""
        if self.bread is self.factor:
            return self.factor.root
        return self.bread.solve(self.factor.triangle.T)

    def inward(self, contrasts: np.ndarray) -> np.ndarray:
        """Contrasts of β (p, m) in the coordinates of the information."""
        return self._outer.T @ contrasts

    def _outward(self, meat: np.ndarray) -> np.ndarray:
        return self._outer @ meat @ self._outer.T

    @property
    def clusters(self) -> list[tuple[str, int]]:
        """The name of each grouping variable, and how many clusters it has."""
        named = zip(self.layout.names, self.layout.groups, strict=True)
        return [(name, int(groups.max()) + 1) for name, groups in named]

    @property
    def mean_square(self) -> float:
        """The mean of u²/W, what φ would be if the model held."""
        weight = self.rows.weight
        squares = np.divide(self.rows.score**2, weight, out=np.zeros_like(weight), where=weight > 0)
        return float(np.sum(self._frequency * squares + self._within)) / self.problem.n

    @property
    def _within(self) -> np.ndarray | float:
        """Σ f u²/W of the scatter of responses around the means that stand for them."""
        scatter = self.problem.scatter
        return 0.0 if scatter is None else scatter / self.rows.variance

    @property
    def _frequency(self) -> np.ndarray | float:
        return 1.0 if self.problem.f is None else self.problem.f

    def meat(self, name: str) -> np.ndarray:
        """Σ f u² xxᵀ, residuals corrected for HC2 and HC3; HC1 is HC0 here."""
        rows = self.rows
        squares = self._frequency * rows.score**2 + self._within * rows.weight
        if name in ("HC2", "HC3"):
            leverage = rows.weight * rows.X.lengths()
            if np.any(leverage > _DETERMINED):
                raise RankError(
                    f"cov={name!r} divides by one minus the leverage, which is zero where a row "
                    "determines a coefficient by itself: "
                    f"{self.problem.show(leverage, leverage > _DETERMINED)}. Use 'HC1', or leave "
                    "the term out that only these rows inform."
                )
            squares = squares / (1 - leverage) ** (1 if name == "HC2" else 2)
        return rows.X.gram(squares)

    def sums(self, codes: np.ndarray) -> np.ndarray:
        """The scores of the rows, summed by cluster (K, p)."""
        return self.rows.X.sums(self._frequency * self.rows.score, codes)

    def _clustered(self, name: str) -> np.ndarray:
        """± the meat of every subset of the groupings, clusters being their intersections."""
        n, p = self.problem.n, self.beta.size
        groups = self.layout.groups
        meat = np.zeros((p, p))
        for size in range(1, len(groups) + 1):
            for subset in combinations(groups, size):
                codes = reduce(_intersection, subset)
                sums = self.sums(codes)
                K = sums.shape[0]
                share = 1.0 if name == "CR0" else K / (K - 1)
                meat += (-1.0) ** (size + 1) * share * (sums.T @ sums)
        if name == "CR1S":
            meat *= (n - 1) / (n - p)
        if len(groups) > 1 and np.any(np.diagonal(self._outward(meat)) <= 0):
            raise RankError(
                f"cov={name!r} by several grouping variables is a difference of covariances, and "
                "here has a variance that is not positive; cluster by one of the variables."
            )
        return meat

    @cached_property
    def bias_reduced(self) -> BiasReduced:
        """The clusters of CR2 and CR3."""
        problem = self.problem
        return BiasReduced(
            self.rows, self.layout.groups[0], self.layout.columns["groups"], problem.f,
            problem.sampling, problem.precision,
        )  # fmt: skip

    def _serial(self) -> np.ndarray:
        """Newey and West: Σ_j (1 − j/(L+1)) (Γ_j + Γ_jᵀ), lags within groups."""
        order, lags = self.layout.order, self.layout.lags
        assert order is not None
        group = self.layout.groups[0] if self.layout.groups else None
        meat = np.zeros((self.beta.size,) * 2)
        size = max(_SERIAL_ROWS, 4 * lags)
        for start in range(0, len(order), size):
            before = min(start, lags)  # rows that were counted, with which later ones go together
            rows = order[start - before : start + size]
            scores = self.rows.X.at(rows) * self.rows.score[rows, None]
            meat += scores[before:].T @ scores[before:]
            for lag in range(1, min(lags, len(rows) - 1) + 1):
                begin = max(before, lag)
                later, earlier = scores[begin:], scores[begin - lag : len(rows) - lag]
                if group is not None:
                    same = group[rows[begin:]] == group[rows[begin - lag : len(rows) - lag]]
                    later = later * same[:, None]
                gamma = later.T @ earlier
                meat += (1 - lag / (lags + 1)) * (gamma + gamma.T)
        return meat


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Clusters of the rows that share both."""
    both = first.astype(np.int64) * (int(second.max()) + 1) + second
    return np.unique(both, return_inverse=True)[1].reshape(-1)
