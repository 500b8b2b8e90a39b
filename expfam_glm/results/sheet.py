"""A table with lines above and below it, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from expfam_glm.results.latex import latex_table
from expfam_glm.results.text import columns

_WARNING = "border-left: 4px solid #E69F00; padding-left: 0.6em; margin: 0.4em 0;"
_CELL = "padding: 0.1em 0.6em; white-space: nowrap;"
_NUMBER = f"text-align: right; font-variant-numeric: tabular-nums; {_CELL}"
_LABEL = f"text-align: left; {_CELL}"
_RULE = " border-bottom: 1px solid;"
_BLOCK = " border-top: 1px solid #CCCCCC;"  # above the first line of a block


@dataclass(frozen=True)
class Sheet:
    """A table of texts with what stands around it in print.

    Parameters
    ----------
    cells : sequence of tuple of str
        One line for each row, the header first if there is one.
    above, below : sequence of str
        Lines of text; the first one above is the title.
    warnings : sequence of str
        What must be known, set apart from the lines below.
    left : int
        How many columns are flush left.
    header : bool
        Whether the first line of the table is its header.
    """

    cells: Sequence[tuple[str, ...]]
    above: Sequence[str] = ()
    below: Sequence[str] = ()
    warnings: Sequence[str] = ()
    left: int = 1
    header: bool = True

    def __str__(self) -> str:
        lines = [*self.above, *([""] if self.above else []), *columns(self.cells, left=self.left)]
        after = [*self.below, *(f"Warning: {line}" for line in self.warnings)]
        return "\n".join([*lines, *([""] if after else []), *after])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title, *rest = [*self.above, ""][: max(len(self.above), 1)]
        parts = [
            f"<p><strong>{html.escape(title)}</strong></p>" if title else "",
            _paragraph(rest),
            self._table(),
            _paragraph(self.below),
            *(f'<p style="{_WARNING}">{html.escape(line)}</p>' for line in self.warnings),
        ]
        return "<div>\n" + "\n".join(filter(None, parts)) + "\n</div>"

    def to_html(self) -> str:
        """The sheet as HTML, as notebooks show it."""
        return self._repr_html_()

    def to_latex(self, caption: str | None = None, label: str = "") -> str:
        """The table as LaTeX, with the rules of booktabs.

        Parameters
        ----------
        caption : str, optional
            The title of the sheet if not given.
        label : str
            For references; a table with neither caption nor label does not float.

        Returns
        -------
        str

        Examples
        --------
        >>> print(Sheet([("", "estimate"), ("a_1", "0.5")]).to_latex())
        \\begin{tabular}{lr}
        \\toprule
         & estimate \\\\
        \\midrule
        a\\_1 & 0.5 \\\\
        \\bottomrule
        \\end{tabular}
        """
        title, rest = (self.above[0], self.above[1:]) if self.above else ("", ())
        return latex_table(
            self.cells,
            left=self.left,
            header=self.header,
            notes=[*rest, *self.below, *self.warnings],
            caption=title if caption is None else caption,
            label=label,
        )

    def _table(self) -> str:
        """The table as HTML."""
        start = int(self.header)
        head = "".join(f"<tr>{self._row(line, 'th', _RULE)}</tr>" for line in self.cells[:start])
        blocks = self.header and self.left > 1
        body = "\n".join(
            f"<tr>{self._row(line, 'td', _BLOCK if blocks and line[0] else '')}</tr>"
            for line in self.cells[start:]
        )
        return (
            '<table style="border-collapse: collapse;">\n'
            f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _row(self, line: tuple[str, ...], tag: str, more: str = "") -> str:
        """The cells of one line."""
        return "".join(
            f'<{tag} style="{_LABEL if place < self.left else _NUMBER}{more}">'
            f"{html.escape(cell)}</{tag}>"
            for place, cell in enumerate(line)
        )


def _paragraph(lines: Iterable[str]) -> str:
    """Lines of text one below the other."""
    escaped = "<br>\n".join(html.escape(line) for line in lines)
    return f"<p>{escaped}</p>" if escaped else ""
