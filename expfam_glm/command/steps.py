"""What the commands share: saying what is done, and writing result trees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from expfam_glm.errors import DataError

TREES = {"MLE": "mle.nc", "GEE": "gee.nc", "Bayes": "bayes.nc"}  # each road's file


class Steps:
    """Prints each step with the seconds since the beginning."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.begun:5.1f} s] {text}", flush=True)


def make_folder(out: Path) -> None:
    """Make the folder for the results, or say why it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the folder --out {out} cannot be made: {error.strerror or error}. Name one that is "
            "not there yet, or a folder that can be written to."
        ) from error


def write_trees(trees: Mapping[str, xr.DataTree], out: Path, steps: Steps) -> None:
    """Write each tree as netCDF and see that it reads back the same; others' are removed."""
    for name in TREES.keys() - trees.keys():
        (out / TREES[name]).unlink(missing_ok=True)  # of an earlier model
    for name, tree in trees.items():
        path = out / TREES[name]
        tree.to_netcdf(path)
        with xr.open_datatree(path) as again:
            if not again.equals(tree):
                raise OSError(f"{path} does not read back as it was written; is the disk full?")
        steps.say(f"Result tree: {path} (reads back the same)")
