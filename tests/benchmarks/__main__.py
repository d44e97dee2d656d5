"""``python -m tests.benchmarks [SUITE ...]``: prints the table."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial

from tests.benchmarks import networks, recording, sweeps, training
from tests.benchmarks.timing import Row, load_of_others, machine, percent

SUITES: dict[str, Callable[[], Iterable[Row]]] = {
    "64-32-32-10": partial(training.rows, training.SMALL),
    "64-10x100-10": partial(training.rows, training.DEEP),
    "784-256-256-10": partial(training.rows, training.WIDE),
    "jax": training.jax_rows,
    "few": training.few_rows,
    "cnn": partial(networks.rows, "cnn"),
    "resnet": partial(networks.rows, "resnet"),
    "transformer": partial(networks.rows, "transformer"),
    "launcher": sweeps.launcher_rows,
    "recording": recording.rows,
    "sweep": sweeps.sweep_rows,
    "thousand": sweeps.thousand_rows,
    "single": sweeps.single_rows,
    "large": sweeps.large_rows,
}
LONG = "large"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    what = f"among {', '.join(SUITES)}; without one all but {LONG}, which takes many minutes"
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=what)
    chosen = parser.parse_args().suites or [name for name in SUITES if name != LONG]
    if unknown := [name for name in chosen if name not in SUITES]:
        parser.error(f"SUITE must be among {', '.join(SUITES)}; got {', '.join(unknown)}")
    print(machine(), end="\n\n", flush=True)
    start = time.perf_counter()
    with load_of_others() as others:
        for name in chosen:
            print(f"{name:64}{'here':>12}   aim", flush=True)
            for row in SUITES[name]():
                print(f"  {row.what:62}{row.value:>12}   {row.aim}".rstrip(), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s", end="")
    for share in others:
        much = ": times are too long, ratios less so" if share > 0.02 else ""
        print(f"; other programs took {percent(max(share, 0.0))} of the cores{much}", end="")
    print()


if __name__ == "__main__":
    main()
