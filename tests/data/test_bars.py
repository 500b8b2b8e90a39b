"""Group effects split off a formula, and laid out as columns."""

from __future__ import annotations

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.data.bars import Bar, group_codes, split_bars
from expfam_glm.errors import ArgumentError, DataError, FormulaError


@pytest.mark.parametrize(
    ("text", "fixed", "bars"),
    [
        ("y ~ x + (1|g)", "y ~ x ", [("1", ("g",), True)]),
        ("y ~ (1|g)", "y ~ 1", [("1", ("g",), True)]),
        ("y ~ (1 | g) + z", "y ~ z", [("1", ("g",), True)]),
        ("y ~ x + (1 + log(x) || a:b)", "y ~ x ", [("1 + log(x)", ("a", "b"), False)]),
        ("y~x+(1|a/b)-1", "y~x-1", [("1", ("a",), True), ("1", ("a", "b"), True)]),
        ("y ~ (1|`a/b`)", "y ~ 1", [("1", ("a/b",), True)]),
        ("y ~ (1|`a:b`) + x", "y ~ x", [("1", ("a:b",), True)]),
        ("y ~ (1|`a|b`)", "y ~ 1", [("1", ("a|b",), True)]),
        ("y~x+(1|`a b`/c)", "y~x", [("1", ("a b",), True), ("1", ("a b", "c"), True)]),
        ("y ~ I(x | z)", "y ~ I(x | z)", []),
        ("y ~ `a (1|b)` + x", "y ~ `a (1|b)` + x", []),
        ("y ~ (x + z)", "y ~ (x + z)", []),
    ],
)
def test_formulas(text: str, fixed: str, bars: list[tuple[str, tuple[str, ...], bool]]) -> None:
    found, parts = split_bars(text)
    assert found == fixed
    assert [(bar.effects, bar.groups, bar.correlated) for bar in parts] == bars


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ x * (1 | g)", "added as a term"),
        ("y ~ x - (1 | g)", "added as a term"),
        ("y ~ ( | g)", "cannot read"),
        ("y ~ (1 | )", "cannot read"),
        ("y ~ (1 | a`b`)", "cannot read"),
        ("y ~ (1 | ``)", "cannot read"),
        ("y ~ (1 | g) + (0 + x | g)", r"write one, \(1 \+ x \| g\)"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        split_bars(text)


def test_a_bar_has_the_name_of_its_group() -> None:
    assert Bar("(1|a:b)", "1", ("a", "b"), True).name == "a:b"


def test_codes_of_combinations() -> None:
    levels, codes = group_codes([np.array([2.0, 1.0, 2.0]), np.array(["x", "y", "y"], object)])
    assert levels == ("1:y", "2:x", "2:y")
    assert codes.tolist() == [1, 0, 2]


DATA = {
    "y": [0.0, 1.0, 3.0, 2.0],
    "x": [1.0, 2.0, 3.0, 4.0],
    "h": [0.0, 1.0, 0.0, 2.0],
    "g": ["b", "a", "b", None],
}


def test_the_design_holds_the_effects_of_the_kept_rows() -> None:
    frame = eg.GLM("y ~ 1 + (1 + x | g)", DATA, family="poisson", missing="drop").problem.frame
    (part,) = frame.effects
    assert frame.labels == ("Intercept",)
    assert frame.formula == "y ~ 1 + (1 + x | g)"
    assert (part.name, part.labels, part.levels) == ("g", ("Intercept", "x"), ("a", "b"))
    assert part.codes.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(part.Z, [[1, 1], [1, 2], [1, 3]])
    assert "x" not in str(frame.design)


def test_missing_groups_are_missing_values() -> None:
    with pytest.raises(DataError, match="'g'"):
        eg.GLM("y ~ x + (1 | g)", DATA, family="poisson")
    with pytest.raises(DataError, match="'nobody'"):
        eg.GLM("y ~ x + (1 | nobody)", DATA, family="poisson")


def test_roads_without_group_effects_point_to_those_that_have() -> None:
    model = eg.GLM("y ~ x + (1 | h)", DATA, family="poisson")
    for road in (model.fit, lambda: model.gee(groups="h"), model.laplace):
        with pytest.raises(ArgumentError, match=r"\.sample\(\).*gee\(groups='h'\)"):
            road()
