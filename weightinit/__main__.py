"""``weightinit`` and ``python -m weightinit``: audit of weights made elsewhere, gains, and the forecast of a network.

As in ``weightinit audit model.safetensors --law he_normal``, ``weightinit gain relu``, ``weightinit forecast relu``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence

from weightinit import commands
from weightinit.auditing import audit, read_arrays

DESCRIPTION = (
    "Hold the arrays of a file of initial weights against the law that they should follow; without a law, "
    "describe each of them."
)

# Control characters but for the end of a line, and those that turn the direction of writing; words too long to read.
UNPRINTABLE = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\u202a-\u202e\u2066-\u2069]")
LONG = re.compile(r"(\S{200})\S+")

EPILOG = """\
A law is a name (he, he_normal, glorot_uniform, lecun_normal, orthogonal, pytorch, keras, flax ...), with options as in
a call: 'normal(std=0.02)', "he(distribution='truncated_normal')". PATTERN=LAW gives it to the arrays whose names match;
the first pattern that matches counts, a law without a pattern takes the rest, and what none takes is not judged.
A pattern of biases alone gives them that law: '*.bias=uniform(low=-0.1, high=0.1)'.
Exit status: 0 if all follow their laws, or none was given; 1 if some don't or the weights look trained; 2 for what
can't be read or isn't understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 if all is well, 1 if arrays don't follow their laws, 2 for wrong input."""
    parser = argparse.ArgumentParser("weightinit", formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="audit, gain or forecast")
    command = subparsers.add_parser(
        "audit", help=DESCRIPTION, description=DESCRIPTION, epilog=EPILOG, formatter_class=parser.formatter_class
    )
    command.add_argument("file", help="a .safetensors or .npz file")
    command.add_argument("--law", action="append", metavar="[PATTERN=]LAW", help="may be repeated")
    command.add_argument(
        "--layout",
        default="auto",
        choices=("auto", "in_out", "out_in"),
        help="axes of a weight: (*kernel, in, out) or PyTorch's (out, in, *kernel); auto tells by the names",
    )
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.set_defaults(carry_out=_audit)
    commands.add_gain(subparsers)
    commands.add_forecast(subparsers)
    options = parser.parse_args(arguments)
    try:
        status: int = options.carry_out(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as `head` leaves behind
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _audit(options: argparse.Namespace) -> int:
    try:
        report = audit(read_arrays(options.file), options.law and _laws(options.law), layout=options.layout)
    except OSError as error:
        print(_harmless(f"error: can't read {options.file}: {error.strerror or error}"), file=sys.stderr)
        return 2
    except (ValueError, TypeError, MemoryError) as error:
        print(_harmless(f"error: {' '.join(str(error).split())}"), file=sys.stderr)
        return 2
    print(json.dumps(report.as_dict(), indent=2) if options.json else _harmless(str(report)))
    return 0 if report.ok or not options.law else 1


def _harmless(text: str) -> str:
    """Return ``text`` without characters that a terminal obeys, and with long words cut: names come from the file."""
    return LONG.sub(r"\1...", UNPRINTABLE.sub(" ", text))


def _laws(given: Sequence[str]) -> str | dict[str, str]:
    """One law, or laws by pattern, that of the rest last."""
    patterns: dict[str, str] = {}
    rest: list[str] = []
    for text in given:
        before, equals, after = text.partition("=")
        if not equals or "(" in before:
            rest.append(text)
        elif before in patterns:
            raise ValueError(f"--law gives {before!r} twice, {patterns[before]!r} and {after!r}. Leave one out.")
        else:
            patterns[before] = after
    if len(rest) > 1:
        raise ValueError(f"only one --law may stand without a pattern; got {', '.join(rest)}")
    return {**patterns, **({"*": rest[0]} if rest else {})}


if __name__ == "__main__":
    sys.exit(main())
