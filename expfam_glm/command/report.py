"""The HTML report of a comparison: one file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STYLE = """
body { font-family: system-ui, sans-serif; line-height: 1.45; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #ffffff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
code { overflow-wrap: anywhere; } section { overflow-x: auto; } img { max-width: 100%; }
dt { float: left; clear: left; width: 9rem; color: #555555; } dd { margin-left: 9.5rem; }
li { margin: 0.3rem 0; }
"""


@dataclass(frozen=True)
class Report:
    """What a comparison has found.

    Parameters
    ----------
    title : str
        The formula.
    facts : mapping of str to str
        What was fitted to which data.
    warnings : sequence of str
        What must be known about the fits.
    comparison : Sheet
    summaries : mapping of str to Summary
        One for each road.
    picture : bytes
        The forest plot as PNG.
    command : str
        What was called.
    """

    title: str
    facts: Mapping[str, str]
    warnings: Sequence[str]
    comparison: Any
    summaries: Mapping[str, Any]
    picture: bytes
    command: str

    def html(self) -> str:
        """The report as the text of a file."""
        facts = "\n".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
            for name, text in self.facts.items()
        )
        data = base64.b64encode(self.picture).decode("ascii")
        plot = f'<img src="data:image/png;base64,{data}" alt="Forest plot of the intervals">'
        listed = "\n".join(f"<li>{html.escape(text)}</li>" for text in self.warnings)
        parts = [
            _section("Warnings", f"<ul>\n{listed}\n</ul>" if listed else "<p>None.</p>"),
            _section("Comparison", self.comparison._repr_html_()),
            _section("Intervals", plot),
            *(_section(name, one._repr_html_()) for name, one in self.summaries.items()),
            _section("How it was made", f"<p><code>{html.escape(self.command)}</code></p>"),
        ]
        title = html.escape(self.title)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{title}</h1>\n<dl>\n{facts}\n</dl>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
        )


def _section(title: str, body: str) -> str:
    """A part of the report under its heading."""
    return f"<h2>{html.escape(title)}</h2>\n<section>\n{body}\n</section>"
