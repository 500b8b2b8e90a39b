"""Tests of linear hypotheses about coefficients: Wald, likelihood ratio, score."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ArgumentError, ResultError, one_of
from expfam_glm.gee.base import Correlation
from expfam_glm.gee.score import score_of
from expfam_glm.numerics.quadratic import quadratic_p_value
from expfam_glm.numerics.wald import wald_p_value
from expfam_glm.results.contrasts import Contrasts, contrasts_of
from expfam_glm.results.degrees import degrees_of_freedom
from expfam_glm.results.fitted import (
    MODEL_BASED,
    by_equations,
    check_tree,
    coefficients_of,
)
from expfam_glm.results.refit import recalled_from, refit_of
from expfam_glm.results.text import columns, number
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

if TYPE_CHECKING:
    import pandas as pd

TESTS = ("wald", "lr", "score")
# A variance below this part of what its terms add up to is their rounding.
_VANISHED = 1e-13
_TITLES = {"wald": "Wald", "lr": "Likelihood-ratio", "score": "Score"}


@dataclass(frozen=True)
class HypothesisTest:
    """A test of linear hypotheses.

    Parameters
    ----------
    test : {"wald", "lr", "score"}
    cov_type : str
        The covariance behind it.
    table : pandas.DataFrame
        One row for each hypothesis: `estimate` (left side minus right side), `se`, `statistic` (z
        or t), `df` and `p_value` of its own Wald test.
    statistic, df, df_denominator, p_value : float
        The joint test: χ² with `df` degrees of freedom where `df_denominator` is infinite, else F.
    """

    test: str
    cov_type: str
    table: pd.DataFrame
    statistic: float
    df: int
    df_denominator: float
    p_value: float

    def __str__(self) -> str:
        return "\n".join([*columns(self._cells(), left=1), "", self._joint()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _joint(self) -> str:
        F = np.isfinite(self.df_denominator)
        name = f"F({self.df}, {self.df_denominator:.4g})" if F else f"χ²({self.df})"
        return (
            f"{_TITLES[self.test]} test, {self.cov_type} covariance: "
            f"{name} = {self.statistic:.4g}, p = {self.p_value:.3g}"
        )

    def _cells(self) -> list[tuple[str, ...]]:
        lines = [("", *map(str, self.table.columns))]
        for name, row in zip(self.table.index, self.table.to_numpy(), strict=True):
            estimate, se, statistic, df, p = row
            cells = (f"{estimate:.4g}", f"{se:.4g}", number(statistic), f"{df:.4g}", f"{p:.3g}")
            lines.append((str(name), *cells))
        return lines


def hypotheses(
    tree: xr.DataTree,
    hypothesis: Any,
    *,
    test: str = "wald",
    cov_type: str | None = None,
    rhs: Any = None,
    correlation: str | Correlation | None = None,
    family: str | Family | None = None,
    link: str | Link | None = None,
) -> HypothesisTest:
    """Test linear hypotheses about the coefficients, singly and jointly.

    Parameters
    ----------
    tree : DataTree
        What `fit` or `gee` returned, also when read back from a file.
    hypothesis : str, sequence of str, or array (q, p)
        "age = 0, C(centre)[b] = C(centre)[c]": labels as in the tree, numbers as factors or
        summands. A matrix C has one column for each coefficient.
    test : {"wald", "lr", "score"}
        "lr" and "score" fit the model under the hypotheses. Estimating equations have no "lr".
    cov_type : str, optional
        A covariance of the tree; the first if not given. With "lr" only the model's own; with
        "score" of a GEE "robust" or "naive".
    rhs : array (q,), optional
        r, where `hypothesis` is a matrix; zeros if not given.
    correlation : Correlation, optional
        The working correlation of a GEE, where it is `Fixed`, `Pattern` or `Custom` and the rows
        are needed.
    family, link : optional
        The declarations, where they are the user's own and the rows are needed: for "lr", "score",
        CR2 and Satterthwaite's degrees of freedom.

    Returns
    -------
    HypothesisTest
        Prints as text.

    Raises
    ------
    ArgumentError
        For unknown coefficients, words or covariances, or a declaration that is needed.
    RankError
        If a hypothesis follows from the others or contradicts them.
    ResultError
        If the tree has no likelihood that "lr" or "score" need.

    Notes
    -----
    With q hypotheses Cβ = r, and β̃ the maximum under them,

        Wald   (Cβ̂ − r)ᵀ (C V̂ Cᵀ)⁻¹ (Cβ̂ − r)
        LR     [D(β̃) − D(β̂)]/a(φ̂)
        score  sᵀ (C Ṽ Cᵀ)⁻¹ s,   s = C I(β̃)⁻¹ U(β̃), Ṽ at β̃ (for "fisher": U(β̃)ᵀ I(β̃)⁻¹ U(β̃))

    against χ² with q degrees of freedom if φ is known, or given, or V̂ robust; if φ is estimated,
    divided by q, against F(q, n − p) with Pearson's φ̂ of the larger model. Where a shape is
    estimated, it and a free φ are estimated again under the hypotheses; LR is 2(ℓ̂ − ℓ̃), U and I of
    the score test are those of β at that estimate (the shapes are orthogonal to β), both against
    χ². CR2: Hotelling's T²
    with the degrees of freedom of the nearest Wishart distribution, Satterthwaite's for q = 1.

    Under a penalty LR is 2{ℓ*(β̂) − ℓ*(β̃)} with ℓ* = ℓ + log prior at φ̂, the penalty being that of
    all coefficients (for Jeffreys ½ log det I of the full model: the test of R's `logistf`);
    Firth's has an ℓ* under the canonical link alone, where it is Jeffreys'.

    GEE: I is B at φ̂, and α is estimated again under the hypotheses unless it was given. Wald
    statistics are χ², F(q, K − p) where the fit asked for df="t", and T² as above where it asked
    for df="satterthwaite".

    References
    ----------
    Boos (1992), On generalized score tests, The American Statistician 46, 327-333; Heinze and
    Schemper (2002), Statistics in Medicine 21, 2409-2419; Rotnitzky and Jewell (1990), Biometrika
    77, 485-497; Pustejovsky and Tipton (2018), J. Bus. Econ. Stat. 36, 672-683.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> seizures = eg.load_data("seizures")
    >>> mle = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson").fit()
    >>> print(hypotheses(mle, "age = 0.02, lbase = 1"))
                estimate        se  statistic   df  p_value
    age = 0.02  0.008652  0.004031       2.15  inf   0.0318
    lbase = 1   -0.04876    0.0437      -1.12  inf    0.264
    <BLANKLINE>
    Wald test, fisher covariance: χ²(2) = 5.813, p = 0.0547
    """
    if test not in TESTS:
        raise one_of("test", test, TESTS)
    check_tree(tree, "hypotheses")
    if "fit" not in tree.children:
        raise ResultError(
            "hypotheses tests estimates of fit() or gee(); for draws, look at the posterior of the "
            "combination itself."
        )
    found = coefficients_of(tree, cov_type)
    contrasts = contrasts_of(hypothesis, found.labels, rhs, _levels(tree))
    C, r = _determined(contrasts, found.labels, found.kept), contrasts.r
    if test == "score" and "penalty" in tree.attrs:
        raise ResultError("test='score' needs a fit without a penalty; use test='lr' or 'wald'.")
    if test == "lr" and not by_equations(tree) and found.cov_type not in MODEL_BASED:
        raise ArgumentError(
            f"a likelihood ratio has no {found.cov_type} covariance; use test='wald' or 'score', "
            "or a tree with cov='fisher'."
        )
    if correlation is not None and not by_equations(tree):
        raise ArgumentError("correlation= is for trees of gee(), which have one.")
    declared = family, link, correlation
    own_df, joint_df, hotelling = degrees_of_freedom(tree, C, found, *declared)
    _refuse_vanished(C, found.V, contrasts.names, found.cov_type)
    table = _table(C, r, contrasts.names, found.beta, found.V, own_df)
    q, denominator = len(r), joint_df - len(r) + 1 if hotelling else joint_df
    if test == "wald":
        statistic = _quadratic(C @ found.beta - r, C @ found.V @ C.T)
        if hotelling:
            statistic *= denominator / joint_df if denominator > 0 else np.nan
    elif test == "score" and by_equations(tree):
        statistic, denominator = _clustered(tree, C, r, found.cov_type, *declared), np.inf
    else:
        statistic, denominator = _refitted(tree, C, r, test, found.cov_type, family, link)
    if np.isfinite(denominator):
        statistic /= q
    return HypothesisTest(
        test, found.cov_type, table, float(statistic), q, float(denominator),
        quadratic_p_value(statistic, q, denominator),
    )  # fmt: skip


def _refuse_vanished(C: np.ndarray, V: np.ndarray, names: tuple[str, ...], cov_type: str) -> None:
    """Refuse hypotheses about what has no variance but that of rounding."""
    variance = np.einsum("ij,jk,ik->i", C, V, C)
    size = np.abs(C) @ np.sqrt(V.diagonal())
    gone = variance <= _VANISHED * size**2
    if gone.any():
        named = ", ".join(name for name, bad in zip(names, gone, strict=True) if bad)
        raise ResultError(
            f"the {cov_type} covariance is zero in a direction that is tested ({named}): the "
            "scores of every row or cluster cancel there, as where one cluster alone determines "
            "it. Use another cov_type."
        )


def _levels(tree: xr.DataTree) -> dict[str, list[str]]:
    """All levels of the factors whose coefficients are differences from one of them."""
    factors = json.loads(str(tree.attrs["design"])).get("factors", [])
    return {
        str(factor["term"]): [str(level) for level in factor["levels"]]
        for factor in factors
        if factor.get("contrast") == "treatment"
    }


def _determined(contrasts: Contrasts, labels: tuple[str, ...], kept: np.ndarray) -> np.ndarray:
    """C over the determined coefficients; the others must not be asked for."""
    asked = np.any(contrasts.C != 0, axis=0) & ~kept
    if asked.any():
        named = ", ".join(label for label, bad in zip(labels, asked, strict=True) if bad)
        raise ArgumentError(
            f"the coefficient(s) {named} are not determined by the data (aliased), so nothing can "
            "be tested about them."
        )
    return contrasts.C[:, kept]


def _table(
    C: np.ndarray,
    r: np.ndarray,
    names: tuple[str, ...],
    beta: np.ndarray,
    V: np.ndarray,
    df: np.ndarray,
) -> pd.DataFrame:
    """The Wald test of each hypothesis by itself."""
    import pandas as pd

    gap = C @ beta - r
    se = np.sqrt(np.einsum("ij,jk,ik->i", C, V, C))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = gap / se
    return pd.DataFrame(
        {
            "estimate": gap,
            "se": se,
            "statistic": statistic,
            "df": df,
            "p_value": wald_p_value(statistic, df),
        },
        index=list(names),
    )


def _quadratic(gap: np.ndarray, V: np.ndarray) -> float:
    """gapᵀ V⁻¹ gap, NaN where V is not known; scaled, for units do not matter."""
    if not np.isfinite(V).all():
        return np.nan
    size = np.sqrt(np.diagonal(V))
    if not np.all(size > 0):
        raise ResultError(
            "the covariance is zero in a direction that is tested; use another cov_type."
        )
    values, vectors = np.linalg.eigh(V / np.outer(size, size))
    if values[0] < 1e-12:
        raise ResultError(
            "the covariance of the hypotheses is singular: there are more of them than clusters or "
            "rows carry. Test fewer at a time, or use another cov_type."
        )
    return float(np.sum((vectors.T @ (gap / size)) ** 2 / values))


def _refitted(
    tree: xr.DataTree,
    C: np.ndarray,
    r: np.ndarray,
    test: str,
    cov_type: str,
    family: str | Family | None,
    link: str | Link | None,
) -> tuple[float, float]:
    """The likelihood-ratio or score statistic, and its denominator degrees of freedom."""
    refit = refit_of(tree, f"test={test!r}", family, link, penalised=test == "lr")
    null = refit.peak.under(C, r)
    if test == "lr":
        return refit.peak.cost(null), refit.df
    inner = refit if null.shapes is None else refit.at(null.shapes.problem.family)
    scale = refit.scale if null.shapes is None else null.a
    score = C @ inner.step(null.beta)
    if cov_type in MODEL_BASED:
        return _quadratic(score, C @ inner.factor(null.beta).inverse() @ C.T) / scale, refit.df
    robust = inner.sandwich(null.beta, cov_type).covariance(cov_type).covariance
    return _quadratic(score, C @ robust @ C.T), np.inf


def _clustered(
    tree: xr.DataTree,
    C: np.ndarray,
    r: np.ndarray,
    cov_type: str,
    family: str | Family | None,
    link: str | Link | None,
    correlation: str | Correlation | None,
) -> float:
    """The generalised score statistic of estimating equations."""
    if cov_type not in ("robust", "naive"):
        raise ArgumentError(
            f"the score test of a GEE has no {cov_type} covariance; give cov_type='robust' or "
            "'naive'."
        )
    found = score_of(recalled_from(tree, "test='score'", family, link, correlation), C, r)
    return _quadratic(found.step, found.robust if cov_type == "robust" else found.naive)
