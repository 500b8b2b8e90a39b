"""Scalar functions as PyTensor graphs: traced once, compared and pickled by their graph.

PyTensor itself is loaded when a graph is first needed: the digest and the NumPy function of a
built-in declaration are remembered without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.spec.memory import Home, remembered
from expfam_glm.spec.program import Function, Program, recalled

if TYPE_CHECKING:
    from pytensor.graph.basic import Variable


def is_symbolic(*values: Any) -> bool:
    """Whether one of the values is a symbol; without PyTensor loaded there is none."""
    loaded = sys.modules.get("pytensor.graph.basic")
    kind = getattr(loaded, "Variable", ())
    return any(isinstance(v, kind) for v in values)


class Expression:
    """A scalar function of named arguments, kept as a graph.

    Called with symbolic arguments it gives a graph, with numbers or arrays it gives numbers.
    Two expressions are equal when their graphs are.
    """

    __slots__ = ("_digest", "_functions", "_graph", "_make", "home", "names")

    names: tuple[str, ...]
    home: Home | None  # where its digest and its NumPy functions are remembered
    _graph: tuple[tuple[Variable, ...], Variable] | None
    _make: Callable[[], Expression] | None
    _digest: str | None
    _functions: dict[int, Function]

    def __init__(self, variables: Sequence[Variable], output: Variable) -> None:
        self.names = tuple(str(v.name) for v in variables)
        self.home, self._make = None, None
        self._graph = tuple(variables), output
        self._digest, self._functions = None, {}

    @classmethod
    def late(
        cls, names: Sequence[str], make: Callable[[], Expression], home: Home | None
    ) -> Expression:
        """An expression made when its graph is first needed; at once if it has no home."""
        if home is None:
            return make()
        new = cls.__new__(cls)
        new.names, new.home = tuple(names), home
        new._graph, new._make = None, make
        new._digest, new._functions = None, {}
        return new

    @classmethod
    def trace(
        cls,
        function: Callable[..., Any] | Expression,
        arguments: Sequence[str],
        shapes: Sequence[str],
        where: str,
        home: Home | None = None,
    ) -> Expression:
        """Call `function` once on symbols and keep the graph that it returns."""
        if isinstance(function, Expression):
            return function

        def make() -> Expression:
            from expfam_glm.spec.trace import traced

            return traced(function, arguments, shapes, where)

        return cls.late((*arguments, *shapes), make, home)

    def _traced(self) -> tuple[tuple[Variable, ...], Variable]:
        if self._graph is None:
            assert self._make is not None
            made = self._make()
            self._graph = made.variables, made.output
        return self._graph

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The symbols of its arguments."""
        return self._traced()[0]

    @property
    def output(self) -> Variable:
        """Its graph."""
        return self._traced()[1]

    @property
    def digest(self) -> str:
        """SHA-256 of the structure of its graph."""
        if self._digest is None:

            def make() -> str:
                from expfam_glm.spec.graph import digest_of

                return digest_of(self.variables, [self.output])

            self._digest = remembered(self.home, "digest", make)
        return self._digest

    @property
    def is_identity(self) -> bool:
        """Whether it is its own first argument."""
        return remembered(self.home, "identity", lambda: self.output is self.variables[0])

    def function(self, rows: int = 0) -> Function:
        """The NumPy function of its arguments, the first `rows` of which are as long as a block."""
        if rows not in self._functions:

            def write() -> Program:
                from expfam_glm.spec.lower import written

                return written(self.variables, [self.output], self.variables[:rows])

            self._functions[rows] = recalled(self.home, f"function, {rows} rows", write)
        return self._functions[rows]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords or len(args) != len(self.names):
            args = tuple(self._ordered(args, keywords))
        if is_symbolic(*args):
            return self._graph_at(args)
        arrays = [np.asarray(v, dtype=float) for v in args]
        (result,) = self.function()(*arrays)
        shape = arrays[0].shape if len(arrays) == 1 else np.broadcast(*arrays).shape
        return np.array(np.broadcast_to(result, shape)) if shape else float(result)

    def _graph_at(self, args: Sequence[Any]) -> Any:
        from expfam_glm.spec.graph import as_symbol, substitute

        return substitute(self.output, dict(zip(self.variables, map(as_symbol, args), strict=True)))

    def _ordered(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The values of all arguments, in their order."""
        values = dict(zip(self.names, args, strict=False)) | dict(keywords)
        unknown = [name for name in keywords if name not in self.names]
        if unknown:
            raise ArgumentError(
                f"{', '.join(unknown)} is no argument here; there are {', '.join(self.names)}."
            )
        missing = [name for name in self.names if name not in values]
        if missing:
            raise DeclarationError(f"a value is needed for {', '.join(missing)}.")
        return [values[name] for name in self.names]

    def derivative(self, name: str) -> Expression:
        """The partial derivative by one argument."""

        def make() -> Expression:
            from expfam_glm.spec.graph import derivative

            variables = self.variables
            return Expression(variables, derivative(self.output, variables[self.names.index(name)]))

        return Expression.late(self.names, make, self.home and self.home.part(f"by {name}"))

    def fix(self, **values: float) -> Expression:
        """The same function with some arguments replaced by constants."""
        import pytensor.tensor as pt

        from expfam_glm.spec.graph import substitute

        constants = {
            v: pt.constant(np.float64(values[str(v.name)]))
            for v in self.variables
            if v.name in values
        }
        kept = [v for v in self.variables if v not in constants]
        return Expression(kept, substitute(self.output, constants))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.variables, self.output)

    def __repr__(self) -> str:
        return f"<function of ({', '.join(self.names)}), graph {self.digest[:8]}>"
