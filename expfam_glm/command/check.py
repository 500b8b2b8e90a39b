"""`python -m expfam_glm check`: whether the families declared in a Python file are right."""

from __future__ import annotations

import argparse
import sys

from expfam_glm.command.declared import families_of


def run(chosen: argparse.Namespace) -> int:
    """Print the report of each family; 0 only if every one is right."""
    families = families_of(chosen.target)
    wrong = []
    for place, (name, family) in enumerate(families.items()):
        print(f"{'' if place == 0 else '\n'}Checking {name}", flush=True)
        report = family.check()
        print(report, flush=True)
        if not report.ok:
            wrong.append(report.verdict)
    for verdict in wrong:
        print(f"Error: {verdict}.", file=sys.stderr)
    return 1 if wrong else 0
