"""Priors as values, and what `priors=` means for a problem."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pymc as pm
import pytest

import expfam_glm as eg
from expfam_glm.bayes.prior import Prior, centre_of, space_of
from expfam_glm.bayes.priors import Applied, apply
from expfam_glm.errors import ArgumentError
from tests.problems import problem


def gamma() -> Any:
    return problem("gamma-log")


def applied_of(priors: Any, name: str = "gamma-log") -> Applied:
    return apply(problem(name), priors)


def test_a_prior_is_a_value() -> None:
    prior = Prior("Normal", mu=0, sigma=2)
    assert prior == Prior("Normal", sigma=2.0, mu=0.0)
    assert hash(prior) == hash(Prior("Normal", sigma=2.0, mu=0.0))
    assert prior != Prior("Normal", mu=0, sigma=3)
    assert repr(prior) == 'Prior("Normal", mu=0, sigma=2)'
    assert pickle.loads(pickle.dumps(prior)) == prior
    assert prior.record() == {"name": "Normal", "mu": 0.0, "sigma": 2.0}
    with pytest.raises(AttributeError, match="value"):
        prior.distribution = "Cauchy"  # type: ignore[misc]


def test_parameters_of_a_prior_are_double_precision() -> None:
    value = float(pm.logp(Prior("Weibull", alpha=0.5, beta=0.3).variable(), 2.0).eval(
        mode="FAST_COMPILE"
    ))  # fmt: skip
    exact = np.log(0.5 / 0.3) - 0.5 * np.log(2 / 0.3) - (2 / 0.3) ** 0.5
    assert value == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(
    ("distribution", "parameters", "message"),
    [
        ("Norml", {}, "did you mean 'Normal'"),
        ("Model", {}, "no distribution 'Model'"),
        ("Normal", {"mu": [1, 2]}, "is not a number"),
        ("Normal", {"loc": 1}, "cannot be made"),
        ("Poisson", {"mu": 1}, "not a univariate continuous"),
        ("MvNormal", {}, "cannot be made"),
        ("Normal", {"nope": 1}, "no parameter 'nope'"),
        ("Normal", {"mu": 0, "sigma": -1}, "it needs sigma > 0"),
        ("Normal", {"mu": np.nan, "sigma": 1}, "a parameter is NaN"),
        ("Uniform", {"lower": 2, "upper": 1}, "is no distribution"),
        ("Ridge", {}, "give scale"),
        ("Ridge", {"scale": 0}, "must be a positive number"),
        ("Jeffreys", {"scale": 1}, "it takes none"),
    ],
)
def test_what_is_no_prior_is_refused(
    distribution: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        Prior(distribution, **parameters)


def test_where_priors_live() -> None:
    assert space_of(Prior("StudentT", nu=3, mu=0, sigma=1)) == "real"
    assert space_of(Prior("HalfNormal", sigma=1)) == "positive"
    assert space_of(Prior("Uniform", lower=0, upper=3)) == "other"
    assert centre_of(pm.Uniform.dist(0, 3)) == pytest.approx(1.5)


def test_words_and_keys() -> None:
    assert applied_of("flat").beta == (Prior("Flat"),) * 3
    assert applied_of("flat").phi == Prior("HalfFlat")
    mine = Prior("Normal", mu=0, sigma=1)
    assert applied_of({"beta": mine}).beta == (mine,) * 3
    mixed = applied_of({"beta": "flat", "lot": mine, "phi": Prior("HalfNormal", sigma=2)})
    assert mixed.beta == (Prior("Flat"), Prior("Flat"), mine)
    assert mixed.phi == Prior("HalfNormal", sigma=2)
    assert mixed.flat.tolist() == [True, True, False]
    default = applied_of("default")
    assert applied_of({}).beta == default.beta
    assert applied_of({"lot": mine}).beta[:2] == default.beta[:2]


def test_one_distribution_for_every_coefficient() -> None:
    normal = pm.Normal.dist(0, 0.1)
    assert applied_of({"beta": normal}).beta == (normal,) * 3
    mine = Prior("StudentT", nu=4, mu=0, sigma=1)
    assert applied_of({"beta": normal, "lot": mine}).beta == (normal, normal, mine)


def test_a_factor_is_addressed_as_a_whole() -> None:
    mine, own = Prior("Normal", mu=0, sigma=1), Prior("Normal", mu=1, sigma=2)
    quine = problem("negative_binomial")
    levels = [label for label in quine.labels if label.startswith("age[")]
    assert len(levels) == 3
    applied = apply(quine, {"age": mine, levels[1]: own, "beta": "flat"})
    found = dict(zip(quine.labels, applied.beta or (), strict=True))
    assert [found[label] for label in levels] == [mine, own, mine]
    assert found["sex[M]"] == Prior("Flat")
    crossed = apply(problem("poisson"), {"lbase:treatment": mine}).beta or ()
    assert [prior == mine for prior in crossed] == [False] * 4 + [True]


def test_a_ridge_leaves_the_intercept_free() -> None:
    applied = applied_of(Prior("Ridge", scale=0.5))
    assert applied.beta == (Prior("Flat"), *(Prior("Normal", mu=0, sigma=0.5),) * 2)
    some = applied_of({"beta": Prior("Ridge", scale=0.5), "lot": "flat"})
    assert some.beta == (Prior("Flat"), Prior("Normal", mu=0, sigma=0.5), Prior("Flat"))


def test_a_known_dispersion_has_no_prior() -> None:
    assert applied_of("default", "poisson").phi is None
    with pytest.raises(ArgumentError, match="known to be 1"):
        applied_of({"phi": Prior("HalfNormal", sigma=1)}, "poisson")


def test_distributions_of_pymc_are_taken() -> None:
    applied = applied_of({"lot": pm.Normal.dist(0, 1.5), "phi": pm.HalfNormal.dist(1)})
    record = json.loads(applied.record())
    assert record["specified"] == {"lot": "Normal(0, 1.5)", "phi": "HalfNormal(0, 1)"}
    assert record["applied"]["lot"] == "Normal(0, 1.5)"
    assert applied.separable
    joint = applied_of({"beta": pm.MvNormal.dist(np.zeros(3), np.eye(3))})
    assert joint.beta is None
    assert "MultivariateNormal" in json.loads(joint.record())["applied"]["beta"]


def test_the_record_says_what_was_specified_and_applied() -> None:
    record = json.loads(applied_of({"lot": Prior("Normal", mu=0, sigma=1)}).record())
    assert record["specified"] == {"lot": "Normal(mu=0, sigma=1)"}
    assert set(record["applied"]) == {"Intercept", "log(u)", "lot", "phi"}
    assert record["applied"]["lot"] == {"name": "Normal", "mu": 0.0, "sigma": 1.0}
    assert record["applied"]["phi"]["name"] == "Weibull"
    assert json.loads(applied_of("flat").record())["specified"] == "flat"


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ("weak", "not known"),
        (3, "must be 'default', 'flat', 'jeffreys', a Prior"),
        ({"lots": "flat"}, "did you mean 'lot'"),
        ({"lot": "wide"}, "is no prior"),
        ({"lot": 2.5}, "is no prior"),
        ({"phi": Prior("Normal", mu=0, sigma=1)}, "positive numbers"),
        ({5: "flat"}, "no parameter is called 5"),
        ({"lot": []}, "is no prior"),
        ({"lot": pm.Poisson.dist(2)}, "is discrete"),
        ({"lot": pm.Normal.dist(0, -1)}, "is no distribution: it needs sigma > 0"),
        ({"lot": pm.Normal.dist(np.nan, 1)}, "is no distribution: its log-density"),
        ({"phi": Prior("Uniform", lower=-2, upper=-1)}, "positive numbers"),
        ({"phi": Prior("Uniform", lower=-1, upper=3)}, "positive numbers"),
        ({"phi": "flat", "sqrt(phi)": "flat"}, "are one parameter"),
        ({"lot": Prior("Ridge", scale=1)}, "goes with 'beta'"),
        ({"beta": "jeffreys", "lot": "flat"}, "leaves none for 'lot'"),
        ({"beta": pm.Normal.dist(0, 1, shape=2)}, r"must have shape \(3,\)"),
        ({"beta": pm.Normal.dist(0, 1, shape=3), "lot": "flat"}, "stand alone"),
        ({"sqrt(phi)": Prior("Normal", mu=0, sigma=1)}, "positive numbers"),
        ({"lot": pm.Normal.dist(0, 1, shape=2)}, "not scalar"),
        ({"lot": pm.Normal.dist(0, pm.HalfNormal.dist(1))}, "random themselves"),
        ({"lot": pm.Normal.dist(0, 1) + 1}, "not an unregistered distribution"),
    ],
)
def test_priors_that_make_no_sense_are_refused(priors: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        applied_of(priors)


def test_registered_variables_are_refused() -> None:
    with pm.Model():
        variable = pm.Normal("x")
    with pytest.raises(ArgumentError, match="not an unregistered distribution"):
        applied_of({"lot": variable})


def test_a_column_called_like_a_group_is_refused_as_a_key() -> None:
    data = {"y": [1.0, 2.0, 3.0, 5.0], "beta": [1.0, 2.0, 4.0, 3.0]}
    own = eg.GLM("y ~ beta", data, family="normal").problem
    with pytest.raises(ArgumentError, match="rename the column"):
        apply(own, {"beta": "flat"})
