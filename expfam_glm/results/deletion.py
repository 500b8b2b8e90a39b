"""Problems with one observation less, and the measures that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from expfam_glm.data.response import Problem
from expfam_glm.errors import FitWarning, warn
from expfam_glm.results.residuals import RowFit

# The fits without a row are wanted to rounding, for what is reported is a difference.
TIGHT = 1e-12


def by_row_and_coef(
    rows: RowFit,
    by_row: Mapping[str, np.ndarray],
    by_coef: Mapping[str, np.ndarray],
    **attrs: str | int,
) -> xr.Dataset:
    """Measures of the rows of a fit, labelled."""
    return xr.Dataset(
        {name: ("obs_id", values) for name, values in by_row.items()}
        | {name: (("obs_id", "coef"), values) for name, values in by_coef.items()},
        coords={
            "obs_id": rows.tree["constant_data"].to_dataset()["obs_id"].values,
            "coef": np.array(rows.found.labels)[rows.found.kept],
        },
        attrs=attrs,
    )


def without_row(problem: Problem, i: int) -> Problem:
    """A problem with one observation less: a row, or one of those that it stands for."""
    if problem.f is not None and problem.f[i] > 1:
        f = problem.f.copy()
        f[i] -= 1
        return replace(problem, f=f)
    kept = np.arange(problem.row_count) != i
    frame = replace(problem.frame, y=problem.y[kept], X=problem.X[kept])
    return replace(
        problem,
        frame=frame,
        y=frame.y,
        matrix=frame.X,
        w=None if problem.w is None else problem.w[kept],
        f=None if problem.f is None else problem.f[kept],
        offset=None if problem.offset is None else problem.offset[kept],
    )


def warn_of_nan(lost: np.ndarray) -> None:
    """Say which rows cannot be left out."""
    if lost.any():
        rows = ", ".join(map(str, np.flatnonzero(lost)[:5]))
        more = f" and {lost.sum() - 5} more" if lost.sum() > 5 else ""
        warn(
            f"the model does not exist without row {rows}{more}: a coefficient hangs on that row "
            "alone, or the rest is separated. Its measures are NaN.",
            FitWarning,
        )
