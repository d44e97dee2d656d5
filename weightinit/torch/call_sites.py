"""Lines of a program that initialize: where a write came from, and which lines wrote nothing."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

import torch
from torch.nn import init

_TORCH: Final = str(Path(torch.__file__).parent)
_HERE: Final = str(Path(__file__).parent)
_WRAPPERS: Final = ("transformers.initialization",)
"""Modules that hand on to ``torch.nn.init``: a write belongs to the line that called them."""

INITIALIZERS: Final = frozenset(name for name in dir(init) if name.endswith("_") and not name.startswith("_"))
WRITERS: Final = INITIALIZERS | {"fill_", "zero_", "copy_", "exponential_", "bernoulli_", "log_normal_", "random_"}
"""Names of calls that initialize a tensor in place."""


class Line(NamedTuple):
    """A line of a program: its file, its number and the function around it."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.number}"


@dataclass(frozen=True)
class Call:
    """One call of a function of ``torch.nn.init``: its number in the trace, its name and its arguments."""

    number: int
    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        shown = [f"{key}={_plain(value)}" for key, value in self.arguments.items() if _says_something(value)]
        return f"{self.name}({', '.join(shown)})"


@dataclass(frozen=True)
class Unused:
    """A line that initializes and wrote nothing while its function ran.

    ``condition``: the test that never held, empty where none stands around the line; ``names``: the texts in it, such
    as parts of a parameter's name; ``call``: the source of the call.
    """

    line: Line
    call: str
    condition: str
    names: tuple[str, ...]

    def sentence(self, parameters: Mapping[str, Any]) -> str:
        """Say that the line wrote nothing, and to which of the ``parameters`` its texts come near."""
        why = f"`{self.condition}` never held" if self.condition else "it never ran"
        said = f"{self.line}: {self.call} wrote nothing: {why}."
        near = [name for text in self.names for name in get_close_matches(text, _endings(parameters), 1, 0.75)]
        near = [name for name in dict.fromkeys(near) if name not in self.names]
        return f"{said} Names near it: {', '.join(near)}." if near else said


@dataclass
class CallSites:
    """What the interpreter reports while a trace runs: the call of ``torch.nn.init`` under way, and code that ran."""

    under_way: Call | None = None
    _frame: FrameType | None = None
    _count: int = 0
    _codes: dict[CodeType, str] = field(default_factory=dict)
    _lines: set[tuple[CodeType, int]] = field(default_factory=set)

    def notice(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of ``sys.setprofile``."""
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(_TORCH):
                if self._frame is None and code.co_name in INITIALIZERS and frame.f_globals is vars(init):
                    self._count += 1
                    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
                    arguments = {name: frame.f_locals.get(name) for name in names}
                    self._frame, self.under_way = frame, Call(self._count, code.co_name, arguments)
            elif code not in self._codes and not WRITERS.isdisjoint(code.co_names):
                self._codes[code] = str(frame.f_globals.get("__name__"))
        elif event == "return" and frame is self._frame:
            self._frame = self.under_way = None

    def line(self) -> Line:
        """Return the line outside PyTorch that is at work, and remember all lines that lead to it."""
        found: Line | None = None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code, module = frame.f_code, frame.f_globals.get("__name__")
            if not code.co_filename.startswith((_TORCH, _HERE)):
                self._lines.add((code, frame.f_lineno))
                if found is None and module not in _WRAPPERS:
                    found = Line(code.co_filename, frame.f_lineno, code.co_name)
            frame = frame.f_back
        return found or Line("", 0, "")

    def unused(self) -> tuple[Unused, ...]:
        """Return the calls that initialize, in functions that ran, which no write came from."""
        found = []
        for code, module in self._codes.items():
            if code.co_filename.startswith(_HERE) or module in _WRAPPERS:
                continue
            own = {number for _, _, number in code.co_lines() if number}
            hit = {number for other, number in self._lines if other is code}
            for call, around in _calls(code.co_filename):
                lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
                if own.isdisjoint(lines) or not hit.isdisjoint(lines):
                    continue
                held = [node for node in around if _holds(node, call)]
                idle = [node for node in held if hit.isdisjoint(_lines_of(node))]
                test = next((node.test for node in [*idle[:1], *held[::-1]]), None)
                texts = () if test is None else tuple(_texts(test, in_library="-packages" in code.co_filename))
                found.append(
                    Unused(
                        Line(code.co_filename, call.lineno, code.co_name),
                        " ".join(ast.unparse(call).split()),
                        "" if test is None else ast.unparse(test),
                        texts,
                    )
                )
        return tuple(sorted(set(found), key=lambda unused: unused.line))


def _calls(file: str) -> Iterator[tuple[ast.Call, list[ast.If]]]:
    """Yield the calls in a file that initialize a tensor, each with the conditions around it."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return

    def visit(node: ast.AST, around: list[ast.If]) -> Iterator[tuple[ast.Call, list[ast.If]]]:
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in WRITERS:
                yield node, around
        inner = [*around, node] if isinstance(node, ast.If) else around
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(tree, [])


def _holds(node: ast.If, call: ast.Call) -> bool:
    """Whether a call stands in the body of a condition, not in its else."""
    return any(call is each for statement in node.body for each in ast.walk(statement))


def _lines_of(node: ast.If) -> range:
    """Return the lines of a condition's body."""
    return range(node.body[0].lineno, (node.body[-1].end_lineno or node.body[-1].lineno) + 1)


def _texts(test: ast.expr, in_library: bool) -> Iterator[str]:
    """Yield the texts that a condition looks for in names.

    A library's code is written for many models: there a module's class and its attributes are no name that must occur.
    """
    if in_library and any(isinstance(n, ast.Attribute) and n.attr in ("__class__", "__name__") for n in ast.walk(test)):
        return
    for node in ast.walk(test):
        if in_library and isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _endings(names: Mapping[str, Any]) -> list[str]:
    """Return the names of parameters and all their last parts: ``h.0.proj.weight``, ``proj.weight``, ``weight``."""
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(part[start:]) for part in parts for start in range(len(part))))


def _says_something(value: Any) -> bool:
    return value is not None and not isinstance(value, torch.Tensor | torch.Generator)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
