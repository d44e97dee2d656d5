"""Draw ``docs/house.svg``: the folders of the code as rooms, on floors made from the imports between them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "house.svg"
LIBRARY, RUNNER, PLUGIN = "weightinit", "runner", "hydra_plugins.weightinit"
# Title, face and edge of the library and of the runner.
STYLES = ("weightinit/", "#e8f1ea", "#4b7f5a"), ("runner/", "#e9eef7", "#4a6796")
# Inches.
WIDTH, FLOOR, GAP, LETTER, LINE = 11.0, 0.4, 0.24, 0.066, 0.145


@dataclass(frozen=True)
class House:
    """Rooms of one part of the code.

    ``floors``: names of rooms, the lowest floor first; a room imports from lower floors only. ``imports``: by room,
    those it imports, without those that it reaches through another. ``modules``: by room, the names of its modules.
    """

    floors: list[list[str]]
    imports: dict[str, set[str]]
    modules: dict[str, list[str]]


@dataclass(frozen=True)
class Box:
    """Place and size of a room in the picture, and the lines of text below its name."""

    center: float
    bottom: float
    width: float
    height: float
    lines: list[str]


def houses() -> tuple[House, House]:
    """The library, and the runner above it, as the imports make them. Raises ValueError where rooms form a circle."""
    sys.path.insert(0, str(ROOT))  # this copy, not one that is installed
    graph = grimp.build_graph(LIBRARY, RUNNER, PLUGIN)
    modules = sorted(module for module in graph.modules if room(module))
    imports: dict[str, set[str]] = {room(module): set() for module in modules}
    for module in modules:
        targets = {room(target) for target in graph.find_modules_directly_imported_by(module)}
        imports[room(module)] |= targets - {room(module), ""}
    parts = []
    for packages in ((LIBRARY,), (RUNNER, PLUGIN)):
        names = [name for name in imports if name.startswith(packages)]
        inside = {name: {target for target in imports[name] if target.startswith(packages)} for name in names}
        direct = {name: targets - reached(targets, inside) for name, targets in inside.items()}
        parts.append(House(stacked(inside), direct, {name: contents(name, modules) for name in names}))
    return parts[0], parts[1]


def room(module: str) -> str:
    """Room of a module: the folder or module at the first level of its package."""
    if module.startswith(PLUGIN):
        return PLUGIN
    return "" if module == "hydra_plugins" else ".".join(module.split(".")[:2])


def contents(name: str, modules: Iterable[str]) -> list[str]:
    """Modules and folders within a room; none within a package's own ``__init__``."""
    if "." not in name:
        return []
    return sorted(
        {module.removeprefix(f"{name}.").partition(".")[0] for module in modules if module.startswith(f"{name}.")}
    )


def stacked(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Floors on which each room stands as low as its imports allow."""
    floors: list[list[str]] = []
    left = dict(imports)
    while left:
        floor = sorted(name for name, targets in left.items() if not targets & left.keys())
        if not floor:
            raise ValueError(f"imports form a circle among {', '.join(sorted(left))}")
        floors.append(floor)
        for name in floor:
            del left[name]
    return floors


def reached(targets: Iterable[str], imports: Mapping[str, set[str]]) -> set[str]:
    """Rooms that are imported by ``targets``, directly or not."""
    found: set[str] = set()
    waiting = list(targets)
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def draw(to: Path = PICTURE) -> None:
    """Write the picture: an arrow goes from a room to each room below that it imports directly."""
    library, runner = houses()
    boxes: dict[str, Box] = {}
    height = GAP
    tops = []
    for house in (library, runner):
        for floor in house.floors:
            height = furnish(house, floor, boxes, height)
        tops.append(height)
        height += 2 * GAP
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "house", "font.family": ["DejaVu Sans"]}):
        figure = Figure((WIDTH, height - 2 * GAP))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height - 2 * GAP))
        axes.set_axis_off()
        for house, top, (folder, face, edge) in zip((library, runner), tops, STYLES, strict=True):
            axes.text(0.1, top, folder, va="center", size=9, color=edge)
            axes.axhline(top + GAP / 2, color="#999999", linewidth=0.8, linestyle=(0, (6, 4)))
            for name, targets in sorted(house.imports.items()):
                for target in sorted(targets):
                    start, end = boxes[name], boxes[target]
                    ends = (start.center, start.bottom), (end.center, end.bottom + end.height)
                    arrow = FancyArrowPatch(
                        *ends, arrowstyle="-|>", mutation_scale=8, linewidth=0.8, shrinkA=0, shrinkB=1
                    )
                    arrow.set(color=edge, alpha=0.6, gid=f"{name}>{target}")
                    axes.add_patch(arrow)
            for name in sorted(house.imports):
                paint(axes, name, boxes[name], face, edge)
        figure.savefig(to, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib ends some lines with blanks.
    to.write_text("".join(f"{line.rstrip()}\n" for line in to.read_text().splitlines()))


def furnish(house: House, floor: list[str], boxes: dict[str, Box], height: float) -> float:
    """Add the boxes of a floor that begins at ``height``; returns where the next begins."""

    def under(name: str) -> float:
        """Mean place of the rooms that this one imports."""
        centers = [boxes[target].center for target in house.imports[name]]
        return sum(centers) / len(centers) if centers else 0.0

    share = (WIDTH - GAP) / len(floor)
    for place, name in enumerate(sorted(floor, key=under)):
        lines = textwrap.wrap(" ".join(house.modules[name]), int((share - 3 * GAP) / LETTER))
        width = max([len(title(name)) * 1.35, *map(len, lines)]) * LETTER + GAP
        boxes[name] = Box(GAP / 2 + share * (place + 0.5), height, width, FLOOR + LINE * len(lines), lines)
    return max(boxes[name].bottom + boxes[name].height for name in floor) + GAP * 1.6


def paint(axes: Axes, name: str, box: Box, face: str, edge: str) -> None:
    """Draw a room with its name and its modules."""
    corner, top = (box.center - box.width / 2, box.bottom), box.bottom + box.height - 0.2
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=style, facecolor=face, edgecolor=edge))
    axes.text(box.center, top, title(name), ha="center", va="center", size=9.5, weight="bold", color="#222222")
    for number, line in enumerate(box.lines, 1):
        y = top - 0.04 - LINE * number
        axes.text(box.center, y, line, ha="center", va="center", size=7.5, color="#444444")


def title(name: str) -> str:
    """Name of a room below its package."""
    return name if name == PLUGIN else name.partition(".")[2] or "__init__"


if __name__ == "__main__":
    draw()
