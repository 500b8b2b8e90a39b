"""XᵀWX of some rows: panels of √W X that stay in cache, and tiles of products in registers.

The scheme is that of Goto and van de Geijn (ACM Trans. Math. Softw. 34, 2008).
"""

from __future__ import annotations

from expfam_glm.kernels.machine.code import WIDTH, Code, constant

# Panels side by side in a tile: 8 × 24 products take 24 of the 32 registers.
ACROSS = 3
# Rows that are packed at once.
ROWS = 128
_APART = ROWS * WIDTH  # doubles from one panel to the next
_PACKING = ["ptr %X", "i64 %rows", "i64 %p", "i64 %step", "ptr %roots", "ptr %panels"]


def functions(by_columns: bool) -> str:
    """The functions that `block.py` calls, for an X that lies in memory by rows or by columns."""
    tiles = [_tile(count) for count in range(1, ACROSS + 1)]
    pack = _pack_columns() if by_columns else _pack()
    return "\n".join([*tiles, pack, _triangle(), _mirror()])


def _tile(count: int) -> str:
    """Adds the products of one panel with `count` others to the sums."""
    code = Code()
    zero = [constant(0.0)] * (WIDTH * count)
    with code.loop("%rows", carried=zero) as row:
        here = code.times(row.counter, WIDTH)
        others = [code.load(code.at(code.at("%others", v * _APART), here)) for v in range(count)]
        own = code.at("%one", here)
        for j in range(WIDTH):
            value = code.spread(code.at(own, j))
            row.next += [
                code.fma(value, other, row.carried[j * count + v]) for v, other in enumerate(others)
            ]
    for j in range(WIDTH):
        line = code.at("%sums", code.times("%side", j))
        for v in range(count):
            place = code.at(line, WIDTH * v)
            code.store(code.two("fadd", code.load(place), row.next[j * count + v]), place)
    return code.text(f"tile{count}", ["ptr %one", "ptr %others", "i64 %rows", "ptr %sums",
                                      "i64 %side"])  # fmt: skip


def _pack() -> str:
    """√W X into panels, the last of which is filled up with zeros."""
    code = Code()
    with code.loop("%rows") as row:
        root = code.spread(code.at("%roots", row.counter))
        x = code.at("%X", code.times(row.counter, "%step"))
        out = code.at("%panels", code.times(row.counter, WIDTH))
        with code.loop("%p", step=WIDTH) as column:
            there = code.first(code(f"sub i64 %p, {column.counter}"))
            values = code.some(code.at(x, column.counter), there)
            panel = code.at(out, code.times(column.counter, ROWS))
            code.store(code.two("fmul", values, root), panel)
    return code.text("pack", _PACKING)


def _pack_columns() -> str:
    """The same, eight rows and columns at a time."""
    code = Code()
    last = code("sub i64 %p, 1")
    with code.loop("%rows", step=WIDTH) as row:
        i = row.counter
        there = code.first(code(f"sub i64 %rows, {i}"))
        roots = code.some(code.at("%roots", i), there)
        out = code.at("%panels", code.times(i, WIDTH))
        with code.loop("%p", step=WIDTH) as column:
            weighted = []
            for k in range(WIDTH):
                x = code.at(
                    code.at("%X", i), code.times(code.next(column.counter, k, last), "%step")
                )
                weighted.append(code.two("fmul", code.some(x, there), roots))
            kept = code.first(code(f"sub i64 %p, {column.counter}"))
            panel = code.at(out, code.times(column.counter, ROWS))
            for k, values in enumerate(code.turned(weighted)):
                whole = code.select(kept, values, constant(0.0))
                code.store(whole, code.at(panel, WIDTH * k))
    return code.text("pack", _PACKING)


def _triangle() -> str:
    """The products of every panel with itself and those after it."""
    code = Code()
    with code.loop("%count") as first:
        one = code.at("%panels", code.times(first.counter, _APART))
        line = code.times(code.times(first.counter, WIDTH), "%side")
        with code.loop("%count", start=first.counter, step=ACROSS) as second:
            others = code.at("%panels", code.times(second.counter, _APART))
            to = code.at("%sums", code(f"add i64 {line}, {code.times(second.counter, WIDTH)}"))
            left = code(f"sub i64 %count, {second.counter}")
            arguments = f"(ptr {one}, ptr {others}, i64 %rows, ptr {to}, i64 %side)"
            calls = {k: f"call void @tile{k}{arguments}" for k in range(1, ACROSS + 1)}
            code.choose(left, calls)
    return code.text("triangle", ["ptr %panels", "i64 %count", "i64 %rows", "ptr %sums",
                                  "i64 %side"])  # fmt: skip


def _mirror() -> str:
    """The lower triangle from the upper one."""
    code = Code()
    last = code("sub i64 %side, 1")
    with code.loop(last) as row:
        upper = code.at("%sums", code.times(row.counter, "%side"))
        lower = code.at("%sums", row.counter)
        with code.loop("%side", start=code(f"add i64 {row.counter}, 1")) as column:
            value = code(f"load double, ptr {code.at(upper, column.counter)}, align 8")
            to = code.at(lower, code.times(column.counter, "%side"))
            code.do(f"store double {value}, ptr {to}, align 8")
    return code.text("mirror", ["ptr %sums", "i64 %side"])
