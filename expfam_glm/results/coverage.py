"""How often the intervals of each road hold the truth, by simulation."""

from __future__ import annotations

import copy
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from multiprocessing import get_context
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.errors import (
    ArgumentError,
    DataError,
    ExpfamError,
    ExpfamWarning,
    ResultError,
    one_of,
    show_rows,
)
from expfam_glm.numerics.random import draw_at
from expfam_glm.numerics.wald import default_ci_prob
from expfam_glm.results.door import check_readable
from expfam_glm.results.fitted import at_estimate
from expfam_glm.results.marginals import marginals
from expfam_glm.results.mean import mean_of
from expfam_glm.spec.family import Family

METHODS = ("fit", "gee", "laplace", "sample")
FEW = {"draws": 10, "chains": 1}  # of a distribution that nobody looks at
QUIET: dict[str, dict[str, Any]] = {
    "fit": FEW,
    "gee": FEW,
    "laplace": {"draws": 500, "chains": 2, "log_likelihood": False, "posterior_predictive": False},
    "sample": {
        "draws": 250, "tune": 250, "chains": 2, "progressbar": False, "log_likelihood": False,
        "posterior_predictive": False,
    },
}  # fmt: skip
DEFAULT = {"MLE": "fit", "HC3": ("fit", {"cov": "HC3"}), "Bayes": "sample"}

type Road = tuple[str, dict[str, Any]] | Callable[[Any], xr.DataTree]


