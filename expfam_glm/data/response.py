"""What every road starts from: responses, weights and offset checked against a family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from expfam_glm.data import stored
from expfam_glm.data.design import Frame
from expfam_glm.data.later import later
from expfam_glm.data.magnitude import check_columns, check_response
from expfam_glm.errors import ArgumentError, DataError, DeclarationError, show_rows
from expfam_glm.kernels.coded import Coded, Matrix, contiguous
from expfam_glm.numerics.mass import MASS_TOLERANCE, takes_weights, total_masses
from expfam_glm.spec import links
from expfam_glm.spec.domain import inner_point
from expfam_glm.spec.families import is_built_in
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

# Rows checked at once: what is computed on the way stays in cache.
_CHUNK = 1 << 14
# From here on a double does not hold every integer.
EXACT = 2.0**53
# Sums of products of weights stay far inside the range of doubles.
_LARGEST_WEIGHT = 1e100


@dataclass(frozen=True)
class Problem:
    """A family, a link and the rows that carry information (weight above zero).

    y (n,) on the scale of the mean, the design `matrix` (n, p), which X is the dense form of,
    weights w (prior weights × trials × sampling weights), frequency weights f and offset; None
    stands for all one, or all zero for the offset.
    `used` marks the rows of the frame that are kept, None for all. `sampling` holds the sampling
    weights, scaled to the mean one. `scatter` is Σ f w (y − ȳ)² of rows that are means of others.
    """

    family: Family
    link: Link
    frame: Frame
    y: np.ndarray
    matrix: Matrix
    w: np.ndarray | None
    f: np.ndarray | None
    offset: np.ndarray | None
    used: np.ndarray | None
    sampling: np.ndarray | None = None
    scatter: np.ndarray | None = None

    @property
    def X(self) -> np.ndarray:
        """The design (n, p), dense."""
        return self.matrix.whole if isinstance(self.matrix, Coded) else self.matrix

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the coefficients."""
        return self.frame.labels

    @property
    def row_count(self) -> int:
        """How many rows are used."""
        return self.y.shape[0]

    @property
    def described_rows(self) -> str:
        """How many rows there are, in words."""
        return f"{self.row_count} rows"

    @property
    def n(self) -> float:
        """How many observations the rows stand for: rows with w > 0, or Σf."""
        return float(self.row_count) if self.f is None else float(self.f.sum())

    @property
    def precision(self) -> np.ndarray | None:
        """The part of w that divides the variance: prior weights and trials; None for all one."""
        if self.w is None or self.sampling is None:
            return self.w
        return self.w / self.sampling

    @property
    def constant_response(self) -> bool:
        """Whether all responses are the same."""
        return bool(np.all(self.y == self.y[0]))

    @property
    def mean(self) -> float:
        """ȳ, weighted."""
        weight = 1.0 if self.w is None else self.w
        weight = weight if self.f is None else weight * self.f
        if np.ndim(weight) == 0:
            return float(self.y.mean())
        return float(np.average(self.y, weights=weight))

    @property
    def total_weight(self) -> float:
        """Σ f w."""
        if self.w is None:
            return self.n
        return float(self.w.sum() if self.f is None else self.w @ self.f)

    @property
    def sample(self) -> Problem:
        """Some of the rows, or all."""
        return self

    def restrict(self, values: np.ndarray) -> np.ndarray:
        """An array over the rows of the frame, at the used rows."""
        return values if self.used is None else values[self.used]

    @property
    def obs_id(self) -> Sequence[int]:
        """The numbers of the used rows in the data as given, from 0."""
        kept = self.frame.kept
        if kept is None and self.used is None:
            return range(self.row_count)
        numbers = np.arange(self.frame.y.size) if kept is None else np.flatnonzero(kept)
        return self.restrict(numbers).tolist()

    def show(self, values: np.ndarray, bad: np.ndarray) -> str:
        """Offending values of used rows, with the row numbers of the data as given."""
        return _show(self.frame, values, bad, self.used)

    def observed_data(self) -> dict[str, Any]:
        """The response for the result tree, on the scale of the mean; counts as integers."""
        y = self.y
        if not (self.family.support.discrete and _all_whole(y)):
            return {"y": y}
        ends = (np.min_scalar_type(int(end)) for end in (y.min(), y.max()))
        counts = y.astype(np.result_type(np.int8, *ends))
        return {"y": later(y.shape, partial(counts.astype, np.int64), np.int64)}

    def constant_data(self) -> dict[str, np.ndarray]:
        """Design and columns for the result tree: enough to refit."""
        data = stored.variables_of(self.matrix)
        for role, values in self.frame.columns.items():
            data[role] = self.restrict(values)
        return data

    def attrs(self) -> dict[str, str | float | int]:
        """What the result tree says about the model, as text and numbers."""
        family = self.family
        named: dict[str, str | float | int] = {
            "family": family.name,
            "family_digest": family.digest,
            "link": self.link.name,
            "link_digest": self.link.link.digest,
            "response": self.frame.response,
            "formula": self.frame.formula or "",
            "design": self.frame.design,
            "rows_dropped": self.frame.n_dropped,
            "rows_used": len(self.obs_id),
            "row_columns": " ".join(self.frame.columns),
        }
        named.update({f"family_{key}": value for key, value in family.fixed.items()})
        return named


