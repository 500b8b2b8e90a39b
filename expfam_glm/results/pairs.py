"""What is compared: pairs of values of a variable, and functions of two predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from numbers import Real
from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError
from expfam_glm.results.averages import Quantity
from expfam_glm.results.grid import Grid
from expfam_glm.results.setting import Setting

BETWEEN = ("reference", "sequential", "pairwise")
SPANS = ("sd", "iqr", "minmax")

type Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
type Partial = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Functions of the prediction at the higher and at the lower value, and their partial derivatives.
COMPARISONS: dict[str, tuple[Function, Partial]] = {
    "difference": (
        lambda high, low: high - low,
        lambda high, low: (np.ones_like(high), -np.ones_like(low)),
    ),
    "ratio": (lambda high, low: high / low, lambda high, low: (1 / low, -high / low**2)),
    "lnratio": (lambda high, low: np.log(high / low), lambda high, low: (1 / high, -1 / low)),
    "lift": (lambda high, low: (high - low) / low, lambda high, low: (1 / low, -high / low**2)),
    "lnor": (
        lambda high, low: np.log(high / (1 - high)) - np.log(low / (1 - low)),
        lambda high, low: (1 / (high * (1 - high)), -1 / (low * (1 - low))),
    ),
}


# The value of each where both predictions are the same; zero for those that are not named.
_NULL = {"ratio": 1.0}


def compared(
    setting: Setting, name: str, how: Any, comparison: str
) -> list[tuple[str, str, Quantity]]:
    """The comparisons of one variable."""
    function, partial = COMPARISONS[comparison]
    sign = "-" if comparison == "difference" else "/"
    averages = setting.averager.predictions
    pairs = _pairs(setting.grid, name, how)
    null = _NULL.get(comparison, 0.0)
    found = []
    for text, low, high in pairs:
        label, above, below = text.format(sign=sign), averages(high), averages(low)
        _check(setting, comparison, f"{name}: {label}", above, below)
        found.append((name, label, above.combine(below, function, partial, null)))
    return found


def _check(setting: Setting, comparison: str, label: str, high: Quantity, low: Quantity) -> None:
    """Refuse predictions of which the comparison is not defined."""
    if comparison == "difference":
        return
    values = [one.value if one.draws is None else one.draws for one in (high, low)]
    inside, needed = {
        "ratio": (values[1] != 0, "differ from zero below the line"),
        "lift": (values[1] != 0, "differ from zero below the line"),
        "lnratio": ((values[0] > 0) & (values[1] > 0), "be positive"),
        "lnor": (
            np.all([(v > 0) & (v < 1) for v in values], axis=0), "lie inside (0, 1) to have odds"
        ),
    }[comparison]  # fmt: skip
    if not np.all(inside):
        raise ArgumentError(
            f"comparison={comparison!r} of {label}: the average means of the family "
            f"{setting.grid.tree.attrs['family']!r} must {needed}; found "
            f"{values[0].min():.4g} to {values[0].max():.4g} and {values[1].min():.4g} to "
            f"{values[1].max():.4g}. Use comparison='difference'."
        )


def _pairs(grid: Grid, name: str, how: Any) -> Iterator[tuple[str, Any, Any]]:
    """What is compared: a text, and the rows at the lower and at the higher value."""
    levels = grid.levels(name)
    if levels is not None:
        for low, high in _level_pairs(name, levels, how):
            _refuse_equal(name, how, low, high)
            text = f"{_text(high)} {{sign}} {_text(low)}"
            yield text, grid.set_to(name, low), grid.set_to(name, high)
        return
    x = np.asarray(grid.column(name, "variable"), dtype=float)
    if how is None or (isinstance(how, Real) and not isinstance(how, bool)):
        step = 1.0 if how is None else float(how)
        _refuse_equal(name, how, 0.0, step)
        yield f"+{step:g}", grid.rows(), grid.moved(name, step)
    elif how == "sd":
        half = x.std(ddof=1) / 2
        _refuse_equal(name, how, -half, half)
        yield "(x + sd/2) {sign} (x - sd/2)", grid.moved(name, -half), grid.moved(name, half)
    else:
        match how:
            case "iqr":
                text, ends = "Q3 {sign} Q1", tuple(np.quantile(x, [0.25, 0.75]))
            case "minmax":
                text, ends = "Max {sign} Min", (x.min(), x.max())
            case (Real(), Real()):
                text, ends = f"{how[1]:g} {{sign}} {how[0]:g}", tuple(how)
            case _:
                raise ArgumentError(
                    f"variables[{name!r}]={how!r}: a number is compared at a step, at two values "
                    f"(low, high), or over one of {', '.join(map(repr, SPANS))}."
                )
        _refuse_equal(name, how, *ends)
        yield text, grid.set_to(name, ends[0]), grid.set_to(name, ends[1])


def _refuse_equal(name: str, how: Any, low: Any, high: Any) -> None:
    """Refuse to compare a value with itself: the answer is 0 without an error."""
    if low == high:
        raise ArgumentError(
            f"variables[{name!r}]={how!r} compares {name!r} with itself; give two different "
            "values, or a step that is not zero."
        )


def _level_pairs(name: str, levels: list[Any], how: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of levels that are compared, the lower first."""
    match how:
        case None | "reference":
            yield from ((levels[0], level) for level in levels[1:])
        case "sequential":
            yield from pairwise(levels)
        case "pairwise":
            yield from combinations(levels, 2)
        case (low, high) if not isinstance(how, str):
            yield low, high
        case _:
            raise ArgumentError(
                f"variables[{name!r}]={how!r}: levels are compared as one of "
                f"{', '.join(map(repr, BETWEEN))}, or two of them (low, high)."
            )


def values_of(grid: Grid, name: str, given: Any) -> list[Any]:
    """The values to which a variable is set."""
    levels = grid.levels(name)
    if given is None:
        if levels is None:
            raise ArgumentError(
                f"{name!r} is a number: say to which values it is to be set, such as "
                f"variables={{{name!r}: [0, 1]}}."
            )
        return levels
    values = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
    if not values:
        raise ArgumentError(f"variables[{name!r}] is empty; give at least one value to set it to.")
    return values


def _text(level: Any) -> str:
    """A level as it reads in the labels of coefficients."""
    from expfam_glm.data.encode import level_text

    return level_text(level)
