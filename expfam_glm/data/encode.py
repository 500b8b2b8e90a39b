"""Terms and columns → the matrix X, its labels, and the state that rebuilds it, as JSON values.

Formulaic evaluates and encodes; this module hands it the columns as they are and takes the
result without its copies, labels it (`name[level]`, terms as written), treats booleans as
two-level factors, and turns a level that is not among the known ones into an error instead of
the reference level. Importing this module imports formulaic: do it inside functions only.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections import Counter
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.errors import DataMismatchWarning
from formulaic.materializers import PandasMaterializer
from formulaic.parser.types import Factor
from formulaic.utils.layered_mapping import LayeredMapping
from formulaic.utils.stateful_transforms import stateful_eval
from interface_meta import override

from expfam_glm.data.by_level import ByLevel, Products, finite, matrix_of, numbered
from expfam_glm.data.expression import FUNCTIONS, REFERENCE, TRANSFORMS, Expression
from expfam_glm.data.formula import Parsed
from expfam_glm.data.frames import all_finite
from expfam_glm.errors import DataError, ExpfamError, FormulaError, show_rows
from expfam_glm.kernels.coded import Matrix, dense


def evaluate(part: Expression, variables: Mapping[str, Any], n: int, state: dict) -> np.ndarray:
    """The numeric values (n,) of one expression of a formula."""
    if part.python:
        context = LayeredMapping(dict(variables), FUNCTIONS, TRANSFORMS)
        try:
            with np.errstate(all="ignore"):
                values = stateful_eval(part.code, context, None, state, None)
        except Exception as error:
            raise _cannot_evaluate(part.written, error) from error
    else:
        values = variables[part.code]
    array = np.asarray(getattr(values, "__wrapped__", values))
    if array.dtype.kind not in "fiub" or array.shape not in ((), (n,)):
        raise FormulaError(
            f"{part.written!r} must give one number for each of the {n} rows, but gives "
            f"{array.dtype} values of shape {array.shape}."
        )
    return np.array(np.broadcast_to(array, (n,)), dtype=np.float64, copy=None)


def encode(
    parsed: Parsed,
    variables: Mapping[str, Any],
    n: int,
    *,
    kept: np.ndarray | None = None,
    state: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """X (n, p), its labels and its state; with the state of another call, the same columns."""
    X, labels, learnt = encode_coded(parsed, variables, n, kept=kept, state=state, coded=False)
    return dense(X), labels, learnt


def encode_coded(
    parsed: Parsed,
    variables: Mapping[str, Any],
    n: int,
    *,
    kept: np.ndarray | None = None,
    state: Mapping[str, Any] | None = None,
    coded: bool = True,
) -> tuple[Matrix, tuple[str, ...], dict[str, Any]]:
    """`encode`, whose X keeps factors as levels where that is worth it and `coded` allows it."""
    state = state or {"transforms": [], "factors": []}
    specification = ModelSpec(
        formula=parsed.terms,
        na_action="ignore",
        output="numpy",
        transform_state=unpack(["dict", state["transforms"]]),
        encoder_state={
            factor["term"]: (Factor.Kind.CATEGORICAL, {"categories": factor["levels"]})
            for factor in state["factors"]
        },
    )
    written = {factor.code: factor.written for factor in parsed.factors}
    materializer = _Materializer(
        variables, context=FUNCTIONS, n=n, kept=kept, written=written, coded=coded
    )
    try:
        with np.errstate(all="ignore"):
            matrix = materializer.get_model_matrix(specification)
    except ExpfamError:
        raise
    except Exception as error:  # formulaic, pandas or a function in the formula
        raise _cannot_evaluate(parsed.text, error) from error
    for code, factor in materializer.factor_cache.items():
        if factor.values.__wrapped__ is None:  # formulaic would leave its terms out
            raise FormulaError(
                f"{written.get(code, code)!r} gives no values but None; leave it out."
            )
    found = matrix.model_spec
    labels = found.column_names
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise FormulaError(
            f"{parsed.text!r} gives the label {label!r} to more than one column; "
            "rename a column or a level."
        )
    X = matrix.__wrapped__
    for j, label in enumerate(() if finite(X) else labels):
        check_finite(X[:, j], label, kept)
    return X, labels, _state(found, written)


def _cannot_evaluate(written: str, error: Exception) -> FormulaError:
    """The reason why an expression or formula cannot be evaluated, in one line."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    hint = f" {REFERENCE}" if "C() got" in reason else ""
    if "bitwise_xor" in reason:
        hint = " Powers are written **, as in I(x ** 2)."
    if "named layer" in reason:  # Q() asks for a table that is not there batch by batch
        hint = " In place of Q('my x') write `my x`, in backticks."
    return FormulaError(f"cannot evaluate {written!r}: {reason}.{hint}")


