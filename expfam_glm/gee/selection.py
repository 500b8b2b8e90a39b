"""Criteria to choose terms and working correlations: QIC, QICu, CIC and RJC."""

from __future__ import annotations

import numpy as np


def criteria(
    deviance: float,
    information: np.ndarray,
    robust: np.ndarray,
    naive: np.ndarray,
    dispersion: float,
) -> dict[str, float]:
    """QIC and its relatives.

    Parameters
    ----------
    deviance : float
        Σ w d(y, μ), so that Q(μ; y) = Σ w ∫ from y to μ of (y − t)/V(t) dt = −D/2.
    information : ndarray (p, p)
        DᵀA⁻¹D: the information under independence, times φ.
    robust : ndarray (p, p)
        Robust covariance under the working correlation.
    naive : ndarray (p, p)
        Naive covariance B⁻¹ under the working correlation.
    dispersion : float
        φ; models can be compared only under the same one.

    Returns
    -------
    dict
        qic = −2Q/φ + 2 tr(B_ind V_robust), qicu = −2Q/φ + 2p, cic = tr(B_ind V_robust); with
        Γ = B V_robust, rjc = √[(1 − tr Γ/p)² + (1 − tr Γ²/p)²], which is 0 where the working
        correlation is right.

    References
    ----------
    Pan (2001), Biometrics 57, 120-125; Hin and Wang (2009), Statistics in Medicine 28, 642-658;
    Rotnitzky and Jewell (1990), Biometrika 77, 485-497.

    Examples
    --------
    >>> criteria(3.0, np.array([[4.0]]), np.array([[0.5]]), np.array([[0.5]]), 1.0)
    {'qic': 7.0, 'qicu': 5.0, 'cic': 2.0, 'rjc': 0.0}
    """
    cic = float(np.sum(information * robust)) / dispersion
    quasi = deviance / dispersion
    p = robust.shape[0]
    ratio = np.linalg.solve(naive, robust)
    rjc = float(np.hypot(1 - np.trace(ratio) / p, 1 - np.sum(ratio * ratio.T) / p))
    return {"qic": quasi + 2 * cic, "qicu": quasi + 2 * p, "cic": cic, "rjc": rjc}
