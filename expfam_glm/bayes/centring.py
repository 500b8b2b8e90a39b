"""Group effects between centred and not: coordinates in which their scale does not depend on sd.

With b = sd·z and much information about b, the width of z given sd is proportional to 1/sd; with
none it does not depend on it. In w = z (sd/sd₀)^λ, λ the part of the information about z that the
rows have, it does not to first order: λ = 0 is the non-centred form, λ = 1 the centred one.

References: Papaspiliopoulos, Roberts and Sköld (2007), Statistical Science 22, 59-73.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple, Self

import numpy as np

from expfam_glm.bayes.group_density import GroupPosterior


class Moving(NamedTuple):
    """The effects of one group whose scale moves with one standard deviation."""

    v: int  # the place of log sd
    z: slice
    first: float  # log sd₀
    share: np.ndarray  # λ of each level
    all_shares: float


class PartlyCentred:
    """A log-posterior of z as one of coordinates w that have w in the place of z."""

    def __init__(self, density: GroupPosterior, groups: list[Moving]) -> None:
        self.density, self.groups = density, groups

    @property
    def n_dim(self) -> int:
        """Length of w."""
        return self.density.n_dim

    def for_another_thread(self) -> Self:
        """The same function with memory of its own."""
        twin = copy(self)
        twin.density = self.density.for_another_thread()
        return twin

    def expand(self, w: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters at w by name."""
        return self.density.expand(self._back(w)[0])

    def _back(self, w: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], float]:
        """z, by what it is w in each group, and the logarithm of the Jacobian."""
        z, factors, jacobian = w.copy(), [], 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # the density is −∞ there
            for group in self.groups:
                away = group.first - float(w[group.v])
                factors.append(np.exp(group.share * away))
                z[group.z] *= factors[-1]
                jacobian += group.all_shares * away
        return z, factors, jacobian

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; −∞ outside the domain of η."""
        z, factors, jacobian = self._back(w)
        value, gradient = self.density(z)
        if value == -np.inf:
            return value, gradient
        for group, factor in zip(self.groups, factors, strict=True):
            own = gradient[group.z]
            gradient[group.v] -= np.dot(group.share * z[group.z], own) + group.all_shares
            own *= factor
        return value + jacobian, gradient
