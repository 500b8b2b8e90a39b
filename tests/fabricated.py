"""Made-up fits for the tests of result trees: no solver and no sampler is run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import xarray as xr

from expfam_glm.tree import Estimate, likelihood_tree

LABELS = ("Intercept", "age", "C(centre)[b/ü]", "age:C(centre)[b/ü]")
BETA = np.array([-1.35, 0.023, 0.95, -0.35])
SE = np.array([0.35, 0.006, 0.09, 0.22])
CORRELATION = np.array(
    [
        [1.0, -0.9, 0.2, 0.1],
        [-0.9, 1.0, -0.3, 0.0],
        [0.2, -0.3, 1.0, -0.6],
        [0.1, 0.0, -0.6, 1.0],
    ]
)
DESIGN = json.dumps({"formula": None, "labels": LABELS, "levels": [["a", 0], ["b/ü", 1]]})


def made_up(n: int = 12, **changes: object) -> Estimate:
    """An estimate of four coefficients from n observations, with changes."""
    rng = np.random.default_rng(1)
    V = CORRELATION * np.outer(SE, SE)
    estimate = Estimate(
        kind="maximum likelihood",
        labels=LABELS,
        beta=BETA.copy(),
        covariances={"fisher": V, "HC0": 1.44 * V},
        df=None,
        fit={"phi": ((), 1.0)},
        fit_coords={},
        positive={},
        fit_stats={
            "deviance": 12.5,
            "null_deviance": 44.25,
            "loglik": -20.0,
            "aic": 48.0,
            "bic": 50.0,
            "pearson_chi2": 11.0,
            "df_residual": n - 4,
            "n_observations": n,
            "n_iterations": 5,
            "converged": True,
        },
        observed={"y": rng.poisson(3.0, n).astype(float)},
        constant={
            "X": rng.normal(size=(n, 4)),
            "weights": np.ones(n),
            "groups": np.array([f"é{i % 3}" for i in range(n)], dtype=object),
        },
        attrs={
            "family": "poisson",
            "link": "log",
            "formula": "y ~ age * C(centre)",
            "design": DESIGN,
            "dispersion": "fixed by the family",
            "warnings": "",
        },
    )
    if {"labels", "fit", "fit_stats"} & set(changes):  # no longer what its design describes
        estimate.attrs.pop("design")
    return replace(estimate, **changes)


def made_up_gee(**changes: object) -> Estimate:
    """A GEE of the same coefficients, with changes."""
    V = CORRELATION * np.outer(SE, SE)
    return made_up(
        **{
            "kind": "GEE",
            "covariances": {"robust": 4.0 * V, "naive": V},
            "fit": {
                "phi": ((), 4.4),
                "alpha": ((), 0.35),
                "working_correlation": (("time", "time2"), np.full((2, 2), 0.35)),
            },
            "fit_coords": {"time": ["first", "second"], "time2": ["first", "second"]},
        }
        | changes
    )


def aliased(estimate: Estimate, position: int) -> Estimate:
    """The estimate with one coefficient not determined."""
    beta = estimate.beta.copy()
    beta[position] = np.nan
    covariances = {name: V.copy() for name, V in estimate.covariances.items()}
    for V in covariances.values():
        V[position] = V[:, position] = np.nan
    return replace(estimate, beta=beta, covariances=covariances)


def sampled(shift: float = 0.0, *, labels: tuple[str, ...] = LABELS, **more: float) -> xr.DataTree:
    """A tree as NUTS returns it: skewed draws around BETA + shift · SE; `more` are scalars."""
    rng = np.random.default_rng(2)
    z = rng.gamma(20.0, 1 / np.sqrt(20.0), size=(4, 1000, 4)) - np.sqrt(20.0)
    posterior = xr.Dataset(
        {"beta": (("chain", "draw", "coef"), BETA + SE * (z + shift))}
        | {
            name: (("chain", "draw"), value * np.exp(0.1 * rng.normal(size=(4, 1000))))
            for name, value in more.items()
        },
        coords={"chain": np.arange(4), "draw": np.arange(1000), "coef": list(labels)},
    )
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"kind": "NUTS", "family": "poisson", "link": "log"}),
            "posterior": posterior,
            "sample_stats": xr.Dataset(
                {"diverging": (("chain", "draw"), np.zeros((4, 1000), dtype=bool))}
            ),
        }
    )


def three_roads() -> dict[str, xr.DataTree]:
    """The mapping that compare and ArviZ's plots take."""
    return {
        "MLE": likelihood_tree(made_up()),
        "GEE": likelihood_tree(made_up_gee()),
        "Bayes": sampled(0.1),
    }