def _refuse_wrong_mass(family: Family, somewhere: Family) -> None:
    """The error for a density whose total mass is not one; `somewhere` has values for shapes."""
    mean, masses = total_masses(somewhere)
    wrong = [phi for phi, mass in masses.items() if not abs(mass - 1) < MASS_TOLERANCE]
    if not wrong:
        return
    where = f"μ = {mean:.6g}{_at(somewhere.fixed, family.shape)}"
    right = [phi for phi in masses if phi not in wrong]
    if right:
        raise DeclarationError(
            f"family {family.name!r}: the density has total mass 1 at φ = {right[0]:g}, and "
            f"{masses[wrong[0]]:.6g} at φ = {wrong[0]:g}, {where}. If φ is not to be estimated, "
            "declare phi=1.0; if it is, c(y, a) must hold for every a; or declare c=None, a quasi "
            "family."
        )
    raise DeclarationError(
        f"family {family.name!r}: the density has total mass {masses[wrong[0]]:.6g} at {where}, "
        "not 1. Check c (a forgotten −log y!, say), b and the support; or declare c=None, "
        "a quasi family."
    )


def _at(values: Mapping[str, float], names: Iterable[str]) -> str:
    """The values of shape parameters as text."""
    return "".join(f", {name} = {values[name]:g}" for name in names)


def _show(frame: Frame, values: np.ndarray, bad: np.ndarray, used: np.ndarray | None = None) -> str:
    """The offending values with the row numbers of the data as given."""
    rows = np.arange(frame.y.size) if frame.kept is None else np.flatnonzero(frame.kept)
    return show_rows(values, bad, rows=rows if used is None else rows[used])


def _positive(frame: Frame, role: str) -> None:
    values = frame.columns[role]
    bad = values < 0
    if np.any(bad):
        raise DataError(
            f"{role} must not be negative; found {_show(frame, values, bad)}. Rows to leave out "
            "take the weight 0."
        )
    if not np.any(values > 0):
        raise DataError(f"{role} are all zero; at least one row must count.")
    extreme = (values > 0) & ((values < 1 / _LARGEST_WEIGHT) | (values > _LARGEST_WEIGHT))
    if np.any(extreme):
        raise DataError(
            f"{role} must lie between {1 / _LARGEST_WEIGHT:g} and {_LARGEST_WEIGHT:g}, or sums of "
            f"squares are no longer numbers; found {_show(frame, values, extreme)}. Rescale them."
        )


def _outside(family: Family, y: np.ndarray, w: np.ndarray | float) -> np.ndarray:
    """Rows whose response does not lie in the support at a known dispersion."""
    outside = np.empty(y.shape[0], bool)
    known = family.phi is not None and not family.is_quasi
    a = float(family.a(family.phi)) if known else 1.0
    for start in range(0, y.shape[0], _CHUNK):
        rows = slice(start, start + _CHUNK)
        precision = (w if np.ndim(w) == 0 else w[rows]) / a if known else 1.0  # type: ignore[index]
        if _plainly_inside(family, y[rows], precision):
            outside[rows] = False
        elif known:
            outside[rows] = ~family.contains(y[rows], precision)
        else:
            outside[rows] = ~family.support.contains(y[rows])
    return outside


