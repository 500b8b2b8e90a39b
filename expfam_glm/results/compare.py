"""Several models of the same coefficients side by side, whichever road they came by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ResultError, one_of
from expfam_glm.results.comparable import check_comparable
from expfam_glm.results.comparison_table import comparison_sheet
from expfam_glm.results.criteria import as_variables, criteria_of, of_one_count
from expfam_glm.results.door import check_readable
from expfam_glm.results.fitted import group_effects
from expfam_glm.results.marginals import Marginals, marginals, overlap
from expfam_glm.results.notes import in_brief, notes_of
from expfam_glm.results.probability import interval_prob
from expfam_glm.results.profiled import profiled
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

INNER_PROB = 0.5
ALL = "all"  # every covariance of a fit
PROFILE = "profile"  # none: by the profile likelihood
CURVE = 161  # points of the density that is kept for plots
LEAST = 1e-4  # of its height, where that density ends


def compare(
    trees: Mapping[str, Any],
    *,
    reference: str | None = None,
    ci_prob: float | None = None,
    mixed_families: bool = False,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> xr.Dataset:
    r"""Compare coefficients, dispersion, shapes and criteria of several fits with one of them.

    Parameters
    ----------
    trees : mapping of str to DataTree or (DataTree, str)
        Result trees by model name, of either road. A pair of a tree and the name of one of its
        covariances takes that covariance; with "all" each of them is a model of its own, and with
        "profile" the intervals are those of the profile likelihood.
    reference : str, optional
        The model that the others are compared with; the first if not given.
    ci_prob : float, optional
        Probability of the intervals. By default that of the fits, where they agree, else ArviZ's
        setting `stats.ci_prob`.
    mixed_families : bool
        Whether the families may differ. A quasi family is never another family than its relative.
    family, link : optional
        The declarations, where they are the user's own and "profile" is asked for.

    Returns
    -------
    xarray.Dataset
        On the scale of the linear predictor, for each model and coefficient: `estimate`
        (posterior mean after sampling), `se` (posterior standard deviation after sampling),
        `interval` and `inner_interval` (probability 0.5, or half of a `ci_prob` below that),
        `pull`, `spread_ratio`, `robust_ratio`, `overlap`, and for plots the `density` at `value`.
        For each model: `phi` and the shape parameters with `se_phi` and `interval_phi`, likewise
        for the shapes; and the criteria that any of them has: `aic`, `bic`, `qic`, `elpd` with
        `elpd_se`. What a model does not have is NaN. Attributes: `reference`, `ci_prob`,
        `inner_prob`, and as JSON text by model `kind`, `criteria` (by criterion; the word for those
        that a model does not have), `notes`, and the list of the `sampled` models.

    Raises
    ------
    ResultError
        If there is nothing to compare, a value is not a result tree, or the trees have other
        responses, links or families.
    ArgumentError
        If `ci_prob` is not inside (0, 1), or a covariance or the reference is not there.

    Notes
    -----
    With the reference model 0, pull = (β̂ − β̂₀)/se₀: how far the prior, say, has pulled an estimate.
    spread_ratio = se/se₀: below one where the prior brings information, above one for robust errors
    of a misspecified model. robust_ratio is the robust standard error over the model's own within
    one tree. overlap = ∫ min(f, f₀) of the two distributions of a coefficient, one where they are
    the same. Likelihood and estimating-equation trees have exact Wald intervals and densities
    (normal or t, as fitted); with "profile" the density is that of which these intervals are
    the equal-tailed ones; draws have equal-tailed intervals and a kernel estimate. Coefficients
    are aligned by name, in order of first appearance. AIC and BIC compare likelihoods, QIC
    estimating equations with one φ, elpd posteriors; none compares roads.

    References
    ----------
    Inman and Bradley (1989), The overlapping coefficient as a measure of agreement between
    probability distributions, Communications in Statistics A 18, 3851-3874.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> mle = model.fit(cov=["fisher", "HC0"])
    >>> table = compare({"MLE": (mle, "all")}, ci_prob=0.95)
    >>> table["robust_ratio"].sel(model="MLE (fisher)").values.round(2).tolist()
    [0.92, 1.01]
    >>> print(eg.summary(table).to_latex().splitlines()[4])
    Intercept & MLE (fisher) & 5.08 & 3.05 & {[}-0.90, 11.07] & 0.00 & 1.00 & 0.92 & 1.00 \\
    """
    models, plain = _models(trees, mixed_families, family, link)
    prob = interval_prob(ci_prob, *plain.values())
    inner_prob = INNER_PROB if prob > INNER_PROB else prob / 2
    coefs = list(dict.fromkeys(label for m in models.values() for label in m.labels))
    chosen = next(iter(models)) if reference is None else str(reference)
    if chosen not in models:
        raise one_of("reference", reference, list(models))
    first = list(models).index(chosen)

    def aligned(values: Callable[[Marginals], np.ndarray]) -> np.ndarray:
        return np.stack([_align(values(m), m.labels, coefs) for m in models.values()])

    estimate, se = aligned(lambda m: m.estimate), aligned(lambda m: m.se)
    with np.errstate(divide="ignore", invalid="ignore"):
        pull, spread_ratio = (estimate - estimate[first]) / se[first], se / se[first]
    curves = aligned(_curves)
    by_coef, by_bound = ("model", "coef"), ("model", "coef", "ci_bound")
    criteria = of_one_count({name: criteria_of(tree) for name, tree in plain.items()})
    values, words = as_variables(criteria)
    said = {
        name: [*_of_tree(plain, name), *one.notes, *_conditional(plain, name)]
        for name, one in criteria.items()
    }
    notes = {name: own for name, own in said.items() if own}
    return xr.Dataset(
        {
            "estimate": (by_coef, estimate),
            "se": (by_coef, se),
            "interval": (by_bound, aligned(lambda m: m.interval(prob))),
            "inner_interval": (by_bound, aligned(lambda m: m.interval(inner_prob))),
            "pull": (by_coef, pull),
            "spread_ratio": (by_coef, spread_ratio),
            "robust_ratio": (by_coef, aligned(lambda m: m.robust_ratio)),
            "overlap": (by_coef, _overlaps(models, chosen, coefs)),
            "value": ((*by_coef, "point"), curves[..., 0]),
            "density": ((*by_coef, "point"), curves[..., 1]),
        }
        | _parameters(models, prob)
        | values,
        coords={"model": list(models), "coef": coefs, "ci_bound": ["lower", "upper"]},
        attrs={
            "reference": chosen,
            "ci_prob": prob,
            "inner_prob": inner_prob,
            "kind": json.dumps({name: m.kind for name, m in models.items()}, ensure_ascii=False),
            "criteria": words,
            "notes": json.dumps(notes, ensure_ascii=False),
            "sampled": json.dumps([n for n, m in models.items() if m.sampled], ensure_ascii=False),
        },
    )


def _models(
    trees: Mapping[str, Any],
    mixed_families: bool,
    family: str | Family | None,
    link: str | Link | None,
) -> tuple[dict[str, Marginals], dict[str, xr.DataTree]]:
    """What each model says, and its tree; a tree with "all" its covariances is several models."""
    if isinstance(trees, xr.DataTree) or not isinstance(trees, Mapping):
        raise ResultError(
            f"compare takes a mapping of model names to trees, not a {type(trees).__name__}; "
            'write compare({"MLE": tree, ...}).'
        )
    if not trees:
        raise ResultError("compare was given no trees; pass at least one, by name.")
    pairs = {str(name): _pair(str(name), given) for name, given in trees.items()}
    for name, (tree, _) in pairs.items():
        check_readable(tree, f"compare ({name!r})")
    check_comparable(
        {name: tree for name, (tree, _) in pairs.items()}, mixed_families=mixed_families
    )
    models: dict[str, Marginals] = {}
    plain: dict[str, xr.DataTree] = {}
    names: dict[str, str | None]
    for name, (tree, cov_type) in pairs.items():
        if cov_type == ALL and isinstance(tree, xr.DataTree) and "fit" in tree.children:
            types = tree["fit"].to_dataset()["cov_type"].values.astype(str).tolist()
            names = {f"{name} ({one})" if len(types) > 1 else name: one for one in types}
        else:
            names = {name: None if cov_type == ALL else cov_type}
        for label, one in names.items():
            if label in models:
                raise ResultError(f"two models are called {label!r}; rename one of them.")
            by_profile = one == PROFILE
            models[label] = (
                profiled(tree, label, family, link) if by_profile else marginals(tree, label, one)
            )
            plain[label] = tree
    return models, plain


def _of_tree(trees: Mapping[str, xr.DataTree], name: str) -> list[str]:
    """What a tree says of itself, in brief, at the first of its models."""
    first = next(key for key, tree in trees.items() if tree is trees[name])
    return [in_brief(note) for note in notes_of(trees[name])] if name == first else []


def _conditional(trees: Mapping[str, xr.DataTree], name: str) -> list[str]:
    """A word where the coefficients of one model are those within groups and others' are not."""
    within = {
        key: [] if "averaged_over" in tree.attrs else group_effects(tree)
        for key, tree in trees.items()
    }
    own = within[name]
    if not own or all(other == own for other in within.values()):
        return []
    return [
        f"coefficients within groups of {', '.join(own)}; those of the population, which the "
        "others estimate, are given by population_average()."
    ]


