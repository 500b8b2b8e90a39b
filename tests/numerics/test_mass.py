"""Which declared densities keep mass one under weights."""

import pytensor.tensor as pt
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.numerics.mass import takes_weights

BUILT_IN = ["normal", "poisson", "binomial", "gamma", "inverse_gaussian", "quasi_poisson"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_families_take_weights(name):
    assert takes_weights(getattr(eg.families, name))


@pytest.mark.parametrize("alpha", [1e-3, 0.5, 3.0])
def test_negative_binomial_takes_weights(alpha):
    assert takes_weights(eg.families.negative_binomial(alpha=alpha))


def _truncated():
    return eg.Family(
        "zero_truncated_poisson",
        b=lambda theta: pt.log(pt.expm1(pt.exp(theta))),
        c=lambda y, a: -pt.gammaln(y + 1),
        support=eg.Integers(1, None),
        phi=1.0,
    )


def test_base_measure_for_one_dispersion_only_is_found():
    assert not takes_weights(_truncated())
    bernoulli = eg.Family(
        "bernoulli_only", b=pt.softplus, c=lambda y, a: 0 * y, support=eg.Integers(0, 1), phi=1.0
    )
    assert not takes_weights(bernoulli)


@pytest.mark.slow
def test_continuous_base_measure_is_integrated():
    def b(theta):
        small = pt.abs(theta) < 1e-3
        safe = pt.switch(small, 1.0, theta)
        return pt.switch(small, theta / 2 + theta**2 / 24, pt.log(pt.expm1(safe) / safe))

    bernoulli = eg.Family(
        "continuous_bernoulli", b=b, c=lambda y, a: 0 * y,
        support=eg.Interval(0, 1, closed="both"), phi=1.0,
    )  # fmt: skip
    assert not takes_weights(bernoulli)


def test_weights_are_refused_and_copies_are_not():
    data = {"y": [1, 2, 1, 4, 3], "x": [0.0, 1, 1, 2, 3], "w": [1, 2, 1, 1, 1]}
    with pytest.raises(ArgumentError, match="only without weights"):
        eg.GLM("y ~ x", data, family=_truncated(), weights="w")
    assert eg.GLM("y ~ x", data, family=_truncated(), freq_weights="w").fit()


def test_a_density_without_mass_one_is_refused_at_the_fit():
    forgotten = eg.Family(
        "no_factorial", b=pt.exp, c=lambda y, a: 0 * y, support=eg.Integers(0, None), phi=1.0
    )
    with pytest.raises(DeclarationError, match="total mass"):
        eg.GLM("y ~ x", {"y": [1, 2, 0], "x": [0.0, 1.0, 2.0]}, family=forgotten)


def test_a_free_dispersion_needs_a_density_at_every_one():
    poisson_of_one = eg.Family(
        "counts",
        b=pt.exp,
        c=lambda y, a: -pt.gammaln(y + 1),  # holds for a = 1 only, and phi=1.0 is forgotten
        support=eg.Integers(0, None),
    )
    data = {"y": [1, 0, 2, 4], "x": [0.1, 0.2, 0.3, 0.5]}
    with pytest.raises(DeclarationError, match=r"1 at φ = 1, and 1\.10969 at φ = 0\.5.*phi=1\.0"):
        eg.GLM("y ~ x", data, family=poisson_of_one)
