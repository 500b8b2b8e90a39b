"""`python -m expfam_glm compare`: a table of the user's on every road, and a report."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import narwhals.stable.v2 as nw
import xarray as xr

import expfam_glm as eg
from expfam_glm.command import files
from expfam_glm.command.declared import families_of, split
from expfam_glm.command.parser import ROLES, in_options, uses_groups, uses_time
from expfam_glm.command.report import Report
from expfam_glm.command.steps import Steps, make_folder, write_trees
from expfam_glm.errors import (
    ConvergenceError,
    CorrelationError,
    DeclarationError,
    ExpfamWarning,
    RankError,
    SamplingError,
    SeparationError,
)
from expfam_glm.glm import GLM
from expfam_glm.results.comparison_table import parameters_of
from expfam_glm.results.criteria import CRITERIA
from expfam_glm.spec.family import Family

# One road may fail on data that another one can fit.
FAILURES = (SeparationError, ConvergenceError, RankError, CorrelationError, SamplingError)
DPI = 150


class Roads:
    """The fits of one model, with what was said about them."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.trees: dict[str, xr.DataTree] = {}
        self.warnings: list[str] = []
        self.failed: list[str] = []

    def fit(self, name: str, step: str, road: Callable[[], xr.DataTree]) -> None:
        """Fit on one road; warnings and failures are printed and kept."""
        self.steps.say(step)
        try:
            self.trees[name] = self.heard(f"{name}: ", road)
        except FAILURES as error:
            self.failed.append(f"{name} failed: {in_options(str(error))}")
            print(f"Error: {self.failed[-1]}", file=sys.stderr, flush=True)

    def heard[T](self, who: str, work: Callable[[], T]) -> T:
        """What some work returns; its warnings of ours are printed and kept."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ExpfamWarning)
            try:
                return work()
            finally:
                for one in caught:
                    self._keep(who, one)

    def _keep(self, who: str, one: warnings.WarningMessage) -> None:
        """Print and keep one warning; those of other packages are not ours to show."""
        if issubclass(one.category, ExpfamWarning):
            self.warnings.append(f"{who}{in_options(str(one.message))}")
            print(f"Warning: {self.warnings[-1]}", file=sys.stderr, flush=True)


def run(chosen: argparse.Namespace) -> int:
    """Fit on every road and write trees, comparison, plot and report; 0 if no road failed."""
    matplotlib.use("Agg")
    steps = Steps()
    steps.say(f"Reading {chosen.data}")
    data = files.read(chosen.data, chosen.separator)
    roads = Roads(steps)
    data = _with_clusters(chosen, data, steps)
    model = roads.heard("", lambda: _model(chosen, data))
    steps.say(f"Model: {chosen.formula}; {_facts(chosen, model)['Model']}; {_rows_of(model)}")
    new, done = not chosen.out.exists(), False
    make_folder(chosen.out)  # refused before the fits, not after them
    try:
        _fit(roads, model, chosen)
        done = bool(roads.trees)
    finally:
        if new and not done:
            chosen.out.rmdir()
    if not done:
        return 1
    table = eg.compare(roads.trees, ci_prob=chosen.ci_prob)
    sheet = eg.summary(table)
    print(f"\n{sheet}\n")
    _write(roads, table, model, chosen)
    steps.say("Done" if not roads.failed else "Done, without " + _those(roads.failed))
    return 1 if roads.failed else 0


def _with_clusters(chosen: argparse.Namespace, data: Any, steps: Steps) -> Any:
    """The rows that have a cluster and a time, where those that lack a value are dropped."""
    frame = nw.from_native(data, eager_only=True)
    asked = [name for name in (chosen.groups, chosen.time) if name in frame.columns]
    if chosen.missing != "drop" or not asked:
        return data
    kept = frame.drop_nulls(subset=asked)
    if len(kept) < len(frame):
        steps.say(f"Rows without {' or '.join(asked)}: {len(frame) - len(kept)} left out")
    return kept.to_native()


def _model(chosen: argparse.Namespace, data: object) -> GLM:
    """The model; its formula runs no code beyond the known transforms."""
    return GLM(
        chosen.formula,
        data,
        family=_family(chosen.family),
        link=chosen.link,
        missing=chosen.missing,
        allow_code=False,
        **{role: getattr(chosen, role) for role in ROLES},
    )


def _family(text: str) -> str | Family:
    """A built-in family by its name, or one that a file declares."""
    path, _ = split(text)
    if path.suffix != ".py":
        return text
    found = families_of(text)
    if len(found) > 1:
        raise DeclarationError(
            f"{path} declares {', '.join(found)}; say which one, as in {path}:{next(iter(found))}."
        )
    return next(iter(found.values()))


def _fit(roads: Roads, model: GLM, chosen: argparse.Namespace) -> None:
    """Each road in turn; group effects are for NUTS alone."""
    if model.problem.frame.effects:
        roads.steps.say("The formula has group effects, which NUTS alone samples: no MLE, no GEE")
        _sample(roads, model, chosen)
        return
    shape = {"draws": chosen.draws, "chains": chosen.chains, "ci_prob": chosen.ci_prob}
    told = {"groups": chosen.groups} if uses_groups(chosen.cov) else {}
    told |= {"time": chosen.time} if uses_time(chosen.cov) else {}
    roads.fit(
        "MLE",
        "Maximum likelihood by IRLS" + (f", {' and '.join(chosen.cov)}" if chosen.cov else ""),
        lambda: model.fit(cov=chosen.cov, **told, **shape),
    )
    if chosen.groups is not None:
        correlation = chosen.correlation or "exchangeable"
        roads.fit(
            "GEE",
            f"GEE: clusters by {chosen.groups!r}, {correlation} working correlation, robust errors",
            lambda: model.gee(chosen.groups, correlation, time=chosen.time, **shape),
        )
    _sample(roads, model, chosen)


def _sample(roads: Roads, model: GLM, chosen: argparse.Namespace) -> None:
    """The Bayesian road."""
    roads.fit(
        "Bayes",
        f"NUTS: {chosen.chains} chains × {chosen.draws} draws"
        + (f", after {chosen.tune} of adaptation" if chosen.tune else ""),
        lambda: model.sample(
            draws=chosen.draws,
            tune=chosen.tune,
            chains=chosen.chains,
            random_seed=chosen.seed,
            progressbar=sys.stderr.isatty(),
        ),
    )


def _facts(chosen: argparse.Namespace, model: GLM) -> dict[str, str]:
    """What is fitted to which data, in words."""
    columns = {role: getattr(chosen, role) for role in (*ROLES, "groups", "time")}
    used = "; ".join(f"{role} {name}" for role, name in columns.items() if name is not None)
    return {
        "Data": f"{chosen.data}, {_rows_of(model)}",
        "Model": f"family {model.family.name}, link {model.link.name}",
    } | ({"Columns": used} if used else {})


def _rows_of(model: GLM) -> str:
    """How many rows are used and how many are not, in words."""
    dropped = model.problem.frame.n_dropped
    left_out = f" ({dropped} with missing values dropped)" if dropped else ""
    return f"{model.problem.row_count} rows{left_out}"


def _write(roads: Roads, table: xr.Dataset, model: GLM, chosen: argparse.Namespace) -> None:
    """Everything that is kept, into the folder for the results."""
    out, say = chosen.out, roads.steps.say
    write_trees(roads.trees, out, roads.steps)
    sheet = eg.summary(table)
    (out / "comparison.txt").write_text(f"{sheet}\n", encoding="utf-8")
    _rows(table, out / "comparison.csv")
    say(f"Comparison: {out / 'comparison.txt'} and comparison.csv")
    picture = out / "forest.png"
    eg.plot_comparison(table, scaled=chosen.scaled).savefig(picture, dpi=DPI)
    say(f"Forest plot: {picture}")
    facts = _facts(chosen, model)
    if "Bayes" in roads.trees:
        facts["Seed"] = str(roads.trees["Bayes"].attrs["random_seed"])
        say(f"Seed of the sampler: {facts['Seed']}")
    facts["Made with"] = f"expfam_glm {eg.__version__}, Python {platform.python_version()}"
    summaries = {name: eg.summary(t, ci_prob=chosen.ci_prob) for name, t in roads.trees.items()}
    report = Report(
        title=chosen.formula,
        facts=facts,
        warnings=[*roads.failed, *roads.warnings],
        comparison=sheet,
        summaries=summaries,
        picture=picture.read_bytes(),
        command=shlex.join(["python", "-m", "expfam_glm", *chosen.written]),
    )
    (out / "report.html").write_text(report.html(), encoding="utf-8")
    say(f"Report: {out / 'report.html'}")


def _rows(table: xr.Dataset, path: Path) -> None:
    """A comparison as CSV, one row for each parameter and model, unrounded."""
    import pandas as pd

    rows = []
    for coef in table["coef"].values:
        for model in table["model"].values:
            one = table.sel(coef=coef, model=model)
            row: dict[str, object] = {"parameter": str(coef), "model": str(model)}
            for name, values in table.data_vars.items():
                if values.dims == ("model", "coef"):
                    row[str(name)] = values.sel(coef=coef, model=model).item()
                elif values.dims == ("model", "coef", "ci_bound"):
                    for bound in table["ci_bound"].values:
                        row[f"{name}_{bound}"] = one[name].sel(ci_bound=bound).item()
            rows.append(row)
    models = [str(model) for model in table["model"].values]
    for name in parameters_of(table):
        for i, model in enumerate(models):
            row = {"parameter": name, "model": model, "estimate": table[name].values[i]}
            row["se"] = table[f"se_{name}"].values[i]
            for k, bound in enumerate(table["ci_bound"].values):
                row[f"interval_{bound}"] = table[f"interval_{name}"].values[i, k]
            rows.append(row)
    for name in (name for name in CRITERIA if name in table):
        rows += [
            {"parameter": name, "model": model, "estimate": value}
            for model, value in zip(models, table[name].values, strict=True)
        ]
    pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8")


def _those(failed: list[str]) -> str:
    """The roads that failed."""
    return " and ".join(text.split(" failed: ")[0] for text in failed)
