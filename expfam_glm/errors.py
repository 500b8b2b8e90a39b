"""Every exception and warning of the package, in one place.

A message names the variable, shows the offending values and rows, and says what to do.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

# Code between a warning and the user's line: ours, and decorators made of context managers. A
# prefix must be shorter than the name of the file.
_BETWEEN = (str(Path(__file__).parent), contextlib.__file__.removesuffix(".py"))


class ExpfamError(Exception):
    """Base class of all exceptions that the package raises on purpose."""


class DeclarationError(ExpfamError, ValueError):
    """A family, link or domain is declared in a way that cannot hold; `.part` says which part."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        self.part = part


class DataError(ExpfamError, ValueError):
    """A value, column or length in the data cannot be used."""


class FormulaError(ExpfamError, ValueError):
    """A formula cannot be parsed or evaluated on the data."""


class ArgumentError(ExpfamError, ValueError):
    """An argument has a value that the called function does not know."""


class RankError(ExpfamError, ValueError):
    """The design matrix does not determine the coefficients that are asked for."""


class SeparationError(ExpfamError, RuntimeError):
    """No finite maximum-likelihood estimate exists: the data are separated."""


class ConvergenceError(ExpfamError, RuntimeError):
    """An iteration stopped before its rule was met; the last state is in `.state`."""

    def __init__(self, message: str, state: Any = None) -> None:
        super().__init__(message)
        self.state = state


class CorrelationError(ExpfamError, ValueError):
    """A working correlation matrix is not positive definite or cannot be estimated."""


class SamplingError(ExpfamError, RuntimeError):
    """The posterior cannot be sampled (improper, or no valid starting point)."""


class ResultError(ExpfamError, ValueError):
    """A result tree lacks what is asked of it, or trees cannot be compared."""


class MissingPackageError(ExpfamError, ImportError):
    """What was asked for needs a package that is not installed."""


class ExpfamWarning(UserWarning):
    """Base class of the package's warnings."""


class AliasWarning(ExpfamWarning):
    """Columns are linear combinations of earlier ones and get NaN coefficients."""


class FitWarning(ExpfamWarning):
    """A fit is usable but something about it must be known (perfect fit, boundary)."""


class SamplingWarning(ExpfamWarning):
    """Draws are usable but something about them must be known (divergences, R-hat)."""


def need(package: str, extra: str) -> Any:
    """A package of an extra, imported; an error that names the extra where it is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package {package.split('.')[0]!r}, which cannot be imported "
            f"({error}). Install it with: python -m pip install 'expfam_glm[{extra}]'."
        ) from error


def show_rows(values: Any, bad: Any, *, rows: Any = None, most: int = 5) -> str:
    """Offending values with their row numbers, the first `most` of them, as text.

    `rows` are the numbers of the rows in the data as given, where some are left out.
    """
    where = np.flatnonzero(np.asarray(bad))
    listed = np.asarray(values)
    numbers = where if rows is None else np.asarray(rows)[where]
    pairs = list(zip(numbers[:most], where[:most], strict=True))
    shown = ", ".join(f"row {number}: {listed[i]!s}" for number, i in pairs)
    more = f", and {where.size - most} more" if where.size > most else ""
    return shown + more


def one_of(name: str, given: Any, allowed: Sequence[str]) -> ArgumentError:
    """The error for an argument outside its list of words."""
    plain = {word.lower().replace("_", ""): word for word in allowed}
    close = get_close_matches(str(given).lower().replace("_", ""), plain, n=1, cutoff=0.75)
    guess = f" (perhaps {plain[close[0]]!r}?)" if close else ""
    return ArgumentError(
        f"{name}={given!r} is not known; use one of {', '.join(map(repr, allowed))}{guess}."
    )


def is_number(given: Any, kind: type = Real) -> bool:
    """Whether it is a number of a kind: True and False are none, though Python counts them so."""
    return isinstance(given, kind) and not isinstance(given, bool | np.bool_)


def check_flag(name: str, given: Any) -> bool:
    """A boolean argument, or the error for what is none: "no" would count as true."""
    if isinstance(given, bool) or type(given).__name__ in ("bool_", "bool"):
        return bool(given)
    raise ArgumentError(f"{name}={given!r} must be True or False.")


def warn(text: str, category: type[ExpfamWarning]) -> None:
    """Warn at the line of the user's own code that led here."""
    warnings.warn(text, category, skip_file_prefixes=_BETWEEN)
