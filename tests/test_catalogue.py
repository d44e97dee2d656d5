"""The help page and the page of schemes: complete, narrow, and true."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from runner.config import catalogue
from runner.config.catalogue import CONF, GROUPS, choices, help_page, schemes_page
from runner.config.composition import Composer


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def test_the_help_page_is_narrow_and_names_every_choice_that_there_is() -> None:
    page = help_page()
    assert max(map(len, page.splitlines())) <= catalogue.WIDTH
    assert not any(line != line.rstrip() for line in page.splitlines())
    words = set(page.split())
    for group in GROUPS:
        names = {choice.name for choice in choices(group)}
        assert len(names) == 1 or names <= words, group


def test_schemes_stand_in_groups_in_the_order_of_a_first_reading() -> None:
    page = help_page()
    headings = [line for line in page.splitlines() if line.startswith("scheme=...")]
    kinds = {choice.facts["group"] for choice in choices("scheme")} & set(catalogue.KINDS)
    expected = [kind for kind in catalogue.KINDS if kind in kinds]
    assert [heading.removeprefix("scheme=...   ") for heading in headings] == [*expected, "your own"]
    basic = page.partition("scheme=...   basic")[2].partition("scheme=...   library default")
    assert "\n  he  " in basic[0]
    assert "\n  pytorch  " in basic[2]


def test_every_command_on_the_help_page_can_be_typed(composer: Composer) -> None:
    lines = [line.strip() for line in help_page().splitlines()]
    commands = [shlex.split(line.split("   ")[0])[3:] for line in lines if line.startswith("python -m runner")]
    assert len(commands) >= 5
    for words in commands:
        overrides = [word for word in words if "=" in word]
        composer.command(overrides, multirun="-m" in words)


def test_the_defaults_on_the_help_page_are_the_defaults(composer: Composer) -> None:
    config = composer.command([], multirun=False).config
    section = help_page().partition("at their defaults\n")[2].partition("\n\n")[0]
    keys = [line.split()[0].partition("=")[::2] for line in section.splitlines()]
    assert len(keys) >= 5
    for key, value in keys:
        given = OmegaConf.select(config, key)
        if OmegaConf.is_dict(given):  # one for each task
            given = given["classification"]
        assert ("null" if given is None else str(given)) == value, key


def test_a_folder_of_ones_own_adds_to_the_page(tmp_path: Path) -> None:
    (tmp_path / "scheme").mkdir()
    (tmp_path / "scheme/mine.yaml").write_text("# Mine, and nobody else's (Me 2026). More.\n_target_: mine.Mine\n")
    (tmp_path / "scheme/_shared.yaml").write_text("# Not to be named.\n")
    page = help_page([CONF, tmp_path])
    assert "\n  mine              Mine, and nobody else's\n" in page
    assert "_shared" not in page


def test_the_page_of_schemes_gives_each_with_formula_and_what_others_call_it() -> None:
    blocks = {block.split()[0]: block for block in schemes_page().split("\n\n")}
    assert set(blocks) == {choice.name for choice in choices("scheme")}
    assert "W ~ N(0, 2 / fan_in)" in blocks["he"]
    assert 'torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")' in blocks["he"]
    assert "Delving Deep into Rectifiers" in blocks["he"]
    assert schemes_page(names=["xavier", "he"]).split("\n\n") == [blocks["he"], blocks["xavier"]]