def _all_whole(y: np.ndarray) -> bool:
    """Whether all values are whole numbers that a double tells from their neighbours."""
    parts = (y[start : start + _CHUNK] for start in range(0, y.shape[0], _CHUNK))
    return all(bool((part == np.floor(part)).all()) for part in parts) and bool(
        max(abs(y.min()), abs(y.max())) < EXACT
    )


def _plainly_inside(family: Family, y: np.ndarray, precision: np.ndarray | float) -> bool:
    """Whether the smallest and the largest response, and of counts whole numbers, decide."""
    support = family.support
    if not bool(support.contains([y.min(), y.max()]).all()):
        return False
    if not support.discrete:
        return True
    return np.ndim(precision) == 0 and precision == 1 and bool((y == np.floor(y)).all())


def prepare(
    frame: Frame, family: Family, link: Link, *, part: bool = False, checked: bool = False
) -> Problem:
    """Check the columns of a frame against a family and a link.

    Parameters
    ----------
    frame : Frame
    family : Family
        Shape parameters that have no value are free.
    link : Link
    part : bool
        Whether there are more rows than these.
    checked : bool
        Whether the values of these rows were found to be admissible before.

    Returns
    -------
    Problem

    Raises
    ------
    DataError
        For responses outside the support, trials below successes or not positive, negative or
        all-zero weights, exposure not positive, sizes beyond floating-point numbers, or fewer rows
        than two.
    ArgumentError
        For roles that the family does not take together.
    """
    somewhere = family
    if not (family.is_quasi or is_built_in(family)):
        somewhere = family.fix(**{name: inner_point(d) for name, d in family.shape.items()})
        _refuse_wrong_mass(family, somewhere)
    link.image(family.mean_space)  # refused here if family and link have no mean in common
    columns = frame.columns
    y, X = frame.y, frame.X
    n = y.shape[0]
    for role in ("weights", "freq_weights", "sampling_weights"):
        if role in columns:
            _positive(frame, role)
    if "trials" in columns:
        y = _proportions(frame, family, columns)
    if "exposure" in columns:
        y = _exposed(frame, family, link, y)
    w, offset = weights_and_offset(columns, link)
    weighted = w is not None and bool(np.any(w[w > 0] != 1))
    if weighted and not (is_built_in(family) or takes_weights(somewhere)):
        raise ArgumentError(
            f"the density of {family.name!r} has total mass one only without weights: its c(y, a) "
            "does not hold for a = 1/2 or 1/3. Declare c for every a, or use freq_weights for rows "
            "that stand for several."
        )
    f, sampling = columns.get("freq_weights"), columns.get("sampling_weights")
    used = np.ones(n, bool)
    for values in (w, f, sampling):
        if values is not None:
            used &= values > 0
    everything = bool(used.all())
    if not everything:
        y, X = y[used], X[used]
        w, f, offset, sampling = (None if v is None else v[used] for v in (w, f, offset, sampling))
    if not checked:
        outside = _outside(family, y, 1.0 if w is None else w)
        if np.any(outside):
            raise DataError(_support_message(frame, family, y, w, outside, used))
    if y.shape[0] < 1:
        raise DataError("no row is left to fit.")
    if sampling is not None:
        sampling = sampling / np.average(sampling, weights=f)
        w = sampling if w is None else w * sampling
    found = Problem(
        family, link, frame, y, X if part else contiguous(X), w, f, offset,
        None if everything else used, sampling,
    )  # fmt: skip
    if not checked:
        check_magnitudes(found, part=part)
    return found


def check_magnitudes(problem: Problem, *, part: bool = False) -> None:
    """Refuse columns and responses whose squares are not doubles; `part` of all rows, or all."""
    check_columns(problem.matrix, problem.labels, part=part, bounded=problem.frame.bounded)

    def variance() -> float:
        family, mean = problem.family, problem.mean
        known = not family.shape and bool(family.mean_space.contains(mean))
        return float(family.variance(mean)) if known else np.inf

    name = problem.frame.response
    check_response(problem.y, name, problem.total_weight, variance, part=part)


