"""What a result tree says of its model: family, link, coefficients, and the rows of its data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.data.design import Frame
from expfam_glm.data.frames import Table
from expfam_glm.data.response import Problem, weights_and_offset
from expfam_glm.data.rows import ROLES
from expfam_glm.data.stored import DIMENSIONS, design_of, is_stored
from expfam_glm.errors import ArgumentError, ResultError, one_of, show_rows
from expfam_glm.results.door import check_whole
from expfam_glm.spec import families, links
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

# Covariances of likelihood fits that rest on the model's own variance.
MODEL_BASED = ("fisher", "observed")

# Groups of a tree that belong to its draws as the sampler made them.
OF_DRAWS = ("log_likelihood", "log_prior", "posterior_predictive", "predictions")


@dataclass(frozen=True)
class Coefficients:
    """Those that are determined: their places among all, estimate, covariance, draws if sampled.

    `df` are degrees of freedom of the tests, infinite for the normal distribution and NaN where the
    tree does not hold them; `draws` (S, p)
    is None for a likelihood or estimating-equation tree.
    """

    labels: tuple[str, ...]  # of all coefficients
    kept: np.ndarray  # (all,) whether it is determined
    beta: np.ndarray  # (p,)
    V: np.ndarray  # (p, p)
    df: float
    cov_type: str
    draws: np.ndarray | None

    @property
    def sampled(self) -> bool:
        """Whether they come from draws of a posterior."""
        return self.draws is not None


@dataclass(frozen=True)
class Rows:
    """Rows of a design: X over all coefficients, offset and weight (None: zero, one)."""

    X: np.ndarray  # (m, all)
    offset: np.ndarray | None
    w: np.ndarray | None
    f: np.ndarray | None = None

    def eta(self, beta: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Xβ + offset; (m,), or (m, S) for draws (p, S)."""
        whole = np.zeros((kept.size, *beta.shape[1:]))
        whole[kept] = beta
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at what comes out
            product = self.X @ whole
            if self.offset is None:
                return product
            return product + (self.offset if beta.ndim == 1 else self.offset[:, None])

    def part(self, rows: slice | np.ndarray) -> Rows:
        """Some of the rows."""
        cut = {
            name: None if values is None else values[rows]
            for name, values in (("offset", self.offset), ("w", self.w), ("f", self.f))
        }
        return replace(self, X=self.X[rows], **cut)


def check_tree(tree: Any, function: str, *, rows: bool = False) -> None:
    """Refuse what is not a whole result tree with a model that can be read back."""
    check_whole(tree, function, rows=rows)
    family = family_of(tree, None)
    if family is None or "observed_data" not in tree.children or "data_source" in tree.attrs:
        return
    y = response_of(tree)
    outside = ~replace(family.support, discrete=False).contains(y)
    if outside.any():
        raise ResultError(
            f"observed_data['y'] lies outside the support {family.support} of {family.name!r} "
            f"({show_rows(y, outside)}), which no fit takes; the tree was changed."
        )


def refuse_group_effects(tree: xr.DataTree, function: str, *, averaged: bool = False) -> None:
    """Refuse what would leave out the effects of groups in silence.

    averaged: whether coefficients in the population are enough, for means.
    """
    groups = group_effects(tree)
    if groups and not (averaged and "averaged_over" in tree.attrs):
        over = "population_average(tree) averages over them."
        if "averaged_over" in tree.attrs:
            over = "the tree has averaged over them, which gives means only."
        raise ResultError(
            f"{function} does not know the effects of the groups ({', '.join(groups)}) of this "
            f"model; {over}"
        )


def group_effects(tree: xr.DataTree) -> list[str]:
    """The groupings whose effects a model has."""
    return [str(name)[6:] for name in _constants(tree) if str(name).startswith("index_")]


def _constants(tree: xr.DataTree) -> list[Any]:
    return list(tree["constant_data"].data_vars) if "constant_data" in tree.children else []


def family_of(tree: xr.DataTree, family: str | Family | None) -> Family | None:
    """The family of a tree: as given and checked, or found by name; None if it was declared."""
    name, digest = str(tree.attrs["family"]), str(tree.attrs.get("family_digest", ""))
    if family is not None:
        given = families.named(family)
        if digest and given.digest != digest:
            same = "another declaration" if given.name == name else f"the family {given.name!r}"
            known = ", ".join(f"{key}={value!r}" for key, value in known_shapes(tree).items())
            which = "the family of the fit"
            if known:
                built_in = hasattr(families, name)
                which += f", expfam_glm.families.{name}({known})" if built_in else f" ({known})"
            raise ArgumentError(
                f"family= is {same}, but the model was fitted with {name!r}; pass {which}."
            )
        return given
    try:
        found = families.named(name).fix(**known_shapes(tree))
    except ArgumentError:
        return None
    return found if found.digest == digest else None


