"""The log-posterior under a horseshoe and its gradient by row kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.horseshoe import Horseshoe
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import Applied
from expfam_glm.data.response import Problem


class ShrunkPosterior(LogPosterior):
    """`LogPosterior` at (v, the other coefficients, shapes, log φ), v of the `Horseshoe`."""

    def __init__(self, problem: Problem, applied: Applied) -> None:
        assert applied.shrunk is not None and applied.beta is not None
        where = list(applied.shrunk.where)
        flat = Prior.known("Flat")
        given = tuple(flat if j in where else own for j, own in enumerate(applied.beta))
        super().__init__(problem, replace(applied, beta=given))
        self.horseshoe = Horseshoe(applied.shrunk)
        self.where = np.array(where)
        self.others = np.setdiff1d(np.arange(self.p), where)
        self.base = super().n_dim

    @property
    def n_dim(self) -> int:
        """Length of z."""
        return self.horseshoe.n_dim + self.base - self.where.size

    def _split(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """v, and z as `LogPosterior` has it."""
        m = self.horseshoe.n_dim
        inner = np.empty(self.base)
        inner[self.where] = self.horseshoe.coefficients(z[:m])
        inner[self.others] = z[m : m + self.others.size]
        inner[self.p :] = z[m + self.others.size :]
        return z[:m], inner

    def expand(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters at z by name, those of the horseshoe among them."""
        v, inner = self._split(z)
        further = {k: np.array(own) for k, own in self.horseshoe.parameters(v).items()}
        return super().expand(inner) | further

    def __call__(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        with np.errstate(all="ignore"):  # far out λ is zero or infinite, and so is the density
            v, inner = self._split(z)
            value, slope = super().__call__(inner)
            if not np.isfinite(value):
                return -np.inf, np.zeros(z.size)
            own, gradient = self.horseshoe.log_density(v, slope[self.where])
        value += own
        gradient = np.concatenate([gradient, slope[self.others], slope[self.p :]])
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(z.size)
        return value, gradient
