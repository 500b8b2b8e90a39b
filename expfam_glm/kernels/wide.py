"""XᵀWX in machine code for processors with vectors of 512 bits.

NumPy's BLAS takes kernels for vectors of 256 bits on many of them, and needs the rows multiplied by
their weights in an array of their own. Here √W X is packed, some rows at a time, into panels of
eight columns that stay in the fastest cache, and tiles of 8 × 24 products are kept in registers
(the scheme of Goto and van de Geijn, ACM Trans. Math. Softw. 34, 2008).
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np

from expfam_glm.kernels.scratch import scratch

# Doubles of a vector, and vectors side by side in a tile: 24 of the 32 registers hold its products.
_WIDE, _ACROSS = 8, 3
# Rows that are packed at once.
_ROWS = 128
# Products from which a call pays for its overhead.
_FEWEST_PRODUCTS = 1 << 21
_lock = threading.Lock()


def pays(X: np.ndarray) -> bool:
    """Whether `gram` takes this X (n, p) and is faster than BLAS."""
    n, p = X.shape
    return (
        p >= _WIDE
        and n * p * p >= _FEWEST_PRODUCTS
        and X.dtype == np.float64
        and X.strides[1] == X.itemsize
        and X.strides[0] >= p * X.itemsize
        and _function() is not None
    )


def gram(X: np.ndarray, W: np.ndarray) -> np.ndarray:
    """XᵀWX, symmetric to the last bit.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        One for which it `pays`.
    W : ndarray, shape (n,)
        Not negative. May be a number that is broadcast.

    Returns
    -------
    ndarray, shape (p, p)
    """
    function = _function()
    assert function is not None
    n, p = X.shape
    panels = -(-p // _WIDE)
    side = panels * _WIDE
    packed = _aligned("panels", side * _ROWS)
    sums = _aligned("products", side * side)
    function(
        X.ctypes.data, n, p, X.strides[0] // 8, W.ctypes.data, W.strides[0] // 8,
        packed.ctypes.data, panels, sums.ctypes.data, side,
    )  # fmt: skip
    return sums.reshape(side, side)[:p, :p].copy()


def _aligned(use: str, size: int) -> np.ndarray:
    """Scratch memory that begins where a line of the cache does."""
    memory = scratch(use, (size + _WIDE,))
    skipped = -(memory.ctypes.data // 8) % _WIDE
    return memory[skipped : skipped + size]


def _function() -> Any:
    """The compiled function; None where the processor has no such vectors."""
    with _lock:
        return _compiled()


@cache
def _compiled() -> Any:
    from llvmlite import binding

    if not binding.get_host_cpu_features().get("avx512f"):
        return None
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten()
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(_source()), machine)
    engine.finalize_object()
    address, whole = ctypes.c_void_p, ctypes.c_int64
    kind = ctypes.CFUNCTYPE(
        None, address, whole, whole, whole, address, whole, address, whole, address, whole
    )
    function: Any = kind(engine.get_function_address("gram"))
    function.engine = engine  # which owns the code
    return function


# ---- the code, in LLVM's language ---------------------------------------------------------------

_VECTOR = f"<{_WIDE} x double>"
_SPLAT = f"<{_WIDE} x i32> zeroinitializer"


def _source() -> str:
    tiles = "\n".join(_tile(count) for count in range(1, _ACROSS + 1))
    return "\n".join([_DECLARED, tiles, _PACK, _TRIANGLE, _MIRROR, _GRAM])


def _tile(count: int) -> str:
    """Adds the products of one panel with `count` others to the sums.

    The panels hold `%rows` vectors each and are `%apart` doubles apart; rows of the sums `%side`.
    """
    places = [(j, v) for j in range(_WIDE) for v in range(count)]
    others = range(count)
    lines = [f"define internal void @tile{count}(ptr %one, ptr %others, i64 %rows, i64 %apart, "
             "ptr %sums, i64 %side) {", "start:"]  # fmt: skip
    for v in others:
        lines += [f"%skip{v} = mul i64 %apart, {v}",
                  f"%other{v} = getelementptr double, ptr %others, i64 %skip{v}"]  # fmt: skip
    lines += ["br label %row", "row:", "%i = phi i64 [0, %start], [%next, %row]"]
    lines += [
        f"%s{j}_{v} = phi {_VECTOR} [zeroinitializer, %start], [%t{j}_{v}, %row]" for j, v in places
    ]
    lines.append(f"%at = mul i64 %i, {_WIDE}")
    for v in others:
        lines += [f"%p{v} = getelementptr double, ptr %other{v}, i64 %at",
                  f"%b{v} = load {_VECTOR}, ptr %p{v}, align 64"]  # fmt: skip
    lines.append("%here = getelementptr double, ptr %one, i64 %at")
    for j in range(_WIDE):
        lines += [f"%q{j} = getelementptr double, ptr %here, i64 {j}",
                  f"%x{j} = load double, ptr %q{j}, align 8",
                  f"%e{j} = insertelement {_VECTOR} poison, double %x{j}, i32 0",
                  f"%a{j} = shufflevector {_VECTOR} %e{j}, {_VECTOR} poison, {_SPLAT}"]  # fmt: skip
    lines += [
        f"%t{j}_{v} = call {_VECTOR} @llvm.fma.v{_WIDE}f64({_VECTOR} %a{j}, {_VECTOR} %b{v}, "
        f"{_VECTOR} %s{j}_{v})"
        for j, v in places
    ]
    lines += ["%next = add i64 %i, 1", "%more = icmp slt i64 %next, %rows",
              "br i1 %more, label %row, label %done", "done:"]  # fmt: skip
    lines += [f"%line{j} = mul i64 %side, {j}" for j in range(_WIDE)]
    for j, v in places:
        k = f"{j}_{v}"
        lines += [f"%o{k} = add i64 %line{j}, {_WIDE * v}",
                  f"%c{k} = getelementptr double, ptr %sums, i64 %o{k}",
                  f"%d{k} = load {_VECTOR}, ptr %c{k}, align 64",
                  f"%f{k} = fadd {_VECTOR} %d{k}, %t{k}",
                  f"store {_VECTOR} %f{k}, ptr %c{k}, align 64"]  # fmt: skip
    return "\n".join([*lines, "ret void", "}"])


_DECLARED = f"""
declare {_VECTOR} @llvm.fma.v{_WIDE}f64({_VECTOR}, {_VECTOR}, {_VECTOR})
declare double @llvm.sqrt.f64(double)
declare {_VECTOR} @llvm.masked.load.v{_WIDE}f64.p0(ptr, i32, <{_WIDE} x i1>, {_VECTOR})
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