def _pair(name: str, given: Any) -> tuple[Any, str | None]:
    """A tree and the covariance that is asked for."""
    if not isinstance(given, tuple):
        return given, None
    if len(given) != 2 or not isinstance(given[1], str):
        raise ResultError(
            f"model {name!r} is a tuple that is not a tree and the name of a covariance; write "
            f'{{"{name}": (tree, "HC3")}}.'
        )
    return given


def _align(values: np.ndarray, labels: list[str], coefs: list[str]) -> np.ndarray:
    """The rows of `values` in the order of `coefs`, NaN for those that are not there."""
    result = np.full((len(coefs), *values.shape[1:]), np.nan)
    result[[coefs.index(label) for label in labels]] = values
    return result


def _curves(model: Marginals) -> np.ndarray:
    """Each density where it is worth drawing (p, point, 2)."""
    drawn = np.full((len(model.labels), CURVE, 2), np.nan)
    for j in range(len(model.labels)):
        places, density = model.density(j)
        if np.isfinite(density).all():
            high = places[density > LEAST * density.max()]
            at = np.linspace(high[0], high[-1], CURVE)
            drawn[j] = np.column_stack([at, np.interp(at, places, density)])
    return drawn


def _overlaps(models: dict[str, Marginals], reference: str, coefs: list[str]) -> np.ndarray:
    """The mass that each distribution shares with that of the reference (model, coef)."""
    base = models[reference]
    known = {label: base.density(j) for j, label in enumerate(base.labels)}
    shared = np.full((len(models), len(coefs)), np.nan)
    for i, model in enumerate(models.values()):
        for j, label in enumerate(model.labels):
            if label in known:
                shared[i, coefs.index(label)] = overlap(model.density(j), known[label])
    return shared


