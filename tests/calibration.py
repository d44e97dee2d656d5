"""Calibration of the references: how often correct networks alarm, how often faulty ones do, over many settings.

``python -m tests.calibration`` runs the settings that ``outputs/calibration.jsonl`` lacks, from small networks to large
ones, and writes the table of docs/theory.md. ``--seconds`` ends it early; the next call goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import numpy as np
from threadpoolctl import threadpool_limits

from runner.data import digits
from weightinit.nn import LOSSES, Network, Params, mlp
from weightinit.reference import SAMPLES, Band, Judgement, Probe, draws, draws_of, judge, observe, reference
from weightinit.reference.band import FAMILIES
from weightinit.reference.observation import networks_at_once
from weightinit.reference.scales import floor
from weightinit.reference.stack import operations
from weightinit.schemes import Orthogonal, Rule, Sparse, VarianceScaling

SCALES = {"relu": 2.0, "gelu": 2.0, "silu": 2.0, "tanh": 1.0, "selu": 1.0, "sigmoid": 1.0}
LAWS = ("normal", "uniform", "truncated_normal", "orthogonal", "sparse")
WIDTHS, DEPTHS = (8, 32, 128, 512), (2, 10, 50)
SEEDS, FEWER = 200, 40  # correct networks of a setting, of a large one
FAULTY = {SEEDS: 40, FEWER: 20}  # networks with each fault, of such settings
LARGE = 5e10  # operations of a reference
PAGE = Path(__file__).parent.parent / "docs" / "theory.md"
START, END = "<!-- calibration -->", "<!-- end of calibration -->"
JUDGED = tuple(name for names in FAMILIES.values() for name in names)
FAULTS = ("scaled", "zero", "infinite", "copied")


@dataclass(frozen=True)
class Setting:
    """Networks of one kind."""

    activation: str
    law: str
    width: int
    depth: int

    @property
    def network(self) -> Network:
        return mlp(64, 10, self.activation, depth=self.depth, width=self.width)

    @property
    def first_seed(self) -> int:
        """The first of the seeds of this setting, which shares none with others."""
        return 1000 * crc32(repr(self).encode())

    @property
    def scheme(self) -> Rule:
        scale = SCALES[self.activation]
        if self.law == "orthogonal":
            return Orthogonal(gain=math.sqrt(scale))
        if self.law == "sparse":
            return Sparse(nonzero=15, std=math.sqrt(scale / 15))
        return VarianceScaling(scale=scale, distribution=self.law)  # type: ignore[arg-type]


@cache
def probe() -> Probe:
    data = digits()
    x = data.x_train[:SAMPLES].astype(np.float32)[None]
    y = np.eye(data.outputs, dtype=np.float32)[data.y_train[:SAMPLES]][None]
    return Probe(x, y, LOSSES["cross_entropy"])


def band_of(setting: Setting) -> Band:
    network, scheme = setting.network, setting.scheme
    origin = draws_of(network, scheme, scheme.laws(network))
    assert not isinstance(origin, str), origin
    with patch.object(draws, "RESERVED", draws.RESERVED + setting.first_seed):
        band = reference(network, origin, probe(), budget=math.inf).band
    assert band is not None
    return band


def judged(setting: Setting, band: Band, seeds: range, fault: str = "") -> list[tuple[Judgement, str]]:
    """Return the judgement of a network of each seed, and the layer that a fault was put in, another for each seed."""
    network, scheme = setting.network, setting.scheme
    step = networks_at_once(network, SAMPLES)
    found: list[tuple[Judgement, str]] = []
    for start in range(seeds.start, seeds.stop, step):
        some = range(start, min(start + step, seeds.stop))
        drawn = scheme(network, some)
        layers = [put(fault, setting, drawn.params, run, seed) if fault else "" for run, seed in enumerate(some)]
        found += zip(judge(observe(network, drawn.params, probe(), drawn.laws), band), layers, strict=True)
    return found


def put(fault: str, setting: Setting, params: Params, run: int, seed: int) -> str:
    """Put a fault in a hidden layer of a run; return its name."""
    number = 1 + seed % setting.depth
    if fault == "copied":  # the first layer's shape is its own
        number = 3 + seed % (setting.depth - 2)
    weight = params[f"hidden/{number}/weight"][run]
    match fault:
        case "scaled":
            weight *= 1.2
        case "zero":
            weight[...] = 0
        case "infinite":
            weight[...] = np.inf
        case "copied":
            weight[...] = params[f"hidden/{number - 1}/weight"][run]
    return f"hidden/{number}"


def study(setting: Setting, seeds: int = SEEDS) -> dict[str, Any]:
    """Return what the judgement of many correct and faulty networks amounts to."""
    start = time.time()
    band = band_of(setting)
    first = setting.first_seed
    correct = [judgement for judgement, _ in judged(setting, band, range(first, first + seeds))]
    row: dict[str, Any] = asdict(setting) | {"seeds": seeds}
    row["alarms"] = sum(judgement.alarm for judgement in correct)
    for family in ("activation", "gradient"):
        row[f"{family}_alarms"] = sum(judgement.deviation[family] > 3 for judgement in correct)
    row["strong"] = sum(max(judgement.deviation.values()) > 6 for judgement in correct)
    row["faults"] = sorted({f"{judgement.fault}" for judgement in correct if judgement.alarm})
    for name in JUDGED:
        z = np.stack([judgement.z[name] for judgement in correct])[:, band.scatter[name] > 2 * floor(name)]
        row[f"{name}_z"] = float(np.nanstd(z)) if not np.isnan(z).all() else math.nan
    row["lines"] = dict(band.line)
    row["unjudged"] = float(np.mean(np.isnan(band.centre["activation_rms"])))
    for fault in FAULTS:
        if (fault == "scaled" and setting.width != 128) or (fault == "copied" and setting.depth < 3):
            continue
        found = judged(setting, band, range(first + seeds, first + seeds + FAULTY[seeds]), fault)
        row[f"{fault}_found"] = float(np.mean([judgement.alarm for judgement, _ in found]))
        row[f"{fault}_named"] = float(np.mean([judgement.layer == layer for judgement, layer in found]))
    row["seconds"] = round(time.time() - start, 1)
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the studies as a table in Markdown, a row for each width and depth."""
    lines = [
        "| width | depth | settings | networks each | alarms | most in a setting | std of z | x1.2 named "
        "| zero, infinite, copied found |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by_size: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["width"], row["depth"])):
        by_size.setdefault((row["width"], row["depth"]), []).append(row)
    for (width, depth), some in by_size.items():
        z = [row[f"{name}_z"] for row in some for name in JUDGED if not math.isnan(row[f"{name}_z"])]
        named = [row["scaled_named"] for row in some if "scaled_named" in row]
        found = [row[f"{fault}_found"] for row in some for fault in FAULTS[1:] if f"{fault}_found" in row]
        seeds = sorted({row["seeds"] for row in some})
        alarms = sum(row["alarms"] for row in some) / sum(row["seeds"] for row in some)
        lines.append(
            f"| {width} | {depth} | {len(some)} of {len(SCALES) * len(LAWS)} | {' or '.join(map(str, seeds))} "
            f"| {100 * alarms:.2f}% | {100 * max(row['alarms'] / row['seeds'] for row in some):.1f}% "
            f"| {min(z):.2f} to {max(z):.2f} | {f'{100 * min(named):.0f}%' if named else '–'} "
            f"| {100 * min(found):.0f}% |"
        )
    networks, alarms = (sum(row[name] for row in rows) for name in ("seeds", "alarms"))
    lines += ["", f"In all, {100 * alarms / networks:.2f}% of {networks:,} networks of {len(rows)} settings alarm."]
    wide = [
        f"{name} of {row['activation']} {row['law']} {row['width']} x {row['depth']} ({row[f'{name}_z']:.2f})"
        for row in rows
        for name in JUDGED
        if not (0.7 <= row[f"{name}_z"] <= 1.3 or math.isnan(row[f"{name}_z"]))
    ]
    said = f"Of all judged quantities, these have a z whose std is outside .7 to 1.3: {', '.join(wide) or 'none'}."
    lines += ["", *textwrap.wrap(said, 120)]
    return "\n".join(lines)


def settings() -> list[Setting]:
    """Return all settings, from small networks to large ones."""
    every = [Setting(*parts) for parts in product(SCALES, LAWS, WIDTHS, DEPTHS)]
    return sorted(every, key=lambda setting: (setting.width**2 + 4000) * setting.depth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no setting after this time")
    parser.add_argument("--file", type=Path, default=Path("outputs/calibration.jsonl"))
    arguments = parser.parse_args()
    end = time.time() + arguments.seconds
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    arguments.file.touch()
    rows = [json.loads(line) for line in arguments.file.read_text().splitlines()]
    done = {tuple(row[name] for name in ("activation", "law", "width", "depth")) for row in rows}
    with threadpool_limits(1, "blas"):
        for setting in settings():
            if tuple(asdict(setting).values()) in done or time.time() > end:
                continue
            large = operations(setting.network, probe()) > LARGE
            rows.append(study(setting, FEWER if large else SEEDS))
            with arguments.file.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(*asdict(setting).values(), rows[-1]["alarms"], rows[-1]["seconds"], flush=True)
    text = PAGE.read_text(encoding="utf-8")
    before, (_, after) = text.partition(START)[0], text.partition(START)[2].partition(END)[::2]
    PAGE.write_text(f"{before}{START}\n{table(rows)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
