"""``weightinit audit``: the weights of a file against a law, or against the laws of a family of models."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weightinit.arrays import Array
from weightinit.auditing import audit, read_arrays
from weightinit.auditing.families import FAMILIES
from weightinit.auditing.model_report import ModelReport
from weightinit.auditing.models import audit_model
from weightinit.auditing.named_models import model_of_arrays
from weightinit.auditing.report import Report

DESCRIPTION: Final = (
    "Hold the arrays of a file of initial weights against the law that they should follow, or a model's against the "
    "laws of its family; without either, describe each of them."
)

EPILOG: Final = """\
A law is a name (he, he_normal, glorot_uniform, lecun_normal, orthogonal, pytorch, keras, flax ...), with options as in
a call: 'normal(std=0.02)', "he(distribution='truncated_normal')". PATTERN=LAW gives it to the arrays whose names match;
the first pattern that matches counts, a law without a pattern takes the rest, and what none takes is not judged.
A pattern of biases alone gives them that law: '*.bias=uniform(low=-0.1, high=0.1)'.
A family (gpt2, bert, llama, t5, vit, mamba2 ...) knows the laws of its models from their configuration, a config.json
of transformers; one that lies beside the weights needs no --config.
A file is .npz, .safetensors, the index or the folder of several of these, or a checkpoint of PyTorch (.pt, .pth, .bin,
.ckpt), of which nothing is run.
Exit status: 0 if all follow their laws, or none was given; 1 if some don't or the weights look trained; 2 for what
can't be read or isn't understood."""

CHECKPOINTS: Final = (".pt", ".pth", ".bin", ".ckpt")

# Control characters but for the end of a line, and those that turn the direction of writing; words too long to read.
UNPRINTABLE: Final = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\u202a-\u202e\u2066-\u2069]")
LONG: Final = re.compile(r"(\S{200})\S+")


def add_audit(subparsers: Any, formatter: Any) -> None:
    """Add ``weightinit audit FILE``."""
    command = subparsers.add_parser(
        "audit", help=DESCRIPTION, description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    command.add_argument("file", help="a .safetensors, .npz or PyTorch file")
    command.add_argument("--law", action="append", metavar="[PATTERN=]LAW", help="may be repeated")
    command.add_argument("--as", dest="family", metavar="FAMILY", help=f"one of {', '.join(sorted(FAMILIES))}")
    command.add_argument(
        "--config", metavar="FILE", help="config.json of the model, or its folder; without --as it names the family"
    )
    command.add_argument(
        "--layout",
        default="auto",
        choices=("auto", "in_out", "out_in"),
        help="axes of a weight: (*kernel, in, out) or PyTorch's (out, in, *kernel); auto tells by the names",
    )
    command.add_argument("--format", default="text", choices=("text", "json", "markdown"), help="default: text")
    command.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    command.set_defaults(carry_out=_audit)


def _audit(options: argparse.Namespace) -> int:
    try:
        report = _report(options)
    except OSError as error:
        place = error.filename or options.file
        print(_harmless(f"error: can't read {place}: {error.strerror or error}"), file=sys.stderr)
        return 2
    except (ValueError, TypeError, MemoryError, ImportError) as error:
        print(_harmless(f"error: {' '.join(str(error).split())}"), file=sys.stderr)
        return 2
    print(_text(report, options.format))
    asked = options.law or isinstance(report, ModelReport)
    return 0 if report.ok or not asked else 1


def _report(options: argparse.Namespace) -> Report | ModelReport:
    as_family = options.family is not None or options.config is not None
    if as_family and options.law:
        raise ValueError("--law and --as (or --config) say the same thing in two ways; got both. Leave one out.")
    if options.family is not None and options.family not in FAMILIES:
        raise ValueError(f"--as takes a family, one of {', '.join(sorted(FAMILIES))}; got {options.family!r}.")
    config = _config(Path(options.config)) if options.config is not None else {}
    if options.family is not None and options.config is None and (beside := _beside(Path(options.file))).is_file():
        config = _config(beside)
    _check_family(options.family, config.get("model_type"))
    arrays = _arrays(Path(options.file))
    if not as_family:
        return audit(arrays, options.law and _laws(options.law), layout=options.layout)
    return audit_model(model_of_arrays(arrays, options.family or "", config), options.family)


def _check_family(family: str | None, model_type: Any) -> None:
    """Raise ValueError if the configuration is one of another family, whose laws are others."""
    if family is not None and model_type in FAMILIES and FAMILIES[family] is not FAMILIES[model_type]:
        raise ValueError(
            f"--as says {family!r}, the configuration's model_type is {model_type!r}. Leave --as out, or pass the "
            f"config.json of a {family}."
        )


def _arrays(path: Path) -> dict[str, Array]:
    if path.suffix in CHECKPOINTS:
        if path.is_dir():
            raise ValueError(f"{path} must be a file; it is a folder.")
        from weightinit.torch.checkpoints import read_checkpoint

        return read_checkpoint(path)
    if not (path.is_dir() or path.suffix in (".npz", ".safetensors", ".json")):
        raise ValueError(
            f"the file must end in .npz or .safetensors, or in {', '.join(CHECKPOINTS)} for a checkpoint of PyTorch; "
            f"got {path}. Save a PyTorch model with safetensors.torch.save_model(model, 'model.safetensors')."
        )
    return read_arrays(path)


def _beside(path: Path) -> Path:
    """The configuration that lies beside a file of weights, or in a folder of them."""
    return (path if path.is_dir() else path.parent) / "config.json"


def _config(path: Path) -> dict[str, Any]:
    if path.is_dir():
        path = path / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must hold a configuration as a JSON object: {error}.") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a configuration as a JSON object; got {type(config).__name__}.")
    return config


def _text(report: Report | ModelReport, form: str) -> str:
    """The report in one of the forms; names are shortened on a screen alone."""
    if form == "json":
        return json.dumps(report.as_dict(), indent=2)
    if form == "markdown":
        return _harmless(report.to_markdown())
    return _harmless(str(report) if isinstance(report, ModelReport) else report.text(whole=not sys.stdout.isatty()))


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
