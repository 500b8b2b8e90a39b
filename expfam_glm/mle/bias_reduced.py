"""Clustered covariances that correct the residuals of each cluster: CR2, CR3, Satterthwaite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import RankError
from expfam_glm.mle.coordinates import Turned

# Directions of a cluster that it determines by itself (1 − leverage below this) carry no residual.
_DETERMINED = 1e-7


class Rows(NamedTuple):
    """The rows of a fit; X in coordinates in which Σ f W xxᵀ is the identity."""

    X: Turned  # (n, p)
    score: np.ndarray  # (n,) u at φ = 1, of one row
    weight: np.ndarray  # (n,) W at φ = 1, of one row
    variance: np.ndarray  # (n,) V(μ)


class Moments(NamedTuple):
    """What a cluster's corrected score Gẽ says about its variance; each (K, p, p)."""

    own: np.ndarray  # G ψ Gᵀ
    hat: np.ndarray  # Zᵀ Gᵀ
    model: np.ndarray  # Zᵀ ψ Gᵀ


@dataclass(frozen=True, eq=False)
class BiasReduced:
    """CR2 (Bell and McCaffrey) and CR3 of one grouping variable.

    Notes
    -----
    Rows are whitened by their weights: Z = √W X and ẽ = u/√W, whose variance under the working
    model is φψ, ψ = 1 unless there are sampling weights. With H = ZZᵀ and Φ = V/w,

        A = Φ^½ [Φ^½ (I − H)Φ(I − H)ᵀ Φ^½]^(−½) Φ^½        on the scale of the response (CR2)
        (I − H_kk)⁻¹                                            (CR3)

    References
    ----------
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181; Pustejovsky and Tipton (2018),
    Journal of Business and Economic Statistics 36, 672-683, equations 8 and 12-14.
    """

    rows: Rows
    groups: np.ndarray  # (n,) cluster numbers
    names: np.ndarray  # (n,) the clusters as given
    f: np.ndarray | None
    sampling: np.ndarray | None  # (n,) sampling weights, which W holds but the variance does not
    precision: np.ndarray | None  # (n,) prior weights, which divide the variance

    @cached_property
    def _clusters(self) -> list[np.ndarray]:
        """Row numbers of each cluster."""
        order = np.argsort(self.groups, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.groups))[:-1])

    @cached_property
    def _weight(self) -> np.ndarray:
        return self.rows.weight if self.f is None else self.rows.weight * self.f

    def _Z(self, k: np.ndarray) -> np.ndarray:
        """Z of some rows."""
        return self.rows.X.at(k) * np.sqrt(self._weight[k])[:, None]

    @cached_property
    def _residual(self) -> np.ndarray:
        """ẽ, √f times that of one row: all copies of a row are alike."""
        f = 1.0 if self.f is None else self.f
        root = np.sqrt(self.rows.weight)
        return np.sqrt(f) * np.divide(
            self.rows.score, root, out=np.zeros_like(root), where=root > 0
        )

    @cached_property
    def _psi(self) -> np.ndarray:
        n = self.groups.size
        return np.ones(n) if self.sampling is None else self.sampling

    @cached_property
    def _phi(self) -> np.ndarray:
        """Φ = V/w of each row."""
        return self.rows.variance / (1.0 if self.precision is None else self.precision)

    @cached_property
    def _U(self) -> np.ndarray:
        """Σ Zᵀ ψ Z, the identity unless there are sampling weights."""
        return self.rows.X.gram(self._weight * self._psi)

    def scores(self, name: str) -> np.ndarray:
        """The corrected score of each cluster (K, p)."""
        if name == "CR3":
            return np.stack([self._jackknife(k) for k in self._clusters])
        return np.stack([self._correction(k) @ self._residual[k] for k in self._clusters])

    def _jackknife(self, k: np.ndarray) -> np.ndarray:
        """Zᵀ(I − H_kk)⁻¹ẽ = (I − ZᵀZ)⁻¹ Zᵀẽ."""
        Z = self._Z(k)
        left = np.eye(Z.shape[1]) - Z.T @ Z
        if np.linalg.eigvalsh(left)[0] < _DETERMINED:
            raise RankError(
                "cov='CR3' leaves out one cluster at a time, and without the cluster "
                f"{self.names[k[0]]!s} ({k.size} rows) the coefficients are not determined; use "
                "'CR2', or leave out the terms that only this cluster informs."
            )
        return np.linalg.solve(left, Z.T @ self._residual[k])

    def _correction(self, k: np.ndarray) -> np.ndarray:
        """G = Zᵀ ψ^½ Q^(−½) δ, the corrected score being Gẽ; (p, rows of the cluster)."""
        Z, psi = self._Z(k), self._psi[k]
        hat = Z @ Z.T
        spread = np.diag(psi) - hat * psi - psi[:, None] * hat + Z @ self._U @ Z.T
        delta = self._phi[k] / self._phi[k].max() / np.sqrt(psi)
        free = int(np.sum(np.linalg.eigvalsh(np.eye(k.size) - hat) > _DETERMINED))
        values, vectors = np.linalg.eigh(delta[:, None] * spread * delta)
        values, vectors = values[k.size - free :], vectors[:, k.size - free :]
        inverse_root = (vectors / np.sqrt(values)) @ vectors.T
        return (Z * np.sqrt(psi)[:, None]).T @ inverse_root * delta

    @cached_property
    def _moments(self) -> Moments:
        own, hat, model = [], [], []
        for k in self._clusters:
            G, Z, psi = self._correction(k), self._Z(k), self._psi[k]
            own.append((G * psi) @ G.T)
            hat.append(Z.T @ G.T)
            model.append((Z * psi[:, None]).T @ G.T)
        return Moments(*map(np.stack, (own, hat, model)))

    def degrees_of_freedom(self, contrasts: np.ndarray) -> np.ndarray:
        """Satterthwaite's degrees of freedom of the CR2 variance of each contrast.

        Parameters
        ----------
        contrasts : ndarray (p, m)
            Columns, in the coordinates of the information.

        Returns
        -------
        ndarray (m,)

        Notes
        -----
        2 (E V̂)²/Var V̂ under the working model: with P_kl the covariance of the k-th and l-th
        cluster's terms, (Σ P_kk)²/Σ P_kl².
        """
        return np.array([self.wishart_df(c[:, None]) for c in contrasts.T])

    def wishart_df(self, contrasts: np.ndarray) -> float:
        """Degrees of freedom of the Wishart matrix nearest to the CR2 covariance of contrasts.

        Parameters
        ----------
        contrasts : ndarray (p, q)
            Columns, in the coordinates of the information.

        Returns
        -------
        float
            η; for one contrast Satterthwaite's degrees of freedom. Then
            (η − q + 1)/(ηq) · Q ~ F(q, η − q + 1), Hotelling's T². NaN where the covariance is zero
            in some direction: clusters determine a contrast by themselves.

        Notes
        -----
        For contrasts standardised to covariance one, η = q(q+1)/Σ_st Var V̂_st, where
        Var V̂_st = Σ_kl (P^ss_kl P^tt_kl + P^st_kl P^ts_kl).
        """
        q = contrasts.shape[1]
        mean = self._expectation(contrasts)
        try:
            standard = np.linalg.solve(np.linalg.cholesky(mean), contrasts.T).T
        except np.linalg.LinAlgError:
            return np.nan
        core = self._core
        own = np.einsum("kij,is,jt->kst", self._moments.own, standard, standard)
        F = [self._factor(c) for c in standard.T]
        total = 0.0
        for s in range(q):
            for t in range(q):
                across = core @ F[s].T @ F[t]
                low = np.sum((F[t] @ core) * F[t], axis=1)
                first = own[:, s, s] @ own[:, t, t] + 2 * own[:, s, s] @ low
                first += np.sum(across * (core @ F[t].T @ F[s]).T)
                cross = np.sum((F[s] @ core) * F[t], axis=1)
                back = core @ F[t].T @ F[s]
                second = own[:, s, t] @ (own[:, s, t] + 2 * cross) + np.sum(back * back.T)
                total += first + second
        return float(q * (q + 1) / total) if total > 0 else np.nan

    def _expectation(self, contrasts: np.ndarray) -> np.ndarray:
        """E V̂ of the contrasts under the working model, up to φ."""
        own = contrasts.T @ self._moments.own.sum(axis=0) @ contrasts
        F = [self._factor(c) for c in contrasts.T]
        low = [[np.sum((a @ self._core) * b) for b in F] for a in F]
        return own + np.array(low)

    def _factor(self, c: np.ndarray) -> np.ndarray:
        """F (K, 2p): the terms of the clusters have the covariance diag(own) + F core Fᵀ."""
        return np.hstack([self._moments.hat @ c, self._moments.model @ c])

    @cached_property
    def _core(self) -> np.ndarray:
        p = self._U.shape[0]
        core = np.zeros((2 * p, 2 * p))
        core[:p, :p] = self._U
        core[:p, p:] = core[p:, :p] = -np.eye(p)
        return core
