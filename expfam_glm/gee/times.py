"""Times as numbers with which one can calculate."""

from __future__ import annotations

import numpy as np

from expfam_glm.errors import DataError

_CALENDAR = ("Y", "M")  # units of dates that are no fixed number of days
_PER_DAY = {"W": 1 / 7, "D": 1.0, "h": 24.0, "m": 1440.0, "s": 86400.0}
_PER_DAY |= {unit: 86400.0 * 1e3**power for power, unit in enumerate(("ms", "us", "ns", "ps"), 1)}


def numbers(time: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Times as float64 since the first one, dates in days; whole numbers stay exact.

    `first` (1,) is the first one, if it is not among these times.
    """
    if first is not None:
        return numbers(np.concatenate([first, time]))[1:]
    per_day = 1.0
    if time.dtype.kind in "Mm":
        unit, count = np.datetime_data(time.dtype)
        if time.dtype.kind == "M" and unit in _CALENDAR:
            time, unit, count = time.astype("M8[D]"), "D", 1
        if unit not in _PER_DAY:
            raise DataError(
                f"time holds durations in units ({time.dtype}) that are no fixed number of days; "
                "give days, or plain numbers."
            )
        per_day = _PER_DAY[unit] / count
        time = time.astype(np.int64)
    if time.dtype.kind in "iu":  # modulo 2⁶⁴ the difference is right even where it overflows
        wide = time.astype(np.int64 if time.dtype.kind == "i" else np.uint64)
        since: np.ndarray = wide.view(np.uint64) - wide.min().view(np.uint64)
        return since.astype(np.float64) / per_day
    return time.astype(np.float64)
