"""The function that adds up the rows of a block, in the language of LLVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache

from expfam_glm.kernels.machine import gram as products
from expfam_glm.kernels.machine.code import WIDTH, Code, constant
from expfam_glm.kernels.machine.gram import ROWS
from expfam_glm.kernels.machine.load import function
from expfam_glm.kernels.machine.rows import outputs_of

# What the functions are given: one array of whole numbers, addresses among them.
ARGUMENTS = (
    "X", "n", "p", "step", "beta", "y", "offset", "prior", "outer", "further", "work", "found",
    "score", "panels", "count", "products", "side",
)  # fmt: skip
# Vectors of predictors that are summed side by side where X lies by columns.
_DOWN = 4
# Panels whose scores are kept in registers, for two rows at a time.
_ACROSS = 3
GROUP = WIDTH * _ACROSS
# Doubles of X that are fetched ahead of their use: rows in groups of eight look like no stream.
_AHEAD = 1 << 11
_INFINITE = float("inf")


@dataclass(frozen=True)
class Wanted:
    """What is to be summed, by the places of the outputs of a function of rows.

    Each sum is weighted by the outer weights.
    """

    score: int  # u, of Xᵀu
    weight: int | None = None  # W, of XᵀWX
    totals: tuple[int, ...] = ()
    magnitudes: tuple[int, ...] = ()  # totals of absolute values, after those
    squares: bool = False  # Σ u²/W where W > 0, after those
    extremes: tuple[int, ...] = ()  # of each row, unweighted


def counts(wanted: Wanted) -> tuple[int, int]:
    """How many totals there are, and how many smallest and largest values."""
    totals = len(wanted.totals) + len(wanted.magnitudes) + wanted.squares
    return totals, 1 + len(wanted.extremes)


@cache
def gram_text(by_columns: bool) -> str:
    """The text of the function `gram`, whose `prior` are the roots of W."""
    code = _begun()
    _cleared(code)
    with _some_rows(code, by_columns) as (start, rows, X):
        _add_products(code, X, rows, code.at("%prior", start))
    code.do("call void @mirror(ptr %products, i64 %side)")
    return "\n".join(
        [products.functions(by_columns), code.text("gram", ["ptr %given"], public=True)]
    )


@lru_cache(maxsize=256)
def compiled(
    source: str,
    wanted: Wanted,
    further: int,
    by_columns: bool,
    offset: bool,
    prior: bool,
    outer: bool,
) -> Callable[[int], None]:
    """The function of a block.

    Parameters
    ----------
    source : str
        The function of (η, y, r, *further) of a row, as `Program` has it.
    wanted : Wanted
    further : int
        How many further arguments it has.
    by_columns : bool
        Whether the doubles of each column of X lie side by side, not those of each row.
    offset, prior, outer : bool
        Whether there is an offset, r other than 1, and weights of the sums.
    """
    code = _begun()
    informed = wanted.weight is not None
    if informed:
        _cleared(code)
    totals, ends = counts(wanted)
    beginning = [constant(0.0)] * totals
    beginning += [constant(_INFINITE)] * ends + [constant(-_INFINITE)] * ends
    with _some_rows(code, by_columns) as (start, rows, X):
        last = code(f"sub i64 {rows}, 1")
        y = code.at("%y", start)
        columns = {
            name: code.at(f"%{name}", start)
            for name, given in (("offset", offset), ("prior", prior), ("outer", outer))
            if given
        }
        if by_columns:
            _predictors_by_columns(code, X, rows)
        with code.loop(rows, step=WIDTH, carried=beginning) as eight:
            i = eight.counter
            there = code.first(code(f"sub i64 {rows}, {i}"))
            here = {name: code.some(code.at(v, i), there) for name, v in columns.items()}
            if by_columns:
                eta = code.load(code.at(code.at("%work", 2 * ROWS), i))
            else:
                eta = _predictors(code, X, [code.next(i, k, last) for k in range(WIDTH)])
            if offset:
                eta = code.two("fadd", eta, here["offset"])
            inputs = [eta, code.some(code.at(y, i), there), here.get("prior", constant(1.0))]
            inputs += [code.spread(code.at("%further", k)) for k in range(further)]
            outputs = outputs_of(source, code, inputs)
            to_sum, both = _row_values(code, wanted, outputs)
            if outer:
                to_sum = [code.two("fmul", v, here["outer"]) for v in to_sum]
            zero = constant(0.0)
            u, *weights = [code.select(there, v, zero) for v in to_sum[: 1 + informed]]
            code.store(u, code.at("%work", i))
            for W in weights:
                code.store(code.call("sqrt", W), code.at(code.at("%work", ROWS), i))
            added = [code.select(there, v, zero) for v in to_sum[1 + informed :]]
            eight.next = [
                *(code.two("fadd", s, v) for s, v in zip(eight.carried, added, strict=False)),
                *_ends(code, "minimum", eight.carried[totals:], [eta, *both], there, _INFINITE),
                *_ends(
                    code, "maximum", eight.carried[totals + ends :], [eta, *both], there, -_INFINITE
                ),
            ]
        joined = [*[None] * totals, *["minimum"] * ends, *["maximum"] * ends]
        for k, (value, how) in enumerate(zip(eight.next, joined, strict=True)):
            place = code.at("%found", WIDTH * k)
            before = code.load(place)
            after = code.call(how, before, value) if how else code.two("fadd", before, value)
            code.store(after, place)
        if by_columns:
            _add_score_by_columns(code, X, rows)
        else:
            _add_score(code, X, rows, last)
        if informed:
            _add_products(code, X, rows, code.at("%work", ROWS))
    if informed:
        code.do("call void @mirror(ptr %products, i64 %side)")
    own = code.text("sums", ["ptr %given"], public=True)
    return function("\n".join([products.functions(by_columns), own]) if informed else own, "sums")


def _begun() -> Code:
    """A function that has read what it is given."""
    code = Code()
    numbers = {"n", "p", "step", "count", "side"}
    for k, name in enumerate(ARGUMENTS):
        kind = "i64" if name in numbers else "ptr"
        code.do(f"%{name} = load {kind}, ptr {code.at('%given', k)}, align 8")
    return code


def _cleared(code: Code) -> None:
    bytes_ = code.times(code.times("%side", "%side"), 8)
    code.do(f"call void @llvm.memset.p0.i64(ptr %products, i8 0, i64 {bytes_}, i1 false)")


@contextmanager
def _some_rows(code: Code, by_columns: bool) -> Iterator[tuple[str, str, str]]:
    """A loop over rows that stay in cache: the first, how many, and their X."""
    with code.loop("%n", step=ROWS) as some:
        left = code(f"sub i64 %n, {some.counter}")
        few = code(f"icmp slt i64 {left}, {ROWS}")
        rows = code(f"select i1 {few}, i64 {left}, i64 {ROWS}")
        skipped = some.counter if by_columns else code.times(some.counter, "%step")
        yield some.counter, rows, code.at("%X", skipped)


def _predictors(code: Code, X: str, rows: Sequence[str]) -> str:
    """Xβ of eight rows."""
    lines = [code.at(X, code.times(row, "%step")) for row in rows]
    with code.loop("%p", step=WIDTH, carried=[constant(0.0)] * WIDTH) as column:
        c = column.counter
        there = code.first(code(f"sub i64 %p, {c}"))
        beta = code.load(code.at("%beta", c))
        for line in lines:
            code.fetch(code.at(code.at(line, c), _AHEAD))
        column.next = [
            code.fma(code.some(code.at(line, c), there), beta, total)
            for line, total in zip(lines, column.carried, strict=True)
        ]
    return code.sums(column.next)


def _predictors_by_columns(code: Code, X: str, rows: str) -> None:
    """Xβ of all the rows, for later."""
    with code.loop(rows, step=_DOWN * WIDTH) as group:
        i = group.counter
        left = code(f"sub i64 {rows}, {i}")
        masks = [code.first(code(f"sub i64 {left}, {WIDTH * v}")) for v in range(_DOWN)]
        with code.loop("%p", carried=[constant(0.0)] * _DOWN) as column:
            line = code.at(code.at(X, i), code.times(column.counter, "%step"))
            beta = code.spread(code.at("%beta", column.counter))
            for v, (mask, total) in enumerate(zip(masks, column.carried, strict=True)):
                x = code.at(line, WIDTH * v)
                code.fetch(code.at(x, 2 * ROWS))
                column.next.append(code.fma(code.some(x, mask), beta, total))
        to = code.at(code.at("%work", 2 * ROWS), i)
        for v, eta in enumerate(column.next):
            code.store(eta, code.at(to, WIDTH * v))


def _row_values(code: Code, wanted: Wanted, outputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is summed: u, W if wanted, the totals; and that of which the extremes are wanted."""
    u = outputs[wanted.score]
    values = [u]
    if wanted.weight is not None:
        values.append(outputs[wanted.weight])
    values += [outputs[k] for k in wanted.totals]
    values += [code.call("fabs", outputs[k]) for k in wanted.magnitudes]
    if wanted.squares:
        assert wanted.weight is not None
        W = outputs[wanted.weight]
        square = code.two("fdiv", code.two("fmul", u, u), W)
        positive = code.compare("ogt", W, constant(0.0))
        values.append(code.select(positive, square, constant(0.0)))
    return values, [outputs[k] for k in wanted.extremes]


