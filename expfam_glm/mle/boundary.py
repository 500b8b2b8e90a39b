"""Whether a fit stands inside: a maximum at a finite edge of the linear predictors is none."""

from __future__ import annotations

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError
from expfam_glm.kernels.row import row_kernel

# A fitted mean this near to the edge where the response stands is asked for its score.
_NEAR = 1e-6
# Inside, the scores of the rows near the edge are balanced by the other rows; at an edge that is
# run into, the part of them that is left over does not vanish.
_UNBALANCED = 1e-3


def refuse_boundary(problem: Problem, blocks: Blocks, beta: np.ndarray) -> None:
    """Raise a ConvergenceError where β̂ stands at an edge that the link sends to a finite η.

    The log-likelihood of Poisson rows with y = 0 under the identity link, for one, rises until
    μ = 0, which is no mean of the family: there is no maximum then, and no standard error.
    """
    family, link = problem.family, problem.link
    means, image = family.mean_space, link.image(family.mean_space)
    edges = [
        edge
        for edge in (means.low, means.high)
        if np.isfinite(edge)
        and family.support.contains(edge)
        and np.isfinite(link(edge))
        and float(link(edge)) in (image.low, image.high)
    ]
    kernel = row_kernel(family, link, ("mu", "score"))
    parts: list[tuple[np.ndarray, np.ndarray]] = []

    def one(block: Block) -> np.ndarray:
        with np.errstate(all="ignore"):
            eta = block.eta(beta)
            mu, u = np.broadcast_arrays(*kernel(eta, block.y, block.w))
            outside = ~((image.low < eta) & (eta < image.high))
            at = outside.copy()
            for edge in edges:
                at |= (block.y == edge) & (np.abs(mu - edge) < _NEAR)
            u = u if block.f is None else u * block.f
            near = np.abs(block.X[at]).T @ np.abs(u[at])
        parts.append((at, mu))
        return np.array([block.X.T @ u, near, np.full(beta.size, outside.sum())])

    score, near, outside = np.sum([one(block) for block in blocks], axis=0)
    if outside[0] == 0 and not np.any((near > 0) & (np.abs(score) > _UNBALANCED * near)):
        return
    at = np.concatenate([flags for flags, _ in parts])
    mu = np.concatenate([values for _, values in parts])
    shown = np.full(at.size, "", dtype=object)
    shown[at] = [f"y = {y:g}, μ = {m:.3g}" for y, m in zip(problem.y[at], mu[at], strict=True)]
    raise ConvergenceError(
        f"no maximum exists inside the linear predictors {image} that the link {link.name!r} "
        f"admits for {family.name!r}: the likelihood still rises at their edge, which is reached "
        f"by {problem.show(shown, at)}. Use a link that takes every linear predictor, or merge or "
        "leave out the terms that set these rows apart.",
        beta,
    )
