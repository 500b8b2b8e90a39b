"""Problems on real data for tests of the Bayesian road: every built-in family, several links."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import expfam_glm as eg
from expfam_glm.data.response import Problem
from expfam_glm.numerics.random import draw
from tests.declared import DECLARED

_SHIPPED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "normal": ("time ~ log(u) + lot", "clotting", {"family": "normal"}),
    "normal-weighted": ("time ~ log(u) + lot", "clotting", {"family": "normal", "weights": "u"}),
    "normal-log": ("time ~ log(u) + lot", "clotting", {"family": "normal", "link": "log"}),
    "poisson": ("seizures ~ lbase * treatment + age", "seizures", {"family": "poisson"}),
    "poisson-sqrt": ("seizures ~ lbase", "seizures", {"family": "poisson", "link": "sqrt"}),
    "poisson-exposure": ("deaths ~ smoker", "doctors",
                         {"family": "poisson", "exposure": "person_years"}),
    "binomial": ("damaged ~ temperature", "oring", {"family": "binomial", "trials": "rings"}),
    "binomial-probit": ("damaged ~ temperature", "oring",
                        {"family": "binomial", "trials": "rings", "link": "probit"}),
    "binomial-cloglog": ("killed ~ log_dose", "beetles",
                         {"family": "binomial", "trials": "number", "link": "cloglog"}),
    "gamma": ("time ~ log(u) + lot", "clotting", {"family": "gamma"}),
    "gamma-log": ("time ~ log(u) + lot", "clotting", {"family": "gamma", "link": "log"}),
    "inverse_gaussian": ("time ~ log(u) + lot", "clotting", {"family": "inverse_gaussian"}),
    "inverse_gaussian-log": ("time ~ log(u) + lot", "clotting",
                             {"family": "inverse_gaussian", "link": "log"}),
    "hyperbolic_secant": ("time ~ log(u) + lot", "clotting", {"family": "hyperbolic_secant"}),
    "negative_binomial": ("days ~ sex + age", "quine", {"family": "negative_binomial"}),
}  # fmt: skip

BUILT_IN = tuple(_SHIPPED)
NAMES = (*BUILT_IN, *DECLARED)


@cache
def problem(name: str) -> Problem:
    """The problem of a name in `NAMES`."""
    if name in DECLARED:
        return _declared(name)
    formula, data, keywords = _SHIPPED[name]
    if keywords["family"] == "negative_binomial":
        keywords = {**keywords, "family": eg.families.negative_binomial(alpha=0.8)}
    return eg.GLM(formula, eg.load_data(data), **keywords).problem


def _declared(name: str) -> Problem:
    """Data drawn from a declared family under its canonical link."""
    family = DECLARED[name]
    rng = np.random.default_rng(5)
    x = rng.normal(size=60)
    theta = -1.0 + 0.3 * x if np.isfinite(family.theta_domain.high) else 0.5 + 0.4 * x
    if name == "logarithmic":
        theta = np.minimum(theta, -0.1)
    y = draw(family, None, None, rng, theta=theta)
    return eg.GLM("y ~ x", {"y": y, "x": x}, family=family).problem
