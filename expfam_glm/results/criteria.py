"""Criteria of fit that each road has, and the word for those that it does not have."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from expfam_glm.data.rows import are_counts
from expfam_glm.results.fitted import frequencies_of

# Each criterion as it is printed, in the order of the table.
CRITERIA = {"aic": "AIC", "bic": "BIC", "qic": "QIC", "elpd": "elpd"}
# Those that mean another thing where other observations are told apart.
OF_OBSERVATIONS = ("aic", "bic", "elpd")
# Draws from which importance weights are smoothed.
FEWEST = 5


@dataclass(frozen=True)
class Criteria:
    """Values by name, a word for each name without one, and what must be known about them."""

    values: dict[str, float]
    words: dict[str, str]
    notes: tuple[str, ...] = ()
    counted: float = np.nan  # observations


def criteria_of(tree: xr.DataTree) -> Criteria:
    """The criteria of one tree, each a value or a word.

    Parameters
    ----------
    tree : DataTree

    Notes
    -----
    elpd is the expected log predictive density by leave-one-out cross-validation, with `elpd_se`;
    only from a stored log_likelihood.
    """
    estimator = str(tree.attrs.get("estimator", "posterior" if "fit" not in tree.children else ""))
    if estimator == "posterior":
        return _of_draws(tree)
    stats = tree["fit_stats"].to_dataset() if "fit_stats" in tree.children else xr.Dataset()
    values = {name: float(stats[name]) for name in ("aic", "bic", "qic") if name in stats}
    values = {name: value for name, value in values.items() if np.isfinite(value)}
    without = "no likelihood" if estimator == "GEE" else _why_no_likelihood(tree)
    words = {"aic": without, "bic": without, "qic": "no GEE", "elpd": "no posterior"}
    words = {name: word for name, word in words.items() if name not in values}
    counted = float(stats["n_observations"]) if "n_observations" in stats else np.nan
    return Criteria(values, words, counted=counted)


def _why_no_likelihood(tree: xr.DataTree) -> str:
    """The word for AIC and BIC of a fit that does not have them."""
    if "quasi" in str(tree.attrs.get("estimator", "")):
        return "quasi-likelihood"
    return "penalised" if "penalty" in tree.attrs else "no likelihood"


def _of_draws(tree: xr.DataTree) -> Criteria:
    """elpd of a posterior."""
    words = {"aic": "see elpd", "bic": "see elpd", "qic": "no GEE"}
    reason = ""
    if "calibrated" in tree.attrs:
        reason = "recalibrated"
    elif "held_phi" in tree.attrs:
        reason = "quasi-posterior"
    elif not are_counts(frequencies_of(tree)):
        reason = "frequencies not whole"
    elif "log_likelihood" not in tree.children:
        reason = "log_likelihood not stored"
    elif tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"] < FEWEST:
        reason = "too few draws"
    if reason:
        if "held_phi" in tree.attrs:
            words |= {"aic": "no density", "bic": "no density"}
        return Criteria({}, words | {"elpd": reason})
    import arviz_stats

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = arviz_stats.loo(tree, pointwise=True)
    high = int(np.sum(found.pareto_k.values > found.good_k))
    notes: tuple[str, ...] = ()
    if high:
        notes = (
            f"elpd rests on importance weights that fail in {high} of {found.n_data_points} rows "
            f"(Pareto k up to {float(found.pareto_k.max()):.2f}); it is not reliable.",
        )
    elif caught:
        notes = tuple(str(one.message) for one in caught)
    return Criteria({"elpd": float(found.elpd), "elpd_se": float(found.se)}, words, notes,
                    float(found.n_data_points))  # fmt: skip


def of_one_count(found: dict[str, Criteria]) -> dict[str, Criteria]:
    """Likelihoods of other observations than those of the first model that has one withdrawn.

    Trials one by one and the same ones in rows of several have other likelihoods.
    """
    counts = {name: one.counted for name, one in found.items() if np.isfinite(one.counted)}
    checked = dict(found)
    for name, counted in counts.items():
        first, expected = next(iter(counts.items()))
        if counted == expected:
            continue
        gone = {key: f"n = {counted:g}" for key in OF_OBSERVATIONS if key in found[name].values}
        note = (
            f"its likelihood is of {counted:g} observations, that of {first!r} of {expected:g}: "
            f"{', '.join(CRITERIA[key] for key in gone)} cannot be compared."
        )
        checked[name] = replace(
            found[name],
            values={k: v for k, v in found[name].values.items() if k.split("_")[0] not in gone},
            words=found[name].words | gone,
            notes=(*found[name].notes, *((note,) if gone else ())),
        )
    return checked


def as_variables(found: dict[str, Criteria]) -> tuple[dict[str, tuple[str, list[float]]], str]:
    """Criteria of several models as variables along `model`, and their words as JSON text."""
    names = [name for name in CRITERIA if any(name in one.values for one in found.values())]
    names += ["elpd_se"] if "elpd" in names else []
    variables = {
        name: ("model", [one.values.get(name, np.nan) for one in found.values()]) for name in names
    }
    words = {
        name: {model: one.words[name] for model, one in found.items() if name in one.words}
        for name in CRITERIA
        if name in names
    }
    return variables, json.dumps(words, ensure_ascii=False)
