"""Working scales of shape parameters: an interval mapped to the real line by log or logit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from expfam_glm.errors import ResultError
from expfam_glm.spec.domain import Domain, Interval

_LARGEST = math.log(1.7e308)  # its exponential is a float
_NUMBER = r"(-?[0-9.eE+-]+)"


@dataclass(frozen=True)
class Scale:
    """The map u of an interval to the real line in which a parameter ψ is estimated and drawn.

    u = ψ on the whole line, log(ψ − low) or log(high − ψ) on a half-line, and
    log((ψ − low)/(high − ψ)), the log-odds, on a bounded interval.
    """

    domain: Domain

    @cached_property
    def name(self) -> str:
        """ "log", "logit", or "" for the identity."""
        ends = int(np.isfinite(self.domain.low)) + int(np.isfinite(self.domain.high))
        return ("", "log", "logit")[ends]

    def written(self, parameter: str) -> str:
        """u as a formula, such as log(alpha)."""
        low, high = self.domain.low, self.domain.high
        above = parameter if low == 0 else f"{parameter} - {low:g}"
        if self.name == "logit":
            return f"log(({above})/({high:g} - {parameter}))"
        if self.name == "log":
            return f"log({above})" if np.isfinite(low) else f"log({high:g} - {parameter})"
        return parameter

    @classmethod
    def read(cls, text: str, parameter: str) -> Scale:
        """The scale that `written` wrote for a parameter."""
        name = re.escape(parameter)
        ends: tuple[str | float | None, str | float | None] | None = None
        if text == parameter:
            ends = (None, None)
        elif text == f"log({parameter})":
            ends = (0.0, None)
        elif found := re.fullmatch(rf"log\({name} - {_NUMBER}\)", text):
            ends = (found[1], None)
        elif found := re.fullmatch(rf"log\({_NUMBER} - {name}\)", text):
            ends = (None, found[1])
        elif found := re.fullmatch(
            rf"log\(\({name}(?: - {_NUMBER})?\)/\({_NUMBER} - {name}\)\)", text
        ):
            ends = (found[1] or 0.0, found[2])
        if ends is None:
            raise ResultError(f"{text!r} is not the working scale of a parameter {parameter!r}.")
        low, high = (None if end is None else float(end) for end in ends)
        return cls(Interval(low, high))

    def to(self, psi: float) -> float:
        """u of ψ."""
        low, high = self.domain.low, self.domain.high
        if self.name == "logit":
            return float(np.log(psi - low) - np.log(high - psi))
        if self.name == "log":
            return float(np.log(psi - low if np.isfinite(low) else high - psi))
        return float(psi)

    def back(self, u: np.ndarray | float) -> np.ndarray:
        """ψ of u."""
        low, high = self.domain.low, self.domain.high
        u = np.asarray(u, dtype=float)
        with np.errstate(over="ignore"):
            if self.name == "logit":
                near = (high - low) / (1 + np.exp(np.abs(u)))
                return np.where(u < 0, low + near, high - near)
            if self.name == "log":
                return low + np.exp(u) if np.isfinite(low) else high - np.exp(u)
        return u

    def slopes(self, u: float) -> tuple[float, float]:
        """dψ/du and d²ψ/du²."""
        return self.jet(u)[1:]

    def jet(self, u: float) -> tuple[float, float, float]:
        """ψ, dψ/du and d²ψ/du² at one u."""
        low, high = self.domain.low, self.domain.high
        if self.name == "logit":
            small = math.exp(-abs(u))
            near = (high - low) * small / (1 + small)
            first = near / (1 + small)
            return low + near if u < 0 else high - near, first, first * -math.tanh(u / 2)
        if self.name == "log":
            apart = math.exp(u) if u < _LARGEST else math.inf
            psi, sign = (low + apart, 1.0) if math.isfinite(low) else (high - apart, -1.0)
            return psi, sign * apart, sign * apart
        return u, 1.0, 0.0

    def edge(self, direction: float) -> float:
        """The end of the interval that u → ±∞ leads to."""
        upwards = direction > 0
        if self.name == "log" and not np.isfinite(self.domain.low):
            upwards = not upwards
        return self.domain.high if upwards else self.domain.low
