"""Working correlations of generalised estimating equations."""

from expfam_glm.gee.correlation import AR1, Exchangeable, Fixed, Independence, Unstructured

__all__ = ["AR1", "Exchangeable", "Fixed", "Independence", "Unstructured"]
