"""`check` passes right families, and names the wrong part of every wrong one."""

from __future__ import annotations

import math

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.numerics import check as module
from expfam_glm.numerics.evidence import Evidence, shape_settings
from tests.declared import DECLARED, continuous_bernoulli, zero_truncated_poisson
from tests.numerics.mutants import MUTANTS, NEGATIVE, RIGHT, declare
from tests.tolerances import DEFAULT

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

# Right declarations of other kinds: supports bounded on either side, several shapes, a
# dispersion that is a standard deviation, operations without a decimal form.
ZOO = {
    "log_gamma": {
        "b": pt.gammaln, "c": lambda y, a: -pt.exp(y), "support": eg.Real,
        "theta_domain": eg.Positive, "phi": 1.0,
    },
    "truncated_binomial": {
        "b": lambda theta: pt.log(pt.expm1(5 * pt.softplus(theta))),
        "c": lambda y, a: math.log(120) - pt.gammaln(y + 1) - pt.gammaln(6 - y),
        "support": eg.Integers(1, 5), "phi": 1.0,
    },
    "mirrored_gamma": {
        "b": lambda theta: -pt.log(theta),
        "c": lambda y, a: -pt.log(a) / a + (1 / a - 1) * pt.log(-y) - pt.gammaln(1 / a),
        "support": eg.Interval(None, 0), "theta_domain": eg.Positive,
    },
    "normal_by_sd": {
        "b": lambda theta: theta**2 / 2, "a": lambda phi: phi**2, "support": eg.Real,
        "c": lambda y, a: -(y**2) / (2 * a) - pt.log(2 * math.pi * a) / 2,
    },
    "two_shapes": {
        "b": lambda theta, k: -k * pt.log(-theta),
        "c": lambda y, a, k, s: (
            (k / a - 1) * pt.log(y) - pt.gammaln(k / a) - k / a * pt.log(a) + 0 * s
        ),
        "support": eg.Positive, "theta_domain": NEGATIVE,
        "shape": {"k": eg.Positive, "s": eg.Interval(0.5, 2)},
    },
    "error_function": {
        "b": lambda theta: theta**2 / 2 + 0 * pt.erf(theta), "phi": 1.0, "support": eg.Real,
        "c": lambda y, a: -(y**2) / (2 * a) - pt.log(2 * math.pi * a) / 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_right_families_pass(name: str) -> None:
    report = FAMILIES[name].check()
    assert report.ok and not report.parts, str(report)


@pytest.mark.parametrize("name", ZOO)
def test_other_right_families_pass(name: str) -> None:
    report = eg.Family(name, link="identity", **ZOO[name]).check()
    assert report.ok and not report.parts, str(report)


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_mutants_are_made_from_is_right(name: str) -> None:
    assert declare(name, {}).check().ok


@pytest.mark.slow
@pytest.mark.parametrize(("name", "slip"), MUTANTS, ids=lambda text: text)
def test_every_mutant_is_caught_and_its_wrong_part_named(name: str, slip: str) -> None:
    change, parts = MUTANTS[name, slip]
    with pytest.raises(DeclarationError) as caught:
        declare(name, change).check(raise_on_failure=True)
    named = set(caught.value.part.split())
    assert named and named <= parts, str(caught.value)


# ---- what normalises and is wrong all the same ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slip", "failed"),
    [
        ("gamma", "support: with 0", "measure"),
        ("poisson", "link: log2 with exp", "link"),
        ("inverse_gaussian", "link: turns, unseen", "link"),
    ],
)
def test_mutants_of_mass_one(name: str, slip: str, failed: str) -> None:
    report = declare(name, MUTANTS[name, slip][0]).check()
    assert report["mass"].status == "passed" and report[failed].status == "failed"
    assert [r.name for r in report.results if r.status == "failed"] == [failed]


@pytest.mark.parametrize("name", ["normal", "gamma", "inverse_gaussian"])
def test_mass_one_at_one_dispersion_alone_is_not_enough(name: str) -> None:
    family = declare(name, MUTANTS[name, "c: 1/a for a"][0])
    excess = Evidence(family).excess
    assert np.all(np.abs(excess[0]) < DEFAULT) and np.max(np.abs(excess[1])) > 1
    assert "wrong place" in family.check()["mass"].advice


def test_a_base_measure_for_one_dispersion_only_is_no_failure_but_said() -> None:
    report = zero_truncated_poisson.check()
    assert report.ok and report["weights"].status == "not applicable"
    assert "weights are refused" in report["weights"].advice
    assert report["weights"].where["a"] < 1 and report["weights"].part == "c"


def test_a_free_dispersion_needs_a_base_measure_for_every_one() -> None:
    report = eg.Family("free", **{**RIGHT["poisson"], "phi": None}).check()
    assert report.ok and report["weights"].status == "passed"
    wrong = {**RIGHT["poisson"], "c": lambda y, a: -pt.gammaln(y + 1), "phi": None}
    report = eg.Family("free", **wrong).check()
    assert report.parts == ("c",)


# ---- diagnosis -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slip", "words"),
    [
        ("poisson", "c: zero", r"with −lnΓ\(y \+ 1\) added"),
        ("poisson", "c: no −lnΓ", r"with −lnΓ\(y/a \+ 1\) added"),
        ("gamma", "c: no −lnΓ(1/a)", r"the term −lnΓ\(1/a\) is missing"),
        ("normal", "c: no 2π", r"the term −½ log\(2π\) is missing"),
        ("normal", "c: no log a", r"the term −½ log a is missing"),
        ("normal", "c: a² for a", r"with √a instead of a in c"),
        ("gamma", "c: 1/a for a", r"with 1/a instead of a in c"),
        ("normal", "b: twice", r"they need 0\.5·b\(θ\)"),
        ("poisson", "b: + 1", r"-1 must be added to b\(θ\)"),
        ("normal", "b: + θ", r"the term -1·θ is missing in b"),
        ("zero_truncated_poisson", "b: of 2θ", r"they need 2·b\(0\.5·θ\)"),
        ("poisson", "c: lnΓ(y + 2)", r"with y -1 \(a count y/a -1\) in its place"),
        ("poisson", "support: continuous", r"with integers in \[0, inf\) the total mass is 1"),
        ("normal", "c: y²a for y²/a", r"is 1 at a = 1 and not at other dispersions: φ"),
        ("normal", "c: +y²", r"infinite at|−y²/a added"),
        ("negative_binomial", "c: no lnΓ(y + 1/α)", "do not fit b"),
    ],
)  # fmt: skip
def test_the_advice_says_what_to_do(name: str, slip: str, words: str) -> None:
    report = declare(name, MUTANTS[name, slip][0]).check()
    with pytest.raises(AssertionError, match=words):
        assert not report["mass"].advice, report["mass"].advice


