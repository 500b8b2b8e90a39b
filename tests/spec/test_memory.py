"""What is remembered of the built-in declarations: nothing but what they come to, and safely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytensor.configdefaults import config

from expfam_glm.spec import links, memory
from expfam_glm.spec.link import _verify
from expfam_glm.spec.memory import Home, folder, remembered
from expfam_glm.spec.program import Program, recalled

ROOT = Path(__file__).resolve().parents[2]
HOME = Home("test").part("b")

posix = pytest.mark.parametrize("mode", [0o777, 0o770] if hasattr(os, "geteuid") else [])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of the user's."""
    place = tmp_path / "cache"
    monkeypatch.setenv(memory.VARIABLE, str(place))
    forget()
    yield place
    forget()


def forget() -> None:
    """As in a new process."""
    memory._facts.cache_clear()


def only_file(cache: Path) -> Path:
    """The one file of the cache."""
    (file,) = cache.iterdir()
    return file


def unasked() -> str:
    raise AssertionError("it was remembered")


def test_a_fact_is_made_once(cache):
    assert remembered(HOME, "digest", lambda: "abc") == "abc"
    assert remembered(HOME, "digest", unasked) == "abc"
    forget()
    assert remembered(HOME, "digest", unasked) == "abc"
    assert remembered(HOME, "identity", lambda: False) is False
    forget()
    assert remembered(HOME, "identity", unasked) is False
    assert HOME.part("other").recall("digest") is None
    assert remembered(None, "digest", lambda: "new") == "new"


def test_a_function_comes_back_from_its_text(cache):
    program = Program("def lowered(x0, w0):\n    return (np.exp(special.expit(x0), out=w0),)", 1)
    x = np.linspace(-2, 2, 5)
    (first,) = recalled(HOME, "rows", lambda: program)(x)
    forget()
    (again,) = recalled(HOME, "rows", unasked)(x)
    np.testing.assert_array_equal(again, first)


def test_a_function_that_calls_a_solver_is_no_text(cache):
    program = Program("def lowered(x0):\n    return (solve0(x0),)", 0, {"solve0": np.exp})
    assert recalled(HOME, "rows", lambda: program)(0.0) == (1.0,)
    assert HOME.recall("rows") is None
    assert not cache.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-9],
        lambda text: text.replace(b"abc", b"xyz"),
        lambda text: b"",
        lambda text: b"\xff\x00" + text,
        lambda text: b"{}",
    ],
)
def test_a_file_that_was_changed_is_replaced(cache, spoil):
    HOME.keep("digest", "abc")
    file = only_file(cache)
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    forget()
    assert HOME.recall("digest") is None
    assert remembered(HOME, "digest", lambda: "abc") == "abc"
    assert only_file(cache).read_bytes() == whole


@posix
def test_what_others_could_write_is_not_read(cache, mode):
    HOME.keep("digest", "abc")
    file = only_file(cache)
    assert file.stat().st_mode & 0o077 == cache.stat().st_mode & 0o077 == 0
    for place, usual in ((file, 0o600), (cache, 0o700)):
        place.chmod(mode)
        forget()
        assert HOME.recall("digest") is None
        place.chmod(usual)
    cache.chmod(mode)
    HOME.keep("identity", True)  # nothing is put into such a folder either
    cache.chmod(0o700)
    forget()
    assert HOME.recall("identity") is None
    assert HOME.recall("digest") == "abc"


