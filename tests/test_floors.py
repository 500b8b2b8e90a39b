"""Imports run downwards only, PyMC stays in its two folders, and `import expfam_glm` is light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "expfam_glm"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

FLOORS: tuple[tuple[str, ...], ...] = (  # low to high; names of one tuple stand on one floor
    ("errors",),
    ("spec",),
    ("kernels",),
    ("numerics",),
    ("data",),
    ("asymptotic",),
    ("tree",),
    ("mle", "gee"),
    ("bayes",),
    ("results",),
    ("figures",),
    ("plots", "residual_plots", "interop"),
    ("glm",),
    ("__init__", "__main__", "command", "families", "links", "correlation"),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
# (importer, imported); below the top all else beside keeps apart
SIDEWAYS = {("gee", "mle")}
DOORS = {"expfam_glm.spec.family", "expfam_glm.glm"}  # may reach upwards inside a function
PYMC_ALLOWED = {"bayes", "interop"}
HEAVY = ("pymc", "numba", "pandas", "xarray", "arviz", "matplotlib", "formulaic", "pytensor")


@dataclass(frozen=True)
class Import:
    """One imported name as an absolute dotted path, its line, and whether a function holds it."""

    target: str
    line: int
    in_function: bool


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute path of the module that a `from … import …` names."""
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import in the source, also by `import_module("…")` with a literal name."""

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, in_function)
            case ast.ImportFrom(names=names):
                base = absolute(node, module, is_package)
                for alias in names:
                    yield Import(f"{base}.{alias.name}", node.lineno, in_function)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, node.lineno, in_function)
        inside = in_function or isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(source), False)


def place_of(path: str) -> str | None:
    """The floor's name of a dotted path, or None if the path leaves the package."""
    head, *rest = path.split(".")
    if head != PACKAGE:
        return None
    return rest[0] if rest and rest[0] in FLOOR_OF else "__init__"


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What breaks the rules of the house in one module, one sentence each."""
    own = place_of(module) or ""
    found = []
    for imported in imports_of(source, module, is_package):
        where = f"{module}, line {imported.line}"
        if imported.target.split(".")[0] == "pymc" and own not in PYMC_ALLOWED:
            found.append(f"{where}: imports {imported.target}; only bayes/ and interop/ may")
        other = place_of(imported.target)
        if other is None or other == own:
            continue
        if FLOOR_OF[other] > FLOOR_OF[own] and not (module in DOORS and imported.in_function):
            found.append(f"{where}: {own} imports {imported.target} from a higher floor")
        same = FLOOR_OF[other] == FLOOR_OF[own] < len(FLOORS) - 1
        if same and (own, other) not in SIDEWAYS:
            found.append(f"{where}: {own} imports {imported.target} from beside it")
    return found


MODULES = sorted(ROOT.rglob("*.py"))


def dotted(file: Path) -> str:
    """The dotted name of a file of the package."""
    parts = [PACKAGE, *file.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("file", MODULES, ids=[dotted(file) for file in MODULES])
def test_imports_run_downwards(file: Path) -> None:
    assert file.relative_to(ROOT).parts[0].removesuffix(".py") in FLOOR_OF, "give it a floor"
    source = file.read_text(encoding="utf-8")
    assert not violations(source, dotted(file), is_package=file.name == "__init__.py")


@pytest.mark.parametrize("file", [f for f in MODULES if f.name == "__init__.py"], ids=dotted)
def test_only_the_package_itself_has_a_filled_init(file: Path) -> None:
    assert (file.parent == ROOT) == bool(file.read_text(encoding="utf-8").strip())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spec.link", "from expfam_glm.kernels.row import compile_rows"),
        ("spec.link", "from ..kernels import row"),
        ("spec.link", "from .. import tree"),
        ("spec.link", "import expfam_glm"),
        ("spec.link", "import expfam_glm.mle.irls as irls"),
        ("spec.link", "def f():\n    from expfam_glm.numerics.check import check"),
        ("spec.link", "import importlib\nimportlib.import_module('expfam_glm.tree')"),
        ("spec.family", "from expfam_glm.numerics.check import check"),
        ("errors", "from expfam_glm.spec import domain"),
        ("data.design", "if True:\n    from expfam_glm import GLM"),
        ("mle.irls", "from expfam_glm.gee import estimate"),
        ("interop.scipy", "from expfam_glm import plots"),
        ("results.compare", "def f():\n    import pymc as pm"),
        ("spec.family", "def f():\n    from pymc import Normal"),
        ("numerics.random", "import pymc.logprob.basic"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert len(violations(source, f"{PACKAGE}.{module}")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spec.family", "def f(self):\n    from expfam_glm.bayes.distribution import dist"),
        ("glm", "def fit(self):\n    from .results import summary"),
        ("gee.estimate", "from expfam_glm.mle.irls import solve"),
        ("mle.irls", "from . import covariance\nfrom ..spec.link import Link"),
        ("bayes.model", "import pymc as pm"),
        ("interop.bambi", "from pymc import Normal"),
        ("tree", "import xarray\nfrom expfam_glm.errors import ResultError"),
        ("__main__", "from expfam_glm import GLM\nfrom expfam_glm.glm import GLM"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(source, f"{PACKAGE}.{module}") == []


def test_relative_imports_of_a_package_count_from_itself() -> None:
    assert violations("from .glm import GLM", PACKAGE, is_package=True) == []
    assert violations("from ..glm import GLM", f"{PACKAGE}.spec", is_package=True)


def loaded_by(statement: str) -> list[str]:
    """Names of the modules that a fresh process has loaded after the statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return json.loads(done.stdout)


def heavy_in(loaded: list[str]) -> set[str]:
    """The heavy libraries among loaded modules (arviz stands for arviz_base and its sisters)."""
    roots = {name.split(".")[0] for name in loaded}
    return {heavy for heavy in HEAVY for root in roots if root.split("_")[0] == heavy}


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import expfam_glm; assert expfam_glm.__file__")
    assert PACKAGE in loaded
    assert heavy_in(loaded) == set()


def test_a_heavy_import_is_seen() -> None:
    assert heavy_in(loaded_by("import pandas")) == {"pandas"}
    assert heavy_in(["json", "arviz_base.labels", "pymc.math"]) == {"arviz", "pymc"}
