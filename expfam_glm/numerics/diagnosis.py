"""Which part of a declaration is wrong, from the pattern of its total masses.

Two ways lead there. First what the masses say as they stand: c and the support imply a cumulant
a·log Σ exp{yθ/a + c(y, a)}; if it is the same at every a, they agree with each other and b is the
odd one out; if the mass is wrong by a factor without θ, a term of c without y is missing. Then
trial: usual slips are put right one by one, and the one that makes every mass 1 is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from expfam_glm.numerics.evidence import Evidence
from expfam_glm.numerics.moments import BaseMeasure, moments
from expfam_glm.spec.domain import Domain

_EQUAL = 1e-7  # of logarithms of masses
_FIRST_COUNTS, _MOST_COUNTS = 2**8, 2**15  # of a trial: a longer sum is none that mends


@dataclass(frozen=True)
class Finding:
    """The part that is wrong, named as the argument of `Family`, and what to do about it."""

    part: str
    advice: str


@lru_cache(maxsize=8)
def diagnose(evidence: Evidence) -> Finding:
    """The most likely fault of a family whose density does not have mass one."""
    for look in (
        _wrong_kind,
        _wrong_b,
        _constant,
        _misplaced_a,
        _wrong_support,
        _wrong_term,
        _related_b,
    ):
        finding = look(evidence)
        if finding is not None:
            return finding
    return _by_exclusion(evidence)


# ---- what the masses say -------------------------------------------------------------------------


def _same(values: np.ndarray, axis: int | None = None) -> bool:
    """Whether finite values are equal along an axis."""
    if not np.all(np.isfinite(values)):
        return False
    return bool(np.all(np.ptp(values, axis=axis) <= _EQUAL * (1 + np.max(np.abs(values)))))


def _wrong_b(evidence: Evidence) -> Finding | None:
    """The cumulant that c and the support imply is the same at every a, and it is not b."""
    if np.unique(evidence.a).size < 2 or not _same(evidence.cumulant, axis=0):
        return None
    return Finding("b", f"b does not fit c and the support: {_relation(evidence)}.")


def _relation(evidence: Evidence) -> str:
    """What b would have to be, in terms of the declared b where that is simple."""
    theta = evidence.theta
    b = np.asarray(evidence.family.cumulant(theta))
    implied = evidence.cumulant[0]
    gap = implied - b
    slope, start = np.polyfit(theta, gap, 1)
    if _same(gap):
        return f"{gap[0]:.6g} must be added to b(θ)"
    if _same(gap - slope * theta):
        constant = f" {start:+.6g}" if abs(start) > _EQUAL else ""
        return f"the term {slope:+.6g}·θ{constant} is missing in b"
    ratio = implied[b != 0] / b[b != 0]
    if _same(ratio):
        return f"they need {ratio[0]:.6g}·b(θ)"
    middle = theta.size // 2
    return (
        f"at θ = {theta[middle]:.6g} they need b(θ) = {implied[middle]:.6g}, and b(θ) is "
        f"{b[middle]:.6g}; at θ = {theta[-1]:.6g}, {implied[-1]:.6g} and {b[-1]:.6g}"
    )


# Terms without y that are often forgotten, as functions of a.
_CONSTANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "½ log(2π)": lambda a: 0.5 * np.log(2 * np.pi) + 0 * a,
    "½ log(2πa)": lambda a: 0.5 * np.log(2 * np.pi * a),
    "½ log a": lambda a: 0.5 * np.log(a),
    "log a": np.log,
    "log(a)/a": lambda a: np.log(a) / a,
    "lnΓ(1/a)": lambda a: gammaln(1 / a),
    "lnΓ(1/a + 1)": lambda a: gammaln(1 / a + 1),
    "log 2": lambda a: np.log(2) + 0 * a,
    "log(2π)": lambda a: np.log(2 * np.pi) + 0 * a,
    "½ log π": lambda a: 0.5 * np.log(np.pi) + 0 * a,
    "½ log 2": lambda a: 0.5 * np.log(2) + 0 * a,
    "½": lambda a: 0.5 + 0 * a,
    "1/a": lambda a: 1 / a,
}


def _constant(evidence: Evidence) -> Finding | None:
    """The mass does not depend on θ: a term of c without y is missing or wrong."""
    excess = evidence.excess[: evidence.main.size]
    if not all(_same(row) for row in excess):
        return None
    missing = -excess.mean(axis=1)
    for name, term in _CONSTANTS.items():
        for sign, multiple in (("−", -1), ("+", 1), ("−2·", -2), ("+2·", 2)):
            if np.allclose(missing, multiple * term(evidence.main), rtol=1e-7, atol=_EQUAL):
                return Finding(
                    "c",
                    f"the total mass is wrong by a factor without θ: the term {sign}{name} is "
                    "missing in c(y, a).",
                )
    shown = ", ".join(
        f"{v:+.6g} at a = {a:.6g}" for v, a in zip(missing, evidence.main, strict=True)
    )
    return Finding(
        "c",
        f"the total mass is wrong by a factor without θ: c(y, a) lacks a term without y, {shown}.",
    )


def _by_exclusion(evidence: Evidence) -> Finding:
    """What remains when no usual slip explains the masses."""
    main = evidence.main.size
    excess = evidence.excess[:main]
    right = np.all(np.abs(excess) < _EQUAL, axis=1)
    if main > 1 and np.any(right):
        return Finding(
            "c",
            f"the total mass is 1 at a = {evidence.main[right][0]:.6g} and not at other "
            "dispersions: φ, as a, stands in the wrong place in c(y, a).",
        )
    if np.any(np.isposinf(excess)):
        k, j = np.argwhere(np.isposinf(excess))[0]
        return Finding(
            "c",
            f"the total mass is infinite at θ = {evidence.theta[j]:.6g}, a = "
            f"{evidence.main[k]:.6g}: c(y, a) does not fall fast enough for such θ; a term is "
            "missing in c or has the wrong sign, or support or theta_domain reach too far.",
        )
    y = np.asarray(evidence.family.mean(evidence.theta))
    with np.errstate(all="ignore"):
        measure = np.asarray(evidence.family.base_measure(y, evidence.main[0]))
    plain = _same(measure)
    worst = np.unravel_index(int(np.argmax(np.abs(excess))), excess.shape)
    return Finding(
        "b" if plain else "c",
        f"the total mass depends on θ (exp({excess[worst]:+.6g}) at θ = "
        f"{evidence.theta[worst[1]]:.6g}, a = {evidence.main[worst[0]]:.6g}): "
        + (
            "c is constant, so b does not fit the support."
            if plain
            else "the terms of c(y, a) with y do not fit b; less likely, b itself is wrong."
        ),
    )


# ---- trials --------------------------------------------------------------------------------------


def _mends(evidence: Evidence, c: BaseMeasure, support: Domain, a: np.ndarray) -> bool:
    """Whether with this c and this support the mass is 1 at every θ and these a."""
    first, few = evidence.theta[:1], evidence.theta[:: max(1, evidence.theta.size // 2)]
    for theta, dispersions, most in (
        (first, a[:1], _FIRST_COUNTS),
        (few, a, _MOST_COUNTS),
        (evidence.theta, a, _MOST_COUNTS),
    ):
        grid, dispersion = (v.ravel() for v in np.meshgrid(theta, dispersions))
        centre = np.asarray(evidence.family.mean(grid))
        spread = np.sqrt(np.asarray(evidence.family.variance_at(grid)) * dispersion)
        found = moments(c, support, grid, dispersion, centre, spread, most=most).log_mass
        excess = found - np.asarray(evidence.family.cumulant(grid)) / dispersion
        if not np.all(np.abs(excess) < _EQUAL):
            return False
    return True


_PLACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1/a": lambda a: 1 / a,
    "a²": lambda a: a**2,
    "√a": np.sqrt,
    "1/a²": lambda a: a**-2.0,
    "1": lambda a: 1 + 0 * a,
    "2a": lambda a: 2 * a,
    "a/2": lambda a: a / 2,
}


def _misplaced_a(evidence: Evidence) -> Finding | None:
    """c(y, h(a)) fits for some other h."""
    family = evidence.family
    for name, h in _PLACES.items():
        if np.allclose(h(evidence.main), evidence.main):
            continue

        def other(y: np.ndarray, a: np.ndarray, h: Callable = h) -> np.ndarray:
            return family.base_measure(y, h(a))

        if _mends(evidence, other, family.support, evidence.main):
            return Finding(
                "c",
                f"φ stands in the wrong place in c(y, a): with {name} instead of a in c the total "
                "mass is 1 everywhere. (a is the effective dispersion a(φ)/w, a variance.)",
            )
    return None


def _supports(declared: Domain) -> Iterator[Domain]:
    """Supports that may have been meant."""
    low, high = declared.low, declared.high
    shifts = [(low - 1, high), (low + 1, high), (low, high + 1), (low, high - 1),
              (low - 1, high - 1), (low + 1, high + 1)]  # fmt: skip
    usual = [(0.0, np.inf), (1.0, np.inf), (-np.inf, np.inf), (0.0, 1.0), (-1.0, 1.0),
             (low, np.inf), (-np.inf, high), (-np.inf, 0.0)]  # fmt: skip
    seen = {(low, high, declared.discrete)}
    for kind in (declared.discrete, not declared.discrete):
        for pair in ([] if kind == declared.discrete else [(low, high)]) + shifts + usual:
            whole = all(np.isinf(bound) or bound == np.floor(bound) for bound in pair)
            if (*pair, kind) in seen or not pair[0] < pair[1] or (kind and not whole):
                continue
            seen.add((*pair, kind))
            yield Domain(*pair, "both" if kind else "neither", kind)


def _wrong_kind(evidence: Evidence) -> Finding | None:
    """Counts declared as continuous, or the other way round."""
    declared = evidence.family.support
    others = [other for other in _supports(declared) if other.discrete != declared.discrete]
    same = [other for other in others if (other.low, other.high) == (declared.low, declared.high)]
    return _first_that_mends(evidence, same)


def _wrong_support(evidence: Evidence) -> Finding | None:
    """Another support has mass 1 with the declared b and c."""
    return _first_that_mends(evidence, _supports(evidence.family.support))


def _first_that_mends(evidence: Evidence, supports: Iterable[Domain]) -> Finding | None:
    family = evidence.family
    for support in supports:
        if _mends(evidence, family.base_measure, support, evidence.main):
            return Finding(
                "support",
                f"the support {family.support} does not fit b and c: with {support} the total "
                "mass is 1 everywhere.",
            )
    return None


def _log_gamma(k: float, scaled: bool) -> BaseMeasure:
    """lnΓ((y + k)/a), or lnΓ(y + k)."""
    return lambda y, a: gammaln((y + k) / a if scaled else y + k)


def _shifted(c: BaseMeasure, by: int) -> BaseMeasure:
    """c with the count y/a shifted."""
    return lambda y, a: c(y + by * a, a)


def _plus(c: BaseMeasure, multiple: float, term: BaseMeasure) -> BaseMeasure:
    """c and a multiple of a term."""
    return lambda y, a: c(y, a) + multiple * term(y, a)


# Terms with y that are often forgotten or have the wrong sign.
_TERMS: dict[str, BaseMeasure] = {
    "lnΓ(y + 1)": _log_gamma(1.0, scaled=False),
    "lnΓ(y/a + 1)": lambda y, a: gammaln(y / a + 1),
    "lnΓ(y)": _log_gamma(0.0, scaled=False),
    "lnΓ(y/a)": _log_gamma(0.0, scaled=True),
    "log y": lambda y, a: np.log(y),
    "log(y)/a": lambda y, a: np.log(y) / a,
    "y²/a": lambda y, a: y**2 / a,
    "y²": lambda y, a: y**2,
    "1/(ya)": lambda y, a: 1 / (y * a),
    "1/y": lambda y, a: 1 / y,
    "y log(a)/a": lambda y, a: y * np.log(a) / a,
    "log(1 − y)": lambda y, a: np.log1p(-y),
    "lnΓ((1 − y)/a + 1)": lambda y, a: gammaln((1 - y) / a + 1),
    "log of the binomial coefficient of 1/a and y/a": lambda y, a: (
        gammaln(1 / a + 1) - gammaln(y / a + 1) - gammaln((1 - y) / a + 1)
    ),
}
_MULTIPLES = {
    "−": -1.0, "+": 1.0, "−½·": -0.5, "+½·": 0.5, "−2·": -2.0, "+2·": 2.0, "−1.5·": -1.5,
    "+1.5·": 1.5,
}  # fmt: skip


def _terms(evidence: Evidence) -> Iterator[tuple[str, BaseMeasure]]:
    """The usual terms, and those with known shape parameters."""
    yield from _TERMS.items()
    for name, value in evidence.family.fixed.items():
        for text, k in ((name, value), (f"1/{name}", 1 / value if value else np.nan)):
            yield f"lnΓ(y + {text})", _log_gamma(k, scaled=False)
            yield f"lnΓ((y + {text})/a)", _log_gamma(k, scaled=True)


def _trials(evidence: Evidence) -> Iterator[tuple[str, BaseMeasure]]:
    """What to do, as text, and the c that comes of it."""
    c = evidence.family.base_measure
    for by in (1, -1):
        yield (
            f"y stands shifted in c: with y {by:+d} (a count y/a {by:+d}) in its place",
            _shifted(c, by),
        )
    for name, term in _terms(evidence):
        for sign, multiple in _MULTIPLES.items():
            text = f"a term of c(y, a) is missing or wrong: with {sign}{name} added"
            yield text, _plus(c, multiple, term)


def _wrong_term(evidence: Evidence) -> Finding | None:
    """A usual term, or y counted from another start, puts c right."""
    everywhere = np.unique(evidence.a)
    for dispersions in [everywhere] * (everywhere.size > evidence.main.size) + [evidence.main]:
        for text, c in _trials(evidence):
            if _mends(evidence, c, evidence.family.support, dispersions):
                return Finding("c", f"{text} the total mass is 1 everywhere.")
    return None


def _related_b(evidence: Evidence) -> Finding | None:
    """At one a alone: the implied cumulant is a simple change of b."""
    if evidence.main.size > 1 or not np.all(np.isfinite(evidence.cumulant[0])):
        return None
    b, theta, implied = evidence.family.cumulant, evidence.theta, evidence.cumulant[0]
    here = np.asarray(b(theta))
    slope, start = np.polyfit(theta, implied - here, 1)
    gap, ratio = implied - here, implied[here != 0] / here[here != 0]
    if _same(gap - slope * theta - start) or _same(ratio):
        return Finding("b", f"b does not fit c and the support: {_relation(evidence)}.")
    for scale in (2.0, 0.5, -1.0):
        for factor in (1.0, scale, 1 / scale):
            with np.errstate(all="ignore"):
                if _same(implied - factor * np.asarray(b(scale * theta))):
                    return Finding(
                        "b",
                        f"b does not fit c and the support: they need {factor:g}·b({scale:g}·θ).",
                    )
    return None
