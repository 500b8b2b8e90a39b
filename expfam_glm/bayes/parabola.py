"""The sums of `RowSums` where each row is a parabola in η, relative to those at a first fit."""

from __future__ import annotations

from copy import copy

import numpy as np

from expfam_glm.bayes.row_sums import Total, row_blocks
from expfam_glm.data.response import Problem
from expfam_glm.kernels.row import row_kernel


class ParabolaSums:
    """Σ f w {yθ − b(θ)} less its value at the least-squares fit β₀: g₀ᵀδ − ½δᵀHδ, δ = β − β₀.

    Around the fit no digits of large responses cancel, and no pass over the rows is needed.
    """

    def __init__(self, problem: Problem, bend: float) -> None:
        blocks = list(row_blocks(problem))
        self.blocks, self.bend = blocks, bend
        self.problem = problem
        slopes = row_kernel(problem.family, problem.link, ("score",))
        self.gram = bend * sum(b.X.T @ (b.X * b.by_one[:, None]) for b in blocks)
        at_zero = [np.zeros(b.y.size) if b.offset is None else b.offset for b in blocks]
        first = sum(
            b.X.T @ (b.by_one * slopes(eta, b.y, 1.0)[0])
            for b, eta in zip(blocks, at_zero, strict=True)
        )
        size = np.sqrt(np.diagonal(self.gram))
        size[size == 0] = 1.0
        self.fit = np.linalg.lstsq(self.gram / np.outer(size, size), first / size)[0] / size
        eta = [b.X @ self.fit + start for b, start in zip(blocks, at_zero, strict=True)]
        self.residuals = [
            b.by_one * slopes(own, b.y, 1.0)[0] for b, own in zip(blocks, eta, strict=True)
        ]
        self.slope = sum(b.X.T @ u for b, u in zip(blocks, self.residuals, strict=True))
        self.eta = eta
        self.scores: np.ndarray | None = None

    def level(self, deviance: bool, within: float) -> float:
        """The value at the fit, or −½ its deviance, with what the deviance has within the rows."""
        name = "deviance" if deviance else "kernel"
        rows = row_kernel(self.problem.family, self.problem.link, (name,))
        values = (
            float(np.dot(rows(eta, b.y, 1.0)[0], b.by_one))
            for b, eta in zip(self.blocks, self.eta, strict=True)
        )
        return -0.5 * (sum(values) + within) if deviance else sum(values)

    def for_another_thread(self) -> ParabolaSums:
        """The same: but for `scores`, nothing is written to."""
        return copy(self)

    def __call__(
        self, beta: np.ndarray, psi: tuple[float, ...] = (), shift: np.ndarray | None = None
    ) -> Total:
        """The sums at β, or with η shifted row by row; then `scores` keeps their derivatives."""
        apart = beta - self.fit
        if shift is None:
            bent = self.gram @ apart
            value = float(np.dot(self.slope, apart) - 0.5 * np.dot(apart, bent))
            return Total(value, self.slope - bent, [])
        value, gradient = 0.0, np.zeros(apart.size)
        self.scores = np.empty(shift.size)
        for rows, residual in zip(self.blocks, self.residuals, strict=True):
            moved = np.dot(rows.X, apart)
            moved += shift[rows.place]
            half = 0.5 * self.bend * rows.by_one * moved
            value += float(np.dot(residual - half, moved))
            score = self.scores[rows.place] = residual - 2 * half
            gradient += np.dot(score, rows.X)
        return Total(value, gradient, [])

    def many(self, beta: np.ndarray, psi: tuple[np.ndarray, ...] = ()) -> np.ndarray:
        """The sums alone at many points (m, p)."""
        apart = beta - self.fit
        return apart @ self.slope - 0.5 * np.sum((apart @ self.gram) * apart, axis=1)
