"""A simulation of coverage as a sheet."""

from __future__ import annotations

import json

import xarray as xr

from expfam_glm.results.sheet import Sheet
from expfam_glm.results.text import decimals, number, percent


def coverage_sheet(table: xr.Dataset) -> Sheet:
    """Coverage, width and bias of each road, one block of lines for each coefficient."""
    prob = percent(table.attrs["ci_prob"])
    lines: list[tuple[str, ...]] = [
        ("", "road", "coverage", "(mcse)", "width", "bias", "(mcse)", "se/sd")
    ]
    for coef in table["coef"].values:
        row = table.sel(coef=coef)
        places = decimals(row["bias_mcse"].values, figures=2)
        for i, road in enumerate(table["road"].values):
            one = row.isel(road=i)
            lines.append(
                (
                    str(coef) if i == 0 else "",
                    str(road),
                    _percent(float(one["coverage"])),
                    _percent(float(one["coverage_mcse"])),
                    number(float(one["width"]), places),
                    number(float(one["bias"]), places),
                    number(float(one["bias_mcse"]), places),
                    number(float(one["error_ratio"])),
                )
            )
    failures = json.loads(table.attrs["failures"])
    warnings = [
        f"{road}: {sum(own.values())} of {table.attrs['simulations']} data sets could not be "
        f"fitted ({', '.join(f'{name} {count}' for name, count in own.items())}) and are left out."
        for road, own in failures.items()
        if own
    ]
    return Sheet(
        lines,
        above=[
            f"Coverage of {prob}% intervals in {table.attrs['simulations']} simulated data sets",
            f"model {table.attrs['model']}; simulated from {table.attrs['simulated_from']}",
        ],
        below=[
            "mcse: Monte-Carlo standard error; se/sd: mean standard error over the standard "
            "deviation of the estimates."
        ],
        warnings=warnings,
        left=2,
    )


def _percent(value: float) -> str:
    """A share in percent."""
    return "–" if value != value else f"{100 * value:.1f}%"
