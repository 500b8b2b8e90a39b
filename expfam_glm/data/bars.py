"""Group effects as lme4 writes them, `(1 + x | g)`, split off a formula and laid out as columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from expfam_glm.errors import ArgumentError, FormulaError

_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\"`"


@dataclass(frozen=True)
class Bar:
    """`(effects | groups)`, with two bars `||` for effects that do not correlate."""

    written: str
    effects: str
    groups: tuple[str, ...]
    correlated: bool

    @property
    def name(self) -> str:
        """The group; several columns give their combinations."""
        return ":".join(self.groups)


@dataclass(frozen=True, eq=False)
class GroupEffects:
    """The effects of the levels of one group: η gains Z[i]·b[codes[i]] at row i.

    Z (n, q), codes (n,) into `levels`, `labels` of the q effects.
    """

    name: str
    labels: tuple[str, ...]
    levels: tuple[str, ...]
    codes: np.ndarray
    Z: np.ndarray
    correlated: bool


def split_bars(text: str) -> tuple[str, tuple[Bar, ...]]:
    """The formula without its group effects, and these.

    Parameters
    ----------
    text : str
        Such as "y ~ x + (1 + x | g)".

    Returns
    -------
    str
        Such as "y ~ x"; "y ~ 1" where nothing else is on the right side.
    tuple of Bar

    Raises
    ------
    FormulaError
        If a group effect cannot be read, or is not a term of its own.

    Examples
    --------
    >>> split_bars("y ~ x + (1 | g)")
    ('y ~ x ', (Bar(written='(1 | g)', effects='1', groups=('g',), correlated=True),))
    """
    bars: list[Bar] = []
    kept, end = "", 0
    for start, stop, middle in _parentheses_with_bar(text):
        before = kept + text[end:start]
        head = before.rstrip()
        tail = text[stop + 1 :].lstrip()
        if head[-1:] not in ("+", "~") or tail[:1] not in ("", "+", "-"):
            raise FormulaError(
                f"{text!r}: the group effect {text[start : stop + 1]} must be added as a term of "
                "its own, + (effects | group)."
            )
        kept = head[:-1] if head[-1] == "+" else before
        bars += _read(text, text[start : stop + 1], middle - start)
        end = stop + 1
    kept += text[end:]
    if bars:
        left, _, right = kept.partition("~")
        right = right.strip()
        kept = f"{left}~ 1" if not right else kept if right[0] != "+" else f"{left}~{right[1:]}"
        names = [bar.name for bar in bars]
        for name in names:
            if names.count(name) > 1:
                raise FormulaError(
                    f"{text!r} has two group effects for {name!r}; write one, "
                    f"(1 + x | {name}), or (1 + x || {name}) for effects that do not correlate."
                )
    return kept, tuple(bars)


def _parentheses_with_bar(text: str) -> list[tuple[int, int, int]]:
    """Start, end and bar of each parenthesis that holds a bar directly."""
    found, stack, quote = [], [], ""
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in _QUOTES:
            quote = char
        elif char in _OPEN:
            stack.append([place, -1])
        elif char in _CLOSE and stack:
            start, bar = stack.pop()
            if char == ")" and bar >= 0:
                found.append((start, place, bar))
        elif char == "|" and stack and text[stack[-1][0]] == "(" and stack[-1][1] < 0:
            called = text[: stack[-1][0]].rstrip()[-1:]
            if not (called.isalnum() or called == "_"):  # not inside the call of a function
                stack[-1][1] = place
    return found


def _read(text: str, written: str, middle: int) -> list[Bar]:
    """The bars of one parenthesis; a/b stands for a and a:b."""
    effects, groups = written[1:middle].strip(), written[middle + 1 : -1].strip()
    correlated = not groups.startswith("|")
    groups = groups.removeprefix("|").strip()
    levels = [[_name(part) for part in _split(piece, ":")] for piece in _split(groups, "/")]
    if not effects or not all(all(piece) for piece in levels) or len(_split(groups, "|")) > 1:
        raise FormulaError(
            f"{text!r}: cannot read {written}; write (1 | g) or (1 + x | g), and names that are "
            "more than letters and digits in backquotes, (1 | `a b`)."
        )
    inner = [tuple(name for piece in levels[: k + 1] for name in piece) for k in range(len(levels))]
    return [Bar(written, effects, names, correlated) for names in inner]


def _split(text: str, sign: str) -> list[str]:
    """The parts of a text between the signs that stand outside backquotes."""
    return re.split(rf"{re.escape(sign)}(?=(?:[^`]*`[^`]*`)*[^`]*$)", text)


def _name(text: str) -> str:
    """The column that a text names, with or without backquotes; "" for none."""
    quoted = re.fullmatch(r"\s*`([^`]*)`\s*", text)
    return quoted[1] if quoted else "" if "`" in text else text.strip()


def group_codes(columns: list[np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct combinations of some columns, sorted, and the code of each row."""
    codes = np.zeros(columns[0].shape[0], dtype=np.int64)
    texts = [""]
    for k, column in enumerate(columns):
        levels, own = np.unique(column, return_inverse=True)
        combined, codes = np.unique(codes * len(levels) + own, return_inverse=True)
        first, second = np.divmod(combined, len(levels))
        join = ":" if k else ""
        texts = [f"{texts[a]}{join}{_text(levels[b])}" for a, b in zip(first, second, strict=True)]
    return tuple(texts), codes


def _text(level: object) -> str:
    """A level as it is written; whole numbers without a point."""
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return str(level)


def refuse_effects(effects: tuple[GroupEffects, ...], road: str) -> None:
    """Refuse a formula with group effects on a road that has none."""
    if effects:
        named = ", ".join(f"(… | {part.name})" for part in effects)
        raise ArgumentError(
            f"{road} takes no group effects {named}. Sample the model with .sample(), or leave "
            f"them out and use .gee(groups={effects[0].name!r}), which accounts for the "
            "correlation within groups."
        )