def weights_and_offset(
    columns: Mapping[str, np.ndarray], link: Link
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The weight w of each row and its offset, from weights, trials, offset and exposure.

    w = weights × trials; an exposure joins the offset by its logarithm under a log link, and
    otherwise the weights, for the response is a rate then. None where nothing was given.
    """
    w: np.ndarray | None = None
    offset = columns.get("offset")
    exposure = columns.get("exposure")
    logged = exposure is not None and exposure_is_offset(link)
    for values in (columns.get("weights"), columns.get("trials"), None if logged else exposure):
        if values is not None:
            w = values if w is None else w * values
    if exposure is not None and logged:
        offset = np.log(exposure) if offset is None else offset + np.log(exposure)
    return w, offset


def exposure_is_offset(link: Link) -> bool:
    """Whether the logarithm of an exposure joins the offset."""
    return link.link == links.named("log").link


def _proportions(frame: Frame, family: Family, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Successes out of trials as proportions."""
    space = family.support
    if not (space.low == 0 and space.high == 1):
        raise ArgumentError(
            f"trials go with a family on [0, 1] (binomial, quasi_binomial), not {family.name!r}."
        )
    successes, trials = frame.y, columns["trials"]
    bad = ~((trials > 0) & (trials == np.floor(trials)))
    if np.any(bad):
        raise DataError(
            f"trials must be positive whole numbers; found {_show(frame, trials, bad)}."
        )
    bad = (successes < 0) | (successes > trials)
    whole = "whole numbers " if space.discrete else ""
    if space.discrete:
        bad |= successes != np.floor(successes)
    if np.any(bad):
        pairs = np.array([f"{s:g} of {t:g}" for s, t in zip(successes, trials, strict=True)])
        raise DataError(
            f"{frame.response}: successes must be {whole}between 0 and trials; found "
            f"{_show(frame, pairs, bad)}. With trials= the response counts successes; a proportion "
            "goes with weights=."
        )
    return successes / trials


def _exposed(frame: Frame, family: Family, link: Link, y: np.ndarray) -> np.ndarray:
    """The response of rows with an exposure: counts under the log link, else (Poisson) rates."""
    exposure = frame.columns["exposure"]
    bad = ~(exposure > 0)
    if np.any(bad):
        raise DataError(f"exposure must be positive; found {_show(frame, exposure, bad)}.")
    if exposure_is_offset(link):
        return y
    if family.name in ("poisson", "quasi_poisson"):
        return y / exposure
    raise ArgumentError(
        f"exposure has a meaning under a log link (its log joins the offset) or for the Poisson "
        f"family (a rate with weight); not for {family.name!r} with the {link.name!r} link."
    )


def _support_message(
    frame: Frame,
    family: Family,
    y: np.ndarray,
    w: np.ndarray | None,
    bad: np.ndarray,
    used: np.ndarray,
) -> str:
    values = y.astype(object)
    if w is not None:
        values[bad] = [f"{v:g} (weight {k:g})" for v, k in zip(y[bad], w[bad], strict=True)]
    shown = _show(frame, values, bad, used)
    text = (
        f"response {frame.response}: {int(bad.sum())} value(s) outside the support "
        f"{family.support} of {family.name!r}; found {shown}."
    )
    if family.support.discrete:
        if w is not None:
            return (
                f"{text} A discrete family needs y·w to be a whole number (binomial: w too); "
                f"use the quasi family for other weights."
            )
        if family.support.high == 1:
            return (
                f"{text} For counts of successes give trials=; for proportions give "
                f"weights= with the number of trials, or use family='quasi_binomial'."
            )
        return f"{text} For responses that are not counts use a quasi family."
    return f"{text} Check the column, or choose a family whose support holds it."


def restrict_columns(problem: Problem, kept: np.ndarray) -> Problem:
    """The same problem with some columns of X only."""
    if kept.all():
        return problem
    labels = tuple(label for label, keep in zip(problem.labels, kept, strict=True) if keep)
    frame = replace(problem.frame, X=problem.frame.X[:, kept], labels=labels)
    return replace(problem, matrix=contiguous(problem.matrix[:, kept]), frame=frame)
