"""The museum: every fault is found with its cause, every mended twin passes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

import museum  # noqa: E402

TITLES = {exhibit.title: exhibit for exhibit in museum.EXHIBITS}


@pytest.mark.parametrize("title", TITLES)
def test_a_fault_is_found_with_its_cause_and_its_twin_passes(title: str) -> None:
    exhibit = TITLES[title]
    assert museum.found_in(exhibit, 0), exhibit.fault(0).findings
    twin = exhibit.twin(0)
    assert twin.ok, twin.findings


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_over_20_seeds(title: str) -> None:
    exhibit = TITLES[title]
    for seed in range(1, 21):
        assert museum.found_in(exhibit, seed), seed
        assert exhibit.twin(seed).ok, seed


def test_the_page_shows_every_exhibit_and_its_cause() -> None:
    page = (ROOT / "docs/museum.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \d+\. (.*)$", page, re.MULTILINE) == list(TITLES)
    assert page.count("- Twin: follows.") == len(TITLES)
    joined = " ".join(page.split())
    for exhibit in TITLES.values():
        assert exhibit.cause in joined
