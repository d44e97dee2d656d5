"""Types of the configuration's shared keys. The keys of a variant belong to the signature of its ``_target_``."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from types import UnionType
from typing import Any, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

# Groups whose keys depend on the choice; the others have shared keys.
VARIANTS = ("architecture", "activation", "scheme", "data", "optimizer")
# The choice of each of them whose target a person names.
CUSTOM = "custom"


@dataclass
class Probe:
    """The samples on which a network's initial and final state is measured."""

    size: int = 256
    source: str = "train"


@dataclass
class Training:
    """Training of one run: length, batches, precision, and what is measured on the way."""

    steps: int = 420
    epochs: float | None = None
    batch_size: int | None = None
    seed: int = MISSING
    loss: str = "auto"
    dtype: str = "float32"
    evaluate_every: int | None = None
    evaluation_batch_size: int = 256
    measure_every: int | None = None
    threshold: float = 0.5
    save: str = "none"
    probe: Probe = field(default_factory=Probe)


@dataclass
class Tracking:
    """Place of the records beside the local Parquet files; ``tags``: of a person's own, on each run of MLflow's."""

    backend: str = "mlflow"
    uri: str | None = None
    experiment: str = "weightinit"
    figures: bool = True
    log_model: str = "none"
    register: str | None = None
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass
class Mode:
    """Task of the command; ``figures``: the folder for those of a forecast; ``budget``: seconds for an advice."""

    name: str = "train"
    figures: str | None = None
    budget: float | None = None


@dataclass
class Report:
    """Additions to an experiment's table and page; ``answer``: words by the summary number that answers it.

    ``score``: the number by which runs are compared, chosen and advised on.
    """

    title: str | None = None
    question: str | None = None
    answer: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    score: str = "auto"


@dataclass
class Config:
    """The whole configuration; groups whose keys depend on the choice are open here."""

    seed: int = 0
    outputs: str = "outputs"
    resume: bool = False
    architecture: dict[str, Any] = MISSING
    activation: dict[str, Any] = MISSING
    scheme: dict[str, Any] = MISSING
    data: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    training: Training = field(default_factory=Training)
    tracking: Tracking = field(default_factory=Tracking)
    mode: Mode = field(default_factory=Mode)
    report: Report = field(default_factory=Report)


@dataclass
class StackedLauncher:
    """Settings of the launcher that trains stacks.

    ``memory``: share of the machine's memory that the stacks at work may take; ``max_workers``: how many are at work,
    null for one a core; ``executor``: where, any class with the interface of ``concurrent.futures``' executors; null
    for threads, or for processes where a sweep is long enough to be worth their start; ``job_files``: whether each job
    goes through Hydra's own way, which leaves a folder with its configuration.
    """

    _target_: str = "hydra_plugins.weightinit.StackedLauncher"
    memory: float = 0.5
    max_workers: int | None = None
    executor: str | None = None
    job_files: bool = False


@dataclass
class StackedDask:
    """Settings of the launcher that trains stacks on the workers of a Dask cluster.

    ``address``: the scheduler's, or ``scheduler_file``: the file in which it stands; with neither, a cluster of
    processes is started here. ``max_workers``: stacks that train at a time, null for one on each thread of a worker;
    ``memory``: share of the workers' memory that stacks may take; ``job_files``: as of ``StackedLauncher``.
    """

    _target_: str = "hydra_plugins.weightinit.StackedDaskLauncher"
    address: str | None = None
    scheduler_file: str | None = None
    max_workers: int | None = None
    memory: float = 0.5
    job_files: bool = False


@dataclass
class StackedSubmitit:
    """Settings of the launcher that trains stacks in allocations of a SLURM cluster, by submitit.

    All but the last four are options of ``sbatch`` under the names that Hydra's own submitit launcher gives them; an
    allocation trains a stack on each of ``cpus_per_task`` at a time. ``cluster``: slurm, or local for processes of this
    machine; ``interface``: the network interface on which nodes reach this machine, null to find one; ``memory``: share
    of ``mem_gb`` that stacks may take; ``job_files``: as of ``StackedLauncher``.
    """

    _target_: str = "hydra_plugins.weightinit.StackedSubmititLauncher"
    array_parallelism: int = 16
    timeout_min: int = 60
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    mem_gb: float | None = None
    mem_per_cpu: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    gpus_per_task: int | None = None
    cpus_per_gpu: int | None = None
    mem_per_gpu: str | None = None
    signal_delay_s: int = 120
    setup: list[str] | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    name: str = "${hydra.job.name}"
    stderr_to_stdout: bool = False
    submitit_folder: str = "${outputs}/.submitit/%j"
    cluster: str = "slurm"
    interface: str | None = None
    memory: float = 0.5
    job_files: bool = False


@dataclass
class StackedSweeper:
    """As Hydra's basic sweeper; ``params``: the sweep, overridden by the command line."""

    _target_: str = "hydra_plugins.weightinit.StackedSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = None


@dataclass
class Compare(Config):
    """The keys that ``mode=compare`` has beside the others."""

    sweep: Any = "latest"
    against: Any = None
    format: str = "text"
    figures: Any = None


@dataclass
class CoordinateCheck(Config):
    """The keys that ``mode=coordinate_check`` has beside the others."""

    strict: bool = False


def register() -> None:
    """Makes the schema known to Hydra as ``schema``, the first entry of ``conf/config.yaml``'s defaults.

    ``mode=compare`` and ``mode=coordinate_check`` widen it by keys that other modes don't have. The launchers' files in
    ``conf/hydra/launcher`` get their types here.
    """
    ConfigStore.instance().store(name="schema", node=Config)
    ConfigStore.instance().store(group="mode", name="_compare", node=Compare, package="_global_")
    ConfigStore.instance().store(group="mode", name="_coordinate_check", node=CoordinateCheck, package="_global_")
    ConfigStore.instance().store(group="hydra/launcher", name="_stacked_dask", node=StackedDask)
    ConfigStore.instance().store(group="hydra/launcher", name="_stacked_submitit", node=StackedSubmitit)


# Addresses of the launchers that train stacks.
STACKED = (StackedLauncher._target_, StackedDask._target_, StackedSubmitit._target_)

# Plain values of the shared keys, nested as the configuration is; ??? where there is no default.
DEFAULTS: dict[str, Any] = OmegaConf.to_container(OmegaConf.structured(Config))  # type: ignore[assignment]
del DEFAULTS["resume"]  # says how a command goes about its trials, and is no part of them

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "NoneType": "null",
}


def is_whole(key: str) -> bool:
    """Whether a shared key takes whole numbers, and no others."""
    return (expected(key) or "").startswith(_WORDS["int"])


def expected(key: str) -> str | None:
    """Return what a shared key takes, in words, as in ``a whole number, or null``; None for a key that isn't shared."""
    kind: Any = Config
    for name in key.split("."):
        if not is_dataclass(kind) or name not in (hints := get_type_hints(kind)):
            return None
        kind = hints[name]
    kinds = [option.__name__ for option in (get_args(kind) if isinstance(kind, UnionType) else (kind,))]
    return ", or ".join(_WORDS.get(name, "keys of its own") for name in kinds)