def test_a_known_shape_parameter_is_tried_in_the_missing_terms() -> None:
    family = eg.Family(
        "forgetful",
        b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
        c=lambda y, a, alpha: -pt.gammaln(1 / alpha) - pt.gammaln(y + 1),
        support=eg.Integers(0, None),
        theta_domain=NEGATIVE,
        phi=1.0,
        shape={"alpha": eg.Positive},
        link="log",
    )
    report = family.check()
    assert report.parts == ("c",) and "+lnΓ(y + 1/alpha) added" in report["mass"].advice
    assert report["mass"].where["alpha"] in (0.4, 1.0, 2.5)


def test_a_shape_parameter_for_which_theta_is_wrong() -> None:
    family = eg.Family(
        "wrong_theta",
        b=lambda theta, alpha: -pt.log1mexp(theta) / alpha,
        c=None,
        theta=lambda mu, alpha: pt.log(alpha * mu),
        support=eg.Positive,
        theta_domain=NEGATIVE,
        shape={"alpha": eg.Positive},
        link="log",
    )
    report = family.check()
    assert report.parts == ("theta",) and "alpha" in report.results[0].where


def test_every_shape_parameter_takes_three_values() -> None:
    family = eg.Family("zoo", link="log", **ZOO["two_shapes"])
    settings = list(shape_settings(family))
    assert len(settings) == 3
    for name, domain in family.shape.items():
        values = {setting[name] for setting in settings}
        assert len(values) == 3 and domain.contains(list(values)).all()