# √W X of %rows rows into panels, the last of which is filled up with zeros.
_PACK = f"""
define internal void @pack(ptr %X, i64 %rows, i64 %p, i64 %step, ptr %W, i64 %wstep, ptr %panels,
                           i64 %apart) {{
start:
  %whole = sdiv i64 %p, {_WIDE}
  %rest = srem i64 %p, {_WIDE}
  %r0 = insertelement <{_WIDE} x i64> poison, i64 %rest, i32 0
  %r = shufflevector <{_WIDE} x i64> %r0, <{_WIDE} x i64> poison, {_SPLAT}
  %there = icmp slt <{_WIDE} x i64> <{", ".join(f"i64 {k}" for k in range(_WIDE))}>, %r
  %wide = icmp sgt i64 %whole, 0
  %ragged = icmp sgt i64 %rest, 0
  br label %row
row:
  %i = phi i64 [0, %start], [%next, %rowdone]
  %wat = mul i64 %i, %wstep
  %pw = getelementptr double, ptr %W, i64 %wat
  %w = load double, ptr %pw, align 8
  %root = call double @llvm.sqrt.f64(double %w)
  %root0 = insertelement {_VECTOR} poison, double %root, i32 0
  %roots = shufflevector {_VECTOR} %root0, {_VECTOR} poison, {_SPLAT}
  %from = mul i64 %i, %step
  %x = getelementptr double, ptr %X, i64 %from
  %to = mul i64 %i, {_WIDE}
  %out = getelementptr double, ptr %panels, i64 %to
  br i1 %wide, label %panel, label %tail
panel:
  %c = phi i64 [0, %row], [%c1, %panel]
  %cx = mul i64 %c, {_WIDE}
  %px = getelementptr double, ptr %x, i64 %cx
  %v = load {_VECTOR}, ptr %px, align 8
  %u = fmul {_VECTOR} %v, %roots
  %co = mul i64 %c, %apart
  %po = getelementptr double, ptr %out, i64 %co
  store {_VECTOR} %u, ptr %po, align 64
  %c1 = add i64 %c, 1
  %cmore = icmp slt i64 %c1, %whole
  br i1 %cmore, label %panel, label %tail
tail:
  br i1 %ragged, label %last, label %rowdone
last:
  %lx = mul i64 %whole, {_WIDE}
  %plx = getelementptr double, ptr %x, i64 %lx
  %lv = call {_VECTOR} @llvm.masked.load.v{_WIDE}f64.p0(ptr %plx, i32 8, <{_WIDE} x i1> %there,
                                                       {_VECTOR} zeroinitializer)
  %lu = fmul {_VECTOR} %lv, %roots
  %kept = select <{_WIDE} x i1> %there, {_VECTOR} %lu, {_VECTOR} zeroinitializer
  %lo = mul i64 %whole, %apart
  %plo = getelementptr double, ptr %out, i64 %lo
  store {_VECTOR} %kept, ptr %plo, align 64
  br label %rowdone
rowdone:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %rows
  br i1 %more, label %row, label %done
done:
  ret void
}}
"""

