"""Tail probabilities of quadratic test statistics."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc, fdtrc


def quadratic_p_value(statistic: float, df: float, df_denominator: float = np.inf) -> float:
    """P(χ²_q > x) for infinite denominator degrees of freedom, else P(F(q, d) > x).

    Parameters
    ----------
    statistic : float
        χ², or F: the χ² divided by its degrees of freedom.
    df, df_denominator : float

    Returns
    -------
    float

    Examples
    --------
    >>> round(quadratic_p_value(3.841458820694124, 1), 6)
    0.05
    """
    if np.isnan(statistic) or not df_denominator > 0:
        return float("nan")
    if np.isinf(df_denominator):
        return float(chdtrc(df, statistic))
    return float(fdtrc(df, df_denominator, statistic))
