"""Working correlations of generalised estimating equations."""

from expfam_glm.gee.correlation import (
    AR1,
    Exchangeable,
    Independence,
    MDependent,
    Toeplitz,
    Unstructured,
)
from expfam_glm.gee.custom import Custom
from expfam_glm.gee.given import Fixed, Pattern
from expfam_glm.gee.levels import Nested

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
