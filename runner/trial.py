"""One experiment, resolved and validated: from a configuration to the objects that the numerics use.

Configuration objects stop here. This is the only module that instantiates what a config names.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.utils import _locate
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from runner import schema
from runner.data import Dataset
from runner.optimizers import Optimizer
from runner.records import Tracking
from weightinit.nn import LOSSES, Loss, Network
from weightinit.schemes import Scheme

# Raised whenever numerics or a default change: a key then never names two different results.
RESULTS_VERSION = 1

VARIANTS = ("architecture", "activation", "scheme", "data", "optimizer")
# What does not change results: it takes no part in a trial's key.
_BESIDE = ("outputs", "tracking", "mode", "report")
_OWN = ("weightinit.", "runner.")


@dataclass(frozen=True)
class Plan:
    """Numbers that steer one training: all whole, checked against each other and the data.

    ``steps`` updates of ``batch_size`` samples; validation every ``evaluate_every`` steps, in batches of
    ``evaluation_batch_size``; statistics by layer every ``measure_every`` steps; ``probe`` samples of ``probe_source``
    measure the initial and the final state; ``threshold`` of the training loss; ``save`` none, initial, final or both;
    ``seed`` of the order of the batches.
    """

    steps: int
    batch_size: int
    seed: int
    evaluate_every: int
    evaluation_batch_size: int
    measure_every: int
    threshold: float
    probe: int
    probe_source: str
    save: str


@dataclass(frozen=True)
class Trial:
    """One experiment.

    ``config``: the resolved configuration as plain values; ``key``: sha256 of what its results depend on; ``choices``:
    name of the choice in each config group; ``overrides``: those of this run. The rest is built from the config; a
    pickled trial holds the config alone and is built again.
    """

    config: Mapping[str, Any] = field(hash=False)
    key: str
    choices: Mapping[str, str] = field(hash=False, compare=False)
    overrides: tuple[str, ...] = field(compare=False)
    name: str = field(compare=False)
    network: Network = field(compare=False, repr=False)
    scheme: Scheme = field(compare=False, repr=False)
    dataset: Dataset = field(compare=False, repr=False)
    loss: Loss = field(compare=False, repr=False)
    optimizer: Optimizer = field(compare=False, repr=False)
    plan: Plan = field(compare=False, repr=False)

    @property
    def seed(self) -> int:
        """Seed of the initial weights."""
        return int(self.config["seed"])

    @property
    def signature(self) -> str:
        """What must agree for two trials to share a stack: everything but seeds, scheme and the optimizer's numbers."""
        shared = {key: value for key, value in self.config.items() if key not in (*_BESIDE, "seed", "scheme", "optimizer")}
        shared["training"] = {key: value for key, value in shared["training"].items() if key not in ("seed", "epochs")}
        shared["training"] |= {"steps": self.plan.steps, "measure_every": self.plan.measure_every}
        return _canonical([shared, self.optimizer.signature, self.dataset.digest])

    @property
    def tracking(self) -> Tracking:
        """Where this trial is to be recorded."""
        settings = self.config["tracking"]
        return Tracking(outputs=Path(self.config["outputs"]).absolute(), **settings)

    def named(self, name: str) -> Trial:
        """The same trial under another name."""
        return replace(self, name=name)

    def __reduce__(self) -> tuple[Callable[..., Trial], tuple[Any, ...]]:
        return build, (dict(self.config), dict(self.choices), self.overrides, self.name)


def from_hydra(config: DictConfig, choices: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Trial:
    """The trial that a composed configuration describes; ``choices``: what was chosen in each of its groups.

    Raises ValueError or TypeError, with what was wrong, what is allowed, what was got and how to mend it.
    """
    chosen = {str(group): name for group, name in choices.items() if "/" not in str(group)}
    for group, name in chosen.items():
        if not isinstance(name, str | None):
            names = list(map(str, name))
            raise ValueError(
                f"{group} takes one choice; got the list [{','.join(names)}]. Pass {group}={','.join(names)} -m to compare them."
            )
    return build(_plain_config(config), {group: str(name) for group, name in chosen.items()}, overrides)


def check_fixed(config: DictConfig, swept: Sequence[str]) -> None:
    """Raises as ``from_hydra`` does for what is wrong in the groups that none of the ``swept`` keys belongs to."""
    fixed = [group for group in VARIANTS if not any(key == group or key.startswith(f"{group}.") for key in swept)]
    part = OmegaConf.masked_copy(config, fixed)
    for group, node in _plain_config(part).items():
        if group == "data":
            load(node)
        elif group == "architecture":
            _check_keys(group, node)
        else:
            _make(group, node)


def _plain_config(config: DictConfig) -> dict[str, Any]:
    """The lab's part of a configuration as plain values, interpolations resolved."""
    try:
        own = {str(key): config[key] for key in config if key != "hydra"}
        return {
            key: OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value
            for key, value in own.items()
        }
    except MissingMandatoryValue as error:
        missing = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith("hydra."))
        texts = " ".join(f"{key}=..." for key in missing)
        raise ValueError(f"{' and '.join(missing)} {'needs a value' if len(missing) == 1 else 'need values'}. Pass {texts}.") from error
    except OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key}: {str(error).partition(chr(10))[0]}. Name a key that exists, as in ${{seed}}.") from error


