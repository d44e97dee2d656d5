"""Try what the lab survives, and write the counts to docs/reliability.md: ``make reliability``.

``python docs/reliability.py REPORT.xml ...`` writes those of reports that pytest has made before, with ``--junitxml``
and ``-o junit_family=xunit1``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
TESTS = [f"tests/test_{name}.py" for name in ("refusals", "cli", "strangers", "damage", "servers", "reliability")]
TABLE = re.compile(r"(?<=<!-- counts -->\n).*?(?=<!-- end -->)", re.DOTALL)
# What was tried, and the tests of it.
ROWS = {
    "bad input, refused in one sentence, status 2, nothing left": r"test_(refused|it_is_refused|a_mistake_is_answered)",
    "files of weights and tables of others": r"test_strangers::",
    "shards, tables, sessions and databases that are damaged or gone": r"test_damage::test_(?!every|no_flipped)",
    "a server that fails at the start, on the way, or comes back": r"test_servers::test_a_server",
    "a real MLflow server behind a proxy: silent, cut, 500, 401, garbage": r"test_a_real_server",
    "Ctrl-C and SIGTERM before a silent server, once and twice": r"ends_when_it_is_asked|can_be_stopped|second_signal",
    "kill -9, SIGTERM and Ctrl-C in each phase of a command": r"test_a_command_struck",
    "ways to give a password, searched in all that is written": r"test_(a_password|no_answer|a_sweep_that_was)",
}
FLIPS = "bytes flipped, each tenth of a shard, alone and ten in a row"


def tried(reports: list[Path]) -> list[tuple[str, str, bool]]:
    """Return name, value of the property ``flips`` and success of each test in reports of pytest.

    Of a test in several reports the last counts.
    """
    found: dict[str, tuple[str, str, bool]] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
            flips = next((p.get("value", "") for p in case.iter("property") if p.get("name") == "flips"), "")
            found[name] = (name, flips, case.find("failure") is None and case.find("error") is None)
    return list(found.values())


def table(results: list[tuple[str, str, bool]]) -> str:
    """Return the table of counts."""
    lines = ["| what | tried | survived |", "|---|---|---|"]
    for what, pattern in ROWS.items():
        of = [success for name, _, success in results if re.search(pattern, name)]
        if of:
            lines.append(f"| {what} | {len(of)} | {sum(of)} |")
    flipped = [(int(flips), success) for _, flips, success in results if flips]
    survived = sum(count for count, success in flipped if success)
    lines.append(f"| {FLIPS} | {sum(count for count, _ in flipped):,} | {survived:,} |")
    return "\n".join([*lines, ""])


def main(reports: list[str]) -> int:
    """Write the counts; return the exit status of the tests."""
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        if not reports:
            reports = [f"{scratch}/report.xml"]
            command = [sys.executable, "-m", "pytest", "-m", "slow or not slow", "-o", "junit_family=xunit1"]
            command += [f"--junitxml={reports[0]}", *TESTS]
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
        counts = table(tried([Path(report) for report in reports]))
    PAGE.write_text(TABLE.sub(counts, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(counts)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
