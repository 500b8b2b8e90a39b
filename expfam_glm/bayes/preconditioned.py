"""A value space in which coefficients are nearly N(0, I): β = β̂ + Lz, as a transform of PyMC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform
from pytensor.graph.basic import Variable


class Whitened(Transform):
    """z = L⁻¹(β − β̂), LLᵀ = (Fisher information + prior precision)⁻¹ of these coefficients.

    Parameters
    ----------
    centre : ndarray, shape (p,)
        β̂.
    covariance : ndarray, shape (p, p)
        LLᵀ.
    """

    name = "whitened"

    def __init__(self, centre: np.ndarray, covariance: np.ndarray) -> None:
        self.centre = centre
        self.root = np.linalg.cholesky(covariance)

    def forward(self, value: Any, *inputs: Variable) -> Variable:
        """z of β."""
        return pt.dot(np.linalg.inv(self.root), value - self.centre)

    def backward(self, value: Any, *inputs: Variable) -> Variable:
        """β of z."""
        return self.centre + pt.dot(self.root, value)

    def log_jac_det(self, value: Any, *inputs: Variable) -> Variable:
        """log |∂β/∂z| in as many parts as there are coefficients, as the priors' density is."""
        return pt.constant(np.log(self.root.diagonal())) + pt.zeros_like(value)
