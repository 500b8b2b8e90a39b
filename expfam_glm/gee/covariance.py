"""Covariances of β̂: bread · meat · bread, with the corrections for few clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, DataError, one_of
from expfam_glm.gee.equations import Equations, State
from expfam_glm.gee.filters import FILTERS, MATRICES, filtered
from expfam_glm.gee.part import Part
from expfam_glm.gee.pieces import Piece
from expfam_glm.mle.linear import Factor

TYPES = (
    "robust",
    "naive",
    "mancl-derouen",
    "kauermann-carroll",
    "fay-graubard",
    "morel-bokossa-neerchal",
    "pan",
    "jackknife",
    "jackknife-one-step",
)
CORRECTED = TYPES[2:]
DF = ("z", "t", "satterthwaite")

_MBN_D, _MBN_R = 2, 1.0  # the constants of Morel, Bokossa and Neerchal
_MOST_TIMES = 2000


def naive(bread: Factor, dispersion: float) -> np.ndarray:
    """B⁻¹ = φ (WᵀW)⁻¹, right if the working covariance is."""
    return bread.inverse() * dispersion


def robust(bread: Factor, scores: np.ndarray) -> np.ndarray:
    """B⁻¹ C B⁻¹ with C the sum of squares of the cluster scores (K, p); φ cancels."""
    slices = bread.solve(scores.T)
    return slices @ slices.T


def morel_bokossa_neerchal(equations: Equations, state: State) -> np.ndarray:
    """c·robust + δ ξ·naive."""
    n, p, K = equations.n, state.beta.size, equations.cluster_count
    bread, dispersion = state.bread, state.dispersion
    scaled = robust(bread, state.scores)
    model = naive(bread, dispersion)
    c = (n - 1) / (n - p) * K / (K - 1)
    delta = p / (K - p) if K > (_MBN_D + 1) * p else 1 / _MBN_D
    slices = bread.solve(state.scores.T)
    xi = max(_MBN_R, float(np.sum(slices * state.scores.T)) / dispersion / p)
    return c * scaled + delta * xi * model


class _Pooled(NamedTuple):
    """Sums of residual products at each pair of occasions, and how many there are."""

    total: np.ndarray  # (times, times)
    pairs: np.ndarray

    def __add__(self, other: object) -> _Pooled:
        if not isinstance(other, _Pooled):
            return NotImplemented
        more = max(len(self.total), len(other.total))
        parts = [
            [np.pad(values, (0, more - len(values))) for values in part] for part in (self, other)
        ]
        return _Pooled(parts[0][0] + parts[1][0], parts[0][1] + parts[1][1])


def pan(equations: Equations, state: State) -> np.ndarray:
    """Residual products pooled over clusters at each pair of occasions."""
    total, count = equations.total(partial(_pooled, state=state))
    pooled = total / np.maximum(count, 1.0)
    meat = equations.total(partial(_pooled_meat, state=state, pooled=pooled))
    return state.bread.sandwich(meat)


def _occasions(part: Part, p: int) -> tuple[np.ndarray, int, list[Piece]]:
    """Numbers of times (n,) of the rows that are here, how many, and pieces of clusters."""
    assert part.occasions is not None
    occasions = part.occasions()
    times = int(occasions.max()) + 1
    if times > _MOST_TIMES:
        raise ArgumentError(
            f"cov='pan' pools the residuals of clusters at the same times, but there are {times} "
            "distinct ones. Give planned occasions as time=, or use another covariance."
        )
    pieces = part.structure.clusters.pieces(
        part.most,
        equal=part.structure.equal_sizes,
        clusters=max(1, MATRICES // (times * p)),
    )
    return occasions, times, pieces


def _pooled(part: Part, state: State) -> _Pooled:
    """The residual products of the clusters that are here."""
    occasions, times, pieces = _occasions(part, state.beta.size)
    clusters, r = part.structure.clusters, part.at(state.beta).r
    total, count = np.zeros((times, times)), np.zeros((times, times))
    for piece in pieces:
        wide = np.zeros((2, piece.sizes.shape[0], times))
        at = (clusters.cluster[piece.rows] - piece.clusters.start, occasions[piece.rows])
        wide[0][at], wide[1][at] = r[piece.rows], 1.0
        if wide[1].sum() < piece.rows.stop - piece.rows.start:
            raise DataError(
                "cov='pan' needs distinct times within a cluster; correct time=, or leave it out "
                "to use the order of rows."
            )
        total += wide[0].T @ wide[0]
        count += wide[1].T @ wide[1]
    return _Pooled(total, count)


def _pooled_meat(part: Part, state: State, pooled: np.ndarray) -> np.ndarray:
    """What the clusters that are here add to the meat."""
    p, times = state.beta.size, pooled.shape[0]
    occasions, _, pieces = _occasions(part, p)
    clusters, X, d = part.structure.clusters, part.sorted[1], part.at(state.beta).d
    root = part.structure.root(state.parameter)
    meat = np.zeros((p, p))
    for piece in pieces:
        solved = root.precision(X[:, piece.rows] * d[piece.rows], piece)
        wide = np.zeros((p, piece.sizes.shape[0], times))
        at = (clusters.cluster[piece.rows] - piece.clusters.start, occasions[piece.rows])
        wide[:, *at] = solved
        flat = (wide.reshape(-1, times) @ pooled).reshape(p, -1)
        meat += flat @ wide.reshape(p, -1).T
    return meat


def jackknife(betas: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(K − p)/K Σ (β̂_(k) − β̂)(β̂_(k) − β̂)ᵀ over fits without one cluster (K, p)."""
    K, p = betas.shape
    gaps = betas - beta
    return (K - p) / K * gaps.T @ gaps


