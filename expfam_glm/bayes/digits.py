"""Whether a log-density has digits left: the kernels of large counts are larger than 1/ε."""

from __future__ import annotations

import numpy as np

from expfam_glm.bayes.start import Start
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import SamplingError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.spec.separate import separate

_LOST = 0.3  # of a log-density: beyond, its rounding errors steer the chains


def check_digits(problem: Problem, start: Start) -> None:
    """Refuse to sample what rounding makes of the log-density near its mode.

    Raises
    ------
    SamplingError
        If ε Σ f |r (yθ − b(θ))| is above `_LOST`, and the sum is not one about the least squares.
    """
    family = problem.family.fix(**start.shapes)
    image = problem.link.image(family.mean_space)
    if not (np.isfinite(image.low) or np.isfinite(image.high)):
        if separate(family, problem.link).curved is not None:
            return
    kernel = row_kernel(family, problem.link, ("kernel",))
    a, size = float(family.a(start.phi)), 0.0
    for block in MemoryBlocks(problem):
        (values,) = kernel(block.eta(start.beta), block.y, block.w / a)
        size += block.total(np.abs(values))
    lost = size * np.finfo(float).eps
    if lost > _LOST:
        raise SamplingError(
            f"the log-likelihood is a sum of terms of {size:.2g} together, whose rounding errors "
            f"({lost:.2g}) are as large as the differences that tell the posterior: responses or "
            "weights are too large, or phi is too small, for double precision. Use fit(): of so "
            "much information the posterior is the normal distribution of the estimate."
        )
