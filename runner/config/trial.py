"""One experiment, resolved and validated: from a configuration to the objects that the numerics use.

Configuration objects stop here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from runner.config import factories, schema
from runner.data import Dataset
from runner.optimizers import Optimizer
from runner.records import Tracking
from weightinit.nn import LOSSES, Loss, Network
from weightinit.nn.architectures import DTYPES
from weightinit.schemes import Scheme

# Raised whenever numerics or a default change: a key then never names two different results.
RESULTS_VERSION = 1

VARIANTS = ("architecture", "activation", "scheme", "data", "optimizer")
# What does not change results: it takes no part in a trial's key.
_BESIDE = ("outputs", "tracking", "mode", "report")
# Where data lie, not what they are.
_PLACES = ("path", "data_home")
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
        shared = {
            key: value for key, value in self.config.items() if key not in (*_BESIDE, "seed", "scheme", "optimizer")
        }
        shared["training"] = {key: value for key, value in shared["training"].items() if key not in ("seed", "epochs")}
        shared["training"] |= {name: getattr(self.plan, name) for name in ("steps", "measure_every", "save")}
        return _canonical([shared, asdict(self.optimizer.signature), self.dataset.digest])

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
    plain = plain_config(config)
    names = chosen(choices)
    for group in VARIANTS:
        if group not in names:  # Hydra merges a list of choices into one
            raise ValueError(
                f"{group} takes one choice; got a list. Pass {group}=NAME, or {group}=ONE,OTHER -m to compare."
            )
    if plain["mode"]["name"] != names["mode"]:
        raise ValueError(
            f"mode.name is no key to set; got {plain['mode']['name']!r}. Pass mode=NAME, as in mode=train."
        )
    if plain["mode"]["figures"] is not None:
        raise ValueError("mode.figures is for mode=forecast; what trains draws its figures by itself. Leave it out.")
    return build(plain, names, overrides)


def chosen(choices: Mapping[str, Any]) -> dict[str, str]:
    """The name chosen in each group of the lab's own."""
    return {str(group): str(name) for group, name in choices.items() if "/" not in str(group)}


def check_fixed(config: DictConfig, swept: Sequence[str]) -> None:
    """Raises as ``from_hydra`` does for what is wrong in the groups that no ``swept`` key belongs to."""
    for group in VARIANTS:
        if not any(key == group or key.startswith(f"{group}.") for key in swept):
            (values,) = plain_config(OmegaConf.masked_copy(config, group)).values()
            if group == "architecture":  # what it is called with may be swept
                factories.check_keys(group, values)
            elif group == "data":
                factories.make_dataset(values)
            else:
                factories.make(group, values)


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The lab's part of a configuration as plain values, interpolations resolved."""
    try:
        return {str(key): _plain_value(config[key]) for key in config if key not in ("hydra", "resume")}
    except MissingMandatoryValue as error:
        keys = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith("hydra."))
        needs = "need values" if len(keys) > 1 else "needs a value"
        raise ValueError(f"{' and '.join(keys)} {needs}. Pass {' '.join(f'{key}=VALUE' for key in keys)}.") from error
    except OmegaConfBaseException as error:
        problem = str(error).partition("\n")[0]
        raise ValueError(f"{error.full_key} has no value: {problem}. Pass {error.full_key}=VALUE.") from error


