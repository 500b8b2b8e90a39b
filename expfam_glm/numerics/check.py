"""Whether a declaration is right: every claim that the package relies on, tried on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.numerics.diagnosis import diagnose
from expfam_glm.numerics.evidence import Evidence, shape_settings
from expfam_glm.numerics.precise import Precise
from expfam_glm.numerics.random import draw
from expfam_glm.numerics.report import Report, Result, Status
from expfam_glm.spec.family import Family
from expfam_glm.spec.verify import CLAIMS, closed_theta

_EXACT = 1e-9  # relative; what computes well stays far below
_WRONG = 1e-6  # relative; beyond this it is no rounding
_FEW_DIGITS = 1e-3  # fewer than three digits left
_TINY = 2.0 ** -np.array([12, 15, 18, 22, 26, 30])  # θ at which powers of θ cancel
_DIFFERENCE = 1e-5  # of derivatives against differences in doubles
_LARGEST = 709.0  # the logarithm of the largest number
_FAR = 40.0  # standard deviations, beyond which no tail inside the θ-domain counts
_CLIFF = 30.0  # a density e⁻³⁰ of its peak may end in −∞, a larger one not
_DRAWS = 10_000
_ALPHA = 1e-10  # of one test of draws; the bound holds for every distribution
_SEED = 20_240_611

_MEND_FIRST = "weights and draws wait until the density is mended."
_NO_DENSITY = "the family is declared without a density (c=None)."


def check(family: Family) -> Report:
    """Check a declaration on a grid over θ, dispersions and shape parameters.

    Parameters
    ----------
    family : Family

    Returns
    -------
    Report
        One result for each claim, the worst over the values of the shape parameters.
    """
    found: dict[str, Result] = {}
    for shapes in shape_settings(family):
        for result in _results(family, shapes):
            placed = replace(result, where={**result.where, **shapes} if result.where else {})
            known = found.get(result.name)
            if known is None or _BADNESS[placed.status] > _BADNESS[known.status]:
                found[result.name] = placed
    return Report(family.name, tuple(found.values()))


_BADNESS: dict[Status, int] = {
    "passed": 0, "not applicable": 1, "digits lost": 2, "failed": 3,
}  # fmt: skip


def _results(family: Family, shapes: Mapping[str, float]) -> Iterator[Result]:
    """All results at one setting of the shape parameters."""
    try:
        known = family.fix(**shapes) if shapes else family
    except DeclarationError as error:
        yield _refused("declaration", "the parts do not contradict each other", error, shapes)
        return
    evidence = Evidence(known)
    yield _finite(evidence)
    for name, text in _CLAIM_TEXTS.items():
        if getattr(known, f"closed_{name}", True) is None:
            continue  # the closed form was not declared
        try:
            CLAIMS[name](known)
        except DeclarationError as error:
            yield _refused(name, text, error, shapes)
        else:
            yield Result(name, text, "passed")
    for one in (_digits, _theta, _link, _unit_deviance):
        yield one(evidence)
    yield from _density(evidence)


_CLAIM_TEXTS = {
    "convex": "b is convex",
    "range": "the means b′(θ) fill the support",
    "dispersion": "a(φ) is positive and increases",
    "conjugate": "a declared b*(y) follows from b",
    "deviance": "a declared deviance follows from b",
}


def _refused(name: str, claim: str, error: DeclarationError, shapes: Mapping) -> Result:
    """The result where a declaration is refused."""
    return Result(name, claim, "failed", dict(shapes), {}, str(error), error.part)


def _graded(
    name: str,
    claim: str,
    error: np.ndarray,
    where: Callable[[int], dict[str, float]],
    figures: Callable[[int], dict[str, float]],
    advice: str,
    part: str,
) -> Result:
    """A result by the size of the largest error: none, digits lost, or wrong."""
    worst = np.where(np.isnan(error), np.inf, error)
    k = int(np.argmax(worst))
    status: Status = "passed"
    if worst[k] > _EXACT:
        status = "digits lost" if worst[k] <= _WRONG else "failed"
    if status == "passed":
        return Result(name, claim, status, where(k), {"largest error": float(worst[k])})
    blamed = part if status == "failed" else ""
    return Result(name, claim, status, where(k), figures(k), advice, blamed)


# ---- b and what follows from it ------------------------------------------------------------------


def _finite(evidence: Evidence) -> Result:
    """b, b′ and b″ are numbers at every point between the first and the last that is one."""
    family = evidence.family
    grid = _near_zero(family, evidence.fine)
    claim = "b, b′ and b″ are finite inside the θ-domain"
    parts = {
        "b": np.asarray(family.cumulant(grid)),
        "b′": np.asarray(family.mean(grid)),
        "b″": np.asarray(family.variance_at(grid)),
    }
    for symbol, value in parts.items():
        good = np.flatnonzero(np.isfinite(value))
        inner = np.arange(value.size)
        hole = ~np.isfinite(value) & (inner > good[0]) & (inner < good[-1])
        if np.any(hole):
            k = int(np.flatnonzero(hole)[0])
            advice = (
                f"{symbol}(θ) is {value[k]:g} at θ = {grid[k]:.6g}, inside the θ-domain "
                f"{family.theta_domain}, and finite on both sides: write b there by its series, "
                "with pt.switch around it, or take the point out of theta_domain."
            )
            return Result(
                "finite", claim, "failed", {"theta": float(grid[k])}, {}, advice, "b"
            )  # fmt: skip
    return Result("finite", claim, "passed")


def _near_zero(family: Family, grid: np.ndarray) -> np.ndarray:
    """The grid with points very close to θ = 0, where it lies inside the θ-domain."""
    if not family.theta_domain.contains(0.0):
        return grid
    near = np.concatenate([-_TINY, [0.0], _TINY])
    return np.unique(np.concatenate([grid, near[family.theta_domain.contains(near)]]))


def _digits(evidence: Evidence) -> Result:
    """b, b′ and b″ in doubles against differences of b with 120 digits."""
    family = evidence.family
    claim = "b, b′ and b″ keep their digits"
    grid = _near_zero(family, evidence.fine[:: max(1, evidence.fine.size // 40)])
    mean, variance = np.asarray(family.mean(grid)), np.asarray(family.variance_at(grid))
    cumulant = np.asarray(family.cumulant(grid))
    usable = np.isfinite(mean) & np.isfinite(variance) & np.isfinite(cumulant)
    grid, cumulant, mean, variance = (v[usable] for v in (grid, cumulant, mean, variance))
    domain = family.theta_domain
    room = np.minimum(np.minimum(1.0, grid - domain.low), domain.high - grid)
    precise = Precise(family.b)
    if precise.missing:
        return _plain_differences(family, grid, room, claim, precise.missing)
    room = np.where(grid == 0, room, np.minimum(room, np.abs(grid)))
    exact = np.array([precise.derivatives(*pair) for pair in zip(grid, room, strict=True)])
    sizes = (
        1 + np.abs(exact[:, 0]),
        np.abs(exact[:, 1]) + 1e-3 * np.sqrt(np.abs(exact[:, 2])),
        np.abs(exact[:, 2]),
    )
    worst: Result | None = None
    for symbol, value, truth, size in zip(
        ("b", "b′", "b″"), (cumulant, mean, variance), exact.T, sizes, strict=True
    ):
        with np.errstate(all="ignore"):
            error = np.abs(value - truth) / size
        error = np.where((value == truth) | ~np.isfinite(truth), 0.0, error)
        k = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        if error[k] <= _EXACT:
            continue
        near = evidence.theta[0] <= grid[k] <= evidence.theta[-1]
        few = not error[k] <= _FEW_DIGITS
        status: Status = "failed" if few and near else "digits lost"
        if worst is None or _BADNESS[status] > _BADNESS[worst.status]:
            left = max(0, int(-np.log10(error[k]))) if np.isfinite(error[k]) else 0
            lost = grid[error > _EXACT]
            worst = Result(
                "digits", claim, status, {"theta": float(grid[k])},
                {symbol: float(value[k]), "exactly": float(truth[k])},
                f"{symbol}(θ) keeps {left} digits at θ = {grid[k]:.6g}, and fewer than nine "
                f"from θ = {lost.min():.6g} to {lost.max():.6g}: terms of b cancel there. Write b "
                "by its series where they do, or with expm1, log1p, log1mexp or softplus.",
                "b" if status == "failed" else "",
            )  # fmt: skip
    return worst or Result("digits", claim, "passed")


def _plain_differences(
    family: Family, grid: np.ndarray, room: np.ndarray, claim: str, operation: str
) -> Result:
    """b′ and b″ against differences in doubles, where b has no form with many digits."""
    step = 1e-2 * room

    def slope(function: Callable) -> np.ndarray:
        """The fourth-order central difference."""
        near = function(grid + step) - function(grid - step)
        far = function(grid + 2 * step) - function(grid - 2 * step)
        return (8 * near - far) / (12 * step)

    for symbol, value, rough in (
        ("b′", np.asarray(family.mean(grid)), slope(family.cumulant)),
        ("b″", np.asarray(family.variance_at(grid)), slope(family.mean)),
    ):
        wrong = ~(np.abs(value - rough) <= _DIFFERENCE * (1e-3 + np.abs(value)))
        wrong &= np.isfinite(rough)
        if np.any(wrong):
            k = int(np.flatnonzero(wrong)[0])
            return Result(
                "digits", claim, "failed", {"theta": float(grid[k])},
                {symbol: float(value[k]), "by differences": float(rough[k])},
                f"{symbol}(θ) is not the derivative of what stands before it at θ = "
                f"{grid[k]:.6g}: the operation {operation} in b has a wrong gradient.", "b",
            )  # fmt: skip
    return Result(
        "digits", claim, "not applicable",
        advice=f"b uses {operation}, of which no form with many digits is known; its derivatives "
        "agree with differences in doubles.",
    )  # fmt: skip


def _theta(evidence: Evidence) -> Result:
    """b′(θ(μ)) = μ, declared or found by iteration."""
    family, claim = evidence.family, "θ(μ) inverts b′"
    theta = evidence.theta
    mu = np.asarray(family.mean(theta))
    sd = np.sqrt(np.asarray(family.variance_at(theta)))
    back = np.asarray(family.theta_of(mu))
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(family.mean(back)) - mu) / (np.abs(mu) + sd)
    how = "theta(mu)" if closed_theta(family) else "θ(μ), found by inverting b′,"
    return _graded(
        "theta", claim, error,
        lambda k: {"theta": float(theta[k]), "mu": float(mu[k])},
        lambda k: {"theta(mu)": float(back[k])},
        f"{how} does not give θ back: leave theta= out, or mend it.", "theta",
    )  # fmt: skip


def _link(evidence: Evidence) -> Result:
    """g⁻¹(g(μ)) = μ and g strictly monotone on the means."""
    family, link, claim = evidence.family, evidence.family.link, "the link is monotone and inverts"
    grid = np.asarray(family.mean(evidence.fine))
    space = family.mean_space
    grid = np.unique(grid[np.isfinite(grid) & space.contains(grid) & link.domain.contains(grid)])
    if grid.size < 2:
        return Result(
            "link", claim, "failed", {}, {},
            f"the link {link.name!r} is defined on {link.domain}, where the family has no means.",
            "link",
        )  # fmt: skip
    eta = np.asarray(link(grid))
    back = np.asarray(link.inverse(eta))
    steps = np.diff(eta)
    turning = steps * np.sign(eta[-1] - eta[0]) < -1e-9 * np.abs(eta[1:])
    if not np.all(np.isfinite(eta)) or np.any(turning):
        bad = ~np.isfinite(eta) | np.append(False, turning)
        k = int(np.flatnonzero(bad)[0])
        return Result(
            "link", claim, "failed", {"mu": float(grid[k])}, {"g(μ)": float(eta[k])},
            f"the link {link.name!r} is not finite and monotone at μ = {grid[k]:.6g}: give another "
            "link=, or restrict its domain.", "link",
        )  # fmt: skip
    # what rounding η alone does to μ is no fault of the inverse
    with np.errstate(all="ignore"):
        slope = np.abs(np.gradient(grid, eta))
        blur = 1e-13 * np.abs(eta) * np.where(np.isfinite(slope), slope, 0.0)
        error = np.maximum(np.abs(back - grid) - blur, 0.0) / np.abs(grid)
    error = np.where(back == grid, 0.0, error)
    low, high = np.asarray(family.mean(evidence.theta[[0, -1]]))
    far = (grid < low) | (grid > high)  # there θ(μ) and η may rest on few digits
    error = np.where(far & (error < 1), np.minimum(error, _WRONG), error)
    return _graded(
        "link", claim, error,
        lambda k: {"mu": float(grid[k])},
        lambda k: {"g(μ)": float(eta[k]), "inverse": float(back[k])},
        f"the inverse of the link {link.name!r} does not give μ back: mend it, or leave inverse= "
        "out.", "link",
    )  # fmt: skip


def _unit_deviance(evidence: Evidence) -> Result:
    """d(y, μ) ≥ 0, and 0 at y = μ."""
    family, claim = evidence.family, "the deviance is ≥ 0, and 0 at y = μ"
    mean = np.asarray(family.mean(evidence.theta))
    y, mu = (v.ravel() for v in np.meshgrid(mean, mean))
    deviance = np.asarray(family.deviance(y, mu))
    sd = np.sqrt(np.asarray(family.variance_at(evidence.theta)))
    size = 1 + np.abs(mean * evidence.theta) + (np.abs(mean) / sd) ** 2
    size = np.maximum(*np.meshgrid(size, size)).ravel()
    error = np.where(y == mu, np.abs(deviance), np.maximum(-deviance, 0.0)) / size
    return _graded(
        "unit deviance", claim, error,
        lambda k: {"y": float(y[k]), "mu": float(mu[k])},
        lambda k: {"deviance": float(deviance[k])},
        "b*(y) − yθ(μ) + b(θ(μ)) must be smallest, and 0, at μ = y: θ(μ) or b loses its digits, "
        "or a declared deviance or conjugate is wrong.",
        "deviance" if family.closed_deviance is not None else "theta",
    )  # fmt: skip


# ---- the density ---------------------------------------------------------------------------------

_DENSITY_CLAIMS = {
    "measure": "c is finite on the support",
    "mass": "the total mass is 1",
    "weights": "the total mass is 1 at a/2 and a/3 too",
    "mean": "the mean of the density is b′(θ)",
    "variance": "its variance is b″(θ)·a",
    "draws": "draws have the declared distribution",
}


def _density(evidence: Evidence) -> Iterator[Result]:
    """What the density must satisfy."""
    if evidence.family.is_quasi:
        for name, claim in _DENSITY_CLAIMS.items():
            yield Result(name, claim, "not applicable", advice=_NO_DENSITY)
        return
    measure = _measure(evidence)
    yield measure
    mass = _mass(evidence)
    yield mass
    yield _weights(evidence, mass)
    yield from _moments(evidence, mass)
    yield _draws(evidence, mass, measure)


def _place(evidence: Evidence, k: int, j: int) -> dict[str, float]:
    theta = float(evidence.theta[j])
    return {"theta": theta, "mu": float(evidence.family.mean(theta)), "a": float(evidence.a[k])}


def _measure(evidence: Evidence) -> Result:
    """c(y, a) is finite at the closed ends of the support, and as far as the density counts."""
    family, support = evidence.family, evidence.family.support
    ends = np.array([bound for bound in (support.low, support.high) if np.isfinite(bound)])
    mean = np.asarray(family.mean(evidence.theta))
    for a in evidence.main:
        sd = np.sqrt(np.asarray(family.variance_at(evidence.theta)) * a)
        for theta, middle, spread in zip(evidence.theta, mean, sd, strict=True):
            y = middle + spread * np.linspace(-_FAR, _FAR, 321)
            y = np.unique(np.append(np.round(y / a) * a if support.discrete else y, ends))
            y = y[family.contains(y, 1 / a)]
            with np.errstate(all="ignore"):
                c = np.asarray(family.base_measure(y, a))
                height = y * theta / a + c
            good = np.isfinite(c)
            bad = ~good & ((np.abs(y - middle) < 3 * spread) | np.isin(y, ends))
            cliff = good & (height > np.max(height[good], initial=-np.inf) - _CLIFF)
            bad[:-1] |= ~good[:-1] & cliff[1:]
            bad[1:] |= ~good[1:] & cliff[:-1]
            if not np.any(bad):
                continue
            k = int(np.flatnonzero(bad)[0])
            right = evidence.holds_at_main
            return Result(
                "measure", _DENSITY_CLAIMS["measure"], "failed",
                {"y": float(y[k]), "theta": float(theta), "a": float(a)}, {"c": float(c[k])},
                f"c(y, a) is {c[k]:g} at y = {y[k] + 0.0:.6g}, which the support {support} contains"
                + (": narrow support to where the density is." if right and y[k] in ends
                   else " and where the density still counts: write c so that it does not "
                   "overflow there, or mend support."),
                "support" if right and y[k] in ends else "c" if right else diagnose(evidence).part,
            )  # fmt: skip
    return Result("measure", _DENSITY_CLAIMS["measure"], "passed")


def _mass(evidence: Evidence) -> Result:
    """Σ or ∫ f = 1 at every θ and every dispersion without weights."""
    excess = evidence.excess[: evidence.main.size]
    error = np.abs(np.expm1(np.minimum(excess, 700.0))).ravel()
    known = bool(np.all(error <= _WRONG))
    finding = None if known else diagnose(evidence)
    return _graded(
        "mass", _DENSITY_CLAIMS["mass"], error,
        lambda k: _place(evidence, *divmod(k, evidence.theta.size)),
        lambda k: {"mass": _mass_of(excess.ravel()[k])},
        "the digits of b or c that are lost show in the total mass: see where b loses them."
        if finding is None else finding.advice,
        "" if finding is None else finding.part,
    )  # fmt: skip


def _mass_of(excess: float) -> float:
    """e to the power of its logarithm."""
    return math.exp(excess) if excess < _LARGEST else math.inf


def _weights(evidence: Evidence, mass: Result) -> Result:
    """The same at a/2 and a/3."""
    claim = _DENSITY_CLAIMS["weights"]
    if mass.status == "failed":
        return Result("weights", claim, "not applicable", advice=_MEND_FIRST)
    excess = evidence.excess[evidence.main.size :]
    with np.errstate(over="ignore"):
        error = np.abs(np.expm1(excess))
    k, j = np.unravel_index(int(np.argmax(error)), error.shape)
    place = _place(evidence, evidence.main.size + int(k), int(j))
    if error[k, j] <= _WRONG:
        return Result("weights", claim, "passed", place, {"largest error": float(error[k, j])})
    figures = {"mass": _mass_of(excess[k, j])}
    if evidence.family.phi is None:
        advice = (
            "c(y, a) does not hold for every a = a(φ)/w: φ, or the weight that divides it, stands "
            "in the wrong place in c."
        )
        return Result("weights", claim, "failed", place, figures, advice, "c")
    advice = (
        f"c(y, a) does not hold beside a = {evidence.main[0]:g}, so weights are refused for this "
        "family; to allow them, write c for every a (for counts, y/a is the count)."
    )
    return Result("weights", claim, "not applicable", place, figures, advice, "c")


def _moments(evidence: Evidence, mass: Result) -> Iterator[Result]:
    """The mean and the variance by quadrature against b′ and b″."""
    family, main = evidence.family, evidence.main.size
    mu = np.asarray(family.mean(evidence.theta))[None, :]
    variance = np.asarray(family.variance_at(evidence.theta))[None, :] * evidence.main[:, None]
    for name, found, declared, size in (
        ("mean", evidence.mean[:main], mu + 0 * variance, np.sqrt(variance)),
        ("variance", evidence.variance[:main], variance, variance),
    ):
        yield _graded(
            name, _DENSITY_CLAIMS[name], (np.abs(found - declared) / size).ravel(),
            lambda k: _place(evidence, *divmod(k, evidence.theta.size)),
            partial(_compared, found.ravel(), declared.ravel()),
            mass.advice or "the tails of the density do not fit b: see where c or b loses digits.",
            mass.part or "c",
        )  # fmt: skip


def _compared(found: np.ndarray, declared: np.ndarray, k: int) -> dict[str, float]:
    return {"by quadrature": float(found[k]), "declared": float(declared[k])}


def _draws(evidence: Evidence, mass: Result, measure: Result) -> Result:
    """The largest gap between the share of draws and the distribution function, at seven θ.

    By the inequality of Dvoretzky, Kiefer and Wolfowitz P(gap > ε) ≤ 2 exp(−2nε²), whatever the
    distribution is.
    """
    claim, family = _DENSITY_CLAIMS["draws"], evidence.family
    if "failed" in (mass.status, measure.status):
        return Result("draws", claim, "not applicable", advice=_MEND_FIRST)
    bound = np.sqrt(np.log(2 / _ALPHA) / (2 * _DRAWS))
    rng = np.random.default_rng(_SEED)
    block = evidence.moments[0]
    gaps = []
    for j in range(0, evidence.theta.size, 2):
        phi, theta = float(evidence.phi[0]), float(evidence.theta[j])
        try:
            y = np.sort(draw(family, None, phi, rng, _DRAWS, theta=theta))
        except DeclarationError as error:
            place = _place(evidence, 0, j)
            return Result("draws", claim, "failed", place, {}, str(error), "draws")
        points = block.points[j]
        slack = 1e-9 * (1 + np.abs(points))  # a count may be rounded differently
        share = np.searchsorted(y, points + slack, side="right") / _DRAWS
        gaps.append(np.max(np.abs(share - block.cumulative[j])))
    worst = int(np.argmax(gaps))
    place = _place(evidence, 0, 2 * worst)
    figures = {"largest gap": float(gaps[worst]), "allowed": float(bound)}
    if gaps[worst] <= bound:
        return Result("draws", claim, "passed", place, figures)
    return Result(
        "draws", claim, "failed", place, figures,
        "draws do not follow the declared density: report this as a fault of the package.", "draws",
    )  # fmt: skip
