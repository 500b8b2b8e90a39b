"""The regularised horseshoe: many coefficients near zero, a few free of it.

β_j = z_j τ λ̃_j s_j with z_j ~ N(0, 1), λ_j ~ C⁺(0, 1), τ ~ C⁺(0, τ₀), c² ~ Inv-Gamma(ν/2, ν m²/2)
and λ̃_j² = c²λ_j²/(c² + τ²λ_j²); s_j is one unit of η for one standard deviation of x_j.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from scipy.special import gammaln

from expfam_glm.bayes.prior import Prior
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError

NAMES = ("tau_beta", "slab_beta", "lambda_beta")
_SLAB, _DF = 2.5, 4.0


@dataclass(frozen=True)
class Shrinkage:
    """Which coefficients are shrunk, their scales s (k,), and τ₀, m (the slab) and ν.

    prior: as the user gave it.
    """

    prior: Prior
    where: tuple[int, ...]
    scale: tuple[float, ...]
    tau: float
    slab: float
    df: float

    @property
    def size(self) -> int:
        """How many coefficients."""
        return len(self.where)


def shrinkage(
    problem: Problem, prior: Prior, where: list[int], noise: float, unit: float
) -> Shrinkage:
    """The horseshoe of some coefficients.

    Parameters
    ----------
    problem : Problem
    prior : Prior
        "Horseshoe", with `nonzero`, how many coefficients are expected to matter.
    where : list of int
        The coefficients.
    noise : float
        What one observation leaves open about η: its standard deviation σ̃ on the link scale.
    unit : float
        The unit of η.

    Raises
    ------
    ArgumentError
        If not fewer coefficients are expected to matter than there are.

    Notes
    -----
    τ₀ = p₀/(p − p₀) · σ̃/√n.

    References
    ----------
    Piironen and Vehtari (2017), Sparsity information and regularization in the horseshoe and other
    shrinkage priors, Electronic Journal of Statistics 11, 5018-5051.
    """
    expected, k = prior.parameters["nonzero"], len(where)
    if not expected < k:
        raise ArgumentError(
            f"{prior!r}: it must expect fewer coefficients to matter than it shrinks ({k}); give a "
            "smaller nonzero=, or normal priors."
        )
    X = problem.X[:, where]
    counts = None if problem.f is None else problem.f
    mean = np.average(X, axis=0, weights=counts)
    sd = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=counts))
    return Shrinkage(
        prior,
        tuple(where),
        tuple(1 / sd),
        expected / (k - expected) * noise / float(np.sqrt(problem.n)),
        prior.parameters.get("slab", _SLAB * unit),
        prior.parameters.get("df", _DF),
    )


def add_horseshoe(own: Shrinkage) -> Variable:
    """The variables in the current model, and the coefficients (k,)."""
    z = pm.Normal("z_beta", shape=own.size)
    local = pm.HalfCauchy("lambda_beta", beta=np.float64(1.0), shape=own.size)
    tau = pm.HalfCauchy("tau_beta", beta=np.float64(own.tau))
    half = np.float64(own.df / 2)
    slab = pm.InverseGamma("slab_beta", alpha=half, beta=half * own.slab**2)
    return z * _width(own, tau, slab, local, pt.sqrt)


def _width(own: Shrinkage, tau, slab, local, root=np.sqrt):
    """Standard deviations of the coefficients, s τ λ̃."""
    return np.asarray(own.scale) * tau * local * root(slab / (slab + (tau * local) ** 2))


def draw(own: Shrinkage, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (size, k) of the coefficients from the prior."""
    tau = own.tau * np.abs(rng.standard_cauchy((size, 1)))
    slab = 0.5 * own.df * own.slab**2 / rng.gamma(own.df / 2, size=(size, 1))
    local = np.abs(rng.standard_cauchy((size, own.size)))
    return _width(own, tau, slab, local) * rng.standard_normal((size, own.size))


def log_prior(
    own: Shrinkage, beta: np.ndarray, further: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """log π of draws: β (…, k) given the others, and τ, c², λ."""
    tau, slab, local = (further[name] for name in NAMES)
    width = _width(own, tau[..., None], slab[..., None], local)
    given = -0.5 * (beta / width) ** 2 - np.log(width) - 0.5 * np.log(2 * np.pi)
    return {
        "beta": given,
        "tau_beta": _half_cauchy(tau / own.tau) - np.log(own.tau),
        "slab_beta": _inverse_gamma(own, slab),
        "lambda_beta": _half_cauchy(local).sum(axis=-1),
    }


def _half_cauchy(x: np.ndarray) -> np.ndarray:
    return np.log(2 / np.pi) - np.log1p(x**2)


def _inverse_gamma(own: Shrinkage, x: np.ndarray) -> np.ndarray:
    a = own.df / 2
    b = a * own.slab**2
    return a * np.log(b) - gammaln(a) - (a + 1) * np.log(x) - b / x


class Horseshoe:
    """The coefficients and log-density at v = (z, log λ, log τ, log c²), of length 2k + 2."""

    def __init__(self, own: Shrinkage) -> None:
        self.own = own
        self.n_dim = 2 * own.size + 2

    def parameters(self, v: np.ndarray) -> dict[str, np.ndarray]:
        """τ, c² and λ."""
        k = self.own.size
        return dict(zip(NAMES, (np.exp(v[2 * k]), np.exp(v[2 * k + 1]), np.exp(v[k : 2 * k])),
                        strict=True))  # fmt: skip

    def coefficients(self, v: np.ndarray) -> np.ndarray:
        """β (k,)."""
        return v[: self.own.size] * _width(self.own, *self.parameters(v).values())

    def log_density(self, v: np.ndarray, slope: np.ndarray) -> tuple[float, np.ndarray]:
        """log π(v), and its gradient with that of a function whose gradient in β is `slope`."""
        own, k = self.own, self.own.size
        tau, slab, local = self.parameters(v).values()
        z, log_local, log_tau, log_slab = v[:k], v[k : 2 * k], v[2 * k], v[2 * k + 1]
        value = -0.5 * float(z @ z) - 0.5 * k * np.log(2 * np.pi)
        value += float(_half_cauchy(local).sum() + log_local.sum())
        value += float(_half_cauchy(tau / own.tau) - np.log(own.tau) + log_tau)
        value += float(_inverse_gamma(own, slab) + log_slab)
        width = _width(own, tau, slab, local)
        pull = slope * z * width  # ∂/∂ log width
        share = slab / (slab + (tau * local) ** 2)  # ∂ log width/∂ log λ, and of c² half the rest
        gradient = np.empty(v.size)
        gradient[:k] = slope * width - z
        gradient[k : 2 * k] = pull * share + 1 - 2 * local**2 / (1 + local**2)
        ratio = (tau / own.tau) ** 2
        gradient[2 * k] = pull @ share + 1 - 2 * ratio / (1 + ratio)
        a = own.df / 2
        gradient[2 * k + 1] = 0.5 * pull @ (1 - share) - a + a * own.slab**2 / slab
        return value, gradient
