"""The documentation holds: examples run, commands work and print what the pages show, tables are complete."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

import runner
import weightinit
from runner.config import schema
from runner.config.catalogue import GROUPS, choices
from runner.config.composition import Composer
from tests.commands import FOR_OPTUNA, run_as_main, undone
from tests.pages import PAGES, ROOT, Page, in_words, module
from weightinit.initializers import INITIALIZERS

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BY_NAME = {page.name: page for page in PAGES}
README = BY_NAME["README.md"]
# Worked examples that change the repository, and those of a framework: tests/test_contributing.py and
# tests/adapters/test_docs.py carry them out.
READ = [page for page in PAGES if page.name not in ("CONTRIBUTING.md", "docs/your-model.md", "docs/own-modules.md")]

# What makes a command small. Its figures take most of the time; those of the README's commands are drawn.
QUICK = ["training.steps=2", "architecture.width=8", "training.probe.size=16", "tracking=none"]
WITHOUT_FIGURES = "tracking.figures=false"
# Commands whose full output takes too long for every day.
SLOW = {"python -m runner experiment=why -m"}
SHOWN = [(page, command) for page in READ for command in page.shown]
# Each command once, even where it stands on several pages; what is shown with its output is run there.
TYPED = {
    command.partition(" #")[0].strip(): (page, command)
    for page in reversed(READ)
    for command in reversed(page.commands)
    if module(command) and (command not in page.shown or command in SLOW) and "architecture=torch" not in command
}
# Those for a cluster; tests/test_clusters.py trains on some.
CLUSTERS = [command for command in TYPED if "hydra/launcher=stacked_" in command]
EXAMPLES = [(page, example) for page in READ for example in page.examples]


def named(value: object) -> str:
    """The identifier of a parameter."""
    return value.name if isinstance(value, Page) else str(value).strip().splitlines()[-1][:60]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's folder; what a command changes in this process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    known = set(sys.modules)
    with undone():
        yield tmp_path
    for name in set(sys.modules) - known:  # the reader's own
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(page: Page, folder: Path, *, data: bool) -> None:
    """Writes the files that the page shows, and with ``data`` those that examples of any page make."""
    for name, text in (page.files | {"Makefile": MAKEFILE}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for _, example in EXAMPLES:
        if data and (".to_csv(" in example or ".savez(" in example):
            exec(example, {})


def quick(arguments: list[str], *, figures: bool) -> list[str]:
    """The arguments with overrides among them that make the command small."""
    first = next((i for i, text in enumerate(arguments) if "=" in text), 0)
    seeds = ["seed=0,3"] if any(text.startswith("seed=") for text in arguments) else []
    rest = [text for text in arguments if not text.startswith("seed=")]
    own = {"architecture=custom", "architecture=layers"} & set(arguments)
    small = [text for text in QUICK if "width" not in text or not own]
    return [*rest[:first], *small, *([] if figures else [WITHOUT_FIGURES]), *seeds, *rest[first:]]


def status(name: str, arguments: list[str]) -> int:
    """The exit status of the program ``name`` with these arguments, in this process."""
    sys.argv = [name, *arguments]
    with pytest.raises(SystemExit) as ended:
        run_as_main(name)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a recorded sweep."""
    outputs = tmp_path_factory.mktemp("recorded") / "outputs"
    runner.run(["scheme=xavier,he", "seed=0,3", *QUICK, WITHOUT_FIGURES, f"outputs={outputs}"])
    return outputs


@pytest.mark.parametrize("page", [page for page in READ if page.session], ids=named)
def test_interactive_examples_print_what_they_show(page: Page, folder: Path) -> None:
    test = doctest.DocTestParser().get_doctest(page.session, {}, page.name, page.name, 0)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_first_example_is_the_plain_function() -> None:
    first = next(text for kind, text in BY_NAME["docs/library.md"].blocks if kind == "python")
    assert "initialize_parameters(3, 4, 1, rng=" in first


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=named)
def test_examples_run(page: Page, example: str, folder: Path) -> None:
    write(page, folder, data=False)
    exec(compile(example, page.name, "exec"), {})


@pytest.mark.parametrize("command", CLUSTERS, ids=named)
def test_commands_for_clusters_are_understood(command: str) -> None:
    _, arguments = module(command) or ("", [])
    given = get_args_parser().parse_args(arguments)
    assert given.multirun
    launcher = Composer().command(given.overrides, multirun=True).config.hydra.launcher
    assert launcher._target_ in schema.STACKED


