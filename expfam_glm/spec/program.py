"""NumPy functions as text: what a graph is lowered to, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expfam_glm.spec.memory import Home

Function = Any  # what `Program.load` returns


@dataclass(frozen=True)
class Program:
    """The source of a NumPy function `lowered`.

    Parameters
    ----------
    source : str
    buffers : int
        How many arrays it can be lent.
    solvers : mapping of str to callable
        What it calls beside NumPy and `scipy.special`.
    """

    source: str
    buffers: int
    solvers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def load(self) -> Function:
        """The function, silent about NaN and infinity.

        Returns
        -------
        callable
            Takes arrays (or numbers) and returns a tuple of them. Its attribute `buffers` says how
            many arrays of the common length it can be lent as `out=`; it then writes everything
            there, results included, and these last until the next call. On fresh memory the same
            calls can take several times longer. Its attribute `bare` is the same function with
            these arrays as further arguments, for callers that silence NumPy themselves; `source`
            is the text.
        """
        scope: dict[str, Any] = {"np": np, **self.solvers}
        if "special." in self.source:
            from scipy import special

            scope["special"] = special
        exec(compile(self.source, "<lowered graph>", "exec"), scope)
        function = scope["lowered"]
        fresh = (None,) * self.buffers

        def quiet(*arrays: Any, out: Sequence[np.ndarray] | None = None) -> tuple[Any, ...]:
            with np.errstate(all="ignore"):
                return function(*arrays, *(out or fresh))

        quiet.buffers, quiet.bare = self.buffers, function  # type: ignore[attr-defined]
        quiet.source = self.source  # type: ignore[attr-defined]
        return quiet


def recalled(home: Home | None, fact: str, write: Callable[[], Program]) -> Function:
    """The function that a home remembers under a name, or else one that is written now.

    One that calls solvers is not remembered: they are no text.
    """
    kept = None if home is None else home.recall(fact)
    if kept is not None:
        return Program(*kept).load()
    program = write()
    if home is not None and not program.solvers:
        home.keep(fact, [program.source, program.buffers])
    return program.load()
