"""Tables for LaTeX, with the rules of the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "|": r"\textbar{}",
    "–": "--", "−": "$-$", "×": r"$\times$", "√": r"$\surd$", "∞": r"$\infty$", "²": "$^2$",
    "θ": r"$\theta$", "μ": r"$\mu$", "φ": r"$\phi$", "β": r"$\beta$", "η": r"$\eta$",
    "α": r"$\alpha$", "χ": r"$\chi$", "ν": r"$\nu$", "ψ": r"$\psi$", "κ": r"$\kappa$",
}  # fmt: skip


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex_table(
    cells: Sequence[tuple[str, ...]],
    *,
    left: int,
    header: bool,
    notes: Sequence[str],
    caption: str,
    label: str,
) -> str:
    """A table as LaTeX.

    Parameters
    ----------
    cells : sequence of tuple of str
        Lines of the table, the header first if there is one.
    left : int
        How many columns are flush left.
    header : bool
    notes : sequence of str
        Lines below the table, in small print.
    caption, label : str
        With either the table floats; empty ones are left out.
    """
    head, body = (cells[:1], cells[1:]) if header else ([], cells)
    columns = "l" * left + "r" * (max(map(len, cells)) - left)
    blocks = left > 1 and header  # an empty first cell continues the block above
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [*(_line(line) for line in head), *([r"\midrule"] if head else [])]
    for place, line in enumerate(body):
        if blocks and place and line[0]:
            lines.append(r"\addlinespace")
        lines.append(_line(line))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if notes:
        lines += ["", r"\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"{escape(note)}\par" for note in notes] + [r"\end{minipage}"]
    if not (caption or label):
        return "\n".join(lines)
    title = [rf"\caption{{{escape(caption)}}}"] if caption else []
    title += [rf"\label{{{label}}}"] if label else []
    return "\n".join([r"\begin{table}", r"\centering", *title, *lines, r"\end{table}"])


def _line(line: tuple[str, ...]) -> str:
    """One line of cells."""
    return " & ".join(escape(cell) for cell in line) + r" \\"