@FOR_OPTUNA
@pytest.mark.parametrize(("page", "command"), [TYPED[one] for one in TYPED if one not in CLUSTERS], ids=named)
def test_commands_work(
    page: Page, command: str, folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    write(page, folder, data="data.path" in command or ".npz" in command)
    name, arguments = module(command) or ("", [])
    if name != "runner":
        assert status(name, arguments) == 0
        return
    given = get_args_parser().parse_args(arguments)
    forecasts = "mode=forecast" in given.overrides
    compares = "mode=compare" in given.overrides
    if compares:
        shutil.copytree(request.getfixturevalue("sweep"), folder / "outputs")
    if "experiment=coordinate_check" in given.overrides:  # records nothing, and needs its widths
        few = [*(text for text in arguments if text != "strict=true"), "seed=range(0,3)"]  # too few to be sure
        assert status(name, [*few, "training.steps=1", "training.probe.size=8"]) == 0
        assert "powers of the" in capsys.readouterr().out
        return
    talks = given.help or given.cfg or forecasts or "mode=schemes" in given.overrides  # without training anything
    assert status(name, arguments if talks or compares else quick(arguments, figures=page is README)) == 0
    printed = capsys.readouterr().out
    if compares:
        assert "xavier" in printed or "nothing has changed" in printed
    elif talks:
        assert len(printed.splitlines()) > (5 if forecasts else 50)
        assert not (folder / "outputs").exists()
    else:
        assert "files:    outputs/" in printed
        assert "failed" not in printed


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(*shown, marks=[pytest.mark.slow] * (shown[1] in SLOW)) for shown in SHOWN],
    ids=named,
)
def test_shown_output_is_what_is_printed(page: Page, command: str, folder: Path) -> None:
    """Numbers may differ from one kind of processor to another, words may not."""
    write(page, folder, data=True)
    shown = page.shown[command]
    if command.startswith("make "):
        target, (command, shown) = command.removeprefix("make "), shown.split("\n", 1)
        recipe = command.replace(".venv/bin", "$(BIN)")
        assert re.search(rf"^{target}: .*\n\t{re.escape(recipe)}( \$\(if .*\))?\n", MAKEFILE, re.MULTILINE)
        command = command.removeprefix(".venv/bin/")
    called = module(command)
    assert called, command
    name, arguments = called
    printed = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,  # a command may say by its status what it has found
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert in_words(printed) == in_words(shown)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_command_hides_from_these_tests(page: Page) -> None:
    """Commands stand in indented blocks, within sentences, or with their output behind a prompt."""
    lines = [line for kind, text in page.blocks if kind in ("sh", "bash", "shell") for line in text.splitlines()]
    assert not [line for line in lines if re.match(r"(python -m (runner|weightinit)|make) ", line)]


def test_targets_of_make_exist() -> None:
    targets = {command.split()[1] for page in PAGES for command in page.commands if command.startswith("make ")}
    assert targets >= {"run", "test", "ui", "gallery"}
    assert targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_every_scheme_has_its_row() -> None:
    described = {choice.name: choice.facts.get("formula", choice.title) for choice in choices("scheme")}
    assert BY_NAME["docs/configuration.md"].rows("scheme") == described


def test_every_group_has_its_row() -> None:
    rows = BY_NAME["docs/configuration.md"].rows("group")
    listed = {group: set(re.findall(r"`(\w+)`", row)) for group, row in rows.items()}
    assert listed == {group: {choice.name for choice in choices(group)} for group in GROUPS if group != "scheme"}


@pytest.mark.parametrize("name", [*weightinit.__all__, *INITIALIZERS, *runner.__all__])
def test_every_export_is_mentioned(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", page.code) for page in PAGES)


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert README.text.count("\n") <= 150
    led = set(re.findall(r"\]\(([^)#]+)\)", README.text))
    assert led >= {page.name for page in PAGES if page != README}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_points_to_exists(page: Page) -> None:
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", page.text)):
        path = page.path.parent / target if target else page.path
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, anchor
    for name in re.findall(r"`((?:conf|docs|tests|runner|weightinit)/[\w/.]+)`", page.prose):
        assert (ROOT / name).exists() or name in page.files, name
    wrapped = [line for line in page.prose.splitlines() if not line.startswith(("    ", "|"))]
    assert max(map(len, wrapped)) <= 120


def test_pictures_are_small() -> None:
    assert all(os.path.getsize(path) < 150_000 for path in (ROOT / "docs").glob("*.[ps][nv]g"))
