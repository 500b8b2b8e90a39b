"""Wald tests and intervals from the normal or the t distribution."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from expfam_glm.errors import ArgumentError


def wald_p_value(statistic: np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Two-sided p-values, accurate far into the tails.

    Parameters
    ----------
    statistic : ndarray (p,)
        Estimates divided by their standard errors.
    df : float or ndarray (p,)
        Degrees of freedom; infinite for the normal distribution.

    Returns
    -------
    ndarray (p,)

    Examples
    --------
    >>> wald_p_value(np.array([1.96, 20.0]), np.inf)
    array([4.99957903e-02, 5.50724824e-89])
    """
    return 2 * stdtr(df, -np.abs(statistic))


def wald_interval(
    beta: np.ndarray, se: np.ndarray, df: float | np.ndarray, ci_prob: float
) -> np.ndarray:
    """Wald intervals β̂ ± q · se from the normal or the t distribution.

    Parameters
    ----------
    beta, se : ndarray (p,)
        Estimates and standard errors.
    df : float or ndarray (p,)
        Degrees of freedom; infinite for the normal distribution.
    ci_prob : float
        Probability that the interval is meant to hold.

    Returns
    -------
    ndarray (p, 2)
        Lower and upper ends.

    Examples
    --------
    >>> wald_interval(np.zeros(1), np.ones(1), np.inf, 0.95).round(2).tolist()
    [[-1.96, 1.96]]
    """
    half_width = -stdtrit(df, (1 - ci_prob) / 2) * se
    return np.stack([beta - half_width, beta + half_width], axis=-1)


def default_ci_prob(ci_prob: float | None) -> float:
    """Check a probability of intervals, or take ArviZ's setting.

    Parameters
    ----------
    ci_prob : float or None
        None asks for ArviZ's `stats.ci_prob`.

    Returns
    -------
    float
        A number inside (0, 1).

    Raises
    ------
    ArgumentError
        If it is not inside (0, 1).

    Examples
    --------
    >>> default_ci_prob(0.95)
    0.95
    """
    if ci_prob is None:
        ci_prob = _arviz_settings()["stats.ci_prob"]
    if not isinstance(ci_prob, float | int | np.floating) or not 0 < ci_prob < 1:
        raise ArgumentError(
            f"ci_prob={ci_prob!r} is not a probability between 0 and 1; use 0.95, say."
        )
    return float(ci_prob)


def _arviz_settings() -> Mapping[str, Any]:
    """ArviZ's settings: those in force, or those it would begin with if it is not imported yet.

    Its settings live in a file of their own that needs nothing else of ArviZ, and is read in a
    tenth of the time.
    """
    if "arviz_base" in sys.modules:
        return sys.modules["arviz_base"].rcParams
    return _initial_arviz_settings()


@cache
def _initial_arviz_settings() -> Mapping[str, Any]:
    package = find_spec("arviz_base")
    assert package is not None and package.origin is not None  # a dependency
    path = Path(package.origin).with_name("rcparams.py")
    spec = spec_from_file_location("expfam_glm._arviz_rcparams", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rcParams
