"""The python blocks of README.md and the documentation's pages run, top to bottom, page by page.

A text block right after a python block is what that block prints. Fast: the blocks before the first
one that samples. Slow: whole pages that sample.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import expfam_glm as eg

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
SAMPLES = ".sample("


class Block(NamedTuple):
    """A python block, moved down to its own lines so that tracebacks point there."""

    code: str
    output: str | None  # what it prints, if the page says so


def blocks_of(page: Path) -> list[Block]:
    """The python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block("\n" * text.count("\n", 0, m.start("code")) + m["code"], m["output"])
        for m in FENCE.finditer(text)
    ]


PAGES = {
    str(page.relative_to(ROOT)): blocks
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if (blocks := blocks_of(page))
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files that a page writes go to a temporary folder, figures to nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def run(page: str, blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    """Execute the blocks in one namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block.code, page, "exec"), namespace)
        printed = capsys.readouterr().out
        if block.output is not None:
            assert lines(printed) == lines(block.output)


def lines(text: str) -> list[str]:
    """The lines of a text, without blanks at their ends."""
    return [line.rstrip() for line in text.strip("\n").split("\n")]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_before_the_first_sampling(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = PAGES[page]
    first = next((i for i, block in enumerate(blocks) if SAMPLES in block.code), len(blocks))
    run(page, blocks[:first], capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p, blocks in PAGES.items() if any(SAMPLES in block.code for block in blocks)]
)
def test_whole_pages_that_sample(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(page, PAGES[page], capsys)


@pytest.mark.parametrize("name", eg.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