def _state(found: ModelSpec, written: Mapping[str, str]) -> dict[str, Any]:
    """What formulaic learnt from the data: state of the transforms, levels, columns of a term."""
    factors = []
    for term, (kind, learnt) in found.encoder_state.items():
        if kind is Factor.Kind.CATEGORICAL and "contrasts" in learnt:
            levels = [_plain(level) for level in learnt["categories"]]
            contrast = type(learnt["contrasts"].contrasts).__name__.removesuffix("Contrasts")
            factors.append({"term": term, "levels": levels, "contrast": contrast.lower()})
    terms = [
        [":".join(written.get(f.expr, f.expr) for f in part.term.factors), len(part.columns)]
        for part in found.structure
    ]
    return {"transforms": pack(found.transform_state)[1], "factors": factors, "terms": terms}


class _Materializer(PandasMaterializer):
    """Formulaic's materialiser on a dict of arrays, with our labels and without its copies."""

    REGISTER_NAME = None

    @override
    def _init(self) -> None:
        self.n: int = self.params.pop("n")
        self.kept: np.ndarray | None = self.params.pop("kept")
        self.written: dict[str, str] = self.params.pop("written")
        self.coded: bool = self.params.pop("coded")
        self.products = Products()
        self.numbered: dict[str, Any] = {}

    @property
    @override
    def nrows(self) -> int:
        return self.n

    @override
    def _is_categorical(self, values: Any) -> bool:
        dtype = getattr(values, "dtype", None)
        return getattr(dtype, "kind", "") in ("b", "O", "U") or super()._is_categorical(values)

    @override
    def _encode_evaled_factor(
        self, factor: Any, spec: Any, drop_rows: Any, reduced_rank: bool = False
    ) -> dict[str, Any]:
        if factor.expr not in self.numbered:
            self.numbered[factor.expr] = numbered(factor)
        codes, rows = self.numbered[factor.expr] or (None, factor)
        encode = functools.partial(
            super()._encode_evaled_factor, rows, spec, drop_rows, reduced_rank=reduced_rank
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DataMismatchWarning)
                encoded = encode()
        except ValueError as error:
            if "not among the provided levels" not in str(error):
                raise
            levels = pd.unique(pd.Series(factor.values.__wrapped__).dropna())
            raise FormulaError(
                f"{self.written[factor.expr]!r} names a level that is not there; the levels are "
                f"{', '.join(map(level_text, levels[:10]))}{', …' if len(levels) > 10 else ''}."
            ) from error
        except DataMismatchWarning:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                encode()  # for the levels that the formula asks for
            self._refuse_unseen(factor, spec)
        levels = spec.encoder_state[factor.expr][1].get("categories")
        if levels is not None and len(levels) < 2:
            raise FormulaError(
                f"factor {self.written[factor.expr]!r} has a single level, {levels[0]!r}; "
                "a factor needs two or more, so leave it out."
            )
        if codes is None:
            return encoded
        return {
            label: ByLevel(codes, np.asarray(_array(values), dtype=np.float64))
            for label, values in encoded.items()
        }

    def _refuse_unseen(self, factor: Any, spec: Any) -> None:
        """The error for values that are not among the levels of a factor."""
        values = pd.Series(factor.values.__wrapped__)
        levels = spec.encoder_state[factor.expr][1]["categories"]
        shown = ", ".join(map(level_text, levels[:10])) + (", ..." if len(levels) > 10 else "")
        bad = (~values.isin(levels)).to_numpy()
        read = values.astype(object).to_numpy(copy=True)
        read[bad] = [level_text(value) for value in read[bad]]
        raise DataError(
            f"factor {self.written[factor.expr]!r} has values that are not among its levels "
            f"({shown}): {show_original(read, bad, self.kept)}."
        )

    @override
    def _flatten_encoded_evaled_factor(self, name: str, values: Any) -> dict[str, Any]:
        return dict(self._labelled(self.written.get(name, name), values))

    def _labelled(self, label: str, values: Any) -> list[tuple[str, Any]]:
        """The columns of one factor with their labels, a level or index in brackets."""
        if not isinstance(values, dict):
            return [(label, values)]
        inner = [self._labelled(f"{label}[{level_text(k)}]", v) for k, v in values.items()]
        pairs = list(itertools.chain(*inner))
        if len(dict(pairs)) < len(pairs):
            raise FormulaError(f"factor {label!r} has levels that read the same; rename them.")
        return pairs

    @override
    def _get_columns_for_term(self, factors: Any, spec: Any, scale: float = 1) -> dict[str, Any]:
        columns = {}
        for product in itertools.product(*(factor.items() for factor in reversed(factors))):
            labels, values = zip(*reversed(product), strict=True)
            columns[":".join(labels)] = self.products.of(
                [one if isinstance(one, ByLevel) else _array(one) for one in values]
            )
        return columns

    @override
    def _combine_columns(self, cols: Any, spec: Any, drop_rows: Any) -> Matrix:
        columns = [(k, v if isinstance(v, ByLevel) else _array(v)) for k, v in cols]
        for label, column in columns:
            values = column.slope if isinstance(column, ByLevel) else column
            if values is None:
                continue
            if values.shape != (self.n,) or values.dtype.kind not in "fiub":
                raise FormulaError(
                    f"{label!r} must give one number for each of the {self.n} rows, but gives "
                    f"{values.dtype} values of shape {values.shape}."
                )
        return matrix_of(columns, self.n, self.coded)


