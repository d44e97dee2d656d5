"""Commands that look at no file: the gains of an activation, the forecast of a network, the survey of a library."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from weightinit import activations
from weightinit.activations import Activation
from weightinit.auditing.named_laws import rule
from weightinit.forecasting import Forecast, Growth, forecast, layers_words
from weightinit.gains import Kind, gain
from weightinit.nn import Moments, mlp
from weightinit.schemes import AutoInit, Critical, Scheme

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

ACTIVATION: Final = f"one of {', '.join(activations.NAMES)}"

KEPT: Final[Mapping[str, str]] = {
    "second_moment": "keeps the second moment of pre-activations from layer to layer",
    "variance": "the same for activations less their mean",
    "backward": "keeps the second moment of gradients",
    "torch": "PyTorch's calculate_gain, convention in part",
}
"""Effects of weights of std gain / sqrt(fan_in), by kind of gain."""

ADAPTIVE: Final[Mapping[str, Callable[[], Scheme]]] = {"critical": Critical, "autoinit": AutoInit}
"""Schemes that look for their own variance, beside those that a law names."""


def add_gain(subparsers: Subparsers) -> None:
    """Add ``weightinit gain ACTIVATION``."""
    text = "Print the gain of an activation: weights then have std gain / sqrt(fan_in)."
    command = subparsers.add_parser("gain", help=text, description=text)
    _add_activation(command)
    command.add_argument("--kind", choices=get_args(Kind), help="print this one alone; default: all of them")
    command.add_argument("--q", type=float, default=1.0, help="second moment of a pre-activation; default: 1")
    command.set_defaults(carry_out=_checked(_gain))


def add_forecast(subparsers: Subparsers) -> None:
    """Add ``weightinit forecast ACTIVATION``."""
    text = "Print what mean-field theory expects of a deep network at initialization, on inputs of mean square 1."
    command = subparsers.add_parser("forecast", help=text, description=text)
    _add_activation(command)
    command.add_argument(
        "--scheme",
        default="he",
        help="a law by name, with options as in a call: xavier, 'normal(std=0.02)'; or critical, autoinit; default: he",
    )
    command.add_argument("--depth", type=int, default=6, help="hidden layers; default: 6")
    command.add_argument("--width", type=int, default=128, help="units in each of them, and inputs; default: 128")
    command.set_defaults(carry_out=_checked(_forecast))


def add_survey(subparsers: Subparsers) -> None:
    """Add ``weightinit survey LIBRARY``."""
    text = "Audit a small model of every model type of a library; go on where an earlier survey stopped."
    command = subparsers.add_parser("survey", help=text, description=text)
    command.add_argument("library", choices=("transformers",), help="the library, which must be installed")
    command.add_argument("--types", nargs="+", default=(), metavar="TYPE", help="print these alone, write no page")
    command.add_argument("--minutes", type=float, default=60.0, help="begin no model after these; default: 60")
    command.add_argument("--record", type=Path, default=Path("outputs/survey/transformers.jsonl"), help="JSON lines")
    command.add_argument("--page", type=Path, default=Path("docs/survey.md"), help="default: docs/survey.md")
    command.set_defaults(carry_out=_checked(_survey))


def _add_activation(command: argparse.ArgumentParser) -> None:
    command.add_argument("activation", help=ACTIVATION)
    command.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="its parameters, as in slope=0.2")


def _checked(answer: Callable[[argparse.Namespace], str]) -> Callable[[argparse.Namespace], int]:
    """Return a command that prints its answer, or what is wrong with its arguments; it returns the exit status."""

    def carry_out(options: argparse.Namespace) -> int:
        try:
            text = answer(options)
        except (ValueError, TypeError, ImportError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(text)
        return 0

    return carry_out


def _activation(options: argparse.Namespace) -> Activation:
    """Return the activation that was named. Raises ValueError or TypeError for a parameter that it doesn't take."""
    parameters: dict[str, Any] = {}
    for text in options.parameters:
        name, equals, value = text.partition("=")
        try:
            parameters[name] = float(value)
        except ValueError as error:
            problem = f"got {text!r}" if not equals else f"{name} must be a number; got {value!r}"
            raise ValueError(f"a parameter is written NAME=VALUE, as in slope=0.2; {problem}.") from error
    return activations.get(options.activation, **parameters)


def _gain(options: argparse.Namespace) -> str:
    phi = _activation(options)
    if options.kind is not None:
        return f"{gain(phi, q=options.q, kind=options.kind):.10g}"
    gains: dict[str, float] = {}
    problems: list[ValueError] = []
    for kind in get_args(Kind):
        try:
            gains[kind] = gain(phi, q=options.q, kind=kind)
        except ValueError as error:
            problems.append(error)
    if not gains:
        raise problems[0]
    return "\n".join(
        f"{kind:<15}{f'{gains[kind]:.6f}' if kind in gains else 'none':<10}{meaning}" for kind, meaning in KEPT.items()
    )


def _forecast(options: argparse.Namespace) -> str:
    for name in ("depth", "width"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1; got {getattr(options, name)}.")
    phi = _activation(options)
    network = mlp(options.width, options.width, phi, depth=options.depth, width=options.width)
    names = {"scheme": options.scheme, "activation": " ".join([options.activation, *options.parameters])}
    return _text(forecast(network, _scheme(options.scheme), Moments(1.0, correlation=0.0), names))


def _survey(options: argparse.Namespace) -> str:
    from weightinit.torch import survey  # takes seconds, and needs the framework

    records = survey.survey(options.record, options.types, options.minutes)
    if options.types:
        return "\n\n".join(survey.text(each) for each in records if each["type"] in options.types)
    types = survey.model_types()
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(survey.page(records, len(types), survey.versions()), encoding="utf-8")
    return f"{len(records)} of {len(types)} model types were run; the page is {options.page}"


def _scheme(text: str) -> Scheme:
    """Return the scheme of a name. Raises ValueError for an unknown one."""
    if text in ADAPTIVE:
        return ADAPTIVE[text]()
    try:
        return rule(text)
    except ValueError as error:
        raise ValueError(f"--scheme takes {', '.join(ADAPTIVE)} or a law: {error}") from error


def _text(found: Forecast) -> str:
    title = f"{found.names['scheme']} · {found.names['activation']} · {found.shape}"
    if math.isnan(found.transmitted):
        return f"{title}\nno theory: {found.reason or 'the signal is no number'}"
    lines = [
        title,
        f"forward    {_growth(found.signal, 'activations')}; last layer: {found.transmitted:.3g} of the inputs'",
        f"backward   {_growth(found.gradient, 'gradients')}; first layer: {found.gradient.total:.3g} of the last one's",
    ]
    if found.depth == 1:
        lines[1:] = [f"forward    the mean square of activations is {found.transmitted:.3g} times the inputs'"]
    if found.scales is not None:
        reach = found.scales.trainable_depth
        depth = "any depth" if math.isinf(reach) else layers_words(reach)
        lines += [
            f"phase      {found.scales.phase}: chi {found.scales.chi:.5g} at sigma_w2 {found.sigma_w2:.5g}, "
            f"sigma_b2 {found.sigma_b2:.5g}",
            f"depth      {depth} can be trained (6 xi_c)",
        ]
    elif math.isinf(found.limit):
        lines.append("limit      pre-activations grow without bound, so there is no phase and no depth scale")
    return "\n".join(lines)


def _growth(growth: Growth, of: str) -> str:
    subject = "each layer" if growth.uniform else "on average, a layer"
    return f"{subject} multiplies the mean square of {of} by {growth.per_layer:.4g}"
