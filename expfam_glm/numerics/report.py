"""What a check of a declaration has found: a value that reads as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from expfam_glm.errors import ArgumentError

Status = Literal["passed", "failed", "digits lost", "not applicable"]
_SYMBOLS = {"theta": "θ", "mu": "μ", "phi": "φ"}


@dataclass(frozen=True)
class Result:
    """One claim about a declaration and what became of it.

    Parameters
    ----------
    name : str
        A short name, the key in the report.
    claim : str
        What was to be shown.
    status : {"passed", "failed", "digits lost", "not applicable"}
    where : mapping of str to float
        The place where it fails or fits worst: theta, mu, y, phi, a, shape parameters.
    figures : mapping of str to float
        What was found there.
    advice : str
        What is wrong and what to do, or why the claim does not apply.
    part : str
        The part of the declaration that is wrong, as the argument of `Family` is called.
    """

    name: str
    claim: str
    status: Status
    where: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    advice: str = ""
    part: str = ""

    @property
    def place(self) -> str:
        """Where, as text."""
        return ", ".join(f"{_SYMBOLS.get(k, k)} = {v:.6g}" for k, v in self.where.items())

    @property
    def found(self) -> str:
        """The figures, as text."""
        return ", ".join(f"{k} {v:.6g}" for k, v in self.figures.items())


@dataclass(frozen=True)
class Report:
    """The results of `Family.check`, readable as text and as HTML.

    Parameters
    ----------
    family : str
        The name of the family.
    results : tuple of Result

    Examples
    --------
    >>> import expfam_glm as eg
    >>> report = eg.families.poisson.check()
    >>> report.ok, report["mass"].status
    (True, 'passed')
    """

    family: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing has failed; lost digits are no failure."""
        return all(result.status != "failed" for result in self.results)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the declaration that are wrong, as the arguments of `Family`."""
        failed = (r.part for r in self.results if r.status == "failed" and r.part)
        return tuple(dict.fromkeys(failed))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the results, in order."""
        return tuple(result.name for result in self.results)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        raise ArgumentError(f"no check is called {name!r}; there are {', '.join(self.names)}.")

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        if not self.ok:
            wrong = " and ".join(self.parts)
            return f"family {self.family!r} failed its check" + (
                f": {wrong} {'is' if len(self.parts) == 1 else 'are'} wrong" if wrong else ""
            )
        lost = [r for r in self.results if r.status == "digits lost"]
        return f"family {self.family!r} passed its check" + (
            ", with a loss of digits" if lost else ""
        )

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, a sentence for each fault, the most telling ones first."""
        order = {"failed": 0, "digits lost": 1, "not applicable": 2, "passed": 3}
        told = sorted(self.results, key=lambda result: order[result.status])
        return tuple(dict.fromkeys(r.advice for r in told if r.advice))

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.verdict, "", *self.advice, *[""][: len(self.advice)], *table])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in ("", "claim", "where", "found"))
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        advice = "\n".join(f"<p>{html.escape(text)}</p>" for text in self.advice)
        return (
            f"<p><b>{html.escape(self.verdict)}</b></p>\n{advice}\n"
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        """The results as cells of text."""
        return [
            (r.status, r.claim, "", r.found)
            if r.status == "passed"
            else (r.status.upper(), r.claim, r.place, r.found)
            for r in self.results
        ]
