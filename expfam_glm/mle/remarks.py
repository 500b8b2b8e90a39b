"""What must be known about a fit, and what is refused before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expfam_glm.data.response import Problem
from expfam_glm.data.stream import Streamed
from expfam_glm.errors import ArgumentError, FitWarning, warn
from expfam_glm.mle.covariance import Robust, Sandwich
from expfam_glm.mle.few_clusters import few_clusters
from expfam_glm.mle.layout import CORRECTED, UNCORRECTED
from expfam_glm.mle.penalty import Adjustment, Penalty
from expfam_glm.mle.streamed import StreamedSandwich

# A variance below this part of the model's own is rounding and the last step of the fit.
_VANISHED = 1e-9
# Coefficients with less than this part of the largest share in a direction are not named.
_INVOLVED = 0.1


def dropped_rows(problem: Problem) -> list[str]:
    """Which rows missing="drop" left out."""
    if isinstance(problem, Streamed):
        _, _, scan = problem.reading
        lost = f"{scan.dropped} of {scan.seen} rows had missing values and were dropped."
        return [lost] if scan.dropped else []
    frame = problem.frame
    if not frame.n_dropped:
        return []
    if frame.kept is None:  # of a file, of which the distinct rows are held
        return [f"{frame.n_dropped} rows had missing values and were dropped."]
    gone = np.flatnonzero(~frame.kept)
    more = f" and {gone.size - 5} more" if gone.size > 5 else ""
    shown = ", ".join(map(str, gone[:5]))
    return [
        f"{gone.size} of {frame.kept.size} rows had missing values and were dropped (row {shown}"
        f"{more})."
    ]


def check_penalty(
    problem: Problem, penalty: Penalty, types: Sequence[str], information: str
) -> None:
    """Refuse what has no meaning together with a penalty."""
    robust = [name for name in types if name != "fisher"]
    if robust and not isinstance(penalty, Adjustment):
        raise ArgumentError(
            f"cov={robust[0]!r} has no meaning with penalty={penalty!s}: its estimate is "
            "biased on purpose. Use cov='fisher', the curvature of the posterior."
        )
    if information != "expected":
        raise ArgumentError("information='observed' is not offered with a penalty.")
    if problem.sampling is not None:
        raise ArgumentError("a penalty needs a likelihood, which sampling_weights do not leave.")
    if problem.family.shape:
        raise ArgumentError(
            f"a penalty needs the shape of {problem.family.name!r} to be known; give it with "
            "family.fix(…), say at its estimate without the penalty."
        )


def vanishing(
    V: np.ndarray, model: np.ndarray, labels: Sequence[str], name: str, carried: bool
) -> str:
    """A remark that names coefficients along which a robust covariance is zero; "" for none.

    `model` is the covariance if the model held; `carried` says whether there are clusters enough
    for a covariance of full rank, so that combinations of coefficients are looked at too.
    """
    if not (
        V.size
        and np.isfinite(V).all()
        and np.isfinite(model).all()
        and np.all(model.diagonal() > 0)
    ):
        return ""
    scale = np.sqrt(model.diagonal())
    share = (V.diagonal() <= _VANISHED * model.diagonal()).astype(float)
    if not share.any() and carried:
        outward = np.linalg.cholesky(model / np.outer(scale, scale))
        inward = np.linalg.inv(outward)
        values, vectors = np.linalg.eigh(inward @ (V / np.outer(scale, scale)) @ inward.T)
        if values[0] <= _VANISHED:  # no score along γ: V model⁻¹ γ = 0
            share = np.abs(outward @ vectors[:, 0])
    if not share.any():
        return ""
    named = [
        label for label, part in zip(labels, share, strict=True) if part > _INVOLVED * share.max()
    ]
    return (
        f"the covariance {name!r} is zero in some direction: the scores of every row or cluster "
        f"cancel along {', '.join(named)}, as where one of them alone determines a coefficient. "
        "Standard errors that rest on this are too small; leave the term out, or use the model's "
        "own covariance."
    )


def of_sandwich(sandwich: Sandwich | StreamedSandwich, found: Mapping[str, Robust]) -> list[str]:
    """What must be known about robust covariances; each is also a warning."""
    notes, p = [], sandwich.beta.size
    if sandwich.problem.n <= p:
        notes.append(
            "there are as many coefficients as observations: the residuals vanish, and robust "
            "covariances are not defined."
        )
    for name, K in sandwich.clusters:
        if p >= K:
            notes.append(
                f"{K} clusters{f' of {name}' if name else ''} do not carry a covariance of {p} "
                f"coefficients: its rank is at most {K - 1}. Test few coefficients at a time, or "
                "use fewer terms."
            )
        way_out = "Use cov='CR2', by one grouping variable."
        notes.append(few_clusters(K, p, [*found], UNCORRECTED, CORRECTED, way_out))
    # by several groupings it is a difference, whose rank says nothing
    carried = len(sandwich.clusters) < 2 and all(K > p for _, K in sandwich.clusters)
    model = sandwich.factor.inverse() * sandwich.mean_square
    for name, one in found.items():
        if name != "fisher":
            notes.append(vanishing(one.covariance, model, sandwich.problem.labels, name, carried))
    notes = [note for note in notes if note]
    for note in notes:
        warn(note, FitWarning)
    return notes
