"""Whether a fit stands inside: a maximum at a finite edge of the linear predictors is none."""

from __future__ import annotations

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ConvergenceError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.kernels.sums import over_rows

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

    def rows(block: Block) -> tuple[np.ndarray, ...]:
        """Means, scores, and which rows are outside or at an edge."""
        with np.errstate(all="ignore"):
            eta = block.eta(beta)
            mu, u = np.broadcast_arrays(*kernel(eta, block.y, block.w))
            outside = ~((image.low < eta) & (eta < image.high))
            at = outside.copy()
            for edge in edges:
                at |= (block.y == edge) & (np.abs(mu - edge) < _NEAR)
        return mu, u, outside, at

    def one(block: Block) -> np.ndarray:
        _, u, outside, at = rows(block)
        with np.errstate(all="ignore"):
            u = u if block.f is None else u * block.f
            near = np.abs(u[at]) @ np.abs(block.X[at])
        return np.array([over_rows(u, block.X), near, np.full(beta.size, outside.sum())])

    def words(block: Block) -> np.ndarray:
        mu, _, _, at = rows(block)
        pairs = zip(block.y, mu, at, strict=True)
        return np.array([f"y = {y:g}, μ = {m:.3g}" if bad else "" for y, m, bad in pairs], object)

    score, near, outside = blocks.reduce(one, lambda a, b: a + b)
    if outside[0] == 0 and not np.any((near > 0) & (np.abs(score) > _UNBALANCED * near)):
        return
    shown = blocks.concatenate(words)
    at = shown != ""
    raise ConvergenceError(
        f"no maximum exists inside the linear predictors {image} that the link {link.name!r} "
        f"admits for {family.name!r}: the likelihood still rises at their edge, which is reached "
        f"by {problem.show(shown, at)}. Use a link that takes every linear predictor, or merge or "
        "leave out the terms that set these rows apart.",
        beta,
    )
