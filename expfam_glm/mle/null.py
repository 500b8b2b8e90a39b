"""The model that all others are compared with: the intercept and the offset alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from expfam_glm.data.blocks import blocks_of
from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import ExpfamError
from expfam_glm.mle.fitness import Fitness, deviance, level_deviance
from expfam_glm.mle.maximum import find_maximum


def null_deviance(problem: Problem, fit: Fitness) -> float:
    """The deviance of the model with the intercept (if there is one) and the offset alone.

    NaN where that model has no admissible mean, or cannot be fitted.
    """
    if fit.has_intercept and problem.offset is None:
        return level_deviance(problem, blocks_of(problem), fit)
    if isinstance(problem, Streamed):
        null: Problem = problem.constant()
    else:
        frame = replace(problem.frame, X=np.ones((problem.row_count, 1)), labels=("Intercept",))
        null = replace(problem, matrix=frame.X, frame=frame)
    if not fit.has_intercept:
        space = problem.link.image(problem.family.mean_space)
        offset = np.zeros(1) if problem.sample.offset is None else problem.sample.offset
        if not (space.low < offset.min() and offset.max() < space.high):
            return np.nan
        return deviance(null, blocks_of(null), np.zeros(1))
    try:
        return find_maximum(null).measures.deviance
    except ExpfamError:
        return np.nan
