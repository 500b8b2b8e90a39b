"""`check` passes right families, and names the wrong part of every wrong one."""

from __future__ import annotations

import pytest

import expfam_glm as eg
from expfam_glm.errors import DeclarationError
from tests.declared import DECLARED
from tests.numerics.mutants import MUTANTS, RIGHT, declare

FAMILIES = {
    "normal": eg.families.normal,
    "poisson": eg.families.poisson,
    "binomial": eg.families.binomial,
    "gamma": eg.families.gamma,
    "inverse_gaussian": eg.families.inverse_gaussian,
    "negative_binomial": eg.families.negative_binomial(alpha=0.5),
    "quasi_poisson": eg.families.quasi_poisson,
    "quasi_binomial": eg.families.quasi_binomial,
    **DECLARED,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_right_families_pass(name: str) -> None:
    report = FAMILIES[name].check()
    assert report.ok and not report.parts, str(report)


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_mutants_are_made_from_is_right(name: str) -> None:
    assert declare(name, {}).check().ok


@pytest.mark.parametrize(("name", "slip"), MUTANTS, ids=lambda text: text)
def test_every_mutant_is_caught_and_its_wrong_part_named(name: str, slip: str) -> None:
    change, parts = MUTANTS[name, slip]
    with pytest.raises(DeclarationError) as caught:
        declare(name, change).check(raise_on_failure=True)
    named = set(caught.value.part.split())
    assert named and named <= parts, str(caught.value)
