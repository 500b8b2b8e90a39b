"""What a fit or a sampler said must be known, as its tree keeps it."""

from __future__ import annotations

import re

import xarray as xr


def notes_of(tree: xr.DataTree) -> list[str]:
    """The remarks of a tree."""
    notes = str(tree.attrs.get("warnings", "")).splitlines()
    if "diagnosis" in tree.attrs:
        from expfam_glm.bayes.diagnose import QUIET

        notes += [said for said in [str(tree.attrs["diagnosis"])] if said != QUIET]
    return notes


def in_brief(note: str) -> str:
    """The first clause of a remark, of which the summary of its tree says the rest."""
    return re.split(r"[:;.](?:\s|$)", note, maxsplit=1)[0] + "."
