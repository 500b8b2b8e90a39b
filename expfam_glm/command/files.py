"""Tables of the user's, read from CSV and Parquet files."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from expfam_glm.errors import DataError, need

COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
SEPARATED = {".csv": ",", ".txt": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = (".parquet", ".pq")
_OTHERS = {";": "a semicolon", "\t": "a tab", "|": "a bar", ",": "a comma"}


def read(path: Path, separator: str | None = None) -> Any:
    """A table from a file, by the ending of its name.

    Parameters
    ----------
    path : Path
        CSV (also compressed) or Parquet.
    separator : str, optional
        Between the fields of a CSV file; a comma, or a tab in .tsv files, if not given.

    Returns
    -------
    pandas.DataFrame or pyarrow.Table

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, or it cannot be read.
    MissingPackageError
        If a Parquet file is given and pyarrow is not installed.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}.")
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file.")
    endings = [ending.lower() for ending in path.suffixes]
    ending = (endings[:-1] if endings and endings[-1] in COMPRESSED else endings)[-1:]
    if ending and ending[0] in PARQUET:
        return _read_parquet(path, separator)
    if ending and ending[0] in SEPARATED:
        return _read_separated(path, SEPARATED[ending[0]] if separator is None else separator)
    known = ", ".join([*SEPARATED, *PARQUET])
    raise DataError(f"{path}: what kind of table is this? Its name must end in one of {known}.")


def _read_parquet(path: Path, separator: str | None) -> Any:
    """A Parquet file as an Arrow table."""
    if separator is not None:
        raise DataError(f"{path} is a Parquet file, which has no separator; leave it out.")
    parquet = need("pyarrow.parquet", "parquet")
    try:
        return parquet.read_table(path)
    except (ValueError, OSError) as error:  # Arrow's own errors are among them
        raise DataError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def _read_separated(path: Path, separator: str) -> Any:
    """A file of separated fields as a data frame; rows of other lengths are refused."""
    import pandas as pd

    if len(separator) != 1:
        raise DataError(f"the separator {separator!r} must be one letter, such as ';'.")
    options: dict[str, Any] = {"sep": separator, "index_col": False}
    as_text = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False}
    try:
        head = pd.read_csv(path, **as_text, **options)
        _check_head(path, [str(name) for name in head.iloc[0]], separator)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, **options, low_memory=False)
    except DataError:  # of the header; also a ValueError
        raise
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty.") from error
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{path}: rows have more fields than the header has names. Name every column, row "
            "numbers too, and let no row end in a separator."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error}); save it as UTF-8.") from error
    except ValueError as error:  # pandas' own errors are among them
        raise DataError(f"{path} cannot be read as CSV: {_first_line(error)}") from error
    return table


def _check_head(path: Path, names: list[str], separator: str) -> None:
    """Refuse a header that shows another separator, or names twice."""
    if len(names) == 1:
        for other, called in _OTHERS.items():
            if other != separator and other in names[0]:
                shown = "$'\\t'" if other == "\t" else f"'{other}'"
                raise DataError(
                    f"{path} has one column only, {names[0]!r}; it seems that {called} stands "
                    f"between its fields. Then give --separator {shown}."
                )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} has columns of the same name: {', '.join(map(repr, twice))}.")


def _first_line(error: Exception) -> str:
    """The first line of another library's complaint."""
    return f"{str(error).strip().splitlines()[0].rstrip('.')}."
