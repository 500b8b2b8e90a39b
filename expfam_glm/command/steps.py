"""What the commands share: saying what is done, and writing result trees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import xarray as xr


class Steps:
    """Prints each step with the seconds since the beginning."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.begun:5.1f} s] {text}", flush=True)


TREES = {"MLE": "mle.nc", "GEE": "gee.nc", "Bayes": "bayes.nc"}  # each road's file


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
