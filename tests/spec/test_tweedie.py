"""The Tweedie family: density against mpmath and SciPy, derivatives, deviance, domains."""

import mpmath as mp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.special import wright_bessel

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DeclarationError
from expfam_glm.numerics.random import draw
from expfam_glm.spec.compound import LogCompound
from tests.references import read
from tests.tolerances import DEFAULT, RELATIVE, ROUNDING

F = eg.families
VALUES = read("tweedie")["values"]


def columns(records, *names):
    """Columns of the records."""
    return [np.array([record[name] for record in records]) for name in names]


@pytest.mark.parametrize("power", sorted({record["power"] for record in VALUES}))
def test_the_density_is_the_series(power):
    records = [record for record in VALUES if record["power"] == power]
    y, mu, phi, expected = columns(records, "y", "mu", "phi", "logpdf")
    family = F.tweedie(power)
    for found in (family.logpdf(y, mu, phi), F.tweedie().logpdf(y, mu, phi, power=power)):
        assert np.all(np.abs(found - expected) <= ROUNDING * np.maximum(np.abs(expected), 1))


def bessel(y, mu, phi):
    """ξ = 3/2, where the series is a Bessel function: Σ zʲ/(j! Γ(j)) = √z I₁(2√z)."""
    with mp.workdps(400):
        y, mu, phi = map(mp.mpf, (y, mu, phi))
        root = mp.exp((mp.log(y) - mp.log(0.5) - 2 * mp.log(phi) - mp.log(0.5)) / 2)
        kernel = -(2 * y / mp.sqrt(mu) + 2 * mp.sqrt(mu)) / phi
        scaled = mp.besseli(1, 2 * root) if root < 1e8 else None
        if scaled is not None:
            return kernel - mp.log(y) + mp.log(root) + mp.log(scaled)
        x = 2 * root  # the asymptotic series of I₁, DLMF 10.40.1
        series = 1 - 3 / (8 * x) - 15 / (128 * x**2) - 105 / (1024 * x**3)
        return kernel - mp.log(y) + mp.log(root) + x - mp.log(2 * mp.pi * x) / 2 + mp.log(series)


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1.0, 1e40, 1e280])
@pytest.mark.parametrize("phi", [1e-12, 1e-3, 1e10])
def test_tiny_and_huge(scale, phi):
    """No y and no φ is too small or too large, from one term of the series to its limit."""
    family = F.tweedie(1.5)
    y = np.array([0.5, 1.0, 2.0]) * scale
    mu = scale * np.array([1.0, 1.0, 1.5])
    expected = np.array([float(bessel(*row)) for row in zip(y, mu, np.full(3, phi), strict=True)])
    found = family.logpdf(y, mu, phi)
    assert np.all(np.abs(found - expected) <= DEFAULT * np.maximum(np.abs(expected), 1))


def test_the_density_is_wrights_function():
    power, mu, phi = 1.4, 1.3, 0.9
    y = np.array([0.05, 0.7, 2.5, 6.0])
    A = (2 - power) / (power - 1)
    z = (y / (power - 1)) ** A / phi ** (1 + A) / (2 - power)
    kernel = (y * mu ** (1 - power) / (1 - power) - mu ** (2 - power) / (2 - power)) / phi
    expected = kernel - np.log(y) + np.log(wright_bessel(A, 0, z))
    np.testing.assert_allclose(F.tweedie(power).logpdf(y, mu, phi), expected, rtol=RELATIVE)


@pytest.mark.parametrize("power", [1.00001, 1.2, 1.5, 1.8, 1.99999])
def test_the_deviance_keeps_its_digits_near_the_mean(power):
    ratio = np.array([0.0, 1e-9, 0.3, 0.55, 0.9999, 1 - 1e-9, 1 + 1e-12, 1.00001, 1.7, 80.0])
    with mp.workdps(80):
        xi = mp.mpf(power)
        rows = [mp.mpf(float(r)) * 3 / 3 for r in ratio * 3.0]
        expected = [
            float(2 * (y ** (2 - xi) / ((1 - xi) * (2 - xi)) - y * mp.mpf(3) ** (1 - xi) / (1 - xi)
                       + mp.mpf(3) ** (2 - xi) / (2 - xi)))
            for y in rows
        ]  # fmt: skip
    found = F.tweedie(power).deviance(ratio * 3.0, 3.0)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=0)


def test_moments_and_mass_at_zero_of_draws():
    family, mu, phi = F.tweedie(1.4), 2.0, 0.7
    y = draw(family, mu, phi, np.random.default_rng(3), 400_000)
    error = np.sqrt(phi * mu**1.4 / y.size)
    assert abs(y.mean() - mu) < 4 * error
    assert abs(y.var() / (phi * mu**1.4) - 1) < 0.02
    zero = np.exp(family.logpdf(0.0, mu, phi))
    assert abs(np.mean(y == 0) - zero) < 4 * np.sqrt(zero / y.size)


def test_the_derivative_of_the_second_order_has_none():
    x, A = pt.dscalar("x"), pt.dscalar("A")
    with pytest.raises(Exception, match="not implemented"):
        pytensor.function([x, A], pytensor.grad(LogCompound((1, 1))(x, A), x))


@pytest.mark.parametrize("power", [0.5, -1, 1 + 2j, np.nan, "a", [1.5], True, 2.5])
def test_a_power_that_is_none(power):
    with pytest.raises(ArgumentError, match=r"power=.* must be a number in \(1, 2\)"):
        F.tweedie(power)


@pytest.mark.parametrize(
    ("power", "name"), [(0, "normal"), (1, "poisson"), (2.0, "gamma"), (3, "inverse_gaussian")]
)
def test_powers_with_names_of_their_own(power, name):
    with pytest.raises(ArgumentError, match=f"is '{name}'; use that name"):
        F.tweedie(power)


def test_negative_responses_are_outside():
    assert F.tweedie(1.5).logpdf(-1.0, 1.0, 1.0) == -np.inf
    with pytest.raises(eg.errors.DataError, match=r"\[0, inf\) with an atom at 0.*row 1: -0\.5"):
        eg.GLM.from_arrays([1.0, -0.5], [1.0, 1.0], family="tweedie")


def test_an_atom_is_the_closed_low_bound():
    domain = eg.Interval(0, 1, "both", atom=0.0)
    assert domain.atom == 0.0 and str(domain) == "[0, 1] with an atom at 0"
    for atom, closed in ((-1.0, "left"), (0.0, "neither"), (0.5, "both")):
        with pytest.raises(DeclarationError, match="atom="):
            eg.Interval(0, 1, closed, atom=atom)
