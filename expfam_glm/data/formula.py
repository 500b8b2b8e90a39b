"""A formula's text taken apart: response, terms, offsets, and the names that each needs.

Formulaic parses. What its grammar lacks is taken out here: `offset(x)` on the right,
`cbind(s, f)` on the left; group effects `(1 | g)` are refused. A formula is code, and formulaic
runs parts of it already while parsing, so what is not allowed is refused on the bare tokens,
before. Importing this module imports formulaic, hence pandas: do it inside functions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from formulaic import Formula, SimpleFormula
from formulaic.errors import FormulaicError
from formulaic.parser.algos.sanitize_tokens import sanitize_tokens
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import Term, Token

from expfam_glm.data.expression import Expression, arguments_of, expression_of, refuse_code
from expfam_glm.errors import FormulaError

LARGEST_POWER = 20  # of a sum of terms, as in (a + b)**2
MOST_PRODUCTS = 10**6  # of terms, which take seconds
# A quoted part as a group, or what lies between such parts.
_UNQUOTED = re.compile(r"""(`[^`]*`|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|[^`"']+""")


@dataclass(frozen=True, eq=False)
class Parsed:
    """A formula taken apart; `response` holds two expressions where the left side is cbind()."""

    text: str
    left: str
    names: tuple[str, ...]  # what `.` may stand for; empty where there is no `.`
    wildcard: bool  # whether a `.` on the right stands for columns
    response: tuple[Expression, ...]
    terms: SimpleFormula
    factors: tuple[Expression, ...]
    offsets: tuple[Expression, ...]


def parse(text: str, names: Iterable[str] = (), *, allow_code: bool = True) -> Parsed:
    """Take a formula apart; `names` are the columns that a `.` on the right stands for.

    Names are composed (NFC) as Python's own are; what stands in quotes is left as it is.
    """
    if not text.isascii():
        text = _UNQUOTED.sub(lambda part: part[0] if part[1] else normalize("NFC", part[0]), text)
    return _parse(text, tuple(names) if "." in text else (), allow_code)


@lru_cache(maxsize=256)
def _parse(text: str, names: tuple[str, ...], allow_code: bool) -> Parsed:
    """`parse` for hashable arguments; the result is shared and never changed."""
    tokens = _tokens(text)
    middle = _middle(text, tokens)
    for token in tokens if not allow_code else ():
        if token.kind is Token.Kind.PYTHON:
            refuse_code(token.token, _written(token))
    left, right = tokens[:middle], tokens[middle + 1 :]
    cut = text.index("~", tokens[middle].source_start)
    response = _response(text, left)
    offsets = {t.token: p for t in right if (p := _offset(t)) is not None}
    _refuse_numbers(text, right)
    _refuse_powers(text, right, names)
    used = {name for part in (*response, *offsets.values()) for name in part.variables}
    rest = [name for name in names if name not in used]
    try:
        formula = Formula.from_spec(
            "~" + text[cut + 1 :], context={"__formulaic_variables_available__": rest}
        )
    except FormulaicError as error:
        raise _unreadable(text, error) from error
    terms = _plain_terms(text, formula, offsets)
    factors = {f.expr: f for t in terms for f in t.factors if f.eval_method.value != "literal"}
    if text[:cut].strip() in factors:
        raise FormulaError(
            f"{text!r}: the response {text[:cut].strip()!r} is among the terms that explain it; "
            "take it out."
        )
    written = {token.token: _written(token) for token in reversed(right)}
    return Parsed(
        text=text,
        left=text[:cut].strip(),
        names=names,
        wildcard=any(token.token == "." for token in right),
        response=response,
        terms=SimpleFormula(terms, _ordering="none"),
        factors=tuple(
            expression_of(f.expr, f.eval_method.value == "python", written.get(f.expr, f.expr))
            for f in factors.values()
        ),
        offsets=tuple(offsets.values()),
    )


def _tokens(text: str) -> list[Token]:
    """The formula's bare tokens, nothing evaluated."""
    if any(part[0] == "``" for part in _UNQUOTED.finditer(text)):
        raise FormulaError(f"{text!r}: `` names no column; rename a column whose name is empty.")
    try:
        return list(sanitize_tokens(tokenize(text)))
    except FormulaicError as error:
        raise _unreadable(text, error) from error
    except SyntaxError as error:
        raise FormulaError(f"cannot read the formula {text!r}: {error.msg}.") from error


def _unreadable(text: str, error: Exception) -> FormulaError:
    """Formulaic's complaint in our words, without its terminal colours."""
    reason = re.sub(r"\s+", " ", str(error).split("\n")[0]).rstrip(".")
    return FormulaError(f"cannot read the formula {text!r}: {reason}.")