def _plain_value(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node


def build(
    config: Mapping[str, Any], choices: Mapping[str, str], overrides: tuple[str, ...] = (), name: str | None = None
) -> Trial:
    """The trial of a resolved configuration of plain values; raises as ``from_hydra`` does."""
    _check_shared(config)
    training = config["training"]
    dataset = factories.make_dataset(config["data"])
    network = factories.make_network(
        config["architecture"],
        config["activation"],
        inputs=dataset.inputs,
        outputs=dataset.outputs,
        dtype=training["dtype"],
    )
    return Trial(
        config=config,
        key=trial_key(config, dataset),
        choices=choices,
        overrides=overrides,
        name=name or choices.get("scheme", "run"),
        network=network,
        scheme=factories.make_scheme(config["scheme"], network),
        dataset=dataset,
        loss=_loss(training["loss"], dataset),
        optimizer=factories.make("optimizer", config["optimizer"]),
        plan=_plan(training, dataset, logs_model=config["tracking"]["log_model"] != "none"),
    )


def called(trial: Trial, group: str) -> str:
    """What a trial's choice in a config group is called: a custom one by its target, ``Mine`` of ``my.module.Mine``."""
    choice = trial.choices[group]
    return str(trial.config[group]["_target_"]).rpartition(".")[2] if choice == "custom" else choice


def trial_key(config: Mapping[str, Any], dataset: Dataset) -> str:
    """sha256 of everything that a trial's results depend on, and of nothing else.

    Keys at their default are left out, so that a new key with a default moves no old trial's key; of the data its
    content counts, not its place; of a target of one's own its source.
    """
    training = dict(config["training"])
    seed = training.pop("seed")
    relevant: dict[str, Any] = {
        "results_version": RESULTS_VERSION,
        "seed": config["seed"],
        "dataset": dataset.digest,
        "training": _without_defaults(training, schema.DEFAULTS["training"]),
    }
    if seed != config["seed"]:
        relevant["training"]["seed"] = seed
    for group in VARIANTS:
        values = {key: value for key, value in config[group].items() if group != "data" or key not in _PLACES}
        relevant[group] = _without_defaults(values, factories.defaults(group, values))
        if not values["_target_"].startswith(_OWN):
            relevant[group]["source"] = factories.source_hash(group, values)
    return hashlib.sha256(_canonical(relevant).encode()).hexdigest()


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        if key not in defaults:
            kept[key] = value
        elif isinstance(value, Mapping) and isinstance(defaults[key], Mapping):
            if nested := _without_defaults(value, defaults[key]):
                kept[key] = nested
        elif value != defaults[key]:
            kept[key] = value
    return kept


def _check_shared(config: Mapping[str, Any]) -> None:
    _check_names("", config, schema.DEFAULTS)
    training, probe = config["training"], config["training"]["probe"]
    for name, value in (("seed", config["seed"]), ("training.seed", training["seed"])):
        if value < 0:
            raise ValueError(f"{name} must be zero or positive; got {value}. Pass {name}=0.")
    for name, value, allowed in (
        ("tracking.backend", config["tracking"]["backend"], ("mlflow", "none")),
        ("tracking.log_model", config["tracking"]["log_model"], ("none", "best", "all")),
        ("training.dtype", training["dtype"], DTYPES),
        ("training.loss", training["loss"], ("auto", *LOSSES)),
        ("training.save", training["save"], ("none", "initial", "final", "both")),
        ("training.probe.source", probe["source"], ("train", "validation", "gaussian")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}. Pass {name}={allowed[0]}.")
    if config["tracking"]["backend"] == "none" and config["tracking"]["log_model"] != "none":
        raise ValueError(
            f"tracking.log_model={config['tracking']['log_model']} needs MLflow to log to; got tracking=none. "
            "Pass tracking=mlflow, or training.save=final to keep the weights in files."
        )


def _check_names(prefix: str, values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses shared keys that were added or deleted: nothing reads the one, something needs the other."""
    for key in values:
        if key not in expected:
            raise ValueError(factories.unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in expected]))
    for key, value in expected.items():
        if key not in values:
            raise ValueError(f"{prefix}{key} needs a value; it was deleted. Take ~{prefix}{key} out.")
        if isinstance(value, Mapping):
            _check_names(f"{prefix}{key}.", values[key], value)


def _loss(name: str, dataset: Dataset) -> Loss:
    fitting = "cross_entropy" if dataset.task == "classification" else "mse"
    if name == "auto":
        return LOSSES[fitting]
    if name == "cross_entropy" and dataset.task == "regression":
        raise ValueError(
            f"training.loss=cross_entropy needs classes, and {dataset.name} has numbers as targets (regression). "
            "Pass training.loss=mse, or for a data file of your own data.task=classification."
        )
    return LOSSES[name]


def _plan(training: Mapping[str, Any], dataset: Dataset, *, logs_model: bool) -> Plan:
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
            raise ValueError(
                f"training.epochs must be a finite number of at least 0; got {epochs}. Pass training.epochs=20."
            )
        steps = round(epochs * per_epoch)
    if not (math.isfinite(training["threshold"]) and training["threshold"] > 0):
        raise ValueError(f"training.threshold must be a finite loss above 0; got {training['threshold']}. Pass 0.5.")
    probe = training["probe"]
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
        save={"none": "final", "initial": "both"}.get(training["save"], training["save"])
        if logs_model
        else training["save"],
    )


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """The value with whole floats as integers: ``scale=2`` and ``scale=2.0`` are one experiment."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
