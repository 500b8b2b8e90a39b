"""Integrals of many functions at once, by panels that are halved until their series dies out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import legendre

# log g at z (j, k) of the functions `rows` (k,).
type LogFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]

_DEGREE = 16
_NODES, _WEIGHTS = legendre.leggauss(_DEGREE)
_ORDERS = np.arange(_DEGREE)
# Values at the nodes → coefficients of the Legendre series through them, and of its powers of x.
_SERIES = (_WEIGHTS[:, None] * legendre.legvander(_NODES, _DEGREE - 1) * (_ORDERS + 0.5)).T
_POWERS = np.zeros((_DEGREE, _DEGREE))
for _j in _ORDERS:
    _POWERS[: _j + 1, _j] = legendre.leg2poly(np.eye(_DEGREE)[_j])
_POWERS = _POWERS @ _SERIES
_FIRST = 6  # panels of a window to begin with
_MOST = 600  # panels of one function; what is not resolved then has jumps, and stays as it is
_AT_ONCE = 2**11  # panels evaluated together, so that their values stay in cache
_STEPS = 60  # bisection alone would get there
_GAP = 1e-13  # of a probability


class Panels:
    """m functions exp(log g − shift) over windows, each cut into panels of its own.

    On a panel, x in [−1, 1], the function is a series in powers of x. A panel is settled when the
    last terms of its Legendre series are below `tolerance` of the whole integral, or below the
    rounding `noise` of log g.
    """

    def __init__(
        self,
        log_g: LogFunction,
        low: np.ndarray,
        high: np.ndarray,
        shift: np.ndarray,
        noise: np.ndarray,
        tolerance: float,
    ) -> None:
        m = low.size
        edges = low + (high - low) * np.linspace(0, 1, _FIRST + 1)[:, None]
        edges[-1] = high
        row = np.tile(np.arange(m), _FIRST)
        left, half = edges[:-1].ravel(), 0.5 * np.diff(edges, axis=0).ravel()
        settled, counts, total = [], np.full(m, _FIRST), np.zeros(m)
        while row.size:
            powers, mass, rest, top = _expand(log_g, row, left, half, shift)
            now = total + np.bincount(row, mass, m)
            done = rest <= np.maximum(tolerance * now[row], 4 * noise[row] * top)
            done |= ~(rest < np.inf) | (counts[row] >= _MOST)
            settled.append((row[done], left[done], half[done], mass[done], powers[:, done]))
            total += np.bincount(row[done], mass[done], m)
            row, left, half = row[~done], left[~done], 0.5 * half[~done]
            counts += np.bincount(row, minlength=m)
            row, left = np.concatenate([row, row]), np.concatenate([left, left + 2 * half])
            half = np.concatenate([half, half])
        row, left, half, mass = (np.concatenate([part[k] for part in settled]) for k in range(4))
        self.order = np.lexsort((left, row))
        self.powers = np.hstack([part[4] for part in settled])  # not in order
        self.row, self.left = row[self.order], left[self.order]
        self.half, self.mass = half[self.order], mass[self.order]
        self.starts = np.searchsorted(self.row, np.arange(m + 1))
        self.reached = _cumulative(self.mass, self.starts)
        self.total = self.reached[self.starts[1:] - 1]
        self.keys = self.row + self.reached / self.total[self.row]

    def quantile(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """z below which the share u of the integral of function `row` lies."""
        z = np.empty(u.shape)
        for begin in range(0, u.size, _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            z[part] = self._invert(row[part], u[part])
        return z

    def _invert(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Newton's method on the integrated series of the panel that holds u, in its bracket."""
        panel = np.searchsorted(self.keys, row + u)
        panel = np.clip(panel, self.starts[row], self.starts[row + 1] - 1)
        half, mass = self.half[panel], self.mass[panel]
        missing = (u * self.total[row] - self.reached[panel] + mass) / half
        powers = self.powers[:, self.order[panel]]
        mass = mass / half
        enough = _GAP * self.total[row] / half
        low, high = -np.ones(u.shape), np.ones(u.shape)
        x = np.clip(2 * missing / mass - 1, -1, 1)
        result, active = x.copy(), np.arange(u.size)
        for _ in range(_STEPS):
            integral, value = _integrated(powers, x)
            gap = integral - missing
            low, high = np.where(gap <= 0, x, low), np.where(gap >= 0, x, high)
            with np.errstate(all="ignore"):
                newton = x - gap / value
            inside = (newton >= low) & (newton <= high)
            x = np.where(inside, newton, 0.5 * (low + high))
            result[active] = x
            go = np.flatnonzero((np.abs(gap) > enough) & (high > low))
            if go.size == 0:
                break
            if go.size < 0.7 * x.size:
                active, missing, enough, x = active[go], missing[go], enough[go], x[go]
                low, high, powers = low[go], high[go], powers[:, go]
        return self.left[panel] + half * (1 + result)


def _expand(
    log_g: LogFunction, row: np.ndarray, left: np.ndarray, half: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each panel: its powers of x, integral, size of the last terms and of the function."""
    powers = np.empty((_DEGREE, row.size))
    mass, rest, top = np.empty(row.size), np.empty(row.size), np.empty(row.size)
    for begin in range(0, row.size, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        z = left[part] + half[part] * (1 + _NODES[:, None])
        g = log_g(z, row[part])
        g -= shift[row[part]]
        np.exp(g, out=g)
        np.matmul(_POWERS, g, out=powers[:, part])
        mass[part] = _WEIGHTS @ g
        rest[part] = np.sum(np.abs(_SERIES[-2:] @ g), axis=0)
        top[part] = np.max(g, axis=0)
    return powers, mass * half, rest * half, top * half


def _integrated(powers: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integral from −1 to x of series in powers of x (16, k), and the series at x."""
    value = powers[-1].copy()
    integral, start = value / _DEGREE, value / _DEGREE
    for j in range(_DEGREE - 2, -1, -1):
        value *= x
        value += powers[j]
        term = powers[j] / (j + 1)
        integral *= x
        integral += term
        start = term - start
    integral *= x
    integral += start
    return integral, value


def _cumulative(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Cumulative sums within each of the stretches that begin at `starts`."""
    lengths = np.diff(starts)
    which = np.repeat(np.arange(lengths.size), lengths)
    place = np.arange(values.size) - starts[which]
    table = np.zeros((int(lengths.max()), lengths.size))
    table[place, which] = values
    return np.cumsum(table, axis=0)[place, which]
