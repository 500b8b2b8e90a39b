"""exp, log and their kin of eight doubles, right to within two units in the last place."""

from __future__ import annotations

import math
from collections.abc import Sequence

from expfam_glm.kernels.machine.code import MASK, VECTOR, Code, constant

# ln 2 in two parts, of which the first has zeros at its end: products with exponents are exact.
_LN2 = (float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33"))
_LOG2E = 1.4426950408889634
# Beyond, exp is zero or infinite.
_FAR = 800.0
# Terms of the series of exp on |r| ≤ ln √2 and of log on (3/4, 3/2).
_EXP_TERMS, _LOG_TERMS = 13, 13
# From this power of 2 on, subtracting one from it and adding it elsewhere are the same.
_LARGE = 60.0


def exp(code: Code, x: str) -> str:
    """e^x."""
    power, _, rest = _reduced(code, x)
    return _scaled(code, code.two("fadd", constant(1.0), rest), power)


def expm1(code: Code, x: str) -> str:
    """e^x − 1, without cancellation."""
    power, _, rest = _reduced(code, x)
    scale = _scaled(code, constant(1.0), power)
    small = code.fma(scale, rest, code.two("fsub", scale, constant(1.0)))
    whole = _scaled(code, code.two("fadd", constant(1.0), rest), power)
    large = code.two("fsub", whole, constant(1.0))
    return code.select(code.compare("olt", power, constant(_LARGE)), small, large)


def log(code: Code, x: str) -> str:
    """ln x: −∞ at zero, NaN below."""
    # x = 2^e m with m in [3/4, 3/2); a NaN for x < 0
    m = code(
        f"call {VECTOR} @llvm.x86.avx512.mask.getmant.pd.512({VECTOR} {x}, i32 11, "
        f"{VECTOR} zeroinitializer, i8 -1, i32 4)"
    )
    power = code(
        f"call {VECTOR} @llvm.x86.avx512.mask.getexp.pd.512({VECTOR} {x}, "
        f"{VECTOR} zeroinitializer, i8 -1, i32 4)"
    )
    below = code.compare("olt", m, constant(1.0))
    e = code.select(below, code.two("fadd", power, constant(1.0)), power)
    # ln m = 2 artanh s with s = f/(2 + f), as f − (f²/2 − s(f²/2 + R))
    f = code.two("fsub", m, constant(1.0))
    s = code.two("fdiv", f, code.two("fadd", f, constant(2.0)))
    z = code.two("fmul", s, s)
    R = code.two("fmul", z, _horner(code, z, [2.0 / (2 * k + 1) for k in range(1, _LOG_TERMS)]))
    half = code.two("fmul", code.two("fmul", f, f), constant(0.5))
    inner = code.fma(s, code.two("fadd", half, R), code.two("fmul", e, constant(_LN2[1])))
    rest = code.two("fsub", code.two("fsub", half, inner), f)
    return code.two("fsub", code.two("fmul", e, constant(_LN2[0])), rest)


def log1p(code: Code, x: str) -> str:
    """ln(1 + x): the logarithm of the rounded sum, and what was rounded off."""
    one = constant(1.0)
    u = code.two("fadd", one, x)
    t = code.two("fsub", u, one)
    off = code.two("fadd", code.two("fsub", x, t), code.two("fsub", one, code.two("fsub", u, t)))
    at_edge = code.compare("ole", u, constant(0.0))
    infinite = code.compare("oeq", u, constant(math.inf))
    edges = code(f"or {MASK} {at_edge}, {infinite}")
    further = code.select(edges, constant(0.0), code.two("fdiv", off, u))
    return code.two("fadd", log(code, u), further)


def _reduced(code: Code, x: str) -> tuple[str, str, str]:
    """n, r and e^r − 1 with x = n ln 2 + r; NaN stays NaN."""
    x = code.select(code.compare("ogt", x, constant(_FAR)), constant(_FAR), x)
    x = code.select(code.compare("olt", x, constant(-_FAR)), constant(-_FAR), x)
    n = code.call("rint", code.two("fmul", x, constant(_LOG2E)))
    r = code.fma(n, constant(-_LN2[0]), x)
    r = code.fma(n, constant(-_LN2[1]), r)
    series = _horner(code, r, [1.0 / math.factorial(k) for k in range(2, _EXP_TERMS + 1)])
    return n, r, code.fma(code.two("fmul", r, r), series, r)


def _scaled(code: Code, x: str, power: str) -> str:
    """x·2^power, rounded once."""
    return code(
        f"call {VECTOR} @llvm.x86.avx512.mask.scalef.pd.512({VECTOR} {x}, {VECTOR} {power}, "
        f"{VECTOR} zeroinitializer, i8 -1, i32 4)"
    )


def _horner(code: Code, x: str, coefficients: Sequence[float]) -> str:
    """Σ c_k x^k."""
    *lower, last = coefficients
    value = constant(last)
    for c in reversed(lower):
        value = code.fma(value, x, constant(c))
    return value
