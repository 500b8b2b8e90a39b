"""Predictions, effects and other estimates with intervals as a sheet."""

from __future__ import annotations

from itertools import product

import numpy as np
import xarray as xr

from expfam_glm.results.sheet import Sheet
from expfam_glm.results.text import decimals, number, percent

MOST = 100  # rows in print


def is_estimates(table: xr.Dataset) -> bool:
    """Whether a dataset has an estimate with its standard error and interval in each cell."""
    if not {"estimate", "se", "interval"} <= set(table.data_vars):
        return False
    dims = table["estimate"].dims
    return table["se"].dims == dims and table["interval"].dims == (*dims, "ci_bound")


def estimates_sheet(table: xr.Dataset) -> Sheet:
    """One line for each estimate, told apart by the coordinates of its dimensions."""
    estimate, se, ends = (table[name].values for name in ("estimate", "se", "interval"))
    dims = [str(dim) for dim in table["estimate"].dims]
    ci_prob = table.attrs.get("ci_prob")
    new = table.attrs.get("interval") == "new"
    interval = "interval" if ci_prob is None else f"{percent(ci_prob)}% interval"
    interval += ", new" if new else ""
    lines: list[tuple[str, ...]] = [(*dims, "estimate", "se", interval)]
    cells = list(product(*(range(size) for size in estimate.shape)))
    for cell in cells[:MOST]:
        places = decimals(np.array([se[cell]]))
        if np.all(np.isnan(ends[cell])):
            shown = number(np.nan)
        else:
            shown = f"[{', '.join(number(float(end), places) for end in ends[cell])}]"
        where = (str(table[dim].values[i]) for dim, i in zip(dims, cell, strict=True))
        numbers = (number(float(v[cell]), places) for v in (estimate, se))
        lines.append((*where, *numbers, shown))
    about = [
        f"{what}: {table.attrs[name]}"
        for name, what in (
            ("kind", "scale"),
            ("comparison", "comparison"),
            ("cov_type", "covariance"),
        )
        if name in table.attrs
    ]
    below = ["; ".join(about)] if about else []
    below += ["interval: a new response of the row; se: of the estimated mean"] if new else []
    if table["estimate"].attrs.get("long_name"):
        below.insert(0, f"estimate: {table['estimate'].attrs['long_name']}")
    if len(cells) > MOST:
        below.insert(0, f"The first {MOST} of {len(cells)} rows; to_dataframe() has them all.")
    return Sheet(lines, below=below, left=len(dims))
