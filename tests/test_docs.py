"""The python blocks of README.md and the documentation's pages run, top to bottom, page by page.

Fast: the blocks before the first one that samples. Slow: whole pages that sample.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAMPLES = ".sample("


def blocks_of(page: Path) -> list[str]:
    """The python blocks of a page, moved down to their own lines so that tracebacks point there."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text.count("\n", 0, m.start(1)) + m.group(1) for m in FENCE.finditer(text)]


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


def run(page: str, blocks: list[str]) -> None:
    """Execute the blocks in one namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_before_the_first_sampling(page: str) -> None:
    blocks = PAGES[page]
    first = next((i for i, block in enumerate(blocks) if SAMPLES in block), len(blocks))
    run(page, blocks[:first])


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p, blocks in PAGES.items() if SAMPLES in "".join(blocks)])
def test_whole_pages_that_sample(page: str) -> None:
    run(page, PAGES[page])
