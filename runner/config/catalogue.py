"""Catalogue of choices: the files below ``conf/``, described by their own header comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# The folder of runner/ and hydra_plugins/.
ROOT = _PACKAGE.parent
# A wheel has it within the package, the repository beside it, where people edit it.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else ROOT / "conf"
GROUPS = ("architecture", "activation", "scheme", "data", "optimizer", "training", "tracking", "mode", "experiment")
# Kinds of scheme, in the order of a first reading.
KINDS = ("basic", "library default", "research", "residual network", "transformer", "parametrization")
LIBRARIES = ("pytorch", "keras", "jax")
_OWN = "your own"
WIDTH = 100
_INDENT = 20

_START = """\
weightinit: which initialization should this network have, and why?

  python -m runner                                         one run: he, relu, six layers, digits
  python -m runner scheme=xavier,he seed='range(0,5)' -m   a sweep: every combination, compared
  python -m runner experiment=why -m                       a ready-made sweep
  python -m runner mode=forecast scheme=xavier             theory, in a second: how signals fare
  python -m runner mode=advise activation=tanh             which scheme suits it: theory and trials
  python -m runner mode=schemes                            formulas, papers, the same in PyTorch
  python -m runner --cfg job                               every key of a run, with its value

GROUP=CHOICE takes a file of conf/GROUP, as in scheme=xavier. KEY=VALUE changes one line of it, as
in optimizer.learning_rate=0.1. With -m, a value may be several: architecture.depth=2,10,30 or
seed='range(0,10)' or activation='glob(*)'. Everything can be combined with everything.
"""

_END = """\
keys that are set most, at their defaults
  seed=0                        of the initial weights, and of the order of the batches
  architecture.depth=6          hidden layers
  architecture.width=128        units in each; or all of them: architecture.widths=[256,128,64]
  optimizer.learning_rate=0.03  for classes; a regression has 0.003
  training.steps=420            or training.epochs=20
  training.batch_size=null      null: 64, or an eighth of the samples where they are few

your own
  data=csv data.path=flowers.csv data.target=species        a table
  scheme=custom scheme._target_=my.module.Mine              code; its arguments as +scheme.NAME=...
  activation=custom activation._target_=my.module.phi       a function of arrays is enough
  optimizer=custom, architecture=custom, data=custom        likewise; see conf/GROUP/custom.yaml
  --config-dir FOLDER                                       choices, in folders named as in conf/

options
  -m, --multirun       run every combination of the values (at the end of the line)
  -c, --cfg job        print the configuration and stop; --cfg all adds what Hydra has of its own
  --hydra-help         all that Hydra can do

results   in outputs/: tables (Parquet), figures, a page; each command ends with what opens them\
"""


@dataclass(frozen=True)
class Choice:
    """One file of a config group: ``title`` is its first comment; ``facts`` the named lines below it (group, formula,
    paper, pytorch, keras, jax)."""

    name: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)


def check_conf() -> None:
    """Raise ValueError where the lab's own configuration is missing."""
    if not (CONF / "config.yaml").is_file():
        raise ValueError(
            f"the lab's configuration must be in {CONF}, which has no config.yaml. Install weightinit again: a wheel "
            "carries conf/, and in a clone it stands beside runner/."
        )


def choices(group: str, folders: Iterable[Path] = (CONF,)) -> list[Choice]:
    """Return the choices in ``group``, by name; a file of an earlier folder hides one of a later folder."""
    found: dict[str, Choice] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("[!_]*.yaml")):
            found.setdefault(path.stem, _describe(path))
    return [found[name] for name in sorted(found)]


def _describe(path: Path) -> Choice:
    title, facts = "", {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line[1:]
        if text.startswith("   "):
            key, _, value = text.strip().partition(" ")
            facts[key] = value.strip()
        elif not title and text.strip() and "@package" not in text:
            title = text.strip()
    return Choice(path.stem, title, facts)


def help_page(folders: Iterable[Path] = (CONF,)) -> str:
    """The page of ``python -m runner --help``."""
    folders = list(folders)
    lines = [_START]
    schemes = choices("scheme", folders)
    for kind in (*KINDS, _OWN):
        members = [choice for choice in schemes if _kind(choice) == kind]
        if members:
            lines += [f"scheme=...   {kind}", *map(_scheme, members), ""]
    activations = "  ".join(choice.name for choice in choices("activation", folders))
    lines += ["activation=...", _filled(activations, "  ", "  "), ""]
    for group in ("experiment", "data", "optimizer", "architecture", "training", "mode", "tracking"):
        members = choices(group, folders)
        if len(members) > 1:
            lines += [f"{group}=...", *(_filled(_title(choice), _label(choice)) for choice in members), ""]
    return "\n".join([*lines, _END])


def _kind(choice: Choice) -> str:
    kind = choice.facts.get("group", "")
    return kind if kind in KINDS else _OWN


def _title(choice: Choice) -> str:
    """The first sentence of the title, without what stands in parentheses."""
    return re.sub(r" \([^()]*\)|\. .*|\.$", "", choice.title)


def _label(choice: Choice) -> str:
    return f"  {choice.name}".ljust(_INDENT)


def _scheme(choice: Choice) -> str:
    """Title and formula in one line where that is possible with the whole title or its first part, else in two."""
    label, title, formula = _label(choice), _title(choice), choice.facts.get("formula")
    if formula is None:
        return _filled(title, label)
    first_part = re.split("[:;,] ", title)[0]
    for line in (f"{label}{title}   {formula}", f"{label}{first_part}   {formula}"):
        if len(line) <= WIDTH:
            return line
    above = label + (title if len(label + title) <= WIDTH else first_part)
    return f"{above}\n{_filled(formula, ' ' * _INDENT)}"


def _filled(text: str, first: str, others: str = " " * _INDENT) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def schemes_page(folders: Iterable[Path] = (CONF,), names: Collection[str] = ()) -> str:
    """Every scheme with its formula, paper and the line that does the same elsewhere: what ``mode=schemes`` prints.

    ``names``: those to print; empty for all.
    """
    blocks = []
    for choice in choices("scheme", folders):
        if names and choice.name not in names:
            continue
        lines = [f"{choice.name}  {choice.title}"]
        lines += [f"    {key:<9}{value}" for key, value in choice.facts.items() if key != "group"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
