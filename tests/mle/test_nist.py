"""NIST's certified least-squares problems, and what is said where digits must be lost."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import AliasWarning, FitWarning
from tests.references import read

DATA = read("nist")["data"]
QUICK = {"draws": 20, "chains": 2}
# Digits that a solver by orthogonal triangles reaches; Wampler 4 and 5 have residuals of 10⁴ and
# 10⁶ times the response's own size. The order of a sum moves the last half digit.
DIGITS = {
    "Norris": (13, 13),
    "Pontius": (12.5, 12.5),
    "NoInt1": (14, 14),
    "NoInt2": (14, 14),
    "Longley": (10.5, 11.5),
    "Wampler1": (10, None),
    "Wampler2": (12, None),
    "Wampler3": (9.5, 10),
    "Wampler4": (7.9, 10),
    "Wampler5": (6.1, 10),
}


def design(name):
    data = DATA[name]
    x, p, first = np.array(data["x"]), len(data["beta"]), data["first_power"]
    if len(x) > 1:
        return np.column_stack([np.ones(x.shape[1]), *x])
    return np.column_stack([x[0] ** k for k in range(first, first + p)])


def digits(value, certified):
    return -np.log10(np.max(np.abs(np.asarray(value) / np.asarray(certified) - 1)) + 1e-16)


def fit(name, X):
    return eg.GLM.from_arrays(DATA[name]["y"], X, family="normal").fit(**QUICK)["fit"]


@pytest.mark.parametrize("name", DIGITS)
def test_certified_values(name):
    certified, (of_beta, of_se) = DATA[name], DIGITS[name]
    if of_se is None:
        with pytest.warns(FitWarning, match="perfect"):
            found = fit(name, design(name))
    else:
        found = fit(name, design(name))
        assert digits(found["se"], certified["se"]) > of_se
        assert digits(np.sqrt(float(found["phi"])), certified["residual_sd"]) > 12
    assert digits(found["beta"], certified["beta"]) > of_beta


def test_filip_as_it_stands_is_aliased_and_after_scaling_exact():
    """Degree ten in x between −9 and −3: condition 2e15; in (x + 6)/3 it is 2e3."""
    with pytest.warns(AliasWarning, match="x10"), pytest.warns(FitWarning, match="nearly linear"):
        fit("Filip", design("Filip"))
    data = DATA["Filip"]
    z = (np.array(data["x"][0]) + 6) / 3
    found = fit("Filip", np.column_stack([z**k for k in range(11)]))
    # back to powers of x in exact arithmetic
    back = [[Fraction(0)] * 11 for _ in range(11)]
    for k in range(11):
        for j in range(k + 1):
            back[j][k] = comb(k, j) * Fraction(6) ** (k - j) / Fraction(3) ** k
    gamma = [Fraction(float(v)) for v in found["beta"].values]
    V = [[Fraction(float(v)) for v in row] for row in found["covariance"].values[0]]
    beta = [float(sum(row[k] * gamma[k] for k in range(11))) for row in back]
    se = [
        float(sum(row[k] * row[m] * V[k][m] for k in range(11) for m in range(11))) ** 0.5
        for row in back
    ]
    assert digits(beta, data["beta"]) > 13
    assert digits(se, data["se"]) > 9.5
    assert digits(np.sqrt(float(found["phi"])), data["residual_sd"]) > 12


@pytest.mark.parametrize("name", ["Longley", "Wampler3", "Pontius"])
def test_columns_of_any_scale_give_the_same_fit(name):
    X = design(name)
    size = 10.0 ** np.linspace(-8, 8, X.shape[1])
    first, second = fit(name, X), fit(name, X * size)
    for variable in ("beta", "se"):
        assert digits(second[variable].values * size, first[variable].values) > 9


def test_nearly_collinear_columns_are_named_with_their_condition_number():
    rng = np.random.default_rng(3)
    x, other = rng.normal(size=(2, 50))
    data = {"y": rng.poisson(3, 50), "x": x, "other": other, "twin": x + 1e-6 * rng.normal(size=50)}
    with pytest.warns(FitWarning, match=r"columns x, twin are nearly .* number [1-4]\.\de\+06"):
        tree = eg.GLM("y ~ x + other + twin", data, family="poisson").fit()
    assert "nearly linear combinations" in tree.attrs["warnings"]
    eg.GLM("y ~ x + other", data, family="poisson").fit()


def test_endometrial_is_separated_by_nv_alone_and_lizards_are_not():
    """The documented examples of detectseparation and brglm2."""
    from expfam_glm.errors import SeparationError

    data = read("penalty")["data"]
    for link in ("logit", "probit", "cloglog", "cauchit"):
        model = eg.GLM("hg ~ nv + pi + eh", data["endometrial"], family="binomial", link=link)
        with pytest.raises(SeparationError, match=r"with nv → \+∞ the likelihood"):
            model.fit()
    formula = "grahami ~ height + diameter + light + time"
    eg.GLM(formula, data["lizards"], family="binomial", trials="total").fit()
