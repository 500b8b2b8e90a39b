"""The half-normal plot of residuals, with an envelope of simulated fits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from expfam_glm.errors import ExpfamError, ExpfamWarning
from expfam_glm.mle.fit import find_maximum
from expfam_glm.numerics.random import draw_at
from expfam_glm.results.fitted import estimated_dispersion, problem_of
from expfam_glm.results.residuals import RowFit, at_rows, of_kind, quantile, standardise


@dataclass(frozen=True)
class HalfNormal:
    """Ordered sizes of residuals against half-normal scores, and their envelope.

    The three rows of the envelope are the smallest, median and largest of `count` simulated fits;
    None without simulations.
    """

    scores: np.ndarray  # (n,)
    sizes: np.ndarray  # (n,) ascending
    order: np.ndarray  # (n,) the row of each
    envelope: np.ndarray | None  # (3, n)
    count: int


def half_normal(
    rows: RowFit, residual: np.ndarray, kind: str, simulations: int, seed: int
) -> HalfNormal:
    """Sizes of residuals in order, with the envelope of fits to simulated responses.

    Parameters
    ----------
    rows : RowFit
        Of a likelihood fit if there are simulations.
    residual : ndarray (n,)
    kind : str
        Kind of the residuals, which are standardised in the simulations (but for "quantile").
    simulations : int
        How many times to simulate the response from the fit and to fit again; 0 for no envelope.
    seed : int

    Notes
    -----
    The scores are Φ⁻¹((i + n − 1/8)/(2n + 1/2)), i = 1 … n. With 19 simulations a point of the
    right model lies beyond the largest of them with probability 1/20.

    References
    ----------
    Atkinson (1985), Plots, Transformations and Regression, section 4.2.
    """
    known = np.flatnonzero(np.isfinite(residual))
    n = known.size
    order = known[np.argsort(np.abs(residual[known]), kind="stable")]
    scores = ndtri((np.arange(1, n + 1) + n - 1 / 8) / (2 * n + 1 / 2))
    sizes = np.abs(residual[order])
    found = _simulated(rows, kind, simulations, seed)
    found = [values[:n] for values in found if values.size >= n]
    if not found:
        return HalfNormal(scores, sizes, order, None, 0)
    all_ = np.stack(found)
    envelope = np.stack([all_.min(axis=0), np.median(all_, axis=0), all_.max(axis=0)])
    return HalfNormal(scores, sizes, order, envelope, len(found))


def _simulated(rows: RowFit, kind: str, simulations: int, seed: int) -> list[np.ndarray]:
    """Ordered sizes of the residuals of fits to simulated responses; those without a fit fail."""
    rng = np.random.default_rng(seed)
    problem = problem_of(rows.rows, rows.found, rows.family, rows.link, rows.y)
    estimated, p = estimated_dispersion(rows.tree), rows.found.beta.size
    found = []
    for _ in range(simulations):
        y = draw_at(rows.family, rows.mu, None, rows.a / np.asarray(rows.w), rng, rows.y.shape)
        again = replace(problem, y=y, frame=replace(problem.frame, y=y))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExpfamWarning)
                maximum = find_maximum(again, start=rows.found.beta)
        except ExpfamError:
            continue
        if maximum.aliased.any() or maximum.solution.perfect:
            continue
        a = maximum.measures.pearson / (problem.n - p) if estimated else rows.a
        coefficients = replace(rows.found, beta=maximum.solution.beta)
        drawn = at_rows(rows.tree, rows.family, rows.link, coefficients, rows.rows, y, a)
        if kind == "quantile":
            sizes = np.abs(quantile(drawn, int(rng.integers(2**32))))
        else:
            sizes = np.abs(standardise(drawn, of_kind(drawn, kind)))
        found.append(np.sort(sizes[np.isfinite(sizes)]))
    return found
