"""nist.json from the files of NIST's Statistical Reference Datasets, linear least squares.

    python tests/reference/nist.py FOLDER        writes nist.json beside itself

FOLDER holds Norris.dat, Pontius.dat, NoInt1.dat, NoInt2.dat, Filip.dat, Longley.dat and
Wampler1.dat to Wampler5.dat as NIST publishes them (public domain).
"""

import json
import re
import sys
from pathlib import Path

NAMES = ("Norris", "Pontius", "NoInt1", "NoInt2", "Filip", "Longley",
         *(f"Wampler{k}" for k in range(1, 6)))  # fmt: skip


def read(text: str) -> dict:
    """Data, certified coefficients with standard errors, and the residual standard deviation."""
    certified = re.findall(r"^\s+B(\d+)\s+(\S+)\s+(\S+)\s*$", text, flags=re.MULTILINE)
    sigma = re.search(r"Residual\s+Standard Deviation\s+(\S+)", text)
    assert sigma is not None
    tail = text[text.rindex("Data:") :].splitlines()
    rows = [line.split() for line in tail[1:] if line.strip()]
    columns = list(zip(*rows, strict=True))
    number = [[float(v) for v in column] for column in columns]
    return {
        "first_power": int(certified[0][0]),
        "beta": [float(b) for _, b, _ in certified],
        "se": [float(s) for _, _, s in certified],
        "residual_sd": float(sigma.group(1)),
        "y": number[0],
        "x": number[1:],
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {name: read((folder / f"{name}.dat").read_text()) for name in NAMES}
    record = {"program": "NIST Statistical Reference Datasets, linear least squares", "data": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
