"""One experiment, resolved and validated: plain values -> parts -> key and plan -> trial.

Configuration objects stop here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from runner.config import factories, nested, settings
from runner.config.factories import Part
from runner.config.key import canonical, trial_key
from runner.config.plan import Plan, make_plan
from runner.config.schema import CUSTOM, VARIANTS
from runner.config.secrets import Secrets
from runner.data import Dataset
from runner.data.dataset import Task
from runner.optimizers import Optimizer
from runner.torch.network import require_of_the_lab
from weightinit.nn import LOSSES, Loss, Network
from weightinit.schemes import Scheme

# Keys that don't bear on how a stack trains.
_BESIDE = ("outputs", "tracking", "mode", "report")


@dataclass(frozen=True)
class Trial:
    """One experiment.

    ``config``: the resolved configuration as plain values; ``key``: sha256 of what its results depend on; ``choices``:
    name of the choice in each config group; ``overrides``: those of this run; ``notes``: sentences that a person should
    read about the parts. The rest is built from the config; a pickled trial holds the config alone and is built again.
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
    notes: tuple[str, ...] = field(compare=False, repr=False, default=())

    @property
    def seed(self) -> int:
        """Seed of the initial weights."""
        return int(self.config["seed"])

    @property
    def signature(self) -> str:
        """Everything that trials of one stack agree in: all but seeds, scheme and the optimizer's numbers."""
        shared = {
            key: value for key, value in self.config.items() if key not in (*_BESIDE, "seed", "scheme", "optimizer")
        }
        shared["training"] = {key: value for key, value in shared["training"].items() if key not in ("seed", "epochs")}
        shared["training"] |= {name: getattr(self.plan, name) for name in ("steps", "measure_every", "save")}
        shared["activations"] = [[phi.name, dict(phi.parameters)] for phi in self.network.activations]  # of the scheme
        kind = f"{type(self.optimizer).__module__}.{type(self.optimizer).__qualname__}"
        return canonical([shared, kind, asdict(self.optimizer.signature), self.dataset.digest])

    @property
    def outputs(self) -> Path:
        """Return the folder below which everything is written."""
        return Path(self.config["outputs"]).absolute()

    def named(self, name: str) -> Trial:
        """The same trial under another name."""
        return replace(self, name=name)

    def __reduce__(self) -> tuple[Callable[..., Trial], tuple[Any, ...]]:
        return build, (dict(self.config), dict(self.choices), self.overrides, self.name)


def build(
    config: Mapping[str, Any], choices: Mapping[str, str], overrides: tuple[str, ...] = (), name: str | None = None
) -> Trial:
    """Return the trial of a resolved configuration of plain values.

    Raises ValueError or TypeError, with what was wrong, what is allowed, what was got and how to mend it.
    """
    settings.check(config)
    training = config["training"]
    data = Part.of("data", config["data"])
    dataset = factories.make_dataset(data)
    config = {**config, "optimizer": for_task(config["optimizer"], dataset.task)}
    parts = {group: data if group == "data" else Part.of(group, config[group]) for group in VARIANTS}
    network = factories.make_network(
        parts["architecture"], parts["activation"], dataset.inputs, dataset.outputs, dataset.form, training["dtype"]
    )
    scheme, network = factories.make_scheme(parts["scheme"], network)
    if config["tracking"]["log_model"] != "none":
        require_of_the_lab(
            network,
            "tracking.log_model logs",
            "Pass tracking.log_model=none, and training.save=final to keep the weights of a module in files.",
        )
    return Trial(
        config=config,
        key=trial_key(config, parts, dataset),
        choices=choices,
        overrides=overrides,
        name=name or choices.get("scheme", "run"),
        network=network,
        scheme=scheme,
        dataset=dataset,
        loss=_loss(training["loss"], dataset),
        optimizer=factories.make(parts["optimizer"]),
        plan=make_plan(training, dataset, logs_model=config["tracking"]["log_model"] != "none"),
        notes=(*parts["activation"].notes, *dataset.notes),
    )


