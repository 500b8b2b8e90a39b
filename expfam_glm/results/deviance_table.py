"""Analysis of deviance: terms added one after the other, or nested models compared."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from scipy.linalg import null_space

from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.data.response import restrict_columns
from expfam_glm.errors import ArgumentError, ResultError, one_of
from expfam_glm.mle.irls import Scoring
from expfam_glm.mle.shape import ShapeEstimates
from expfam_glm.numerics.quadratic import quadratic_p_value
from expfam_glm.results.refit import Refit, refit_of
from expfam_glm.results.text import columns
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

if TYPE_CHECKING:
    import pandas as pd

TESTS = ("lr", "score")
# A column whose residual on the larger model's columns is below this lies in their space.
_INSIDE = 1e-7


@dataclass(frozen=True)
class DevianceTable:
    """An analysis of deviance.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a model: `df_residual`, `deviance` (`minus_2_loglik` where a shape is estimated),
        and for the step from the model before: `df`, `change` of the deviance, `statistic` (χ², or
        F where φ is estimated), `p_value`.
    heading : str
    """

    table: pd.DataFrame
    heading: str

    def __str__(self) -> str:
        return "\n".join([self.heading, "", *columns(self._cells(), left=1)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _cells(self) -> list[tuple[str, ...]]:
        lines = [("", *map(str, self.table.columns))]
        for name, row in zip(self.table.index, self.table.to_numpy(), strict=True):
            lines.append((str(name), *("" if np.isnan(v) else f"{v:.5g}" for v in row)))
        return lines


class _Step(NamedTuple):
    """A model in the order of the table."""

    name: str
    rank: int
    deviance: float  # or −2ℓ where shapes are free
    score: float  # of the step from the model before, unscaled; NaN for the first


def deviance_table(
    trees: xr.DataTree | Mapping[str, xr.DataTree] | Sequence[xr.DataTree],
    *,
    test: str = "lr",
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> DevianceTable:
    """Analysis of deviance: of the terms of one model in turn, or of nested models.

    Parameters
    ----------
    trees : DataTree, or mapping or sequence of them
        One fit: its terms are added in the order of the formula, as they stand in the columns.
        Several fits to the same data, from small to large, each nested in the next.
    test : {"lr", "score"}
    family, link : optional
        The declarations, where they are the user's own.

    Returns
    -------
    DevianceTable
        Prints as text.

    Raises
    ------
    ResultError
        If models are not nested, not of the same data, or not of `fit`.
    ArgumentError
        For unknown words, or a declaration that is needed.

    Notes
    -----
    ΔD/a(φ) against χ² where φ is known or given; (ΔD/df)/a(φ̂) against F(df, n − p) with Pearson's
    φ̂ of the largest model where it is estimated. The score test puts U(β̃)ᵀ I(β̃)⁻¹ U(β̃) of the
    larger model, at the fit of the smaller one, in the place of ΔD. Where a shape is estimated, it
    and a free φ are so in each model, and twice the gain in log-likelihood stands against χ²: as
    R's `anova` of several `glm.nb`, while that of one holds its θ.

    References
    ----------
    McCullagh and Nelder (1989), section 2.3.2.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> budworm = eg.load_data("budworm")
    >>> model = eg.GLM("killed ~ sex * log(dose)", budworm, family="binomial", trials="number")
    >>> print(deviance_table(model.fit()))
    Likelihood-ratio tests, χ²; killed ~ sex * log(dose)
    <BLANKLINE>
                   df_residual  deviance  df  change  statistic    p_value
    1                       11    124.88
    sex                     10     118.8   1   6.077      6.077   0.013695
    log(dose)                9    6.7571   1  112.04     112.04  3.499e-26
    sex:log(dose)            8    4.9937   1  1.7633     1.7633    0.18421
    """
    if test not in TESTS:
        raise one_of("test", test, TESTS)
    named = _named(trees)
    refits = {name: refit_of(tree, "deviance_table", family, link) for name, tree in named.items()}
    largest = max(refits.values(), key=lambda refit: refit.beta.size)
    if len(refits) == 1:
        heading = str(largest.tree.attrs.get("formula", ""))
        steps = list(_sequential(largest, test))
    else:
        heading = " < ".join(refits)
        steps = list(_nested(refits, test))
    return _assembled(steps, largest, test, heading)


def _named(trees: object) -> dict[str, xr.DataTree]:
    if isinstance(trees, xr.DataTree):
        return {"": trees}
    if isinstance(trees, Mapping) and trees:
        return {str(name): tree for name, tree in trees.items()}
    if isinstance(trees, Sequence) and not isinstance(trees, str) and trees:
        return {f"model {k + 1}": tree for k, tree in enumerate(trees)}
    raise ArgumentError("deviance_table takes a fit, or several by name or in a list.")


def _assembled(steps: list[_Step], largest: Refit, test: str, heading: str) -> DevianceTable:
    import pandas as pd

    n, df_denominator = largest.problem.n, largest.df
    free = largest.free is not None
    scale = 1.0 if free else largest.scale
    rows = []
    for before, step in zip([None, *steps], steps, strict=False):
        row = [n - step.rank, step.deviance, *[np.nan] * 4]
        if before is not None:
            df = step.rank - before.rank
            change = before.deviance - step.deviance
            row[2:4] = [df, change]
            if df > 0:
                amount = (max(change, 0.0) if test == "lr" else step.score) / scale
                statistic = amount / df if np.isfinite(df_denominator) else amount
                row[4:] = [statistic, quadratic_p_value(statistic, df, df_denominator)]
        rows.append(row)
    height = "minus_2_loglik" if free else "deviance"
    names = ("df_residual", height, "df", "change", "statistic", "p_value")
    table = pd.DataFrame(rows, columns=list(names), index=[step.name for step in steps])
    title = "Likelihood-ratio" if test == "lr" else "Score"
    kind = f"F with {df_denominator:g} degrees of freedom" if np.isfinite(df_denominator) else "χ²"
    again = f", {', '.join(largest.free.family.shape)} estimated in each" if largest.free else ""
    return DevianceTable(table, f"{title} tests, {kind}{again}; {heading}")


# ---- the terms of one model -------------------------------------------------------------------


def _terms(refit: Refit) -> list[tuple[str, int]]:
    """The terms of a fit, and how many columns each has."""
    design = json.loads(str(refit.tree.attrs["design"]))
    return [(str(name), int(count)) for name, count in design.get("terms", [])] or [
        (label, 1) for label in design["labels"]
    ]


def _sequential(refit: Refit, test: str) -> Iterator[_Step]:
    """Models of the first terms: none or the intercept, then one more in turn."""
    place = np.cumsum(refit.kept) - 1  # of a determined column among the determined ones
    terms, column, last = _terms(refit), 0, None
    kept = np.zeros(refit.beta.size, bool)
    if terms[0][0] != "1":
        last = _none(refit)
        yield _Step("none", 0, last.height, np.nan)
    for name, count in terms:
        here = np.arange(column, column + count)
        kept[place[here[refit.kept[here]]]] = True
        column += count
        fitted = _fit(refit, kept)
        score = np.nan if last is None or test == "lr" else _score(refit, kept, last)
        yield _Step(name, int(kept.sum()), fitted.height, score)
        last = fitted


class _Fitted(NamedTuple):
    """A model of the table."""

    beta: np.ndarray  # (p,) zero where the model lacks a column
    height: float  # its deviance, or −2ℓ where shapes are free
    shapes: ShapeEstimates | None = None  # where these are free, and a(φ)
    a: float = np.nan


def _none(refit: Refit) -> _Fitted:
    """The model without any coefficient."""
    nothing = np.zeros(refit.beta.size)
    if refit.free is None:
        null = float(refit.tree["fit_stats"]["null_deviance"])
        return _Fitted(nothing, null)
    return _fit(refit, nothing.astype(bool))


def _whole(refit: Refit) -> _Fitted:
    """The fit itself."""
    return _Fitted(refit.beta, refit.deviance if refit.free is None else -2 * refit.loglik)


def _fit(refit: Refit, kept: np.ndarray) -> _Fitted:
    """The maximum over the kept columns only."""
    if kept.all():
        return _whole(refit)
    C = np.eye(kept.size)[~kept]
    found = refit.peak.under(C, np.zeros(len(C)))
    height = found.deviance if refit.free is None else -2 * found.loglik
    return _Fitted(found.beta, height, found.shapes, found.a)


def _score(refit: Refit, kept: np.ndarray, small: _Fitted) -> float:
    """UᵀI⁻¹U over the kept columns at a smaller model; φ = 1, or its own where shapes are free."""
    inner, a = restrict_columns(refit.problem, kept), 1.0
    if small.shapes is not None:
        inner, a = replace(inner, family=small.shapes.problem.family), small.a
    state = Scoring(inner, MemoryBlocks(inner), 1e-8, 1, use_qr=True).evaluate(small.beta[kept])
    if state is None:
        raise ResultError("the information at the smaller model is not positive definite.")
    return float(state.factor.length(state.step) ** 2) / a


# ---- nested models ----------------------------------------------------------------------------


def _nested(refits: Mapping[str, Refit], test: str) -> Iterator[_Step]:
    """The models as given, each checked to lie in the next."""
    last: tuple[str, Refit] | None = None
    for name, refit in refits.items():
        score = np.nan
        if last is not None:
            _check_same(*last, name, refit)
            columns_of = _coordinates(last[1], refit)
            if columns_of is None:
                raise ResultError(
                    f"{last[0]!r} is not nested in {name!r}: its columns are no combinations of "
                    "those of the larger model. Give models from small to large."
                )
            if test == "score":
                kept = np.ones(refit.beta.size, bool)
                score = _score(refit, kept, _inside(last[1], refit, columns_of))
        yield _Step(name, refit.beta.size, _whole(refit).height, score)
        last = name, refit


def _inside(small: Refit, large: Refit, columns_of: np.ndarray) -> _Fitted:
    """The smaller fit in the columns of the larger; made again where shapes are free."""
    if large.free is None:
        return _Fitted(columns_of @ small.beta, small.deviance)
    C = null_space(columns_of.T).T
    found = large.peak.under(C, np.zeros(len(C)))
    return _Fitted(found.beta, -2 * found.loglik, found.shapes, found.a)


def _coordinates(small: Refit, large: Refit) -> np.ndarray | None:
    """The columns of the smaller model by those of the larger (p, p₀), None if they are not."""
    if small.beta.size > large.beta.size:
        return None
    X, size = large.problem.X, np.linalg.norm(large.problem.X, axis=0)
    Q, R = np.linalg.qr(X / size)
    inner = Q.T @ small.problem.X
    left = np.linalg.norm(small.problem.X - Q @ inner, axis=0)
    if np.any(left > _INSIDE * np.linalg.norm(small.problem.X, axis=0)):
        return None
    return np.asarray(np.linalg.solve(R, inner) / size[:, None])


def _check_same(first: str, small: Refit, second: str, large: Refit) -> None:
    """Refuse models of other data, family, link, weights or offset."""
    a, b = (refit.free or refit.problem for refit in (small, large))
    for what, same in (
        ("family", a.family == b.family),
        ("link", a.link.link == b.link.link),
        ("response", _equal(a.y, b.y)),
        ("weights", _equal(a.w, b.w) and _equal(a.f, b.f)),
        ("offset", _equal(a.offset, b.offset)),
    ):
        if not same:
            raise ResultError(
                f"{first!r} and {second!r} cannot be compared by their deviances: they differ in "
                f"the {what}."
            )


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b))
