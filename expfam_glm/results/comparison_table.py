"""A comparison as a sheet: what is printed, shown in notebooks, and set in a paper."""

from __future__ import annotations

import json
import math

import numpy as np
import xarray as xr

from expfam_glm.results.criteria import CRITERIA
from expfam_glm.results.sheet import Sheet
from expfam_glm.results.text import decimals, number, percent

# Columns after the interval: variable -> in print, and what it means.
COLUMNS = {
    "pull": ("pull", "difference from {0} in standard errors of {0}"),
    "spread_ratio": ("spread", "standard error over that of {0}"),
    "robust_ratio": ("robust", "robust standard error over the model's own, in one tree"),
    "overlap": ("overlap", "mass that the two distributions share"),
}
WIDTH = 96  # of the legend's lines


def comparison_sheet(table: xr.Dataset) -> Sheet:
    """A comparison as it is shown, one block of lines for each coefficient."""
    columns = {
        name: shown
        for name, shown in COLUMNS.items()
        if name in table and (name != "robust_ratio" or table[name].notnull().any())
    }
    header = ("", "model", "estimate", "se", f"{percent(table.attrs['ci_prob'])}% interval")
    lines: list[tuple[str, ...]] = [(*header, *(short for short, _ in columns.values()))]
    models = [str(model) for model in table["model"].values]
    for coef in table["coef"].values:
        row = table.sel(coef=coef)
        places = decimals(row["se"].values)
        for i, model in enumerate(models):
            one = row.isel(model=i)
            lines.append(
                (
                    str(coef) if i == 0 else "",
                    model,
                    number(float(one["estimate"]), places),
                    number(float(one["se"]), places),
                    _interval(one["interval"].values, places),
                    *(number(float(one[name])) for name in columns),
                )
            )
    lines += [(*line, *[""] * len(columns)) for line in _beside(table, models)]
    kinds = [f"{model}: {kind}" for model, kind in json.loads(table.attrs["kind"]).items()]
    meaning = "; ".join(
        f"{short}: {what.format(table.attrs['reference'])}" for short, what in columns.values()
    )
    notes = json.loads(table.attrs.get("notes", "{}"))
    return Sheet(
        lines,
        below=[*kinds, *_wrapped(f"{meaning}.")],
        warnings=[f"{model}: {note}" for model, own in notes.items() for note in own],
        left=2,
    )


def _beside(table: xr.Dataset, models: list[str]) -> list[tuple[str, str, str, str, str]]:
    """Lines of dispersion, shapes and criteria."""
    lines = []
    for name in parameters_of(table):
        values, errors = table[name].values, table[f"se_{name}"].values
        if not np.isfinite(values).any():
            continue
        places = decimals(errors) if np.isfinite(errors).any() else decimals(values, figures=4)
        for i, model in enumerate(models):
            ends = table[f"interval_{name}"].values[i]
            shown = (number(values[i], places), number(errors[i], places, none=""))
            lines.append((name if i == 0 else "", model, *shown, _interval(ends, places, none="")))
    words = json.loads(table.attrs.get("criteria", "{}"))
    for name, title in CRITERIA.items():
        if name not in table:
            continue
        for i, model in enumerate(models):
            value = float(table[name][i])
            error = float(table["elpd_se"][i]) if name == "elpd" else np.nan
            word = words.get(name, {}).get(model, number(value))
            text = word if math.isnan(value) else number(value, 1)
            lines.append((title if i == 0 else "", model, text, number(error, 1, none=""), ""))
    return lines


def parameters_of(table: xr.Dataset) -> list[str]:
    """The dispersion and the shape parameters of a comparison."""
    return [
        str(name)
        for name, values in table.data_vars.items()
        if values.dims == ("model",) and f"interval_{name}" in table
    ]


def _interval(ends: np.ndarray, places: int | None, none: str = "–") -> str:
    """An interval as text."""
    if not np.isfinite(ends).any():
        return none
    lower, upper = (number(float(end), places) for end in ends)
    return f"[{lower}, {upper}]"


def _wrapped(text: str) -> list[str]:
    """A sentence in lines of the legend's width, broken after semicolons."""
    lines = [""]
    for part in text.split("; "):
        longer = f"{lines[-1]}; {part}" if lines[-1] else part
        if lines[-1] and len(longer) > WIDTH:
            lines[-1] += ";"
            lines.append(part)
        else:
            lines[-1] = longer
    return lines
