"""Reference values of the Tweedie density: Dunn and Smyth's series in high precision by mpmath.

python tests/reference/tweedie.py      writes tweedie.json beside itself
"""

import json
from pathlib import Path

import mpmath as mp

DIGITS = 50
FEWEST = 1e-40  # terms below this, relative to the largest, are left out


def log_density(y, mu, phi, power):
    """log f(y; μ, φ, ξ), the terms as they stand in the paper."""
    kernel = (y * mu ** (1 - power) / (1 - power) - mu ** (2 - power) / (2 - power)) / phi
    if y == 0:
        return kernel
    A = (2 - power) / (power - 1)
    step = A * mp.log(y) - A * mp.log(power - 1) - (1 + A) * mp.log(phi) - mp.log(2 - power)

    def term(j):
        return j * step - mp.loggamma(j + 1) - mp.loggamma(j * A)

    middle = max(1, int(mp.nint(y ** (2 - power) / ((2 - power) * phi))))
    top = term(middle)
    total = mp.mpf(1)
    for sign in (1, -1):
        j = middle + sign
        while j >= 1:
            part = mp.exp(term(j) - top)
            total += part
            if part < FEWEST:
                break
            j += sign
    return kernel - mp.log(y) + top + mp.log(total)


def row(y, mu, phi, power, derivatives):
    """One record; derivatives in (ξ, φ): first, then ξξ, ξφ, φφ."""
    digits = DIGITS + 10 + max(0, int(mp.log10(1 + abs(mu ** (2 - power) / phi))))
    with mp.workdps(digits):
        y, mu, phi, power = (mp.mpf(v) for v in (y, mu, phi, power))
        record = {"y": float(y), "mu": float(mu), "phi": float(phi), "power": float(power),
                  "logpdf": float(log_density(y, mu, phi, power))}  # fmt: skip
        if derivatives:
            h, k = mp.mpf(10) ** -12, phi * mp.mpf(10) ** -12
            at = {
                (i, j): log_density(y, mu, phi + j * k, power + i * h)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            }
            record["derivatives"] = [float(v) for v in (
                (at[1, 0] - at[-1, 0]) / (2 * h),
                (at[0, 1] - at[0, -1]) / (2 * k),
                (at[1, 0] - 2 * at[0, 0] + at[-1, 0]) / h**2,
                (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / (4 * h * k),
                (at[0, 1] - 2 * at[0, 0] + at[0, -1]) / k**2,
            )]  # fmt: skip
    return record


POWERS = (1.001, 1.01, 1.1, 1.5, 1.85, 1.99, 1.999)
SETTINGS = ((1e-3, 0.02), (2.0, 0.5), (2.0, 30.0), (500.0, 8.0), (3.0, 1e-3))
values = [
    row(ratio * mu, mu, phi, power, False)
    for power in POWERS
    for mu, phi in SETTINGS
    for ratio in (0.0, 1e-7, 0.6, 1.0, 30.0)
]
slopes = [
    row(y, 1.5, phi, power, True)
    for power in (1.02, 1.4, 1.97)
    for phi in (0.05, 3.0)
    for y in (0.0, 0.4, 1.5, 5.0)
]
(Path(__file__).parent / "tweedie.json").write_text(
    json.dumps(
        {"program": f"mpmath {mp.__version__}", "values": values, "slopes": slopes}, indent=0
    )
    + "\n"
)