def _parameters(models: dict[str, Marginals], prob: float) -> dict[str, tuple]:
    """φ and the shapes, with their spread and interval where these are known."""
    variables: dict[str, tuple] = {}
    for name in dict.fromkeys(["phi", *(name for m in models.values() for name in m.parameters)]):
        found = [m.parameters.get(name) for m in models.values()]
        variables |= {
            name: ("model", [np.nan if one is None else one.estimate for one in found]),
            f"se_{name}": ("model", [np.nan if one is None else one.se for one in found]),
            f"interval_{name}": (
                ("model", "ci_bound"),
                [np.full(2, np.nan) if one is None else one.interval(prob) for one in found],
            ),
        }
    return variables


def format_comparison(table: xr.Dataset) -> str:
    """Write a comparison as a text table, one block of lines for each coefficient.

    Parameters
    ----------
    table : xarray.Dataset
        What `compare` returned.

    Returns
    -------
    str

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 1))
    >>> posterior = xr.Dataset({"beta": (("chain", "draw", "coef"), draws)}, {"coef": ["x"]})
    >>> table = compare({"A": xr.DataTree.from_dict({"posterior": posterior})}, ci_prob=0.9)
    >>> print(format_comparison(table))
       model  estimate    se   90% interval  pull  spread  overlap
    x  A         -0.03  1.00  [-1.64, 1.60]  0.00    1.00     1.00
    <BLANKLINE>
    A: posterior draws
    pull: difference from A in standard errors of A; spread: standard error over that of A;
    overlap: mass that the two distributions share.
    """
    return str(comparison_sheet(table))
