"""The command line: `python -m expfam_glm demo`, `compare` and `check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from expfam_glm.command.parser import in_options, read
from expfam_glm.errors import ExpfamError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 refused or failed, 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may not know every letter
    chosen = read(sys.argv[1:] if arguments is None else arguments)
    try:
        return import_module(f"expfam_glm.command.{chosen.command}").run(chosen)
    except (ExpfamError, OSError) as error:
        text = in_options(str(error)) if chosen.command == "compare" else str(error)
        print(f"Error: {text}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