@dataclass(frozen=True)
class Truth:
    """What responses are drawn from: the mean of each row, and how they scatter about it."""

    beta: np.ndarray  # (p,)
    mu: np.ndarray  # (n,)
    a: np.ndarray | float  # a(φ)/w
    source: Family | Callable[[np.random.Generator, np.ndarray], ArrayLike]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One response for each row."""
        if isinstance(self.source, Family):
            return draw_at(self.source, self.mu, None, self.a, rng, self.mu.shape)
        return np.array(self.source(rng, self.mu.copy()), dtype=float)


def coverage(
    model: Any,
    roads: Mapping[str, Any] | None = None,
    *,
    truth: ArrayLike | Mapping[str, float] | None = None,
    phi: float | None = None,
    simulate: Family | Callable[[np.random.Generator, np.ndarray], ArrayLike] | None = None,
    simulations: int = 200,
    ci_prob: float | None = None,
    random_seed: int = 0,
    workers: int = 1,
    progressbar: bool = True,
) -> xr.Dataset:
    """Simulate responses, fit every road to each, and count how often intervals hold the truth.

    Parameters
    ----------
    model : GLM
        Its design, weights and offset are kept; its responses are replaced.
    roads : mapping of str, optional
        What to fit: a method of the model ("fit", "gee", "laplace", "sample"), a pair of its name
        and its keywords, as in `("gee", {"groups": "id"})`, or a function of the model that returns
        a tree. If not given: maximum likelihood, the same with HC3, and NUTS with short chains.
    truth : array_like (p,) or mapping, optional
        The coefficients, link scale; those of maximum likelihood if not given.
    phi : float, optional
        The dispersion, where it is free; the estimate if not given.
    simulate : Family or function, optional
        Another family, with the means of the model and its own variance, or a function of a
        generator and the means (n,) that returns responses on the scale of the mean: then the
        model is misspecified. The model's own family if not given.
    simulations : int
        How many data sets.
    ci_prob : float, optional
        Probability of the intervals; ArviZ's setting `stats.ci_prob` if not given.
    random_seed : int
        Data set k depends on it and on k alone.
    workers : int
        Processes, each a fresh one that imports the package (a script must then guard its calls by
        `if __name__ == "__main__"`). One is enough for likelihood fits; sampling is worth more.
    progressbar : bool

    Returns
    -------
    xarray.Dataset
        Over `road` and `coef`: `coverage`, `width` (mean), `bias` (mean estimate less the truth)
        and `error_ratio` (mean standard error over the standard deviation of the estimates), each
        with its Monte-Carlo standard error `…_mcse`; `truth (coef)`; `fits (road)`, how many
        succeeded; and what was found, `estimate` and `se (road, simulation, coef)` and
        `interval (road, simulation, coef, ci_bound)`. Attributes: `ci_prob`, `simulations`,
        `simulated_from`, `random_seed` and `failures` (JSON text by road: reasons and counts).

    Raises
    ------
    ArgumentError
        For unknown roads or coefficients, and models whose rows stand for several or are sampled.
    DataError
        If simulated responses are not in the support of the family.
    ResultError
        If a road fails in every simulation.

    Notes
    -----
    Of S fits with the coverage c, mcse(c) = √{c(1 − c)/S}; that of the mean width and of the bias
    is the standard deviation over √S; that of the ratio about ratio/√{2(S − 1)}. Fits that fail are
    left out and counted: coverage is then that of the data sets that can be fitted.

    References
    ----------
    Morris, White and Crowther (2019), Using simulation studies to evaluate statistical methods,
    Statistics in Medicine 38, 2074-2102.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> found = coverage(model, {"MLE": "fit"}, simulations=20, progressbar=False)
    >>> found["coverage"].dims
    ('road', 'coef')
    """
    prob = default_ci_prob(ci_prob)
    for name, count in (("simulations", simulations), ("workers", workers)):
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ArgumentError(f"{name}={count!r} must be a whole number from 1.")
    if not isinstance(roads, Mapping | None):
        raise ArgumentError(f"roads={roads!r} must map names to roads, as in {{'MLE': 'fit'}}.")
    if not (simulate is None or isinstance(simulate, Family) or callable(simulate)):
        raise ArgumentError(
            f"simulate={simulate!r} must be a Family, as expfam_glm.families.poisson, or a "
            "function (generator, means) → responses."
        )
    chosen = {str(name): _road(model, str(name), road) for name, road in (roads or DEFAULT).items()}
    known = _truth(model, truth, phi, simulate)
    one = partial(_fits, model, chosen, known, prob, random_seed)
    with _runner(int(workers)) as run, _bar(progressbar, int(simulations)) as watched:
        found = list(watched(run(one, range(int(simulations)))))
    return _table(model, chosen, known, found, prob, random_seed)


def _road(model: Any, name: str, road: Any) -> Road:
    """A method with all its keywords, which it takes, or a function."""
    if callable(road):
        return road
    match (road, {}) if isinstance(road, str) else road:
        case (str() as method, Mapping() as given):
            pass
        case _:
            raise ArgumentError(
                f"roads[{name!r}]={road!r} must be the name of a method, a pair of it and its "
                "keywords, as in ('gee', {'groups': 'id'}), or a function of the model."
            )
    if method not in METHODS:
        raise one_of("road", method, METHODS)
    keywords = QUIET[method] | dict(given)
    try:
        signature(getattr(model, method)).bind(**keywords)
    except TypeError as error:
        raise ArgumentError(
            f"roads[{name!r}]: {method}() cannot be called so: {error}. Its keywords go into a "
            f"pair, as in ({method!r}, {{'draws': 100}})."
        ) from None
    return method, keywords


def _truth(model: Any, truth: Any, phi: float | None, simulate: Any) -> Truth:
    """What responses are drawn from."""
    problem = model.problem
    for role, values in (("freq_weights", problem.f), ("sampling_weights", problem.sampling)):
        if values is not None:
            raise ArgumentError(
                f"coverage simulates one response for each row, and {role} say that rows stand "
                "for others; leave them out."
            )
    if problem.frame.effects:
        raise ArgumentError("coverage does not simulate group effects; give a function instead.")
    fitted: Any = None
    family = problem.family
    if truth is None or family.shape or (family.phi is None and phi is None):
        fitted = model.fit(**FEW)
    if truth is not None:
        beta = _coefficients(truth, list(problem.labels))
    else:
        beta = fitted["fit"]["beta"].values
    eta = problem.X @ np.nan_to_num(beta)  # aliased coefficients are zero
    mu = mean_of(problem.link, eta if problem.offset is None else eta + problem.offset)
    if not family.mean_space.contains(mu).all():
        bad = ~family.mean_space.contains(mu)
        raise DataError(f"the means under truth= leave {family.mean_space}: {show_rows(mu, bad)}.")
    if family.shape:
        family = at_estimate(fitted, family)
    if phi is None:
        phi = float(fitted["fit"]["phi"]) if family.phi is None else family.phi
    source = family if simulate is None else simulate
    if isinstance(source, Family):
        if source.shape or source.is_quasi:
            raise ArgumentError(
                f"responses cannot be drawn from {source.name!r}: "
                + ("fix its shape parameters." if source.shape else "it has no density.")
            )
        own = phi if source.phi is None else source.phi
        a: Any = float(source.a(own))
    else:
        a = np.nan
    return Truth(beta, mu, a if problem.w is None else a / problem.w, source)


def _coefficients(truth: Any, labels: list[str]) -> np.ndarray:
    """Coefficients by name or in their order."""
    if isinstance(truth, Mapping):
        strange = [name for name in truth if name not in labels]
        lacking = [label for label in labels if label not in truth]
        if strange or lacking:
            what = "unknown" if strange else "missing"
            raise ArgumentError(
                f"truth= must name {', '.join(labels)}; {what}: "
                f"{', '.join(map(repr, strange or lacking))}."
            )
        truth = [truth[label] for label in labels]
    beta = np.asarray(truth, dtype=float)
    if beta.shape != (len(labels),) or not np.isfinite(beta).all():
        raise ArgumentError(f"truth={truth!r} must be {len(labels)} numbers, one a coefficient.")
    return beta


@dataclass(frozen=True)
class Found:
    """Estimates, standard errors and intervals of one road, or why there are none."""

    estimate: np.ndarray
    se: np.ndarray
    interval: np.ndarray
    failure: str = ""


def _fits(
    model: Any, roads: dict[str, Road], truth: Truth, prob: float, seed: int, number: int
) -> list[Found]:
    """Every road on one simulated data set."""
    again = with_response(model, truth.draw(np.random.default_rng([seed, number])))
    labels = list(again.problem.labels)
    results = []
    for name, road in roads.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExpfamWarning)
                if callable(road):
                    tree = road(again)
                else:
                    keywords = dict(road[1])
                    if road[0] in ("laplace", "sample"):
                        keywords.setdefault("random_seed", number)
                    tree = getattr(again, road[0])(**keywords)
            check_readable(tree, f"coverage ({name!r})")
            one = marginals(tree, name)
        except (ArgumentError, DataError):
            raise  # wrong for every data set
        except ExpfamError as error:
            nothing = np.full(len(labels), np.nan)
            results.append(Found(nothing, nothing, np.full((len(labels), 2), np.nan),
                                 type(error).__name__))  # fmt: skip
            continue
        order = [one.labels.index(label) for label in labels]
        results.append(Found(one.estimate[order], one.se[order], one.interval(prob)[order]))
    return results


def with_response(model: Any, y: np.ndarray) -> Any:
    """The model with other responses, checked against its support."""
    problem = model.problem
    family = problem.family
    if y.shape != problem.y.shape:
        raise DataError(f"simulate= gave responses of shape {y.shape}, not {problem.y.shape}.")
    w = 1.0 if problem.w is None else problem.w
    if family.phi is not None and not family.is_quasi:
        inside = family.contains(y, w / family.a(family.phi))
    else:
        inside = family.support.contains(y)
    if not np.all(inside):
        raise DataError(
            f"simulated responses lie outside the support {family.support} of {family.name!r}: "
            f"{show_rows(y, ~inside)}. With trials they are proportions."
        )
    again = copy.copy(model)
    again.problem = replace(problem, y=y)
    return again


@contextmanager
def _runner(workers: int) -> Iterator[Callable[[Any, Iterable[int]], Iterable[Any]]]:
    """`map` in this process, or over fresh ones."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map