def from_hydra(config: DictConfig, choices: Mapping[str, Any], overrides: tuple[str, ...] = ()) -> Trial:
    """Return the trial of a composed configuration; ``choices``: those in its groups. Raises as ``build``."""
    values = plain_config(config)
    values["scheme"] = nested.expanded(values["scheme"])
    values |= {group: factories.with_whole_numbers(group, values[group]) for group in VARIANTS if group in values}
    values["tracking"]["uri"] = values["tracking"]["uri"] and Secrets().hide(values["tracking"]["uri"])
    return from_values(values, chosen(choices), overrides)


def from_values(values: Mapping[str, Any], choices: Mapping[str, str], overrides: tuple[str, ...]) -> Trial:
    """Return the trial of a configuration that asks for training, as plain values. Raises as ``build``."""
    for group in VARIANTS:
        if group not in choices:  # Hydra merges a list of choices into one
            raise ValueError(
                f"{group} takes one choice; got a list. Pass {group}=NAME, or {group}=ONE,OTHER -m to compare."
            )
    mode = values["mode"]
    check_mode(mode["name"], choices["mode"])
    if mode["figures"] is not None:
        raise ValueError("mode.figures is for mode=forecast; what trains draws its figures by itself. Leave it out.")
    if mode["budget"] is not None and mode["name"] != "advise":
        raise ValueError("mode.budget is for mode=advise, which cuts its trial to fit. Leave it out.")
    return build(values, choices, overrides)


def check_mode(name: str, choice: str) -> None:
    """Raises ValueError for a mode that goes by another name than its file's."""
    if name != choice:
        raise ValueError(f"mode.name is no key to set; got {name!r}. Pass mode=NAME, as in mode=train.")


def check_fixed(config: DictConfig, swept: Sequence[str]) -> None:
    """Raises as ``build`` for mistakes in the groups that no ``swept`` key belongs to."""
    for group in VARIANTS:
        if not any(key == group or key.startswith(f"{group}.") for key in swept):
            (values,) = plain_config(OmegaConf.masked_copy(config, group)).values()
            if group == "optimizer":
                for task in get_args(Task):
                    factories.make(Part.of(group, for_task(values, task)))
                continue
            part = Part.of(group, nested.expanded(values) if group == "scheme" else values)
            if group == "data":
                factories.make_dataset(part)
            elif group != "architecture":  # the arguments of an architecture may be swept
                factories.make(part)


def chosen(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the name chosen in each group of the lab's own."""
    return {str(group): str(name) for group, name in choices.items() if "/" not in str(group)}


def called(trial: Trial, group: str) -> str:
    """Return the name of a trial's choice for people: a custom one by its target, ``Mine`` of ``my.module.Mine``."""
    return names(trial.config, trial.choices)[group]


def names(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the choice in each group, for people: a custom one by its target's.

    The activation of a module of one's own is ``own``.
    """
    named = {
        group: str(config[group]["_target_"]).rpartition(".")[2] if choice == CUSTOM else choice
        for group, choice in choices.items()
    }
    return named | ({"activation": "own"} if choices.get("architecture") == "torch" else {})


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Return the lab's part of a configuration as plain values, interpolations resolved."""
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


def for_task(optimizer: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Return an optimizer's values with the learning rate of this task, where they have one for each.

    Raises ValueError where the task has none.
    """
    rates = optimizer.get("learning_rate")
    if not isinstance(rates, Mapping):
        return optimizer
    if set(rates) != set(get_args(Task)):
        allowed = "a number, or one for each task: {classification: 0.03, regression: 0.003}"
        raise ValueError(f"optimizer.learning_rate must be {allowed}; got {rates}. Pass optimizer.learning_rate=0.03.")
    return {**optimizer, "learning_rate": rates[task]}


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
