"""``mode=coordinate_check``: whether activations and their changes keep their size over widths or depths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from runner.config.composition import Command, Composer
from runner.config.key import canonical
from runner.config.schema import Config
from runner.config.schema import CoordinateCheck as Keys
from runner.config.trial import Trial, build
from runner.report import coordinates as report
from runner.torch.network import require_of_the_lab
from runner.training.coordinates import coordinates, kinds
from runner.training.stacks import plan
from weightinit.coordinate_check import Along, Measured, coordinate_check

_OWN = set(Keys.__dataclass_fields__) - set(Config.__dataclass_fields__)  # keys of this mode alone


def check(composer: Composer, command: Command) -> tuple[str, bool]:
    """Return what the command's networks show, and whether all of them pass.

    Networks that differ in width or depth and seed alone are held against each other. Raises ValueError where the
    command sweeps neither, where it has too few sizes or seeds, and where a scheme can't initialize its network.
    """
    trials = [_trial(values, choices) for values, choices in composer.configurations(command.runs)]
    for trial in trials:
        require_of_the_lab(
            trial.network,
            "mode=coordinate_check measures",
            "In Python, weightinit.torch.coordinate_check(make_model, widths=[64, 128]) checks a module of your own.",
        )
    groups = list(_groups(trials))
    if not groups:
        raise ValueError(
            "mode=coordinate_check needs several widths or depths. Pass architecture.width=64,128,256 and "
            "seed='range(0,8)', with -m."
        )
    sizes: dict[int, list[dict[str, float]]] = {}
    for stack in plan(trials):
        sizes |= dict(zip(stack, coordinates([trials[place] for place in stack]), strict=True))
    said, passed = [], True
    for along, places in groups:
        rows = [
            Measured(_size(trials[place], along), trials[place].seed, layer, step, value)
            for place in places
            for step, found in enumerate(sizes[place])
            for layer, value in found.items()
        ]
        layers = kinds(trials[places[0]].network)
        shared = {layer: kind for layer, kind in layers.items() if all(layer in sizes[place][0] for place in places)}
        rows = [row for row in rows if row.layer in shared]
        result = coordinate_check(rows, shared, along=along)
        passed &= result.verdict == "transfers"
        said.append(report.lines(_name(trials[places[0]], along), sorted({row.size for row in rows}), result))
    return "\n\n".join("\n".join(lines) for lines in said), passed


def _trial(values: Mapping[str, Any], choices: Mapping[str, str]) -> Trial:
    kept = {key: value for key, value in values.items() if key not in _OWN}
    return build(kept, choices)


def _groups(trials: Sequence[Trial]) -> Iterator[tuple[Along, list[int]]]:
    """Yield the places of trials that differ in one size and the seed alone."""
    for along in get_args(Along):
        found: dict[str, list[int]] = {}
        for place, trial in enumerate(trials):
            config = {key: value for key, value in trial.config.items() if key not in ("seed", "mode", "report")}
            config["training"] = {key: value for key, value in config["training"].items() if key != "seed"}
            config["architecture"] = {key: value for key, value in config["architecture"].items() if key != along}
            found.setdefault(canonical(config), []).append(place)
        for places in found.values():
            if len({_size(trials[place], along) for place in places}) > 1:
                yield along, places


def _size(trial: Trial, along: Along) -> int:
    return int(trial.config["architecture"].get(along, 0))


def _name(trial: Trial, along: Along) -> str:
    """Return what a group of trials shares, for people."""
    other: Along = "depth" if along == "width" else "width"
    fixed = f"{other} {_size(trial, other)}"
    words = [trial.choices[group] for group in ("scheme", "architecture", "activation", "optimizer", "data")]
    return " · ".join([*words, fixed])
