"""A progress bar for passes over many rows, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

_MANY = 1_000_000  # rows from which a pass is worth a bar


def with_bar(tables: Iterator[Any], rows: int, what: str) -> Iterator[Any]:
    """The tables, their rows counted on a bar if standard error is a terminal."""
    if not wanted(rows):
        yield from tables
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=rows)
        for table in tables:
            yield table
            bar.advance(task, table.num_rows)


def wanted(rows: int) -> bool:
    """Whether a bar is shown for so many rows."""
    return rows >= _MANY and sys.stderr.isatty()
