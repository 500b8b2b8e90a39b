"""Linear hypotheses Cβ = r, from text with the labels of coefficients or from a matrix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from expfam_glm.errors import ArgumentError, RankError

_NUMBER = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?")
_DEPENDENT = 1e-9
_LARGEST = 1e100  # squares and products of numbers in a hypothesis stay numbers


class Contrasts(NamedTuple):
    """q hypotheses on p coefficients."""

    C: np.ndarray  # (q, p)
    r: np.ndarray  # (q,)
    names: tuple[str, ...]


def contrasts_of(
    hypotheses: Any,
    labels: Sequence[str],
    rhs: Any = None,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Contrasts:
    """Hypotheses as a matrix and right-hand sides.

    Parameters
    ----------
    hypotheses : str, sequence of str, or array (q, p)
        "age = 0, C(centre)[b] = C(centre)[c]": labels as they stand in the tree, numbers as
        factors or summands; without "=" the sum is zero.
    labels : sequence of str, length p
    rhs : array (q,), optional
        Right-hand sides of a matrix; zeros if not given.
    levels : mapping of str to sequence of str, optional
        All levels of each factor, with those that have no coefficient.

    Raises
    ------
    ArgumentError
        If the text cannot be read, a name is unknown, or shapes do not fit.
    RankError
        If a hypothesis follows from the others, contradicts them, or names no coefficient.
    """
    if isinstance(hypotheses, str):
        parts = [hypotheses]
    elif isinstance(hypotheses, Sequence) and all(isinstance(h, str) for h in hypotheses):
        parts = list(hypotheses)
    else:
        return _checked(_from_matrix(hypotheses, labels, rhs))
    if rhs is not None:
        raise ArgumentError("rhs= goes with a matrix; in text write 'age = 1.5'.")
    rows, names = [], []
    for text in parts:
        for name, sides in _Reader(text, labels, levels or {}).hypotheses():
            for left, right in pairwise(sides):
                rows.append(left - right)
                names.append(name)
    if not rows:
        raise ArgumentError(f"{hypotheses!r} holds no hypothesis; write 'age = 0', say.")
    whole = np.array(rows)
    return _checked(Contrasts(whole[:, :-1], -whole[:, -1], tuple(names)))


def _from_matrix(matrix: Any, labels: Sequence[str], rhs: Any) -> Contrasts:
    try:
        C = np.atleast_2d(np.asarray(matrix, dtype=float))
        r = np.zeros(len(C)) if rhs is None else np.atleast_1d(np.asarray(rhs, dtype=float))
    except (TypeError, ValueError):
        C, r = np.empty((0, 0)), np.empty(0)
    p = len(labels)
    if C.ndim != 2 or C.shape[1:] != (p,) or r.shape != (len(C),):
        raise ArgumentError(
            "hypotheses must be text such as 'age = 0', or a matrix of numbers with one column for "
            f"each of the {p} coefficients ({', '.join(labels)}) and rhs= of as many numbers as "
            "it has rows."
        )
    if not (np.all(np.abs(C) <= _LARGEST) and np.all(np.abs(r) <= _LARGEST)):
        raise ArgumentError(f"hypotheses and rhs must be finite numbers, none beyond {_LARGEST:g}.")
    return Contrasts(C, r, tuple(_written(c, v, labels) for c, v in zip(C, r, strict=True)))


def _written(c: np.ndarray, value: float, labels: Sequence[str]) -> str:
    """One row of a matrix as text."""
    terms: list[str] = []
    for factor, label in zip(c, labels, strict=True):
        if factor:
            sign = "-" if factor < 0 else "+" if terms else ""
            size = "" if abs(factor) == 1 else f"{abs(factor):g}*"
            terms.append(f"{sign} {size}{label}" if terms else f"{sign}{size}{label}")
    return f"{' '.join(terms) or '0'} = {value:g}"


def _checked(found: Contrasts) -> Contrasts:
    """Refuse hypotheses that are not linearly independent."""
    basis: list[np.ndarray] = []
    for c, name in zip(found.C, found.names, strict=True):
        size = np.linalg.norm(c)
        if size == 0:
            raise RankError(f"the hypothesis {name!r} says nothing about a coefficient.")
        rest = c / size
        for _ in range(2):
            for q in basis:
                rest = rest - (q @ rest) * q
        length = np.linalg.norm(rest)
        if length < _DEPENDENT:
            raise RankError(
                f"the hypothesis {name!r} follows from the earlier ones or contradicts them; leave "
                "it out."
            )
        basis.append(rest / length)
    return found


class _Reader:
    """Reads linear hypotheses; the longest label that fits stands at a place."""

    def __init__(
        self, text: str, labels: Sequence[str], levels: Mapping[str, Sequence[str]]
    ) -> None:
        self.text, self.at, self.levels = text, 0, levels
        self.labels = sorted(labels, key=len, reverse=True)
        self.place = {label: j for j, label in enumerate(labels)}

    def hypotheses(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Each hypothesis as text, with its sides as (p + 1,) factors and a constant."""
        while True:
            self._skip()
            begin, sides = self.at, [self._sum()]
            while self._take("="):
                sides.append(self._sum())
            if len(sides) == 1:
                sides.append(np.zeros(len(self.place) + 1))
            yield self.text[begin : self.at].strip(), sides
            if self.at == len(self.text):
                return
            if not (self._take(",") or self._take(";")):
                raise self._refusal()

    def _sum(self) -> np.ndarray:
        total, sign = np.zeros(len(self.place) + 1), 1.0
        if self._take("-"):
            sign = -1.0
        else:
            self._take("+")
        while True:
            total += sign * self._term()
            if self._take("+"):
                sign = 1.0
            elif self._take("-"):
                sign = -1.0
            else:
                return total

    def _term(self) -> np.ndarray:
        """A product of numbers and at most one coefficient."""
        factor, label, more = 1.0, None, True
        while more:
            named = self._label() if label is None else None
            if named is not None:
                label = named
            else:
                factor *= self._number()
                if label is None:  # "2 age" is 2·age
                    label = self._label()
            more = self._take("*")
        if factor > _LARGEST:
            raise ArgumentError(
                f"hypothesis {self.text!r}: {factor:g} is too large; numbers may go up to "
                f"{_LARGEST:g}."
            )
        found = np.zeros(len(self.place) + 1)
        found[-1 if label is None else self.place[label]] = factor
        return found

    def _label(self) -> str | None:
        for label in self.labels:
            end = self.at + len(label)
            if self.text.startswith(label, self.at):
                beyond = self.text[end : end + 1]
                if _is_word(label[-1]) and (_is_word(beyond) or beyond in ("[", "(", ":")):
                    continue
                self.at = end
                self._skip()
                return label
        return None

    def _number(self) -> float:
        found = _NUMBER.match(self.text, self.at)
        if found is None:
            raise self._refusal()
        self.at = found.end()
        self._skip()
        value = float(found.group())
        if not np.isfinite(value):
            raise ArgumentError(
                f"hypothesis {self.text!r}: {found.group()} is beyond floating-point numbers."
            )
        return value

    def _take(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            self._skip()
            return True
        return False

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _refusal(self) -> ArgumentError:
        rest = self.text[self.at :]
        for factor, levels in self.levels.items():
            for level in levels:
                if rest.startswith(f"{factor}[{level}]"):
                    return ArgumentError(
                        f"hypothesis {self.text!r}: {level!r} is the reference level of {factor}, "
                        "which has no coefficient: those of the other levels are differences from "
                        "it."
                    )
            if rest.startswith(f"{factor}["):
                there = [label for label in self.place if label.startswith(f"{factor}[")]
                return ArgumentError(
                    f"hypothesis {self.text!r}: {rest!r} begins with no level of {factor}; its "
                    f"coefficients are {', '.join(there)}."
                )
        word = re.split(r"[\s,=+*;-]", rest, maxsplit=1)[0] or rest[:1] or "the end"
        close = get_close_matches(word, self.labels, n=1, cutoff=0.6)
        guess = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.place)}."
        return ArgumentError(
            f"hypothesis {self.text!r}: at {word!r} a coefficient or number should stand; {guess}"
        )


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
