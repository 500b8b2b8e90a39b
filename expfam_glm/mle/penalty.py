"""Penalties that are priors, and Firth's adjusted score: what they are, and what they add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.data.response import Problem
from expfam_glm.errors import ArgumentError, ResultError, is_number, one_of
from expfam_glm.kernels.coded import Coded, dense
from expfam_glm.kernels.row import RowKernel, row_kernel
from expfam_glm.kernels.sums import over_rows, weighted_gram
from expfam_glm.mle.linear import Factor
from expfam_glm.spec.family import Family
from expfam_glm.spec.program import Program, recalled

ADJUSTMENTS = ("firth", "jeffreys")
# h″ of two responses that differ by more, relative: the dispersion is not in a factor of its own.
_PROPER = 1e-8
# Scales whose squares are far inside the range of doubles.
_LEAST = 1e-100


@dataclass(frozen=True)
class Ridge:
    """Normal(0, scale²) for every coefficient but that of a constant column."""

    scale: float

    def __str__(self) -> str:
        return f"ridge(scale={self.scale:g})"

    def precision(self, problem: Problem) -> np.ndarray:
        """The diagonal of P (p,)."""
        X = problem.matrix
        first = dense(X[:1])[0]
        constant = [bool(first[j] != 0 and np.all(X[:, j] == first[j])) for j in range(len(first))]
        return np.where(constant, 0.0, self.scale**-2)

    def information(self, problem: Problem, W: np.ndarray, a: float) -> np.ndarray:
        """What it adds to XᵀWX (p, p), at φ = 1."""
        return np.diag(a * self.precision(problem))

    def attrs(self) -> dict[str, str | float | int]:
        """What a result tree holds of it."""
        return {"penalty": str(self), "penalty_scale": self.scale}


@dataclass(frozen=True)
class Conjugate:
    """κ observations of mean m, spread evenly over the rows."""

    kappa: float
    mean: float | None

    def __str__(self) -> str:
        given = "" if self.mean is None else f", mean={self.mean:g}"
        return f"conjugate(kappa={self.kappa:g}{given})"

    def pseudo(self, problem: Problem) -> Problem:
        """The problem whose maximum is the mode: each row with its share of the prior.

        (yw + mκ/n) θ − (w + κ/n) b(θ) is the kernel of one row with weight w + κ/n.
        """
        family = problem.family
        mean = problem.mean if self.mean is None else self.mean
        if not family.mean_space.contains(mean):
            raise ArgumentError(
                f"penalty={self!s}: the mean {mean:g} does not lie in the mean space "
                f"{family.mean_space} of {family.name!r}; give another mean."
            )
        share, w = self.kappa / problem.n, _weights(problem)
        return replace(problem, y=(problem.y * w + mean * share) / (w + share), w=w + share)

    def information(self, problem: Problem, W: np.ndarray, a: float) -> np.ndarray:
        """What it adds to XᵀWX (p, p), at φ = 1."""
        f = 1.0 if problem.f is None else problem.f
        share = self.kappa / problem.n / _weights(problem)
        return weighted_gram(problem.matrix, W * f * share)

    def attrs(self) -> dict[str, str | float | int]:
        """What a result tree holds of it."""
        mean = {} if self.mean is None else {"penalty_mean": self.mean}
        return {"penalty": str(self), "penalty_kappa": self.kappa, **mean}


@dataclass(frozen=True)
class Adjustment:
    """Firth's adjusted score, or Jeffreys' penalty ½ log |XᵀWX|."""

    kind: str

    def __str__(self) -> str:
        return self.kind

    @property
    def is_penalty(self) -> bool:
        """Whether it is the gradient of something."""
        return self.kind == "jeffreys"

    def information(self, problem: Problem, W: np.ndarray, a: float) -> np.ndarray:
        """What it adds to XᵀWX (p, p): nothing."""
        return np.zeros((problem.matrix.shape[1],) * 2)

    def attrs(self) -> dict[str, str | float | int]:
        """What a result tree holds of it."""
        return {"penalty": str(self)}

    def row_weights(self, problem: Problem) -> RowKernel:
        """The kernel (η, y, w) → d: dW/dη (Jeffreys), Wμ″/μ′ (Firth)."""
        output = "weight_slope" if self.is_penalty else "bias_weight"
        return row_kernel(problem.family, problem.link, (output,))

    def gradient(self, blocks: Blocks, beta: np.ndarray, factor: Factor) -> np.ndarray:
        """A(β) (p,) = ½ Σ f q d x with q = xᵀI⁻¹x."""
        root, kernel = factor.root, self.row_weights(blocks.problem)

        def one(block: Block) -> np.ndarray:
            with np.errstate(all="ignore"):
                (d,) = kernel(block.eta(beta), block.y, block.w)
                X = block.X
                if isinstance(X, Coded):
                    q = X.quadratic(root @ root.T)
                else:
                    q = np.sum((X @ root) ** 2, axis=1)
                terms = q * d if block.f is None else q * d * block.f
                return 0.5 * over_rows(terms, X)

        return blocks.reduce(one, lambda a, b: a + b)

    def dispersion_slope(self, problem: Problem, r: np.ndarray) -> float:
        """What is added to ∂ℓ/∂log φ, where φ is estimated by (adjusted) maximum likelihood.

        With log f = h(w/φ) − (w/φ)d/2 + k(y): (p − 2)/2 + g for Firth, −(p + 4)/2 + g for Jeffreys,
        g = −Σ w² r h‴(r) / (2 Σ w² h″(r)).
        """
        first, second = _curvatures(problem.family)(problem.y, r)
        once, again = _curvatures(problem.family)(np.roll(problem.y, 1), r)
        if not problem.family.a.is_identity or not (
            np.allclose(first, once, rtol=_PROPER) and np.allclose(second, again, rtol=_PROPER)
        ):
            raise ArgumentError(
                f"penalty={self.kind!r} with dispersion='ml' needs a density in which φ stands in "
                "a factor of its own (normal, gamma, inverse Gaussian), not "
                f"{problem.family.name!r}; use dispersion='pearson'."
            )
        squares = r**2 if problem.f is None else problem.f * r**2
        g = -np.sum(squares * r * second) / (2 * np.sum(squares * first))
        p = problem.matrix.shape[1]
        return float(g + ((p - 2) / 2 if self.kind == "firth" else -(p + 4) / 2))


type Penalty = Ridge | Conjugate | Adjustment


@lru_cache(maxsize=64)
def _curvatures(family: Family) -> RowKernel:
    """(y, r) → h″(r), h‴(r) of the saturated log-density at a = 1/r."""

    def write() -> Program:
        from expfam_glm.spec.derive import curvatures

        return curvatures(family)

    return recalled(family.home, "curvatures of the saturated density", write)


def recalled_penalty(attrs: Mapping[Any, Any]) -> Penalty | None:
    """The penalty of a tree, None where it has none.

    Raises
    ------
    ResultError
        If the attributes do not say which penalty it was.
    """
    if "penalty" not in attrs:
        return None
    if attrs["penalty"] in ADJUSTMENTS:
        return Adjustment(str(attrs["penalty"]))
    if "penalty_scale" in attrs:
        return Ridge(float(attrs["penalty_scale"]))
    if "penalty_kappa" in attrs:
        mean = attrs.get("penalty_mean")
        return Conjugate(float(attrs["penalty_kappa"]), None if mean is None else float(mean))
    raise ResultError(
        f"the tree does not say which penalty {attrs['penalty']!r} was: its attributes were "
        "changed. Fit again."
    )


def _weights(problem: Problem) -> np.ndarray:
    """Prior weights (n,)."""
    return np.ones(problem.row_count) if problem.w is None else problem.w


def penalty_of(penalty: Any) -> Penalty | None:
    """A penalty from a word, the scale of a ridge, or a prior of all coefficients.

    Raises
    ------
    ArgumentError
        If it is none of them.
    """
    if penalty is None:
        return None
    if isinstance(penalty, str):
        if penalty not in ADJUSTMENTS:
            raise one_of("penalty", penalty, ADJUSTMENTS)
        return Adjustment(penalty)
    if is_number(penalty):
        return Ridge(_positive("penalty", penalty))
    name = getattr(penalty, "distribution", None)  # a Prior, which stands on a higher floor
    values = dict(getattr(penalty, "parameters", {}))
    if name == "Jeffreys":
        return Adjustment("jeffreys")
    if name == "Ridge":
        return Ridge(_positive("scale", values["scale"]))
    if name == "Conjugate":
        mean = values.get("mean")
        return Conjugate(_positive("kappa", values["kappa"]), None if mean is None else float(mean))
    raise ArgumentError(
        f"penalty={penalty!r} must be 'firth', 'jeffreys', the scale of a ridge (a number), or a "
        "Prior of all coefficients: 'Jeffreys', 'Ridge' or 'Conjugate'."
    )


def _positive(name: str, value: Any) -> float:
    number = float(value) if isinstance(value, Real) else np.nan
    if _LEAST <= number <= 1 / _LEAST:
        return number
    raise ArgumentError(
        f"{name}={value!r} must be a positive number, from {_LEAST:g} to {1 / _LEAST:g}."
    )