def _middle(text: str, tokens: list[Token]) -> int:
    """The position of the tilde; one-sided formulas and group effects are refused."""
    operators = [token.token if token.kind is Token.Kind.OPERATOR else "" for token in tokens]
    if any("|" in operator for operator in operators):
        raise FormulaError(
            f"{text!r} has a group effect such as (1 | g), which is not part of this formula. "
            "For clustered data leave it out and use .gee(groups=...)."
        )
    tildes = [place for place, operator in enumerate(operators) if "~" in operator]
    if not tildes or tildes[0] == 0:
        raise FormulaError(
            f"{text!r} has no response; write 'response ~ terms', or '{text.strip()} ~ 1' for an "
            "intercept only."
            if not tildes
            else f"{text!r} has no response; write 'response ~ terms'."
        )
    if not text[text.index("~", tokens[tildes[0]].source_start) + 1 :].strip():
        raise FormulaError(f"{text!r} has an empty right side; write '~ 1' for an intercept only.")
    return tildes[0]


def _response(text: str, left: list[Token]) -> tuple[Expression, ...]:
    """The response on the left side, or the successes and failures of cbind()."""
    if len(left) != 1 or left[0].kind not in (Token.Kind.NAME, Token.Kind.PYTHON):
        raise FormulaError(
            f"the left side of {text!r} must be one column or one call of a function, such as "
            "log(y), I(y / n) or cbind(successes, failures)."
        )
    token = left[0]
    python = token.kind is Token.Kind.PYTHON
    pair = arguments_of(token.token, "cbind") if python else None
    if pair is None:
        return (expression_of(token.token, python, _written(token)),)
    if len(pair) != 2:
        raise FormulaError(f"{_written(token)} must hold two columns: successes and failures.")
    return tuple(pair)


def _offset(token: Token) -> Expression | None:
    """The argument of an offset() token, None for any other token."""
    python = token.kind is Token.Kind.PYTHON
    arguments = arguments_of(token.token, "offset") if python else None
    if arguments is not None and len(arguments) != 1:
        raise FormulaError(f"{_written(token)} must hold one column or expression.")
    return arguments[0] if arguments else None


def _plain_terms(text: str, formula: Any, offsets: dict[str, Expression]) -> list[Term]:
    """The terms of the right side that give columns of X."""
    terms, lifted = [], set()
    for term in formula:
        kinds = [factor.eval_method.value for factor in term.factors]
        inside = [factor.expr for factor in term.factors if factor.expr in offsets]
        if len(term.factors) > 1 and (inside or "literal" in kinds):
            raise _in_interaction(text, "an offset()" if inside else "a number")
        lifted.update(inside)
        if not inside:
            terms.append(term)
    if lifted != set(offsets):
        raise FormulaError(
            f"{text!r} takes an offset() away; write offset(-x) to subtract it from the predictor."
        )
    if not terms:
        raise FormulaError(f"{text!r} has no coefficient; keep the intercept or add a term.")
    return terms


def _in_interaction(text: str, what: str) -> FormulaError:
    return FormulaError(
        f"{text!r} has {what} in an interaction; write the product inside: I(2 * x) or "
        "offset(x * z)."
    )


def _refuse_numbers(text: str, right: list[Token]) -> None:
    """Refuse 0 and -1 in an interaction: they take terms away, and 0:x has none left."""
    for before, token, after in zip([None, *right], right, [*right[1:], None], strict=False):
        signs = {side.token.strip("+-") for side in (before, after) if side is not None}
        if token.kind is Token.Kind.VALUE and signs & {":", "*", "/", "in"}:
            raise _in_interaction(text, "a number")


def _refuse_powers(text: str, right: list[Token], names: Sequence[str]) -> None:
    """Refuse powers of a sum of terms that would take for ever to multiply out."""
    for place, sign in enumerate(right):
        if sign.kind is not Token.Kind.OPERATOR or sign.token not in ("**", "^"):
            continue
        power = next((t.token for t in right[place + 1 :] if t.token != "("), "")
        if not power.isdecimal():
            continue
        products = _term_count(right[:place], len(names)) ** min(int(power), LARGEST_POWER)
        if int(power) > LARGEST_POWER or products > MOST_PRODUCTS:
            raise FormulaError(
                f"{text!r} has the power {power[:20]} of terms, too many to multiply out; "
                f"powers go up to {LARGEST_POWER}, and to {MOST_PRODUCTS:.0e} products. A power of "
                "a number is written I(x**2)."
            )


def _term_count(before: list[Token], columns: int) -> int:
    """A bound of the number of terms in the last operand: one, or what is in parentheses."""
    depth, operands, crossed = 0, 0, False
    for token in reversed(before):
        depth += {")": 1, "(": -1}.get(token.token, 0)
        crossed = crossed or token.token in ("*", "**", "^", "/", "%in%")
        if token.kind is not Token.Kind.OPERATOR and token.token not in ("(", ")"):
            operands += 1
        elif token.token == ".":
            operands += columns
        if depth == 0:
            break
    return 2 ** min(operands, 64) if crossed else max(operands, 1)


def _written(token: Token) -> str:
    """A token as it is written in the formula; a backquoted name without its backquotes."""
    if token.kind is not Token.Kind.PYTHON or token.source is None:
        return token.token
    text = " ".join(token.source[token.source_start : (token.source_end or 0) + 1].split())
    return text + "}" if text.startswith("{") else text
