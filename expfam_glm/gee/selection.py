"""Criteria to choose terms and working correlations: QIC, QICu and CIC."""

from __future__ import annotations

import numpy as np


def criteria(
    deviance: float, information: np.ndarray, robust: np.ndarray, dispersion: float
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
    dispersion : float
        φ; models can be compared only under the same one.

    Returns
    -------
    dict
        qic = −2Q/φ + 2 tr(B_ind V_robust), qicu = −2Q/φ + 2p, cic = tr(B_ind V_robust).

    References
    ----------
    Pan (2001), Biometrics 57, 120-125; Hin and Wang (2009), Statistics in Medicine 28, 642-658.

    Examples
    --------
    >>> criteria(3.0, np.array([[4.0]]), np.array([[0.5]]), 1.0)
    {'qic': 7.0, 'qicu': 5.0, 'cic': 2.0}
    """
    cic = float(np.sum(information * robust)) / dispersion
    quasi = deviance / dispersion
    return {"qic": quasi + 2 * cic, "qicu": quasi + 2 * robust.shape[0], "cic": cic}
