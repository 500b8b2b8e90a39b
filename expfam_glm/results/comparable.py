"""Whether the coefficients of several trees mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from expfam_glm.errors import ResultError

QUASI = "quasi_"
SAME = 1e-9  # totals of the same data in another order


BESIDE = (
    "Compare families by AIC or elpd, each in its own tree; if you want their coefficients of the "
    "mean beside each other, say mixed_families=True."
)


def check_comparable(
    trees: Mapping[str, Any], *, mixed_families: bool, advice: str = BESIDE
) -> None:
    """Refuse trees with another response, link or family than the first.

    Parameters
    ----------
    trees : mapping of str to DataTree
        What is not a tree is left to its own refusal.
    mixed_families : bool
        Whether the families may differ.
    advice : str
        What to do where they differ and may not.

    Raises
    ------
    ResultError
        With the first two trees that differ and the reason.
    """
    known = {str(name): tree for name, tree in trees.items() if isinstance(tree, xr.DataTree)}
    if not known:
        return
    (first, reference), *others = known.items()
    for name, tree in others:
        _same_link(first, reference, name, tree)
        if not mixed_families:
            _same_family(first, reference, name, tree, advice)
        _same_response(first, reference, name, tree)


def _same_link(first: str, reference: xr.DataTree, name: str, tree: xr.DataTree) -> None:
    """Refuse coefficients on different scales."""
    one, other = (str(t.attrs.get("link", "")) for t in (reference, tree))
    digests = [str(t.attrs.get("link_digest", "")) for t in (reference, tree)]
    if one and other and one != other:
        raise ResultError(
            f"{first!r} has the link {one} and {name!r} the link {other}: their coefficients "
            "are on different scales and cannot be compared."
        )
    if all(digests) and digests[0] != digests[1]:
        raise ResultError(
            f"{first!r} and {name!r} have two different links of the same name, {one}: their "
            "coefficients are on different scales and cannot be compared."
        )


def _same_family(
    first: str, reference: xr.DataTree, name: str, tree: xr.DataTree, advice: str
) -> None:
    """Refuse other families; a quasi family has the mean and variance of its relative."""
    one, other = (str(t.attrs.get("family", "")).removeprefix(QUASI) for t in (reference, tree))
    if one and other and one != other:
        raise ResultError(
            f"{first!r} is of the family {reference.attrs['family']} and {name!r} of the family "
            f"{tree.attrs['family']}: their likelihoods, dispersions and spreads are those of "
            f"different models. {advice}"
        )


def _same_response(first: str, reference: xr.DataTree, name: str, tree: xr.DataTree) -> None:
    """Refuse fits to other data."""
    y0, y = (
        np.asarray(t["observed_data"]["y"])
        if "observed_data" in t.children and "y" in t["observed_data"].data_vars
        else None
        for t in (reference, tree)
    )
    if y0 is None or y is None:
        return
    if y.shape != y0.shape and _same_totals(reference, tree):
        return  # equal rows are one row that counts several times
    if y.shape != y0.shape or not np.array_equal(y, y0):
        raise ResultError(
            f"{first!r} and {name!r} are fitted to different responses ({y0.size} and {y.size} "
            "rows, or other values); compare models of the same data."
        )


def _same_totals(reference: xr.DataTree, tree: xr.DataTree) -> bool:
    """Whether rows and cells of the same data could be what two trees were fitted to."""
    (n0, sum0), (n, sum_) = (_totals(one) for one in (reference, tree))
    return bool(np.isclose(n0, n, rtol=SAME) and np.isclose(sum0, sum_, rtol=SAME))


def _totals(tree: xr.DataTree) -> tuple[float, float]:
    """Σw and Σwy, w how much each row counts."""
    y = np.asarray(tree["observed_data"]["y"], dtype=float)
    w = np.ones(y.shape)
    if "constant_data" in tree.children:
        columns = tree["constant_data"].data_vars
        for role in ("freq_weights", "weights", "trials"):
            if role in columns:
                w = w * np.asarray(tree["constant_data"][role], dtype=float)
    return float(w.sum()), float(w @ y)
