"""Families declared in a Python file of the user's."""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from expfam_glm.data.frames import close_to
from expfam_glm.errors import DeclarationError, ExpfamError
from expfam_glm.spec.families import is_built_in
from expfam_glm.spec.family import Family

_MODULE = "expfam_glm_declarations"  # what the file is called while it runs


def split(target: str) -> tuple[Path, str]:
    """The file and the name of `FILE.py:NAME`; no name is an empty one."""
    head, colon, name = target.rpartition(":")
    return (Path(head), name) if colon and head.endswith(".py") else (Path(target), "")


def families_of(target: str) -> dict[str, Family]:
    """The families that a file declares by the names that it gives them, or the one asked for."""
    path, name = split(target)
    found = {key: value for key, value in vars(_run(path)).items() if isinstance(value, Family)}
    if name:
        chosen = found.get(name) or next((f for f in found.values() if f.name == name), None)
        if chosen is None:
            there = close_to(name, found) if found else "it declares no family."
            raise DeclarationError(f"{path} has no family {name!r}; {there}")
        return {name: chosen}
    own: dict[tuple[str, str], tuple[str, Family]] = {}
    for key, family in found.items():
        if not is_built_in(family):
            own.setdefault((family.name, family.digest), (key, family))  # two names, one family
    if not own:
        raise DeclarationError(
            f"{path} declares no family: none of its names stands for a Family that is not built "
            'in. Write my_family = expfam_glm.Family("my_family", b=…, c=…) there.'
        )
    return dict(own.values())


def _run(path: Path) -> ModuleType:
    """Run a Python file as a module, its own folder first on the path."""
    if path.suffix != ".py":
        raise DeclarationError(f"{path} is not a Python file; families are declared in FILE.py.")
    if not path.is_file():
        raise DeclarationError(f"there is no file {path}.")
    spec = spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except ExpfamError as error:
        raise DeclarationError(f"{_line(error, path)}: {error}") from error
    except (Exception, SystemExit) as error:  # an exit would end the command as if all were done
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise DeclarationError(
            f"{_line(error, path)}: {what}. The file must run by itself, to its end; "
            f"try python {path}"
        ) from error
    finally:
        sys.path[:] = before
        del sys.modules[_MODULE]
    return module


def _line(error: BaseException, path: Path) -> str:
    """The file and the line of it that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame.lineno for frame in frames if frame.filename == str(path.resolve())]
    here += [frame.lineno for frame in frames if frame.filename == str(path)]
    if isinstance(error, SyntaxError):
        here = [error.lineno]
    return f"{path}, line {here[-1]}" if here else str(path)
