"""The saturated log-likelihood Σ f s(y, a/w) and its slopes in log a, by few passes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from expfam_glm.data.blocks import Block, Blocks
from expfam_glm.spec.family import Family
from expfam_glm.spec.memory import remembered
from expfam_glm.spec.program import Function, Program, recalled


class Saturated:
    """Σ f s(y, a/w) of some rows, for s(y, a) = b*(y)/a + c(y, a).

    Where all weights w are one and s is a sum of products k(a)·G(y), the sums of each G over the
    rows are enough for every a.

    Parameters
    ----------
    family : Family
    blocks : Blocks
    parts : ndarray
        These sums; empty or NaN where they are not enough.
    """

    def __init__(self, family: Family, blocks: Blocks, parts: np.ndarray) -> None:
        self.family, self.blocks = family, blocks.responses
        self.parts = parts if parts.size and np.isfinite(parts).all() else None

    def slopes(self, a: float) -> np.ndarray:
        """Σ f s, and its first and second derivative in log a."""
        if self.parts is not None:
            factors = np.array(_factors(self.family)(a), dtype=float)
            return factors.reshape(3, -1) @ self.parts
        derivatives = _slopes(self.family)

        def one(block: Block) -> np.ndarray:
            rows = derivatives(block.y, a / block.w)
            return np.array([block.total(v) for v in rows])

        return self.blocks.reduce(one, np.add)


def part_totals(family: Family, block: Block) -> list[float]:
    """Σ f G of each part of s over a block; NaN where it has weights, nothing if s has no parts."""
    parts = None if family.is_quasi or family.phi is not None else _parts(family)
    if parts is None:
        return []
    weighted = bool(np.ndim(block.w))
    return [np.nan if weighted else block.total(v) for v in parts(block.y)]


def saturated_total(family: Family, block: Block, a: float) -> float:
    """Σ f s(y, a/w) over a block."""
    return block.total(family.saturated.function(1)(block.y, a / block.w)[0])


@lru_cache(maxsize=64)
def _slopes(family: Family) -> Function:
    """The kernel (y, a) → s, ∂s/∂log a, ∂²s/∂(log a)²."""

    def write() -> Program:
        from expfam_glm.spec.derive import saturated_slopes

        return saturated_slopes(family)

    return recalled(family.home, "slopes of the saturated density", write)


@lru_cache(maxsize=64)
def _parts(family: Family) -> Function | None:
    """The kernel (y) → the parts G of s, where it is a sum of products."""

    def write() -> Program | None:
        from expfam_glm.spec.derive import saturated_parts

        return saturated_parts(family)

    def has_some() -> bool:
        return write() is not None

    if not remembered(family.home, "the saturated density is a sum of products", has_some):
        return None
    return recalled(family.home, "parts of the saturated density", write)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _factors(family: Family) -> Function:
    """The kernel (a) → their factors k, ∂k/∂log a and ∂²k/∂(log a)²."""

    def write() -> Program:
        from expfam_glm.spec.derive import saturated_factors

        return saturated_factors(family)

    return recalled(family.home, "factors of the saturated density", write)