def at_estimate(tree: xr.DataTree, family: Family) -> Family:
    """The family with its free shape parameters at their estimate, or at their posterior mean."""
    if "limit_family" in tree.attrs:
        return families.named(str(tree.attrs["limit_family"]))
    group = tree["fit" if "fit" in tree.children else "posterior"].to_dataset()
    lost = [name for name in family.shape if name not in group]
    if lost:
        raise ResultError(
            f"the tree has lost the estimate of the shape parameter {lost[0]!r} of its family."
        )
    return family.fix(**{name: float(group[name].mean()) for name in family.shape})


def known_shapes(tree: xr.DataTree) -> dict[str, float]:
    """The fixed shape parameters of the family of a tree."""
    named = {str(key): value for key, value in tree.attrs.items() if key != "family_digest"}
    return {
        key.removeprefix("family_"): float(value)
        for key, value in named.items()
        if key.startswith("family_")
    }


def need_family(tree: xr.DataTree, family: Family | None, what: str) -> Family:
    """The family, or the request for it."""
    if family is None:
        raise ArgumentError(
            f"{what} needs the declaration of the family {tree.attrs['family']!r}, which the tree "
            "cannot hold; pass it as family=."
        )
    return family


def need_scale(a: float) -> float:
    """The dispersion a(φ̂), or the error for a fit that has none."""
    if np.isfinite(a) and a > 0:
        return a
    raise ResultError(
        "the fit has no dispersion to measure by: it is perfect, or has as many coefficients as "
        "observations. Leave terms out, or fit with dispersion= a number."
    )


def no_density(tree: xr.DataTree, family: Family | None) -> str:
    """Why new responses cannot be drawn, or empty."""
    if by_equations(tree):
        return "generalised estimating equations declare mean and variance, not a distribution"
    if family is not None and family.is_quasi:
        return f"the quasi family {family.name!r} declares mean and variance, not a distribution"
    return ""


def link_of(tree: xr.DataTree, family: Family | None, link: str | Link | None) -> Link:
    """The link of a tree: as given and checked, or found by its name."""
    name, digest = str(tree.attrs["link"]), str(tree.attrs.get("link_digest", ""))
    if link is not None:
        given = links.named(link)
        if given.link.digest != digest:
            raise ArgumentError(
                f"link= is {given.name!r}, but the model was fitted with another link, {name!r}."
            )
        return given
    candidates = [] if family is None else [family.link]
    if family is not None and not family.shape:
        candidates.append(family.canonical_link)
    try:
        candidates.insert(0, links.named(name))
    except ArgumentError:
        pass
    for candidate in candidates:
        if candidate.link.digest == digest:
            return candidate
    which = "link=" if family is not None else "family= if it is that family's own, else as link="
    raise ArgumentError(
        f"the link {name!r} was declared by the user and the tree cannot hold it; pass it as "
        f"{which}."
    )


def coefficients_of(tree: xr.DataTree, cov_type: str | None = None) -> Coefficients:
    """The coefficients of either road, with one of the covariances of the tree."""
    if "fit" not in tree.children:
        return _sampled(tree, cov_type)
    fit = tree["fit"].to_dataset()
    types = [str(name) for name in fit["cov_type"].values]
    chosen = types[0] if cov_type is None else cov_type
    if chosen not in types:
        raise one_of("cov_type", cov_type, types)
    beta = fit["beta"].values
    kept = np.isfinite(beta)
    V = fit["covariance"].sel(cov_type=chosen).values[np.ix_(kept, kept)]
    negative = np.diagonal(V) < 0
    if negative.any():
        raise ResultError(
            f"the {chosen} covariance of the tree has negative variances "
            f"({', '.join(fit['coef'].values[kept][negative].astype(str))}); use another cov_type."
        )
    return Coefficients(
        labels=tuple(str(label) for label in fit["coef"].values),
        kept=kept,
        beta=beta[kept],
        V=V,
        df=_degrees_of_freedom(tree, chosen, types[0]),
        cov_type=chosen,
        draws=None,
    )


def _degrees_of_freedom(tree: xr.DataTree, chosen: str, first: str) -> float:
    """Degrees of freedom for a linear combination: the smallest of the coefficients' own."""
    if f"df_{chosen}" in tree["fit"].data_vars:
        own = np.asarray(tree["fit"][f"df_{chosen}"])
        return float(np.nanmin(own)) if np.isfinite(own).any() else np.nan
    df = np.asarray(tree["fit"]["df"])
    each = tree.attrs.get("df") == "satterthwaite" or chosen == "CR2"
    if chosen == first or tree.attrs.get("df") == "t":
        return float(np.nanmin(df)) if np.isfinite(df).any() else np.inf
    if chosen in MODEL_BASED:
        return float(tree["fit_stats"]["df_residual"]) if estimated_dispersion(tree) else np.inf
    return np.nan if each else np.inf


