"""What the built-in declarations come to, remembered between processes in a folder of the user.

Digests and the text of NumPy functions, one file a declaration. The declarations stay the only
source: a file belongs to the text of this package and to the versions of the libraries that its
facts were derived with, and what is missing is derived anew. A folder or file that others could
write to is not read, and one that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "EXPFAM_GLM_CACHE"  # the folder; empty for none
_OLD = 90 * 24 * 3600.0  # seconds after which a file that nothing was added to may go
_OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True)
class Home:
    """Where the facts of a declaration, or of a part of it, are remembered."""

    declaration: str
    inner: str = ""

    def part(self, name: str) -> Home:
        """The home of a part."""
        return Home(self.declaration, f"{self.inner}{name}: ")

    def recall(self, fact: str) -> Any:
        """What is remembered, as JSON has it; None if nothing is."""
        return _facts(self.declaration).get(self.inner + fact)

    def keep(self, fact: str, value: Any) -> None:
        """Remember a fact, here and for later processes."""
        facts = _facts(self.declaration)
        facts[self.inner + fact] = value
        file = _file(self.declaration)
        if file is None or not _made_as_usual():
            return
        with suppress(OSError):  # a home that cannot be written
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(file.parent.stat()):
                facts.update({**_read(file), **facts})  # other processes add to it too
                _write(file, facts)


def remembered[T](home: Home | None, fact: str, make: Callable[[], T]) -> T:
    """The fact that a home remembers, or else what is made now, which it then does."""
    kept = None if home is None else home.recall(fact)
    if kept is None:
        kept = make()
        if home is not None:
            home.keep(fact, kept)
    return kept


def folder() -> Path | None:
    """The folder of the files: that of the environment variable, or a place in the user's cache."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given) if given else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return Path(base, "expfam_glm") if os.path.isabs(base) else None


@cache
def _facts(declaration: str) -> dict[str, Any]:
    """All that is remembered of a declaration."""
    file = _file(declaration)
    if file is None:
        return {}
    try:
        return _read(file) if _is_private(file.parent.stat()) else {}
    except OSError:
        return {}


def _file(declaration: str) -> Path | None:
    """The file of a declaration; None where there is no folder or nothing to tell versions by."""
    place = folder()
    return None if place is None or _STAMP is None else place / f"{declaration}-{_STAMP}.json"


def _stamped() -> str | None:
    """A digest of everything that the facts follow from: the declarations and what derives them."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    if not sources:
        return None
    try:
        versions = f"numpy {np.__version__}, pytensor {metadata.version('pytensor')}"
    except metadata.PackageNotFoundError:
        return None
    digest = hashlib.sha256(versions.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


_STAMP = _stamped()  # as this process was loaded, not as the files may be when a fact is kept


def _made_as_usual() -> bool:
    """Whether constants are traced in double precision, as PyTensor's settings have it."""
    pytensor = sys.modules.get("pytensor")
    return pytensor is None or pytensor.config.floatX == "float64"


def _is_private(status: os.stat_result) -> bool:
    """Whether a file or folder is the user's own, and nobody else may write to it."""
    if not hasattr(os, "geteuid"):  # the folder of a Windows profile is private
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY_WRITE


def _read(file: Path) -> dict[str, Any]:
    """The facts of a file; none if there is no such file, or one that was not written here."""
    try:
        with file.open("rb") as stream:
            if not _is_private(os.fstat(stream.fileno())):
                return {}
            digest, _, body = stream.read().partition(b"\n")
    except FileNotFoundError:
        return {}
    facts = json.loads(body) if hashlib.sha256(body).hexdigest().encode() == digest else {}
    return facts if isinstance(facts, dict) else {}


def _write(file: Path, facts: dict[str, Any]) -> None:
    """Put the facts in place of the file at once, and clear away files of other versions."""
    if not file.exists():
        for other in file.parent.glob("*.json"):
            if other.stat().st_mtime < time.time() - _OLD:
                other.unlink()
    body = json.dumps(dict(facts)).encode()
    number, name = tempfile.mkstemp(".json", ".", file.parent)  # readable by the user alone
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        os.replace(name, file)
    except OSError:
        os.unlink(name)
        raise
