"""The real datasets that come with the package."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

from expfam_glm.errors import ArgumentError, one_of

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = resources.files("expfam_glm") / "data" / "datasets"


def load_data(name: str | None = None) -> pd.DataFrame:
    """One of the real datasets shipped with the package, from a published table.

    Parameters
    ----------
    name : str
        One of

        - "beetles" (binomial with trials; Bliss 1935),
        - "budworm" (binomial with trials, two sexes; Collett 1991),
        - "clotting" (gamma; McCullagh and Nelder 1989),
        - "doctors" (counts with exposure; Breslow 1985),
        - "leukaemia" (survival times, gamma or inverse Gaussian; Feigl and Zelen 1965),
        - "ohio" (clustered binary; Ware et al. 1984),
        - "oring" (binomial with trials; Dalal, Fowlkes and Hoadley 1989),
        - "quine" (overdispersed counts; Aitkin 1978),
        - "respiratory" (clustered binary; Koch et al. 1990),
        - "seizures" (clustered counts; Thall and Vail 1990),
        - "ships" (counts with exposure; McCullagh and Nelder 1983).

    Returns
    -------
    pandas.DataFrame
        The table, one row an observation. Its `attrs` are text: `title`, `source` (the published
        table), `licence`, `description` (the version of the table, where versions differ), and
        `columns`, a dict from each column to its meaning and unit.

    Raises
    ------
    ArgumentError
        If no dataset has this name; without a name, with the names of all.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> oring = eg.load_data("oring")
    >>> oring.head(3)
      flight  temperature  rings  damaged
    0  STS-1           66      6        0
    1  STS-2           70      6        1
    2  STS-3           69      6        0
    >>> oring.attrs["title"]
    'Damaged O-rings on 23 space-shuttle flights before Challenger'
    >>> oring.attrs["columns"]["temperature"]
    'joint temperature at launch (degrees Fahrenheit)'
    """
    sources = json.loads((_FOLDER / "sources.json").read_text(encoding="utf-8"))
    if name is None:
        listed = "\n".join(f'  "{key}": {sources[key]["title"]}' for key in sorted(sources))
        raise ArgumentError(f"load_data needs the name of a dataset, one of\n{listed}")
    if name not in sources:
        raise one_of("name", name, sorted(sources))

    import pandas as pd

    with (_FOLDER / f"{name}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    source = sources[name]
    table.attrs = {
        "title": source["title"],
        "source": source["citation"],
        "licence": source["licence"],
        "description": source["description"],
        "columns": {
            column: f"{about['description']} ({about['unit']})"
            if about["unit"] != "-"
            else about["description"]
            for column, about in source["columns"].items()
        },
    }
    return table