# ---- digits --------------------------------------------------------------------------------------


def naive(theta: pt.TensorVariable) -> pt.TensorVariable:
    return pt.log(pt.expm1(theta) / theta)


def test_the_naive_continuous_bernoulli_is_seen_to_cancel_near_zero() -> None:
    report = eg.Family(
        "naive", b=naive, c=lambda y, a: 0 * y, support=eg.UnitInterval, phi=1.0, link="logit"
    ).check()
    assert report.parts == ("b",)
    assert report["finite"].where == {"theta": 0.0} and "series" in report["finite"].advice
    lost = report["digits"]
    assert lost.status == "failed" and abs(lost.where["theta"]) < 1e-6
    assert lost.figures["exactly"] == pytest.approx(1 / 12, rel=1e-6)
    assert continuous_bernoulli.check()["digits"].status == "passed"


def test_a_few_lost_digits_are_reported_and_no_failure() -> None:
    def b(theta):
        small = pt.abs(theta) < 1e-4
        return pt.switch(small, theta / 2 + theta**2 / 24, naive(pt.switch(small, 1.0, theta)))

    report = eg.Family(
        "less_naive", b=b, c=lambda y, a: 0 * y, support=eg.UnitInterval, phi=1.0, link="logit"
    ).check()
    assert report.ok and report["digits"].status == "digits lost"
    assert 1e-4 <= abs(report["digits"].where["theta"]) < 1e-2
    assert "with a loss of digits" in str(report).splitlines()[0]


def test_operations_without_a_decimal_form_are_differenced_in_doubles() -> None:
    report = eg.Family("erf", link="identity", **ZOO["error_function"]).check()
    assert report["digits"].status == "not applicable" and "Erf" in report["digits"].advice


# ---- draws ---------------------------------------------------------------------------------------


def test_wrong_draws_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(family, mu, phi, rng, size, *, theta):
        return stats.poisson(1.15 * np.exp(theta)).rvs(size, random_state=rng)

    monkeypatch.setattr(module, "draw", other)
    report = eg.families.poisson.check()
    assert report.parts == ("draws",)
    assert report["draws"].figures["largest gap"] > report["draws"].figures["allowed"]


# ---- quasi families and the report ---------------------------------------------------------------


def test_quasi_families_are_checked_as_far_as_they_go() -> None:
    report = eg.families.quasi_poisson.check()
    applicable = {r.name for r in report.results if r.status == "passed"}
    assert {"finite", "convex", "range", "dispersion", "digits", "theta", "link"} <= applicable
    for name in ("measure", "mass", "weights", "mean", "variance", "draws"):
        assert report[name].status == "not applicable" and "c=None" in report[name].advice


def test_the_report_reads_as_text_and_as_html() -> None:
    family = declare("poisson", MUTANTS["poisson", "c: zero"][0])
    report = family.check()
    text = str(report)
    assert text.startswith("family 'mutant' failed its check: c is wrong\n\n")
    assert "FAILED" in text and "θ = " in text and repr(report) == text
    assert text.index("−lnΓ(y + 1)") < text.index("FAILED")
    page = report._repr_html_()
    assert page.count("<tr>") == len(report.results) + 1 and "<b>family &#x27;mutant" in page
    with pytest.raises(DeclarationError) as caught:
        family.check(raise_on_failure=True)
    assert str(caught.value) == text and caught.value.part == "c"
    assert eg.families.poisson.check(raise_on_failure=True).ok
    with pytest.raises(ArgumentError, match="no check is called 'massive'; there are finite, "):
        report["massive"]


def test_two_wrong_parts_are_both_named() -> None:
    change = {**MUTANTS["poisson", "c: zero"][0], **MUTANTS["poisson", "link: log2 with exp"][0]}
    report = declare("poisson", change).check()
    assert set(report.parts) == {"c", "link"} and "are wrong" in report.verdict


def test_equal_reports_for_equal_families() -> None:
    assert eg.families.gamma.check() == eg.families.gamma.check()
