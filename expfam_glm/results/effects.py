"""Effects on the scale of the response: derivatives, comparisons and adjusted predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.errors import ArgumentError, one_of
from expfam_glm.results.averages import Quantity
from expfam_glm.results.fitted import check_tree, refuse_group_effects
from expfam_glm.results.grid import Grid
from expfam_glm.results.pairs import COMPARISONS, compared, values_of
from expfam_glm.results.setting import Setting, listed, setting_of
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link


def marginal_effects(
    tree: xr.DataTree,
    variables: str | Sequence[str] | None = None,
    *,
    newdata: Any = None,
    by: str | Sequence[str] | None = None,
    kind: str = "mean",
    average: bool = True,
    weights: str | ArrayLike | None = None,
    ci_prob: float | None = None,
    cov_type: str | None = None,
    offset: str | float | ArrayLike | None = None,
    exposure: str | float | ArrayLike | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    allow_code: bool = False,
) -> xr.Dataset:
    """Average marginal effects: derivatives by numbers, contrasts of the levels of factors.

    Parameters
    ----------
    tree : DataTree
        What `fit`, `gee` or `sample` returned, also when read back from a file.
    variables : str or sequence of str, optional
        Columns of the data, not terms of the formula; all on its right side if not given.
    newdata : data frame, optional
        The rows to average over, with every variable of the formula. If not given, those of the
        fit, where the design holds the variables themselves.
    by : str or sequence of str, optional
        Columns of `newdata` within whose values to average.
    kind : {"mean", "link"}
        Effects on the mean, or on the linear predictor.
    average : bool
        Whether to average; False gives the effect on each row.
    weights : str or array_like (m,), optional
        Weights of the rows in the averages.
    ci_prob : float, optional
        Probability of the intervals; that of the fit, or ArviZ's `stats.ci_prob`, if not given.
    cov_type : str, optional
        One of the covariances in a likelihood or estimating-equation tree; the first if not given.
    offset, exposure, family, link, allow_code
        As for `predict`.

    Returns
    -------
    xarray.Dataset
        `estimate`, `se`, `interval` and, without draws, `statistic` and `p_value`, over `effect`,
        the columns in `by` (NaN for combinations without a row) and `ci_bound`. The coordinates
        `variable` and `contrast` say what an effect is of: "dY/dX", or "b - a".

    Raises
    ------
    ArgumentError
        If a variable is not one of the model, the tree does not hold the data, or an offset or
        exposure would get lost.
    DataError, FormulaError
        If the data do not fit the model.

    Notes
    -----
    The effect of a number x is the mean over rows of ∂μ/∂x, through every term with x in it (the
    terms are differentiated by five-point formulas, the link by its graph); of a factor, the
    difference of the average means if all rows had one level, and the reference level. Standard
    errors by the delta method with the exact gradient by β, or from draws. Rows are taken as they
    are: the standard error is for these rows, not for a population that they were drawn from.

    References
    ----------
    Arel-Bundock, Greifer and Heiss (2024), How to interpret statistical models using
    marginaleffects, Journal of Statistical Software 111(9).

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> effects = eg.marginal_effects(model.fit())
    >>> effects.estimate.values.round(4).tolist()
    [-0.0066]
    """
    check_tree(tree, "marginal_effects")
    refuse_group_effects(tree, "marginal_effects", averaged=True)
    setting = setting_of(tree, newdata, by, kind, average, weights, ci_prob, cov_type,
                       {"offset": offset, "exposure": exposure}, family, link,
                       allow_code)  # fmt: skip
    rows = setting.grid.rows()
    found: list[tuple[str, str, Quantity]] = []
    for name in _names(setting.grid, variables):
        if setting.grid.levels(name) is None:
            slope = setting.averager.slopes(rows, setting.grid.slopes(name))
            found.append((name, "dY/dX", slope))
        else:
            found += compared(setting, name, "reference", "difference")
    return _effects(setting, found)


def comparisons(
    tree: xr.DataTree,
    variables: str | Sequence[str] | Mapping[str, Any] | None = None,
    *,
    comparison: str = "difference",
    newdata: Any = None,
    by: str | Sequence[str] | None = None,
    kind: str = "mean",
    average: bool = True,
    weights: str | ArrayLike | None = None,
    ci_prob: float | None = None,
    cov_type: str | None = None,
    offset: str | float | ArrayLike | None = None,
    exposure: str | float | ArrayLike | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    allow_code: bool = False,
) -> xr.Dataset:
    """Compare average predictions at two values of a variable, all else as in the data.

    Parameters
    ----------
    tree : DataTree
    variables : str, sequence of str or mapping, optional
        What to vary; all variables if not given. The values of a mapping say how: for numbers a
        step (1 if not given, from x to x + 1), two values, or "sd", "iqr", "minmax"; for factors
        "reference" (each level and the first one, the default), "sequential", "pairwise", or two
        levels, the lower first.
    comparison : {"difference", "ratio", "lnratio", "lift", "lnor"}
        What to make of the average at the higher value h and at the lower value l: h − l, h/l,
        log(h/l), (h − l)/l, or the logarithm of the odds ratio. Tests are against no effect: 1 for
        a ratio, else 0.
    newdata, by, kind, average, weights, ci_prob, cov_type
        As for `marginal_effects`.
    offset, exposure, family, link, allow_code
        As for `predict`.

    Returns
    -------
    xarray.Dataset
        As for `marginal_effects`.

    Raises
    ------
    ArgumentError, DataError, FormulaError
        As for `marginal_effects`.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> ratio = eg.comparisons(model.fit(), "treatment", comparison="ratio")
    >>> ratio.contrast.values.tolist(), ratio.estimate.values.round(3).tolist()
    (['progabide / placebo'], [1.004])
    """
    check_tree(tree, "comparisons")
    refuse_group_effects(tree, "comparisons", averaged=True)
    if comparison not in COMPARISONS:
        raise one_of("comparison", comparison, list(COMPARISONS))
    if kind == "link" and comparison != "difference":
        raise ArgumentError("kind='link' goes with comparison='difference'.")
    setting = setting_of(tree, newdata, by, kind, average, weights, ci_prob, cov_type,
                       {"offset": offset, "exposure": exposure}, family, link,
                       allow_code)  # fmt: skip
    how = variables if isinstance(variables, Mapping) else {}
    found: list[tuple[str, str, Quantity]] = []
    for name in _names(setting.grid, variables):
        found += compared(setting, name, how.get(name), comparison)
    return _effects(setting, found).assign_attrs(comparison=comparison)


def adjusted_predictions(
    tree: xr.DataTree,
    variables: str | Sequence[str] | Mapping[str, Any] | None = None,
    *,
    newdata: Any = None,
    by: str | Sequence[str] | None = None,
    kind: str = "mean",
    weights: str | ArrayLike | None = None,
    ci_prob: float | None = None,
    cov_type: str | None = None,
    offset: str | float | ArrayLike | None = None,
    exposure: str | float | ArrayLike | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
    allow_code: bool = False,
) -> xr.Dataset:
    """Average predictions, with variables set to the same value in every row.

    Parameters
    ----------
    tree : DataTree
    variables : str, sequence of str or mapping, optional
        What to set, and to which values; a name alone stands for all levels of a factor. If not
        given, the data are left as they are.
    newdata, by, kind, weights, ci_prob, cov_type
        As for `marginal_effects`.
    offset, exposure, family, link, allow_code
        As for `predict`.

    Returns
    -------
    xarray.Dataset
        As for `marginal_effects`, with a dimension for each variable that is set.

    Raises
    ------
    ArgumentError, DataError, FormulaError
        As for `marginal_effects`.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    >>> means = eg.adjusted_predictions(model.fit(), {"treatment": None, "age": [20, 40]})
    >>> means.estimate.dims
    ('treatment', 'age')
    """
    check_tree(tree, "adjusted_predictions")
    refuse_group_effects(tree, "adjusted_predictions", averaged=True)
    setting = setting_of(tree, newdata, by, kind, True, weights, ci_prob, cov_type,
                       {"offset": offset, "exposure": exposure}, family, link,
                       allow_code)  # fmt: skip
    names = [] if variables is None else _names(setting.grid, variables)
    given = variables if isinstance(variables, Mapping) else {}
    values = {name: values_of(setting.grid, name, given.get(name)) for name in names}
    twice = sorted(set(values) & set(setting.levels))
    if twice:
        raise ArgumentError(f"{twice[0]!r} is set to values and in by=; leave one of them out.")
    found = [
        setting.averager.predictions(
            setting.grid.with_values(dict(zip(names, chosen, strict=True)))
        )
        for chosen in product(*values.values())
    ]
    return setting.dataset(found, values)


def _names(grid: Grid, variables: str | Sequence[str] | Mapping[str, Any] | None) -> list[str]:
    """The variables that a call is about, all known."""
    names = list(grid.variables) if variables is None else listed(variables)  # type: ignore[arg-type]
    if not names:
        raise ArgumentError("the model has no variable whose effect could be had.")
    for name in names:
        grid.levels(name)
    return names


def _effects(setting: Setting, found: list[tuple[str, str, Quantity]]) -> xr.Dataset:
    """Effects as a dataset with their variables and contrasts."""
    labels = [name if contrast == "dY/dX" else f"{name}: {contrast}" for name, contrast, _ in found]
    return setting.dataset(
        [quantity for _, _, quantity in found],
        {"effect": labels},
        variable=("effect", [name for name, _, _ in found]),
        contrast=("effect", [contrast for _, contrast, _ in found]),
    )
