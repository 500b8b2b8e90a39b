"""Reading the reference values that lie beside the R scripts that made them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import expfam_glm as eg

HERE = Path(__file__).parent / "reference"


@cache
def read(name: str) -> dict[str, Any]:
    """One JSON file of references."""
    return json.loads((HERE / f"{name}.json").read_text())


def cases(name: str) -> list[Any]:
    """The cases of a file, for parametrisation by their identifiers."""
    return read(name)["cases"]


def data_of(name: str, case: dict[str, Any]) -> Any:
    """The columns of a case, embedded or shipped."""
    embedded = read(name)["data"]
    if case["data"] in embedded:
        return {key: np.asarray(values) for key, values in embedded[case["data"]].items()}
    return eg.load_data(case["data"])


def model_of(name: str, case: dict[str, Any], data: Any = None) -> eg.GLM:
    """The model of a case, on its data or what stands for them."""
    family = case["family"]
    if case.get("family_args"):  # else by name, shapes free
        family = getattr(eg.families, family)(**case["family_args"])
    rows = data_of(name, case) if data is None else data
    return eg.GLM(case["formula"], rows, family=family, link=case["link"], **case["roles"])


def array(values: Any) -> np.ndarray:
    """Numbers with null as NaN."""
    return np.array(values, dtype=float)
