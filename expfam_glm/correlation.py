"""Working correlations of generalised estimating equations."""

from expfam_glm.gee.correlation import (
    AR1,
    Exchangeable,
    Independence,
    MDependent,
    Nested,
    Toeplitz,
    Unstructured,
)
from expfam_glm.gee.given import Custom, Fixed, Pattern

__all__ = [
    "AR1",
    "Custom",
    "Exchangeable",
    "Fixed",
    "Independence",
    "MDependent",
    "Nested",
    "Pattern",
    "Toeplitz",
    "Unstructured",
]
