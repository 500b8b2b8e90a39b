"""Generalized linear models, declared once and fitted both ways: likelihood and Bayes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expfam_glm import correlation, families, links
    from expfam_glm.bayes.prior import Prior
    from expfam_glm.data.load import load_data
    from expfam_glm.figures.agreement import plot_agreement
    from expfam_glm.figures.correlation import plot_working_correlation
    from expfam_glm.figures.coverage import plot_coverage
    from expfam_glm.figures.curves import plot_predictions
    from expfam_glm.figures.posterior import plot_prior_posterior
    from expfam_glm.glm import GLM
    from expfam_glm.plots import plot_comparison, plot_profile
    from expfam_glm.residual_plots import plot_diagnostics
    from expfam_glm.results.association import association
    from expfam_glm.results.calibrate import calibrate
    from expfam_glm.results.compare import compare
    from expfam_glm.results.coverage import coverage
    from expfam_glm.results.deviance_table import deviance_table
    from expfam_glm.results.effects import adjusted_predictions, comparisons, marginal_effects
    from expfam_glm.results.hypotheses import hypotheses
    from expfam_glm.results.influence import influence
    from expfam_glm.results.loo import loo
    from expfam_glm.results.population import population_average
    from expfam_glm.results.predict import predict
    from expfam_glm.results.profile import profile
    from expfam_glm.results.residuals import residuals
    from expfam_glm.results.summary import summary
    from expfam_glm.spec.domain import Integers, Interval, Positive, Real, UnitInterval
    from expfam_glm.spec.family import Family
    from expfam_glm.spec.link import Link

__version__ = "0.1.0"

# Public names and the module that holds each; a module is loaded when its name is first used.
_HOMES = {
    "GLM": "glm",
    "Family": "spec.family",
    "Link": "spec.link",
    "Integers": "spec.domain",
    "Interval": "spec.domain",
    "Positive": "spec.domain",
    "Real": "spec.domain",
    "UnitInterval": "spec.domain",
    "Prior": "bayes.prior",
    "association": "results.association",
    "calibrate": "results.calibrate",
    "compare": "results.compare",
    "coverage": "results.coverage",
    "deviance_table": "results.deviance_table",
    "hypotheses": "results.hypotheses",
    "adjusted_predictions": "results.effects",
    "comparisons": "results.effects",
    "influence": "results.influence",
    "load_data": "data.load",
    "loo": "results.loo",
    "marginal_effects": "results.effects",
    "plot_agreement": "figures.agreement",
    "plot_comparison": "plots",
    "plot_coverage": "figures.coverage",
    "plot_diagnostics": "residual_plots",
    "plot_predictions": "figures.curves",
    "plot_prior_posterior": "figures.posterior",
    "plot_profile": "plots",
    "plot_working_correlation": "figures.correlation",
    "population_average": "results.population",
    "predict": "results.predict",
    "profile": "results.profile",
    "residuals": "results.residuals",
    "summary": "results.summary",
}
_MODULES = ("correlation", "families", "links")

__all__ = [
    "GLM",
    "Family",
    "Integers",
    "Interval",
    "Link",
    "Positive",
    "Prior",
    "Real",
    "UnitInterval",
    "adjusted_predictions",
    "association",
    "calibrate",
    "compare",
    "comparisons",
    "correlation",
    "coverage",
    "deviance_table",
    "families",
    "hypotheses",
    "influence",
    "links",
    "load_data",
    "loo",
    "marginal_effects",
    "plot_agreement",
    "plot_comparison",
    "plot_coverage",
    "plot_diagnostics",
    "plot_predictions",
    "plot_prior_posterior",
    "plot_profile",
    "plot_working_correlation",
    "population_average",
    "predict",
    "profile",
    "residuals",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"expfam_glm.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"expfam_glm.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'expfam_glm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
