"""A family or a model as a sheet of facts, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expfam_glm.results.sheet import Sheet
from expfam_glm.spec.families import is_built_in
from expfam_glm.spec.family import Family

if TYPE_CHECKING:
    from expfam_glm.data.response import Problem


def of_family(family: Family) -> Sheet:
    """What a declaration says of itself.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> print(of_family(eg.families.poisson))
    Family poisson
    built in
    <BLANKLINE>
    response y              integers in [0, inf)
    mean μ                  (0, inf)
    canonical parameter θ   (-inf, inf)
    dispersion φ            1
    default link            log
    """
    known = "".join(f", {name} = {value:g}" for name, value in family.fixed.items())
    free = [(f"shape {name}", f"free, in {domain}") for name, domain in family.shape.items()]
    kind = "built in" if is_built_in(family) else f"declared, digest {family.digest[:12]}"
    quasi = "; a quasi family: mean and variance, no density" if family.is_quasi else ""
    return Sheet(
        cells=[
            ("response y", str(family.support)),
            ("mean μ", str(family.mean_space)),
            ("canonical parameter θ", str(family.theta_domain)),
            ("dispersion φ", "free" if family.phi is None else f"{family.phi:g}"),
            *free,
            ("default link", family.link.name),
        ],
        above=[f"Family {family.name}{known}", f"{kind}{quasi}"],
        left=2,
        header=False,
    )


def of_model(problem: Problem) -> Sheet:
    """What a model is made of."""
    frame = problem.frame
    rows = f"{problem.row_count}"
    if problem.f is not None:
        rows += f", standing for {problem.n:g} observations"
    if frame.n_dropped:
        rows += f"; {frame.n_dropped} with missing values dropped"
    if problem.used is not None:
        rows += f"; {problem.used.size - problem.row_count} without weight left out"
    y = problem.y
    known = "".join(f", {name} = {value:g}" for name, value in problem.family.fixed.items())
    free = "".join(f", {name} free" for name in problem.family.shape)
    return Sheet(
        cells=[
            ("family", f"{problem.family.name}{known}{free}"),
            ("link", problem.link.name),
            ("response", f"{frame.response}, from {y.min():.6g} to {y.max():.6g}"),
            ("rows", rows),
            ("coefficients", f"{len(problem.labels)}: {_some(problem.labels)}"),
            *([("with", ", ".join(frame.columns))] if frame.columns else []),
        ],
        above=[f"GLM {frame.formula or ''}".rstrip()],
        left=2,
        header=False,
    )


def _some(labels: tuple[str, ...], most: int = 12) -> str:
    """The first labels, and how many more there are."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