def _array(values: Any) -> np.ndarray:
    """A column of formulaic's as an array, without its wrapper or index."""
    return np.asarray(getattr(values, "__wrapped__", values))


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def level_text(level: Any) -> str:
    """A level as it reads in a label: whole numbers without a decimal point."""
    level = _plain(level)
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)


def check_finite(values: np.ndarray, name: str, kept: np.ndarray | None) -> None:
    """Refuse values that are not finite though the columns are, such as log(0)."""
    if not all_finite(values):
        shown = show_original(values, ~np.isfinite(values), kept)
        raise DataError(f"{name!r} is not finite: {shown}.")


def show_original(values: np.ndarray, bad: np.ndarray, kept: np.ndarray | None) -> str:
    """`show_rows` for values on the kept rows, with the row numbers of the data as given."""
    if kept is None:
        return show_rows(values, bad)
    everywhere, flags = np.empty(kept.size, dtype=values.dtype), np.zeros(kept.size, dtype=bool)
    everywhere[kept], flags[kept] = values, bad
    return show_rows(everywhere, flags)


def pack(value: Any) -> Any:
    """A transform's state as JSON values: containers as [kind, items], dicts as pair lists."""
    match value:
        case dict():
            return ["dict", [[pack(key), pack(item)] for key, item in value.items()]]
        case list() | tuple():
            return [type(value).__name__, [pack(item) for item in value]]
        case np.ndarray():
            return ["array", pack(value.tolist())]
        case np.generic():
            return pack(value.item())
        case float() if not isfinite(value):
            return ["float", str(value)]
        case None | bool() | int() | float() | str():
            return value
    raise FormulaError(f"a transform keeps a {type(value).__name__}, which cannot be written down.")


def unpack(value: Any) -> Any:
    """The state that `pack` wrote."""
    match value:
        case ["dict", items]:
            return {unpack(key): unpack(item) for key, item in items}
        case ["list", items]:
            return [unpack(item) for item in items]
        case ["tuple", items]:
            return tuple(unpack(item) for item in items)
        case ["array", items]:
            return np.array(unpack(items))
        case ["float", text]:
            return float(text)
    return value