class Covariances(NamedTuple):
    """Covariances by type, the chosen one first, and the degrees of freedom of its tests."""

    by_type: dict[str, np.ndarray]
    df: float | np.ndarray | None


def check(cov: str | Sequence[str], df: str) -> tuple[str, ...]:
    """The types that are asked for, or what is wrong with them."""
    listed = (
        tuple(cov) if isinstance(cov, Iterable) and not isinstance(cov, str | bytes) else (cov,)
    )
    for name in listed:
        if name not in TYPES:
            raise one_of("cov", name, TYPES)
    if not listed or len(set(listed)) < len(listed):
        raise ArgumentError(f"cov={cov!r} must name one covariance, or several distinct ones.")
    if df not in DF:
        raise one_of("df", df, DF)
    if df == "satterthwaite" and listed[0] not in FILTERS:
        raise ArgumentError(
            f"df='satterthwaite' needs a covariance that is a sum over clusters, "
            f"{', '.join(map(repr, FILTERS))}; cov={listed[0]!r} is none. Use df='t' or 'z'."
        )
    return listed


def covariances(
    equations: Equations,
    state: State,
    cov: Sequence[str],
    df: str,
    without: Callable[[], np.ndarray],
) -> Covariances:
    """All covariances that are asked for, then robust and naive.

    Parameters
    ----------
    equations : Equations
    state : State
    cov : sequence of str
        What `check` returned.
    df : {"z", "t", "satterthwaite"}
    without : callable
        () → ndarray (K, p), the fits without one cluster.
    """
    K, p = equations.cluster_count, state.beta.size
    if K <= p and (df == "t" or any(name.startswith("jackknife") for name in cov)):
        raise ArgumentError(
            f"{K} clusters and {p} coefficients leave no degrees of freedom, K − p, for df='t' or "
            "the jackknife. Use df='z' and another covariance, or fewer terms."
        )
    found: dict[str, np.ndarray] = {}
    degrees: float | np.ndarray | None = float(K - p) if df == "t" else None
    for name in dict.fromkeys([*cov, "robust", "naive"]):
        slices = None
        if name in FILTERS and name not in ("robust", "jackknife"):
            slices = filtered(equations, state, name)
        if name == "robust":
            found[name] = robust(state.bread, state.scores)
        elif name == "naive":
            found[name] = naive(state.bread, state.dispersion)
        elif name == "morel-bokossa-neerchal":
            found[name] = morel_bokossa_neerchal(equations, state)
        elif name == "pan":
            found[name] = pan(equations, state)
        elif name == "jackknife":
            found[name] = jackknife(without(), state.beta)
        elif slices is not None:
            scale = (K - p) / K if name == "jackknife-one-step" else 1.0
            found[name] = scale * slices.slices.T @ slices.slices
        if df == "satterthwaite" and name == cov[0]:
            degrees = (slices or filtered(equations, state, name)).df
    return Covariances(found, degrees)
