"""The command line: what it writes, what it refuses, and its exit codes."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import expfam_glm as eg
from expfam_glm.__main__ import main
from expfam_glm.command.parser import in_options
from expfam_glm.results.compare import compare
from tests.declared import DECLARED

ROOT = Path(__file__).resolve().parents[1]
SEIZURES = str(ROOT / "expfam_glm/data/datasets/seizures.csv")
FORMULA = "seizures ~ lbase + treatment"
POISSON = ("--family", "poisson")
FEW = ("--draws", "50", "--tune", "100", "--chains", "2", "--seed", "1")


def written(path: Path, text: str) -> str:
    """The name of a file with some text in it."""
    path.write_text(text, encoding="utf-8")
    return str(path)


class Pieces(HTMLParser):
    """Headings and pictures of a page; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one comparison on all roads has written."""
    out = tmp_path_factory.mktemp("command") / "new" / "results"
    given = ["compare", SEIZURES, FORMULA, *POISSON, "--groups", "patient", "--cov", "HC0", *FEW]
    assert main([*given, "--correlation", "ar1", "--time", "visit", "--out", str(out)]) == 0
    return out


def test_everything_is_written(results: Path) -> None:
    assert sorted(path.name for path in results.iterdir()) == [
        "bayes.nc", "comparison.csv", "comparison.txt", "forest.png", "gee.nc", "mle.nc",
        "report.html",
    ]  # fmt: skip


def test_the_trees_are_those_of_the_methods(results: Path) -> None:
    model = eg.GLM(FORMULA, eg.load_data("seizures"), family="poisson")
    shape = {"draws": 50, "chains": 2}
    fits = {
        "mle": model.fit(cov="HC0", **shape),
        "gee": model.gee("patient", "ar1", time="visit", **shape),
    }
    for name, tree in fits.items():
        with xr.open_datatree(results / f"{name}.nc") as read:
            xr.testing.assert_allclose(read["fit"].to_dataset(), tree["fit"].to_dataset())
            assert read["posterior"].sizes == tree["posterior"].sizes
    with xr.open_datatree(results / "bayes.nc") as read:
        assert read.attrs["random_seed"] == 1
        assert read["posterior"]["beta"].shape == (2, 50, 3)


def test_the_csv_holds_the_comparison_unrounded(results: Path) -> None:
    names = {"MLE": "mle", "GEE": "gee", "Bayes": "bayes"}
    table = compare({k: xr.load_datatree(results / f"{v}.nc") for k, v in names.items()})
    rows = pd.read_csv(results / "comparison.csv").set_index(["parameter", "model"])
    assert len(rows) == (4 + 4) * 3  # coefficients and phi; AIC, BIC, QIC, elpd
    for coef in table["coef"].values:
        for model in names:
            row, one = rows.loc[(coef, model)], table.sel(coef=coef, model=model)
            assert row["estimate"] == one["estimate"] and row["se"] == one["se"]
            assert [row["interval_lower"], row["interval_upper"]] == one["interval"].values.tolist()
    for name, model in (("phi", "GEE"), ("aic", "MLE"), ("qic", "GEE"), ("elpd", "Bayes")):
        assert rows.loc[(name, model), "estimate"] == table[name].sel(model=model)
    assert (results / "comparison.txt").read_text(encoding="utf-8") == f"{eg.summary(table)}\n"


def test_the_report_is_one_page_with_everything(results: Path) -> None:
    text = (results / "report.html").read_text(encoding="utf-8")
    page = Pieces(text)
    assert page.headings == [
        FORMULA, "Warnings", "Comparison", "Intervals", "MLE", "GEE", "Bayes", "How it was made",
    ]  # fmt: skip
    (picture,) = page.pictures
    data = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    assert data == (results / "forest.png").read_bytes() and data.startswith(b"\x89PNG")
    assert "worth only" in text  # so few draws are warned of
    assert "seizures ~ lbase" in text and "Seed</dt><dd>1<" in text
    assert "http" not in text  # needs no other file


@pytest.mark.slow
def test_what_is_going_on_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    table = tmp_path / "oring.parquet"
    rings = eg.load_data("oring")
    rings.attrs = {}
    rings.to_parquet(table)
    formula = "damaged ~ temperature"
    given = ["compare", str(table), formula, "--family", "binomial", "--trials", "rings"]
    assert main([*given, *FEW, "--link", "probit", "--ci-prob", "0.9", "--out", str(out)]) == 0
    said = capsys.readouterr()
    for words in ("Reading", "link probit; 23 rows", "IRLS", "NUTS: 2 chains", "90% interval"):
        assert words in said.out
    assert "Warning: Bayes: " in said.err
    probit = eg.GLM(formula, rings, family="binomial", trials="rings", link="probit").fit()
    with xr.open_datatree(out / "mle.nc") as tree:
        np.testing.assert_array_equal(tree["fit"]["beta"], probit["fit"]["beta"])


@pytest.mark.slow
def test_one_road_fails_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "separated.csv", "y,x\n0,1\n0,2\n0,3\n1,4\n1,5\n1,6\n")
    out = tmp_path / "out"
    assert main(["compare", data, "y ~ x", "--family", "binomial", *FEW, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "Error: MLE failed: " in said.err and "separat" in said.err
    assert "Done, without MLE" in said.out
    assert (out / "bayes.nc").exists() and not (out / "mle.nc").exists()
    assert "MLE failed: " in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", None, "there is no file"),
        (".", None, "is a folder"),
        ("a.xlsx", "", "what kind of table"),
        ("a.csv", "", "is empty"),
        ("a.csv", "y;x\n1;2\n", "--separator ';'"),
        ("a.csv", "y;x;id\n1,5;2,3;1\n2,5;3,1;2\n", "--separator ';'"),
        ("a.csv", "y\tx\n1\t2\n", r"--separator \$'\\t'"),
        ("a.csv", "y,y\n1,2\n", "columns of the same name: 'y'"),
        ("a.csv", "y,x\n1,2,9\n3,4,9\n", "more fields than the header"),
        ("a.csv", "y,x\n1,2\n3,4,5\n", "line 3, saw 3"),
        ("a.csv", "y,x\n", "have no rows"),
        ("a.csv", "y,x\n1,2\n3,\n", "missing values in 1 of 2 rows"),
        ("a.csv", "y,x\nno,1\nyes,2\n", r"such as I\(y == 'yes'\)"),
        ("a.parquet", "no table", "cannot be read as Parquet"),
    ],
)
def test_refused_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, message: str
) -> None:
    if text is not None:
        written(tmp_path / name, text)
    given = ["compare", str(tmp_path / name), "y ~ x", *POISSON, *FEW]
    assert main([*given, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and re.search(message, said)


def test_an_empty_separator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["compare", SEIZURES, FORMULA, *POISSON, "--separator", ""]
    assert main([*given, "--out", str(tmp_path / "out")]) == 1
    assert "the separator '' must be one letter" in capsys.readouterr().err


@pytest.mark.parametrize("below", [(), ("deeper",)])
def test_a_folder_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: tuple[str, ...]
) -> None:
    out = Path(written(tmp_path / "taken", "a file")).joinpath(*below)
    for given in (["compare", SEIZURES, FORMULA, *POISSON, *FEW], ["demo"]):
        assert main([*given, "--out", str(out)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"Error: the folder --out {out} cannot be made: ")
        assert "Name one that is not there yet" in said


def test_a_file_that_is_no_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_bytes("y,x\n1,é\n".encode("latin-1"))
    assert main(["compare", str(tmp_path / "a.csv"), "y ~ x", *POISSON]) == 1
    assert "save it as UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("seizures ~ {age % 2}", POISSON, "runs Python code, which is not allowed"),
        ("seizures ~ C(age, __import__('os'))", POISSON, "not allowed"),
        ("seizures ~ agee", POISSON, "did you mean 'age'"),
        ("seizures age", POISSON, "Error: "),
        (FORMULA, ("--family", "poison"), "perhaps 'poisson'"),
        (FORMULA, (*POISSON, "--link", "lgo"), "--link lgo is not known"),
        (FORMULA, (*POISSON, "--cov", "CR0"), "needs --groups"),
        (FORMULA, (*POISSON, "--groups", "patiant"), "did you mean 'patient'"),
        (
            FORMULA,
            (*POISSON, "--groups", "patient", "--correlation", "x"),
            "--correlation x is not known",
        ),
        (FORMULA, (*POISSON, "--exposure", "nope"), "exposure 'nope' is not in the data"),
        (FORMULA, (*POISSON, "--ci-prob", "95"), "not a probability"),
        (FORMULA, ("--family", str(ROOT / "tests/declared.py")), "say which one"),
    ],
)
def test_refused_models(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    formula: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    given = ["compare", SEIZURES, formula, *options, *FEW]
    assert main([*given, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and message in said
    assert not (tmp_path / "out").exists()


def test_messages_speak_of_options() -> None:
    text = (
        "pass missing='drop'; give time= for correlation='ar1'; cov='CR2', cov='pan', weights=[1]"
    )
    assert in_options(text) == (
        "pass --missing drop; give --time for --correlation ar1; --cov CR2, cov='pan', weights=[1]"
    )


def test_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", SEIZURES, FORMULA])
    assert "negative_binomial, normal, poisson" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("compare", SEIZURES, FORMULA),
        ("compare", SEIZURES, FORMULA, *POISSON, "--correlation", "ar1"),
        ("compare", SEIZURES, FORMULA, *POISSON, "--time", "visit"),
        ("compare", SEIZURES, FORMULA, *POISSON, "--draws", "0"),
        ("check",),
    ],
)
def test_wrong_usage(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


TRUNCATED = """
import pytensor.tensor as pt
import expfam_glm as eg
from expfam_glm.families import poisson

