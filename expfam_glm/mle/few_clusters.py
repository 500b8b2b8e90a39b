"""When clusters are so few that an uncorrected robust covariance misleads."""

from __future__ import annotations

from collections.abc import Sequence

# Simulations find the uncorrected sandwich too small below some 40 clusters (Mancl and DeRouen
# 2001) or 20 to 50 (Cameron and Miller 2015). The bounds here are ours, for what is far below that.
FEWEST = 10
FEWEST_SPARE = 5


def few_clusters(
    K: int,
    p: int,
    asked: Sequence[str],
    uncorrected: Sequence[str],
    corrected: Sequence[str],
    remedy: str,
) -> str:
    """What to say where only uncorrected covariances are asked for of too few clusters, or ""."""
    plain = [name for name in asked if name in uncorrected]
    enough = K >= FEWEST and K - p >= FEWEST_SPARE
    if enough or p >= K or not plain or any(name in corrected for name in asked):
        return ""
    return (
        f"{K} clusters are few for {p} coefficient{'' if p == 1 else 's'}: the {plain[0]} "
        f"covariance, which nothing corrects, is too small then, and its p-values with it. {remedy}"
    )