def build(
    config: Mapping[str, Any], choices: Mapping[str, str], overrides: tuple[str, ...] = (), name: str | None = None
) -> Trial:
    """The trial of a resolved configuration of plain values; raises as ``from_hydra`` does."""
    _check_shared(config)
    for group in VARIANTS:
        _check_keys(group, config[group])
    dataset = load(_canonical(config["data"]))
    activation = _make("activation", config["activation"])
    dtype = config["training"]["dtype"]
    network = _make("architecture", config["architecture"], dataset.inputs, dataset.outputs, activation, dtype=dtype)
    loss = _loss(config["training"]["loss"], dataset)
    optimizer = _make("optimizer", config["optimizer"])
    return Trial(
        config=config,
        key=trial_key(config, dataset),
        choices=choices,
        overrides=overrides,
        name=name or choices.get("scheme", "run"),
        network=network,
        scheme=_make("scheme", config["scheme"]),
        dataset=dataset,
        loss=loss,
        optimizer=optimizer,
        plan=_plan(config["training"], dataset),
    )


@lru_cache(maxsize=8)
def load(data: str) -> Dataset:
    """The data set that a canonical JSON of the group ``data`` describes; kept, since a sweep asks for it at each run."""
    dataset = _make("data", json.loads(data))
    if not isinstance(dataset, Dataset):
        raise TypeError(f"data._target_ must return a runner.data.Dataset; got {type(dataset).__name__}")
    return dataset


def trial_key(config: Mapping[str, Any], dataset: Dataset) -> str:
    """sha256 of everything that a trial's results depend on, and of nothing else.

    Keys at their default are left out, so that a new key with a default moves no old trial's key; of the data its
    content counts, not its path; of a target of one's own its source.
    """
    relevant: dict[str, Any] = {"results_version": RESULTS_VERSION, "seed": config["seed"], "dataset": dataset.digest}
    relevant["training"] = _without_defaults(config["training"], asdict(_instance(schema.Training)))
    relevant["training"].pop("seed", None)
    if config["training"]["seed"] != config["seed"]:
        relevant["training"]["seed"] = config["training"]["seed"]
    for group in VARIANTS:
        node = dict(config[group])
        target = node["_target_"]
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(_locate(target)).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        if group == "data":
            node.pop("path", None)
        relevant[group] = _without_defaults(node, defaults)
        if not target.startswith(_OWN):
            relevant[group]["source"] = _source_hash(target)
    return hashlib.sha256(_canonical(relevant).encode()).hexdigest()


