"""What can be chosen: the files below ``conf/``, described by their own header comments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("architecture", "activation", "scheme", "data", "optimizer", "training", "tracking", "mode", "experiment")
# Kinds of scheme, in the order of a first reading.
KINDS = ("basic", "library default", "research")


@dataclass(frozen=True)
class Choice:
    """One file of a config group: ``title`` is its first comment; ``facts`` the named lines below it (group, formula,
    paper, pytorch, keras, jax)."""

    name: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)


def choices(group: str, folders: Iterable[Path] = (CONF,)) -> list[Choice]:
    """What can be chosen in ``group``, by name; a file of an earlier folder hides one of a later folder."""
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
    lines = [
        "weightinit: which initialization should this network have, and why?",
        "",
        "usage   python -m runner [GROUP=CHOICE | KEY=VALUE ...] [-m]",
        "",
        "  python -m runner                                      one run",
        "  python -m runner scheme=xavier,he seed='range(0,5)' -m   a sweep: every combination, compared at the end",
        "  python -m runner experiment=why -m                    a ready-made sweep",
        "  python -m runner --cfg job                            the configuration of a run, not run",
        "",
        "schemes   scheme=...",
    ]
    schemes = choices("scheme", folders)
    for kind in (*KINDS, ""):
        members = [choice for choice in schemes if (choice.facts.get("group", "") if kind else "") == kind]
        if not kind:
            members = [choice for choice in schemes if choice.facts.get("group") not in KINDS]
        if members:
            lines.append(f"  {kind or 'your own'}")
            lines += [f"    {choice.name:<18}{choice.facts.get('formula') or choice.title}" for choice in members]
    for group in GROUPS:
        if group != "scheme" and (members := choices(group, folders)):
            lines += ["", f"{group}   {group}=..."]
            lines += [f"  {choice.name:<20}{choice.title}" for choice in members]
    lines += [
        "",
        "keys that are set most",
        "  seed=0  architecture.depth=6  architecture.width=128  optimizer.learning_rate=0.03  training.steps=420",
        "  A value may be a list or a range in a sweep: seed='range(0,10)' architecture.depth=2,10,30",
        "",
        "options",
        "  -m, --multirun        run every combination of the listed values",
        "  --cfg job             print the configuration; --cfg all adds Hydra's own",
        "  --config-dir FOLDER   your own conf/ beside this one; scheme=custom scheme._target_=my.module.Mine takes your own code",
        "  --hydra-help          everything that Hydra can do",
        "",
        "results   outputs/ (Parquet, figures); `make ui` opens MLflow on http://localhost:5000",
    ]
    return "\n".join(line.rstrip() if len(line) <= 120 else line[:119].rstrip() + "…" for line in lines)


def schemes_page(folders: Iterable[Path] = (CONF,)) -> str:
    """Every scheme with its formula, paper and the line that does the same elsewhere: what ``mode=schemes`` prints."""
    blocks = []
    for choice in choices("scheme", folders):
        lines = [f"{choice.name}  {choice.title}"]
        lines += [f"    {key:<9}{value}" for key, value in choice.facts.items() if key != "group"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
