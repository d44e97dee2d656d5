"""The pages of the documentation, and what stands in them: commands and their output, examples, files, tables."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS: dict[str, str] = PYPROJECT.get("scripts", {})

CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\$ ", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Path of the page below the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """Content of the file."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """Language and content of each fenced block."""
        return re.findall(r"^```(\w+)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    @cached_property
    def prose(self) -> str:
        """Text without fenced blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    @cached_property
    def code(self) -> str:
        """Everything that is set as code."""
        return " ".join([*(text for _, text in self.blocks), *re.findall(r"`([^`]+)`", self.prose)])

    @cached_property
    def session(self) -> str:
        """Interactive examples, in their order."""
        return "\n".join(text for kind, text in self.blocks if kind == "python" and text.startswith(">>>"))

    @cached_property
    def listings(self) -> list[tuple[str, str]]:
        """Path and content of each block that shows a file, or a part of one: it follows a line "In `mine.py`:"."""
        shown = r"`(\w[\w/]*\.\w+)`[^`\n]*:\n\n```(?:python|yaml)\n(.*?)^```$"
        return re.findall(shown, self.text, re.MULTILINE | re.DOTALL)

    @cached_property
    def files(self) -> dict[str, str]:
        """Files that the page shows, by path; several blocks of one file stand below each other."""
        files: dict[str, str] = {}
        for path, text in self.listings:
            files[path] = f"{files[path]}\n\n{text}" if path in files else text
        return files

    @cached_property
    def examples(self) -> list[str]:
        """Python scripts, in their order."""
        scripts = [text for kind, text in self.blocks if kind == "python" and not text.startswith(">>>")]
        return [text for text in scripts if text not in {part for _, part in self.listings}]

    @cached_property
    def shown(self) -> dict[str, str]:
        """Commands with the output that the page shows of each."""
        return {command: output for block in CONSOLE.findall(self.text) for command, output in dialogue(block)}

    @cached_property
    def typed(self) -> list[str]:
        """Commands without output, each once: lines of an indented block, and those within a sentence."""
        found = re.findall(r"^    (\S.*)$|`((?:python -m|make) [^`]+)`", self.prose, re.MULTILINE)
        lines = (line or inline for line, inline in found)
        return list(dict.fromkeys(line for line in lines if module(line) or line.startswith("make ")))

    @property
    def commands(self) -> list[str]:
        """All commands, with output or without."""
        return [*self.shown, *self.typed]

    def rows(self, header: str) -> dict[str, str]:
        """Second column of the table whose first is headed ``header``, by the code in the first."""
        table = self.text.partition(f"\n| {header} |")[2].partition("\n\n")[0]
        return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE))


def dialogue(block: str) -> Iterator[tuple[str, str]]:
    """Commands of a console block, each with its output."""
    for part in PROMPT.split(block)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def module(command: str) -> tuple[str, list[str]] | None:
    """Module that a command runs and its arguments; None for a command that is no Python program of this project."""
    words = shlex.split(command, comments=True)
    if words[:2] == ["python", "-m"]:
        return words[2], words[3:]
    if words and words[0] in SCRIPTS:
        return SCRIPTS[words[0]].partition(".__main__:")[0], words[1:]
    return None


def in_words(text: str) -> str:
    """The text without its numbers and the width of its columns, which differ between processors."""
    return " ".join(re.sub(r"\d*\.?\d+(e-?\d+)?", "#", text).split())


PAGES = [Page(path) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))]