def _make(group: str, node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return instantiate(node, *args, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError | OSError):
            raise ValueError(_in_terms_of(group, node, str(cause))) from error
        problem = f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
        raise ValueError(f"{group}: {node['_target_']} raised {problem}") from error


def _in_terms_of(group: str, node: Mapping[str, Any], message: str) -> str:
    """The message with the arguments it names written as they are on the command line: ``scheme.mode=fan_in``."""
    for key in node:
        message = re.sub(rf"(?<![\w.]){key}=(?:(['\"])(\w+)\1)?", rf"{group}.{key}=\2", message)
        message = re.sub(rf"^{key}(?= )", f"{group}.{key}", message)
    return message if group in message else f"{group}: {message}"


def _check_keys(group: str, node: Mapping[str, Any]) -> None:
    """Refuses a target that can't be found and keys that its signature doesn't have."""
    target = node.get("_target_")
    if not isinstance(target, str) or target == "???":
        raise ValueError(f"{group}._target_ needs the address of a class or function. Pass {group}._target_=my.module.Mine.")
    try:
        signature = inspect.signature(_locate(target))
    except Exception as error:
        raise ValueError(
            f"{group}._target_ must be the address of a class or function that can be imported; got {target!r} "
            f"({_root(error)}). Check the spelling, and that its folder is on PYTHONPATH."
        ) from error
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    given = [key for key in node if not key.startswith("_")]
    positional = {"architecture": 3}.get(group, 0)
    allowed = [p.name for p in list(parameters)[positional:] if p.kind is not p.VAR_POSITIONAL and p.name != "dtype"]
    for key in given:
        if key not in allowed:
            raise ValueError(unknown_key(f"{group}.{key}", [f"{group}.{name}" for name in allowed]))


def unknown_key(key: str, allowed: list[str]) -> str:
    """The message for a key that doesn't exist, with those that do."""
    close = get_close_matches(key, allowed, n=1)
    mend = f" Did you mean {close[0]}?" if close else ""
    return f"{key} is not a key here; allowed: {', '.join(allowed) or 'none'}; got {key}.{mend}"


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _check_shared(config: Mapping[str, Any]) -> None:
    for name, value in (("seed", config["seed"]), ("training.seed", config["training"]["seed"])):
        if value < 0:
            raise ValueError(f"{name} must be zero or positive; got {value}. Pass {name}=0.")
    backends = ("mlflow", "none")
    if (backend := config["tracking"]["backend"]) not in backends:
        raise ValueError(f"tracking.backend must be one of {', '.join(backends)}; got {backend!r}. Pass tracking=none.")


def _loss(name: str, dataset: Dataset) -> Loss:
    fitting = "cross_entropy" if dataset.task == "classification" else "mse"
    if name == "auto":
        return LOSSES[fitting]
    if name not in LOSSES:
        raise ValueError(f"training.loss must be one of auto, {', '.join(LOSSES)}; got {name!r}. Pass training.loss=auto.")
    if name == "cross_entropy" and dataset.task == "regression":
        raise ValueError(
            f"training.loss=cross_entropy needs classes, and {dataset.name} has numbers as targets (regression). "
            "Pass training.loss=mse, or for a data file of your own data.task=classification."
        )
    return LOSSES[name]


def _plan(training: Mapping[str, Any], dataset: Dataset) -> Plan:
    samples = len(dataset.x_train)
    for key in ("steps", "evaluation_batch_size", "batch_size", "evaluate_every", "measure_every"):
        value = training[key]
        least = 0 if key == "steps" else 1
        if value is not None and value < least:
            raise ValueError(f"training.{key} must be at least {least}; got {value}. Pass a larger one.")
    batch = training["batch_size"]
    if batch is None:
        batch = max(1, min(64, samples // 8))
    if batch > samples:
        raise ValueError(
            f"training.batch_size must be at most the {samples} training samples of {dataset.name}; got {batch}. "
            f"Pass training.batch_size={min(64, max(1, samples // 8))}."
        )
    per_epoch = samples // batch
    steps = training["steps"]
    if (epochs := training["epochs"]) is not None:
        if not (math.isfinite(epochs) and epochs >= 0):
            raise ValueError(f"training.epochs must be a finite number of at least 0; got {epochs}. Pass training.epochs=20.")
        steps = round(epochs * per_epoch)
    if not (math.isfinite(training["threshold"]) and training["threshold"] > 0):
        raise ValueError(f"training.threshold must be a finite loss above 0; got {training['threshold']}. Pass 0.5.")
    if training["save"] not in (choices := ("none", "initial", "final", "both")):
        raise ValueError(f"training.save must be one of {', '.join(choices)}; got {training['save']!r}. Pass none.")
    probe = training["probe"]
    if probe["source"] not in (sources := ("train", "validation", "gaussian")):
        raise ValueError(f"training.probe.source must be one of {', '.join(sources)}; got {probe['source']!r}. Pass train.")
    if probe["size"] < 2:
        raise ValueError(f"training.probe.size must be at least 2; got {probe['size']}. Pass training.probe.size=256.")
    available = {"train": samples, "validation": len(dataset.x_validation), "gaussian": probe["size"]}[probe["source"]]
    return Plan(
        steps=steps,
        batch_size=batch,
        seed=training["seed"],
        evaluate_every=training["evaluate_every"] or per_epoch,
        evaluation_batch_size=training["evaluation_batch_size"],
        measure_every=training["measure_every"] or max(1, math.ceil(steps / 10)),
        threshold=float(training["threshold"]),
        probe=min(probe["size"], available),
        probe_source=probe["source"],
        save=training["save"],
    )


def _instance(kind: type) -> Any:
    """A schema dataclass with its defaults, None where it has none."""
    assert is_dataclass(kind)
    return kind(**{f.name: None for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING})


def _without_defaults(node: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    missing = object()
    return {key: value for key, value in node.items() if value != defaults.get(key, missing)}


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """The value with whole floats as integers: ``scale=2`` and ``scale=2.0`` are one experiment."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@lru_cache(maxsize=64)
def _source_hash(target: str) -> str:
    try:
        source = Path(inspect.getfile(inspect.unwrap(_locate(target)))).read_bytes()
    except (OSError, TypeError):
        source = target.encode()
    return hashlib.sha256(source).hexdigest()