# The products of every panel with itself and those after it.
_TRIANGLE = f"""
define internal void @triangle(ptr %panels, i64 %count, i64 %rows, i64 %apart, ptr %sums,
                               i64 %side) {{
start:
  br label %first
first:
  %j = phi i64 [0, %start], [%j1, %firstdone]
  %jat = mul i64 %j, %apart
  %one = getelementptr double, ptr %panels, i64 %jat
  %jline = mul i64 %j, {_WIDE}
  %line = mul i64 %jline, %side
  br label %second
second:
  %k = phi i64 [%j, %first], [%k1, %seconddone]
  %kat = mul i64 %k, %apart
  %others = getelementptr double, ptr %panels, i64 %kat
  %kline = mul i64 %k, {_WIDE}
  %at = add i64 %line, %kline
  %to = getelementptr double, ptr %sums, i64 %at
  %left = sub i64 %count, %k
  switch i64 %left, label %three [i64 1, label %one_left
                                  i64 2, label %two_left]
one_left:
  call void @tile1(ptr %one, ptr %others, i64 %rows, i64 %apart, ptr %to, i64 %side)
  br label %seconddone
two_left:
  call void @tile2(ptr %one, ptr %others, i64 %rows, i64 %apart, ptr %to, i64 %side)
  br label %seconddone
three:
  call void @tile3(ptr %one, ptr %others, i64 %rows, i64 %apart, ptr %to, i64 %side)
  br label %seconddone
seconddone:
  %k1 = add i64 %k, {_ACROSS}
  %kmore = icmp slt i64 %k1, %count
  br i1 %kmore, label %second, label %firstdone
firstdone:
  %j1 = add i64 %j, 1
  %jmore = icmp slt i64 %j1, %count
  br i1 %jmore, label %first, label %done
done:
  ret void
}}
"""

# The lower triangle from the upper one.
_MIRROR = """
define internal void @mirror(ptr %sums, i64 %side) {
start:
  br label %row
row:
  %i = phi i64 [0, %start], [%i1, %rowdone]
  %from = mul i64 %i, %side
  %upper = getelementptr double, ptr %sums, i64 %from
  %lower = getelementptr double, ptr %sums, i64 %i
  %i1 = add i64 %i, 1
  %any = icmp slt i64 %i1, %side
  br i1 %any, label %one, label %done
one:
  %j = phi i64 [%i1, %row], [%j1, %one]
  %pu = getelementptr double, ptr %upper, i64 %j
  %value = load double, ptr %pu, align 8
  %jat = mul i64 %j, %side
  %pl = getelementptr double, ptr %lower, i64 %jat
  store double %value, ptr %pl, align 8
  %j1 = add i64 %j, 1
  %more = icmp slt i64 %j1, %side
  br i1 %more, label %one, label %rowdone
rowdone:
  br label %row
done:
  ret void
}
"""

_GRAM = f"""
define void @gram(ptr %X, i64 %n, i64 %p, i64 %step, ptr %W, i64 %wstep, ptr %panels, i64 %count,
                  ptr %sums, i64 %side) {{
start:
  %square = mul i64 %side, %side
  %bytes = mul i64 %square, 8
  call void @llvm.memset.p0.i64(ptr %sums, i8 0, i64 %bytes, i1 false)
  br label %some
some:
  %i = phi i64 [0, %start], [%i1, %some]
  %left = sub i64 %n, %i
  %few = icmp slt i64 %left, {_ROWS}
  %rows = select i1 %few, i64 %left, i64 {_ROWS}
  %from = mul i64 %i, %step
  %x = getelementptr double, ptr %X, i64 %from
  %wat = mul i64 %i, %wstep
  %w = getelementptr double, ptr %W, i64 %wat
  call void @pack(ptr %x, i64 %rows, i64 %p, i64 %step, ptr %w, i64 %wstep, ptr %panels,
                  i64 {_ROWS * _WIDE})
  call void @triangle(ptr %panels, i64 %count, i64 %rows, i64 {_ROWS * _WIDE}, ptr %sums, i64 %side)
  %i1 = add i64 %i, {_ROWS}
  %more = icmp slt i64 %i1, %n
  br i1 %more, label %some, label %done
done:
  call void @mirror(ptr %sums, i64 %side)
  ret void
}}
"""