right = eg.Family(
    "truncated", b=lambda theta: pt.log(pt.expm1(pt.exp(theta))),
    c=lambda y, a: -pt.gammaln(y + 1), support=eg.Integers(1, None), phi=1.0,
)
same = right
"""
WRONG = (
    TRUNCATED
    + """
wrong = eg.Family(
    "mistaken", b=lambda theta: pt.log(pt.expm1(pt.exp(theta))),
    c=lambda y, a: -pt.gammaln(y + 2), support=eg.Integers(1, None), phi=1.0,
)
"""
)


@pytest.mark.slow
def test_check_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "families.py", WRONG)
    assert main(["check", file]) == 1
    said = capsys.readouterr()
    assert said.out.count("Checking ") == 2  # not twice under two names, nor what is built in
    assert "'truncated' passed" in said.out and "'mistaken' failed" in said.out
    assert said.err == "Error: family 'mistaken' failed its check: c is wrong.\n"
    assert main(["check", f"{file}:right"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("from expfam_glm.families import poisson", "declares no family"),
        ("x = (\n", "line 1: SyntaxError"),
        ("\nx = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("import sys; sys.exit(0)", "line 1: SystemExit: 0. The file must run"),
        ("\nraise SystemExit", "line 2: SystemExit. The file must run by itself, to its end"),
        ("\nimport expfam_glm as eg\neg.Family('f', b=abs, c=None, support=3)", "line 3: "),
    ],
)
def test_refused_declarations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    path = tmp_path / "families.py"
    if text is not None:
        written(path, text)
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ") and message in said


def test_a_name_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{ROOT / 'tests/declared.py'}:logaritmic"]) == 1
    assert "did you mean 'logarithmic'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_declared_family_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y,x\n1,0\n1,1\n2,0.5\n3,2\n1,0.2\n4,1.7\n2,1.1\n1,0.1\n")
    family = f"{ROOT / 'tests/declared.py'}:zero_truncated_poisson"
    out = tmp_path / "out"
    given = ["compare", str(tmp_path / "data.csv"), "y ~ x", "--family", family, *FEW]
    assert main([*given, "--out", str(out)]) == 0
    data = pd.read_csv(tmp_path / "data.csv")
    known = eg.GLM("y ~ x", data, family=DECLARED["zero_truncated_poisson"]).fit()
    with xr.open_datatree(out / "mle.nc") as tree:
        np.testing.assert_allclose(tree["fit"]["beta"], known["fit"]["beta"], rtol=1e-12)


@pytest.mark.slow
def mixed(tmp_path: Path, formula: str, *options: str) -> tuple[int, set[str], Path]:
    """The seizures with one patient unknown, after a fit that left results of an earlier model."""
    data = pd.read_csv(SEIZURES).astype({"patient": object})
    data.loc[3, "patient"] = None
    path, out = tmp_path / "data.csv", tmp_path / "out"
    data.to_csv(path, index=False)
    out.mkdir()
    for name in ("gee.nc", "notes.txt"):
        (out / name).write_text("earlier")
    code = main(["compare", str(path), formula, *POISSON, *FEW, "--out", str(out), *options])
    return code, {one.name for one in out.iterdir() if one.suffix in (".nc", ".txt")}, out


@pytest.mark.slow
def test_group_effects_are_sampled_and_old_trees_removed(tmp_path: Path) -> None:
    code, trees, _ = mixed(tmp_path, "seizures ~ lbase + (1 | patient)", "--missing", "drop")
    assert code == 0 and trees == {"bayes.nc", "comparison.txt", "notes.txt"}


@pytest.mark.slow
def test_rows_without_a_cluster_are_dropped_on_every_road(tmp_path: Path) -> None:
    options = ("--missing", "drop", "--groups", "patient", "--scaled")
    code, trees, out = mixed(tmp_path, FORMULA, *options)
    assert code == 0 and {"mle.nc", "gee.nc", "bayes.nc"} <= trees
    for name in ("mle", "gee", "bayes"):
        with xr.open_datatree(out / f"{name}.nc") as tree:
            assert tree["observed_data"].sizes["obs_id"] == len(pd.read_csv(SEIZURES)) - 1


def test_a_fresh_process_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "expfam_glm", "compare", "nowhere.csv", "y ~ x", *POISSON],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "Error: there is no file nowhere.csv.\n")