def need_df(found: Coefficients) -> None:
    """Refuse a covariance whose degrees of freedom the tree does not hold."""
    if np.isnan(found.df):
        raise ArgumentError(
            f"the tree has no degrees of freedom of {found.cov_type!r}, of which each coefficient "
            f"has its own; name it first when fitting, cov=[{found.cov_type!r}, …]."
        )


def by_likelihood(tree: xr.DataTree) -> bool:
    """Whether a tree is one of `fit`: maximum likelihood or quasi-likelihood."""
    return str(tree.attrs.get("estimator")).startswith("maximum")


def by_equations(tree: xr.DataTree) -> bool:
    """Whether a tree is one of `gee`."""
    return tree.attrs.get("estimator") == "GEE"


def estimated_dispersion(tree: xr.DataTree) -> bool:
    """Whether a likelihood fit estimated φ."""
    return tree.attrs.get("dispersion") in ("pearson", "deviance", "ml")


def _sampled(tree: xr.DataTree, cov_type: str | None) -> Coefficients:
    """Posterior draws of the coefficients, and their mean and covariance."""
    if cov_type is not None:
        raise ArgumentError(
            f"cov_type={cov_type!r} is for likelihood and estimating-equation fits; draws have "
            "their own spread."
        )
    beta = tree["posterior"].to_dataset()["beta"].transpose("chain", "draw", "coef")
    draws = beta.values.reshape(-1, beta.sizes["coef"])
    return Coefficients(
        labels=tuple(str(label) for label in beta["coef"].values),
        kept=np.ones(draws.shape[1], bool),
        beta=draws.mean(axis=0),
        V=np.atleast_2d(np.cov(draws, rowvar=False)),
        df=np.inf,
        cov_type="posterior",
        draws=draws,
    )


def rows_of(tree: xr.DataTree, link: Link) -> Rows:
    """The rows of the fit."""
    if "constant_data" not in tree.children or not is_stored(tree["constant_data"].data_vars):
        if "data_source" in tree.attrs:
            raise ResultError(
                f"this needs the rows of the fit, which were read in batches from "
                f"{tree.attrs['data_source']!r} and are not in the tree; give newdata=, or fit "
                "on a data frame."
            )
        raise ResultError("the tree has no design X in the group 'constant_data'.")
    data = tree["constant_data"].to_dataset()
    columns = {role: data[role].values for role in ROLES if role in data}
    w, offset = weights_and_offset(columns, link)
    return Rows(stored_design(data), offset, w, columns.get("freq_weights"))


def stored_design(data: xr.Dataset) -> np.ndarray:
    """X (n, all) of the group `constant_data`."""
    return design_of(
        {name: data[name].transpose(*dims).values for name, dims in DIMENSIONS.items()
         if name in data}
    )  # fmt: skip


def problem_of(
    rows: Rows, found: Coefficients, family: Family, link: Link, y: np.ndarray | None = None
) -> Problem:
    """Rows as a problem over the coefficients that are determined; y zero where there is none."""
    X = np.ascontiguousarray(rows.X[:, found.kept])
    labels = tuple(str(label) for label in np.array(found.labels)[found.kept])
    response = np.zeros(len(X)) if y is None else y
    frame = Frame(
        y=response, X=X, labels=labels, response="", formula=None, columns={}, design="",
        n_dropped=0, kept=None, table=Table((), lambda name: None),
    )  # fmt: skip
    return Problem(family, link, frame, response, X, rows.w, rows.f, rows.offset, None)


def roles_of(tree: xr.DataTree) -> dict[str, str | None]:
    """The roles that the model was given, with the name of the column, or None for an array.

    Trials of a left side cbind(successes, failures) count among them, for which no name is known;
    an offset in the formula does not, for the formula brings it along.
    """
    roles: dict[str, str | None] = dict(json.loads(str(tree.attrs["design"])).get("roles", {}))
    data = tree["constant_data"].data_vars if "constant_data" in tree.children else ()
    if "trials" in data:
        roles.setdefault("trials", None)
    return roles


def frequencies_of(tree: xr.DataTree) -> np.ndarray | None:
    """How many observations each row of the fit stands for; None where it is one."""
    data = tree["constant_data"].data_vars if "constant_data" in tree.children else {}
    return np.asarray(data["freq_weights"], float) if "freq_weights" in data else None


def response_of(tree: xr.DataTree) -> np.ndarray:
    """The response on the scale of the mean."""
    if "observed_data" not in tree.children or "y" not in tree["observed_data"].data_vars:
        raise ResultError("the tree has no response y in the group 'observed_data'.")
    return np.asarray(tree["observed_data"]["y"], dtype=float)
