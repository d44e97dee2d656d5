"""``weightinit`` and ``python -m weightinit``: audits of weights made elsewhere, gains, forecasts, surveys.

As in ``weightinit audit model.safetensors --law he_normal``, ``weightinit gain relu``, ``weightinit forecast relu``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from weightinit import audit_command, commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 if all is well, 1 if arrays don't follow their laws, 2 for wrong input."""
    parser = argparse.ArgumentParser("weightinit", formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(metavar="audit, gain, forecast or survey")
    audit_command.add_audit(subparsers, parser.formatter_class)
    commands.add_gain(subparsers)
    commands.add_forecast(subparsers)
    commands.add_survey(subparsers)
    options = parser.parse_args(arguments)
    try:
        if not hasattr(options, "carry_out"):  # no command
            parser.print_help()
            return 0
        status: int = options.carry_out(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as `head` leaves behind
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
