"""Text in the language of LLVM: instructions with fresh names, and loops."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

WIDTH = 8  # doubles of a vector
VECTOR = f"<{WIDTH} x double>"
MASK = f"<{WIDTH} x i1>"
WHOLE = f"<{WIDTH} x i64>"
_LANES = ", ".join(f"i64 {k}" for k in range(WIDTH))

# Shuffles of pairs of vectors: neighbours, then pairs, then halves, come side by side; and where
# the first, second, ... places then are.
_NETWORK = (
    ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
_PLACES = (0, 4, 2, 6, 1, 5, 3, 7)


def number(value: float) -> str:
    """A double, to the last bit."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def constant(value: float) -> str:
    """A vector of one value."""
    return f"splat (double {number(value)})"


@dataclass
class Loop:
    """A loop that is being written: its counter and the values that it hands on."""

    counter: str
    carried: list[str]
    next: list[str] = field(default_factory=list)  # what they become, and are after the loop


class Code:
    """The body of a function, instruction by instruction."""

    def __init__(self) -> None:
        self.lines: list[str] = ["start:"]
        self.block = "start"
        self._count = 0

    def __call__(self, text: str) -> str:
        """An instruction; the name of its result."""
        name = f"%v{self._fresh()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def text(self, name: str, arguments: Sequence[str], *, public: bool = False) -> str:
        """The function as a whole."""
        kind = "" if public else "internal "
        head = f"define {kind}void @{name}({', '.join(arguments)}) {{"
        return "\n".join([head, *self.lines, "  ret void", "}"])

    # ---- numbers and vectors ----------------------------------------------------------------

    def at(self, pointer: str, index: str | int) -> str:
        """Where the double with this index lies."""
        return self(f"getelementptr double, ptr {pointer}, i64 {index}")

    def times(self, a: str, b: str | int) -> str:
        """The product of two whole numbers."""
        return self(f"mul i64 {a}, {b}")

    def next(self, index: str, further: int, last: str) -> str:
        """An index some places on, but not beyond the last."""
        if further == 0:
            return index
        later = self(f"add i64 {index}, {further}")
        beyond = self(f"icmp sgt i64 {later}, {last}")
        return self(f"select i1 {beyond}, i64 {last}, i64 {later}")

    def load(self, pointer: str) -> str:
        """Eight doubles."""
        return self(f"load {VECTOR}, ptr {pointer}, align 8")

    def some(self, pointer: str, mask: str) -> str:
        """Those of eight doubles that are there, and zeros."""
        return self(
            f"call {VECTOR} @llvm.masked.load.v{WIDTH}f64.p0(ptr {pointer}, i32 8, {MASK} {mask}, "
            f"{VECTOR} zeroinitializer)"
        )

    def fetch(self, pointer: str) -> None:
        """Bring what lies there near, if it exists."""
        self.do(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 2, i32 1)")

    def store(self, vector: str, pointer: str) -> None:
        """Write eight doubles."""
        self.do(f"store {VECTOR} {vector}, ptr {pointer}, align 8")

    def spread(self, pointer: str) -> str:
        """One double in every place of a vector."""
        return self._spread(self(f"load double, ptr {pointer}, align 8"), "double", VECTOR)

    def first(self, count: str) -> str:
        """The mask of the first places."""
        return self(f"icmp slt {WHOLE} <{_LANES}>, {self._spread(count, 'i64', WHOLE)}")

    def _spread(self, value: str, kind: str, vector: str) -> str:
        alone = self(f"insertelement {vector} poison, {kind} {value}, i32 0")
        return self(
            f"shufflevector {vector} {alone}, {vector} poison, <{WIDTH} x i32> zeroinitializer"
        )

    def two(self, operation: str, a: str, b: str) -> str:
        """An operation on two vectors."""
        return self(f"{operation} {VECTOR} {a}, {b}")

    def call(self, function: str, *vectors: str) -> str:
        """One of LLVM's functions of vectors."""
        arguments = ", ".join(f"{VECTOR} {v}" for v in vectors)
        return self(f"call {VECTOR} @llvm.{function}.v{WIDTH}f64({arguments})")

    def fma(self, a: str, b: str, c: str) -> str:
        """ab + c, rounded once."""
        return self.call("fma", a, b, c)

    def select(self, mask: str, a: str, b: str) -> str:
        """a where the mask holds, else b."""
        return self(f"select {MASK} {mask}, {VECTOR} {a}, {VECTOR} {b}")

    def shuffle(self, a: str, b: str, places: Sequence[int]) -> str:
        """Some of the sixteen doubles of two vectors."""
        chosen = ", ".join(f"i32 {place}" for place in places)
        return self(f"shufflevector {VECTOR} {a}, {VECTOR} {b}, <{WIDTH} x i32> <{chosen}>")

    def sums(self, vectors: Sequence[str]) -> str:
        """The sums over the places of each of eight vectors."""
        for low, high in _NETWORK:
            vectors = [
                self.two("fadd", self.shuffle(a, b, low), self.shuffle(a, b, high))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]

    def turned(self, vectors: Sequence[str]) -> list[str]:
        """The eight vectors of the first, second, ... places of eight vectors."""
        groups = [list(vectors)]
        for low, high in _NETWORK:
            groups = [
                [self.shuffle(a, b, half) for a, b in zip(group[::2], group[1::2], strict=True)]
                for group in groups
                for half in (low, high)
            ]
        return [groups[k][0] for k in _PLACES]

    def compare(self, how: str, a: str, b: str) -> str:
        """The mask of a comparison."""
        return self(f"fcmp {how} {VECTOR} {a}, {b}")

    # ---- flow ---------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, until: str | int, *, start: str | int = 0, step: int = 1, carried: Sequence[str] = ()
    ) -> Iterator[Loop]:
        """From `start` in steps while below `until`, once at least; `carried` vectors go along."""
        before, body, done = self.block, self._label(), self._label()
        self.do(f"br label %{body}")
        self._begin(body)
        place = len(self.lines)
        names = [f"%v{self._fresh()}" for _ in range(1 + len(carried))]
        self.lines += names  # written when it is known where the loop ends
        loop = Loop(names[0], names[1:])
        yield loop
        following = self(f"add i64 {loop.counter}, {step}")
        more = self(f"icmp slt i64 {following}, {until}")
        latch = self.block
        self.do(f"br i1 {more}, label %{body}, label %{done}")
        kinds = ["i64", *[VECTOR] * len(carried)]
        entries = zip(names, kinds, [str(start), *carried], [following, *loop.next], strict=True)
        for k, (name, kind, first, later) in enumerate(entries):
            self.lines[place + k] = (
                f"  {name} = phi {kind} [{first}, %{before}], [{later}, %{latch}]"
            )
        self._begin(done)

    def choose(self, value: str, calls: Mapping[int, str]) -> None:
        """The call for a whole number; for one that is not among them, the last."""
        labels, done = {key: self._label() for key in calls}, self._label()
        *_, last = labels.values()
        cases = " ".join(f"i64 {key}, label %{label}" for key, label in labels.items())
        self.do(f"switch i64 {value}, label %{last} [{cases}]")
        for key, call in calls.items():
            self._begin(labels[key])
            self.do(call)
            self.do(f"br label %{done}")
        self._begin(done)

    def _label(self) -> str:
        return f"b{self._fresh()}"

    def _begin(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def _fresh(self) -> int:
        self._count += 1
        return self._count


DECLARED = "\n".join(
    [
        *(
            f"declare {VECTOR} @llvm.{name}.v{WIDTH}f64({', '.join([VECTOR] * count)})"
            for name, count in {
                "fma": 3, "sqrt": 1, "fabs": 1, "rint": 1, "maximum": 2, "minimum": 2,
            }.items()
        ),
        f"declare {VECTOR} @llvm.masked.load.v{WIDTH}f64.p0(ptr, i32, {MASK}, {VECTOR})",
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        *(
            f"declare {VECTOR} @llvm.x86.avx512.mask.{name}.pd.512({VECTOR}, {further}i8, i32)"
            for name, further in {
                "scalef": f"{VECTOR}, {VECTOR}, ", "getexp": f"{VECTOR}, ",
                "getmant": f"i32, {VECTOR}, ",
            }.items()
        ),
    ]
)  # fmt: skip
