"""What may stand on the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from expfam_glm.mle.layout import TYPES

USES_GROUPS = ("CR", "HAC")  # how the names of covariances begin that are told groups
ROLES = {
    "offset": "column added to the linear predictor",
    "exposure": "column of exposures; under a log link their logarithm joins the offset",
    "weights": "column of prior weights: Var(y) = V(μ) φ/w",
    "freq_weights": "column that says how many rows each row stands for",
    "trials": "column with numbers of trials; the response counts successes",
}
_OPTIONS = (*ROLES, "family", "link", "groups", "correlation", "time", "cov", "missing")
_ARGUMENT = re.compile(
    rf"""(?<![\w.])(?P<name>{"|".join(_OPTIONS)})=(?:['"](?P<value>[^'"]*)['"]|(?![\w('"\[{{]))"""
)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The command that is asked for; wrong usage is told and ends the process with code 2."""
    whole = parser()
    chosen = whole.parse_args(arguments)
    chosen.written = list(arguments)
    if chosen.command == "compare":
        if chosen.family is None:
            from expfam_glm import families

            whole.error(
                "compare needs --family: FILE.py:NAME, or one of "
                + ", ".join(name for name in families.__all__ if name != "quasi")
            )
        _refuse_idle(whole, chosen)
    return chosen


def parser() -> argparse.ArgumentParser:
    """The parser of `python -m expfam_glm`."""
    whole = argparse.ArgumentParser(
        prog="python -m expfam_glm",
        description="Generalized linear models, declared once and fitted both ways.",
        epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage.",
    )
    commands = whole.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit the shipped seizure data by IRLS, GEE and NUTS")
    _add_out(demo, "demo-output")
    _add_compare(commands.add_parser("compare", help="fit a table of your own on every road"))
    check = commands.add_parser("check", help="check the families declared in a Python file")
    check.add_argument(
        "target", metavar="FILE.py[:NAME]", help="the file, which is run, and one family of it"
    )
    return whole


def _add_compare(job: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    job.description = (
        "Fit one model by IRLS, by GEE if --groups is given, and by NUTS; write the result trees, "
        "the comparison, a forest plot and an HTML report."
    )
    job.add_argument("data", type=Path, help="a CSV or Parquet file")
    job.add_argument("formula", help='such as "y ~ x + C(group)"')
    job.add_argument("--family", help="the name of a built-in family, or FILE.py:NAME of your own")
    job.add_argument("--link", help="the name of a link; the family's own if not given")
    job.add_argument("--groups", metavar="COL", help="column of clusters; asks for GEE")
    job.add_argument("--correlation", help="working correlation of GEE (default: exchangeable)")
    job.add_argument("--time", metavar="COL", help="column of times within clusters")
    for role, text in ROLES.items():
        job.add_argument(f"--{role.replace('_', '-')}", metavar="COL", help=text)
    job.add_argument(
        "--cov", action="append", help="covariance of the likelihood fit, such as HC0; repeatable"
    )
    job.add_argument(
        "--missing", choices=("raise", "drop"), default="raise", help="rows that lack a value"
    )
    job.add_argument("--separator", help="between the fields of a CSV file (default: a comma)")
    job.add_argument(
        "--scaled", action="store_true", help="forest plot in standard errors of the first model"
    )
    job.add_argument("--ci-prob", type=float, metavar="P", help="probability of the intervals")
    job.add_argument("--draws", type=_count, default=1000, metavar="N", help="draws of each chain")
    job.add_argument(
        "--tune", type=_count, metavar="N", help="draws of adaptation (default: as few as it needs)"
    )
    job.add_argument("--chains", type=_count, default=4, metavar="N")
    job.add_argument("--seed", type=int, help="of the sampler; printed if not given")
    _add_out(job, "results")


def _add_out(job: argparse.ArgumentParser, default: str) -> None:
    """The folder for the results."""
    job.add_argument(
        "--out", type=Path, default=Path(default), help="folder for the results (%(default)s/)"
    )


def _count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def in_options(text: str) -> str:
    """A message with arguments of Python as the options that stand for them."""

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name == "cov" and value is not None and value not in TYPES:
            return found[0]  # one of GEE's, for which there is no option
        named = f"--{name.replace('_', '-')}"
        return named if value is None else f"{named} {value}"

    return _ARGUMENT.sub(option, text)


def uses_groups(cov: list[str] | None) -> bool:
    """Whether a covariance of the likelihood fit is told the groups."""
    return any(name.upper().startswith(USES_GROUPS) for name in cov or ())


def uses_time(cov: list[str] | None) -> bool:
    """Whether a covariance of the likelihood fit is told the times."""
    return any(name.upper() == "HAC" for name in cov or ())


def _refuse_idle(whole: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    """Wrong usage: an option that nothing would use."""
    if chosen.groups is None and chosen.correlation is not None:
        whole.error("--correlation is the working correlation of GEE: give --groups too")
    if chosen.groups is None and chosen.time is not None and not uses_time(chosen.cov):
        whole.error("--time is for GEE or --cov HAC: give --groups too")