def test_a_folder_that_cannot_be_is_done_without(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("", str(tmp_path / "file" / "cache"), str(tmp_path / "file")):
        monkeypatch.setenv(memory.VARIABLE, place)
        forget()
        assert remembered(HOME, place, lambda: "abc") == "abc"
        assert remembered(HOME, place, unasked) == "abc"  # by this process
    assert (tmp_path / "file").read_text() == ""
    assert not cache.exists()


def test_processes_add_to_what_others_kept(cache):
    HOME.keep("first", 1)
    mine = dict(memory._facts("test"))
    forget()
    HOME.keep("second", 2)  # another process
    forget()
    memory._facts("test").clear()
    memory._facts("test").update(mine)  # and the first one again, which knows nothing of it
    HOME.keep("third", 3)
    forget()
    assert [HOME.recall(fact) for fact in ("first", "second", "third")] == [1, 2, 3]


def test_files_of_old_versions_are_cleared_away(cache):
    HOME.keep("digest", "abc")
    file = only_file(cache)
    stale, fresh, foreign = (cache / name for name in ("a-0.json", "b-0.json", "notes.txt"))
    for other in (stale, fresh, foreign):
        other.write_text("")
    os.utime(stale, (time.time() - 100 * 86400,) * 2)
    os.utime(foreign, (time.time() - 100 * 86400,) * 2)
    Home("another").keep("digest", "abc")
    assert not stale.exists()
    assert file.exists() and fresh.exists() and foreign.exists()


def test_the_stamp_follows_the_text_of_the_declarations(tmp_path, monkeypatch):
    stamps = set()
    monkeypatch.setattr(memory, "__file__", str(tmp_path / "memory.py"))
    for text in (None, "theta**2 / 2", "theta**2 / 3"):
        if text is not None:
            (tmp_path / "families.py").write_text(text)
        stamps.add(memory._stamped())
    assert len(stamps) == 3 and None in stamps  # without sources nothing tells versions apart


def test_nothing_is_kept_where_versions_cannot_be_told(cache, monkeypatch):
    monkeypatch.setattr(memory, "_STAMP", None)
    HOME.keep("digest", "abc")
    assert HOME.recall("digest") == "abc"
    assert not cache.exists()


def test_single_precision_is_not_passed_on(cache):
    with config.change_flags(floatX="float32"):
        HOME.keep("digest", "abc")
    assert not cache.exists()


def test_where_the_files_are(monkeypatch, tmp_path):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for system, place in (("linux", "xdg"), ("darwin", "Library/Caches"), ("win32", "Local")):
        monkeypatch.setattr(sys, "platform", system)
        assert folder() == tmp_path / place / "expfam_glm"
    monkeypatch.delenv("LOCALAPPDATA")
    assert folder() is None
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the convention ignores
    assert folder() == tmp_path / ".cache" / "expfam_glm"


@pytest.mark.parametrize("link", links.built_in(), ids=lambda link: link.name)
def test_built_in_links_need_not_be_verified_anew(link):
    assert link.home == Home(f"link-{link.name}")
    _verify(link, given=True)


FIT = """
import sys, json
import numpy as np
import pandas as pd
import expfam_glm as eg
rng = np.random.default_rng(5)
data = pd.DataFrame({"x": rng.normal(size=300), "z": rng.normal(size=300)})
data["y"] = np.where(rng.random(300) < 0.6, 1.0, RARE)
tree = eg.GLM("y ~ x + z", data, family=FAMILY, link=LINK).fit()
bits = [v.tobytes().hex() for v in (tree["fit"]["beta"].values, tree["fit"]["se"].values)]
bits += [float(v).hex() for v in tree["fit_stats"].values()]
print(json.dumps([bits, "pytensor" in sys.modules]))
"""


def run(cache: Path, *command: str) -> list:
    """What a process prints that has this cache."""
    environment = dict(os.environ, EXPFAM_GLM_CACHE=str(cache), PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, env=environment,
        cwd=cache.parent,
    )  # fmt: skip
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "link", "rare"),
    [("binomial", None, 0.0), ("normal", None, 0.3), ("poisson", "sqrt", 2.0), ("gamma", "log", 2)],
)
def test_a_second_process_fits_without_pytensor(tmp_path, family, link, rare):
    program = FIT.replace("FAMILY", repr(family)).replace("LINK", repr(link))
    program = program.replace("RARE", repr(rare))
    numbers, traced = run(tmp_path / "cache", "-c", program)
    assert traced
    assert run(tmp_path / "cache", "-c", program) == [numbers, False]


@pytest.mark.slow
def test_every_built_in_computes_the_same_bits_from_memory(tmp_path):
    script = str(Path(__file__).with_name("remembered.py"))
    first = run(tmp_path / "cache", script)
    again = run(tmp_path / "cache", script)
    assert again["found"] == first["found"]
    for name in first["traced"]:  # no link was given another's functions
        bits = [json.dumps(v) for key, v in first["found"].items() if key.startswith(f"{name} ")]
        assert len(set(bits)) == len(bits) > 2
    assert all(first["traced"].values())
    assert {name for name, traced in again["traced"].items() if traced} == {
        "tweedie", "hyperbolic_secant",
    }  # fmt: skip