@contextmanager
def _bar(wanted: bool, total: int) -> Iterator[Callable[[Iterable[Any]], Iterable[Any]]]:
    """What shows how far an iteration has come."""
    if not wanted:
        yield lambda items: items
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        yield lambda items: progress.track(items, total=total, description="Simulating")


def _table(
    model: Any,
    roads: dict[str, Road],
    truth: Truth,
    found: list[list[Found]],
    prob: float,
    seed: int,
) -> xr.Dataset:
    """Coverage, width and bias with their Monte-Carlo errors."""
    estimate, se, interval = (
        np.array([[getattr(one, name) for one in row] for row in found]).swapaxes(0, 1)
        for name in ("estimate", "se", "interval")
    )
    done = np.array([[not one.failure for one in row] for row in found]).T
    fits = done.sum(axis=1)
    failures = {
        name: dict(Counter(row[k].failure for row in found if row[k].failure))
        for k, name in enumerate(roads)
    }
    for name, count in zip(roads, fits, strict=True):
        if count < 2:
            raise ResultError(
                f"the road {name!r} succeeded in {count} of {len(found)} simulations "
                f"({', '.join(failures[name]) or 'too few'}); there is nothing to count."
            )
    S = fits[:, None]
    target = truth.beta
    inside = (interval[..., 0] <= target) & (target <= interval[..., 1])
    with np.errstate(invalid="ignore"):
        covered = np.where(np.isnan(interval[..., 0]), np.nan, inside)
        width = interval[..., 1] - interval[..., 0]
    mean, spread = partial(_nan, np.nanmean), partial(_nan, partial(np.nanstd, ddof=1))
    c, sd = mean(covered), spread(estimate)
    ratio = mean(se) / sd
    by = ("road", "coef")
    source = truth.source
    return xr.Dataset(
        {
            "coverage": (by, c),
            "coverage_mcse": (by, np.sqrt(c * (1 - c) / S)),
            "width": (by, mean(width)),
            "width_mcse": (by, spread(width) / np.sqrt(S)),
            "bias": (by, mean(estimate) - target),
            "bias_mcse": (by, sd / np.sqrt(S)),
            "error_ratio": (by, ratio),
            "error_ratio_mcse": (by, ratio / np.sqrt(2 * (S - 1))),
            "truth": ("coef", target),
            "fits": ("road", fits),
            "estimate": (("road", "simulation", "coef"), estimate),
            "se": (("road", "simulation", "coef"), se),
            "interval": (("road", "simulation", "coef", "ci_bound"), interval),
        },
        coords={
            "road": list(roads),
            "coef": list(model.problem.labels),
            "ci_bound": ["lower", "upper"],
        },
        attrs={
            "ci_prob": prob,
            "simulations": len(found),
            "simulated_from": source.name if isinstance(source, Family) else "a function",
            "model": f"{model.problem.family.name}, {model.problem.link.name}",
            "random_seed": seed,
            "failures": json.dumps(failures),
        },
    )


def _nan(function: Callable[..., Any], values: np.ndarray) -> np.ndarray:
    """A moment over the simulations; NaN where there is nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(values, axis=1)