def _ends(
    code: Code, how: str, before: Sequence[str], values: Sequence[str], there: str, none: float
) -> list[str]:
    return [
        code.call(how, end, code.select(there, value, constant(none)))
        for end, value in zip(before, values, strict=False)
    ]


def _add_score(code: Code, X: str, rows: str, last: str) -> None:
    """Xᵀu, two rows at a time."""
    with code.loop("%p", step=GROUP) as group:
        places = [code(f"add i64 {group.counter}, {WIDTH * v}") for v in range(_ACROSS)]
        masks = [code.first(code(f"sub i64 %p, {place}")) for place in places]
        with code.loop(rows, step=2, carried=[constant(0.0)] * (2 * _ACROSS)) as pair:
            i = pair.counter
            for k, row in enumerate((i, code.next(i, 1, last))):
                u = code.spread(code.at(code.at("%work", i), k))
                line = code.at(X, code.times(row, "%step"))
                pair.next += [
                    code.fma(u, code.some(code.at(line, place), mask), total)
                    for place, mask, total in zip(
                        places, masks, pair.carried[k * _ACROSS : (k + 1) * _ACROSS], strict=True
                    )
                ]
        for v, place in enumerate(places):
            to = code.at("%score", place)
            total = code.two("fadd", pair.next[v], pair.next[_ACROSS + v])
            code.store(code.two("fadd", code.load(to), total), to)


def _add_score_by_columns(code: Code, X: str, rows: str) -> None:
    """Xᵀu, eight columns at a time."""
    last = code("sub i64 %p, 1")
    with code.loop("%p", step=WIDTH) as group:
        lines = [
            code.at(X, code.times(code.next(group.counter, k, last), "%step")) for k in range(WIDTH)
        ]
        with code.loop(rows, step=WIDTH, carried=[constant(0.0)] * WIDTH) as eight:
            i = eight.counter
            there = code.first(code(f"sub i64 {rows}, {i}"))
            u = code.load(code.at("%work", i))
            eight.next = [
                code.fma(u, code.some(code.at(line, i), there), total)
                for line, total in zip(lines, eight.carried, strict=True)
            ]
        to = code.at("%score", group.counter)
        code.store(code.two("fadd", code.load(to), code.sums(eight.next)), to)


def _add_products(code: Code, X: str, rows: str, roots: str) -> None:
    """XᵀWX, of the roots of W; its upper triangle."""
    code.do(f"call void @pack(ptr {X}, i64 {rows}, i64 %p, i64 %step, ptr {roots}, ptr %panels)")
    code.do(f"call void @triangle(ptr %panels, i64 %count, i64 {rows}, ptr %products, i64 %side)")
