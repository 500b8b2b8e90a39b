"""Formulas are taken apart as written, and code that is not allowed does not run."""

from __future__ import annotations

import builtins

import pytest

from expfam_glm.data.expression import expression_of, required
from expfam_glm.data.formula import parse
from expfam_glm.errors import FormulaError


def terms_of(text: str, names: tuple[str, ...] = ()) -> list[str]:
    return [":".join(factor.expr for factor in term.factors) for term in parse(text, names).terms]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("y ~ 1", ["1"]),
        ("y ~ x", ["1", "x"]),
        ("y ~ 0 + x", ["x"]),
        ("y ~ x - 1", ["x"]),
        ("y ~ -1 + x", ["x"]),
        ("y ~ a * b", ["1", "a", "b", "a:b"]),
        ("y ~ (a + b)**2 - a:b", ["1", "a", "b"]),
        ("y ~ a / b", ["1", "a", "a:b"]),
        ("y ~ a:b + c", ["1", "c", "a:b"]),
        ("y ~ x + offset(log(t))", ["1", "x"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


def test_the_dot_stands_for_what_is_left() -> None:
    names = ("y", "t", "a", "b c")
    assert terms_of("log(y) ~ . + offset(log(t))", names) == ["1", "a", "b c"]
    assert terms_of("cbind(y, t) ~ . - a", names) == ["1", "b c"]
    assert parse("y ~ x", names).names == ()


def test_factors_are_kept_as_written() -> None:
    text = 'y ~ I(x**2) + {x  % 2} + C(g,   Treatment("b")):`my col` + log(`my col`)'
    assert [factor.written for factor in parse(text).factors] == [
        *("I(x**2)", "{x % 2}", "log(`my col`)", 'C(g, Treatment("b"))', "my col")
    ]


def test_the_left_side() -> None:
    assert parse("log(y / n)~x").left == "log(y / n)"
    assert parse("`my y` ~ x").response[0].code == "my y"
    success, failure = parse("cbind(`a b`, n - s) ~ x").response
    assert (success.code, success.python) == ("a b", False)
    assert (failure.code, failure.variables) == ("n - s", ("n", "s"))


def test_offsets_are_taken_out() -> None:
    first, second = parse("y ~ offset(t) + x + offset(log(`my t`))").offsets
    assert (first.code, first.python) == ("t", False)
    assert (second.code, second.variables) == ("log(`my t`)", ("my t",))


@pytest.mark.parametrize(
    ("code", "variables", "functions"),
    [
        ("log(x + z)", {"x", "z"}, {"log"}),
        ("np.log(x)", {"np", "x"}, set()),
        ("x.clip(0)", {"x"}, set()),
        ("C(g, Sum)", {"g", "Sum"}, {"C"}),
        ("log(`my col`, `my`)", {"my col", "my"}, {"log"}),
        ('Q("my col")', {"my col"}, {"Q"}),
        ("sum([v for v in x])", {"x"}, {"sum"}),
        ("f(lambda v: v + x)", {"x"}, {"f"}),
        ("log(log)", {"log"}, {"log"}),
    ],
)
def test_names_in_code(code: str, variables: set[str], functions: set[str]) -> None:
    found = expression_of(code, True, code)
    assert (set(found.variables), set(found.functions)) == (variables, functions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ agee", r"variable 'agee' is not in the data; did you mean 'age'\?"),
        ("y ~ C(agee)", r"C\(agee\): variable 'agee' is not in the data"),
        ("y ~ C(center)", r"variable 'center' is not in the data; did you mean 'centre'\?"),
        ("y ~ log(exp)", "variable 'exp' is not in the data"),
        ("y ~ logg(age)", r"function 'logg' is not known; did you mean 'log'"),
        ("y ~ log(offset(age))", "must stand alone"),
        ("y ~ cbind(age, y)", "on the left side"),
    ],
)
def test_unknown_names(text: str, message: str) -> None:
    parsed = parse(text)
    with pytest.raises(FormulaError, match=message):
        required((*parsed.response, *parsed.factors), ("y", "age", "centre"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y", "no response"),
        ("~ x", "no response"),
        ("y ~ ", "empty right side"),
        ("y ~ 0", "no coefficient"),
        ("y ~ offset(x) - 1", "no coefficient"),
        ("y + z ~ x", "left side"),
        ("y / n ~ x", r"I\(y / n\)"),
        ("1 ~ x", "left side"),
        ("cbind(y) ~ x", "two columns"),
        ("cbind(y, n, m) ~ x", "two columns"),
        ("y ~ offset(x, z)", "one column or expression"),
        ("y ~ x - offset(t)", r"offset\(-x\)"),
        ("y ~ offset(t):x", "in an interaction"),
        ("y ~ 2:x", r"a number in an interaction.*I\(2 \* x\)"),
        *(
            (f"y ~ {t}", "a number in an interaction")
            for t in (
                "x + 0:f",
                "0:x",
                "x:0",
                "x + 0*f",
                "0 %in% f",
                "x + -1:f",
                "x + (0:f)",
            )
        ),
        ("y ~ ``", "`` names no column"),
        ("y ~ x + ``:z", "`` names no column"),
        ("y ~ x +", "cannot read the formula 'y ~ x \\+': "),
        ("y ~ x z", "Missing operator"),
        ("y ~ (x", "cannot read"),
        ("y ~ log(x", "cannot read"),
        ("y ~ x == 1", "Unknown operator"),
        ("y ~ x ~ z", "cannot read"),
        ("y ~ log(x +)", "cannot read"),
        ('y ~ "a"', "String literals"),
        ("y ~ x; import os", "cannot read"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message) as caught:
        parse(text)
    assert "\x1b" not in str(caught.value)
    assert "⧛" not in str(caught.value)


@pytest.mark.parametrize("text", ["y ~ (1 | g)", "y ~ x + (1 + x || g)", "y ~ x | g"])
def test_group_effects_are_refused_with_advice(text: str) -> None:
    with pytest.raises(FormulaError, match=r"group effect .*\.gee\(groups=\.\.\.\)"):
        parse(text)


def test_a_bar_inside_code_is_no_group_effect() -> None:
    assert terms_of('y ~ I((a > 0) | (b > 0)) + C(g, levels=["|", "~"])')[0] == "1"


@pytest.mark.parametrize(
    "text",
    [
        "y ~ {x + 1}",
        "y ~ x.tofile('leak')",
        "y ~ np.save('leak', x)",
        "y ~ contr.tofile('leak')",
        "y ~ I(np.lib.format)",
        "y ~ I(x.__class__)",
        "y ~ I(x[0])",
        "y ~ I([v for v in x])",
        "y ~ open('leak')",
        "y ~ I((lambda: 1)())",
        "y ~ I(f'{x}')",
        "y ~ C(x)(1)",
    ],
)
def test_code_is_refused_where_it_is_not_allowed(text: str) -> None:
    with pytest.raises(FormulaError, match="not allowed here"):
        parse(text, allow_code=False)


@pytest.mark.parametrize(
    "text",
    [
        "log(y / n) ~ poly(x, 2) + bs(z, df=4) + C(g, Treatment('b')) + np.log(x) + offset(log(t))",
        "cbind(s, n - s) ~ C(g, contr.sum) + C(h, levels=['a', 'b']) + scale(`my col`) + Q('b c')",
        "y ~ I(x**2 > -1) + abs(x) + np.where(x > 0, x, 0)",
    ],
)
def test_known_transforms_are_allowed_everywhere(text: str) -> None:
    assert parse(text, allow_code=False).factors


@pytest.mark.parametrize("text", ["{} ~ x", "y ~ {}"])
def test_refused_code_does_not_run_while_it_is_parsed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(builtins, "note", ran.append, raising=False)
    with pytest.raises(FormulaError, match="not allowed here"):
        parse(text.format("I((lambda: note(1))()())"), allow_code=False)
    assert ran == []


def test_builtins_are_code() -> None:
    parsed = parse("y ~ round(x)", allow_code=True)
    assert required(parsed.factors, ("x",)) == ["x"]
    with pytest.raises(FormulaError, match="function 'round' is not known"):
        required(parsed.factors, ("x",), allow_code=False)
