"""Schemes within ``scheme.rules``: each by its name, or by its name and options, becomes what its file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from runner.config.catalogue import CONF
from runner.config.mistakes import unknown_key
from runner.config.schema import CUSTOM

Values = Mapping[str, Any]


def expanded(scheme: Values, folders: Sequence[Path] = (CONF,)) -> dict[str, Any]:
    """Return a scheme's values with each entry of its ``rules`` as the values of a scheme; others as they are.

    An entry is a name (``he``), or a name and options (``{scheme: normal, std: 0.1}``). ``folders``: where choices are
    looked for. Raises ValueError for an entry that is neither, for an unknown name and for unknown options.
    """
    rules = scheme.get("rules")
    if not isinstance(rules, Mapping):
        return dict(scheme)
    return {
        **scheme,
        "rules": {str(pattern): _values(str(pattern), entry, folders) for pattern, entry in rules.items()},
    }


def _values(pattern: str, entry: Any, folders: Sequence[Path]) -> dict[str, Any]:
    key = f"scheme.rules.{pattern}"
    if isinstance(entry, Mapping) and "_target_" in entry:
        return dict(entry)
    name, options = (entry, {}) if isinstance(entry, str) else (None, entry)
    if isinstance(entry, Mapping) and isinstance(entry.get("scheme"), str):
        name, options = entry["scheme"], {option: value for option, value in entry.items() if option != "scheme"}
    if name is None:
        raise ValueError(
            f"{key} must be a scheme, as in he or {{scheme: normal, std: 0.1}}; got {entry!r}. Pass {key}=he."
        )
    files = {path.stem: path for folder in reversed(folders) for path in (folder / "scheme").glob("[!_]*.yaml")}
    if name not in files or name in (CUSTOM, "rules"):
        allowed = ", ".join(sorted(files.keys() - {CUSTOM, "rules"}))
        raise ValueError(f"{key} must be one of {allowed}; got {name!r}. Pass {key}=he.")
    values: dict[str, Any] = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    for option in options:
        if option not in values:
            raise ValueError(unknown_key(f"{key}.{option}", [f"{key}.{known}" for known in values if known[0] != "_"]))
    return {**values, **options}
