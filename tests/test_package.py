"""The package as people install it: wheel and sdist carry all of it, and it works from a folder that knows no clone.

Nothing is downloaded: the fresh environments take the dependencies, and only those, from the one that runs the tests.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import numpy as np
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from runner import requirements

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# A clone's files that git doesn't keep, and that no build may take up.
UNKEPT = (".git", ".venv", "*.egg-info", "__pycache__", "build", "dist", "outputs", ".*_cache")
SMALL = ("training.steps=2", "architecture.width=8", "training.probe.size=16")
QUICK = (*SMALL, "tracking=none", "tracking.figures=false")
INSTALL = (ROOT / "docs/install.md").read_text(encoding="utf-8")


class Environment:
    """A virtual environment in ``folder``, and the place from which its commands are typed, ``elsewhere``."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.folder, self.elsewhere = folder, folder.with_name(f"{folder.name} elsewhere")
        self.elsewhere.mkdir()
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        (self.packages,) = folder.glob("[Ll]ib/**/site-packages")

    def install(self, *words: str | Path) -> None:
        """Install packages without their dependencies and without an index."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder), "install"]
        subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", *words], check=True)

    def typed(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The result of a command typed elsewhere, where the environment is active."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            words,
            cwd=self.elsewhere,
            env=kept | {"PATH": path} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def printed(self, *words: str, **variables: str) -> str:
        """What such a command prints, if its status is 0."""
        done = self.typed(*words, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """What Python code prints that is run elsewhere."""
        return self.printed("python", "-c", code)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository, with uncommitted changes, without what was built or written in it."""
    folder = tmp_path_factory.mktemp("clone") / "weightinit"
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*UNKEPT)))


@pytest.fixture(scope="module")
def built(source: Path) -> Path:
    """The folder of a sdist of the clone, and of the wheel that was built from that sdist."""
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", source], check=True)
    return source / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and all dependencies."""
    environment = Environment(tmp_path_factory.mktemp("installed") / "environment")
    environment.install(*built.glob("*.whl"))
    see_dependencies(environment)
    return environment


@pytest.fixture(scope="module")
def editable(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with an editable installation of the clone, and all dependencies."""
    environment = Environment(tmp_path_factory.mktemp("editable") / "environment")
    see_dependencies(environment)  # setuptools among them, which the installation needs
    environment.install("--no-build-isolation", "--editable", source)
    return environment


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, NumPy and SciPy alone: what one has without the extra."""
    environment = Environment(tmp_path_factory.mktemp("bare") / "environment")
    environment.install(*built.glob("*.whl"))
    for name in ("numpy", "scipy"):
        found = distribution(name)
        for top in {Path(file).parts[0] for file in found.files or () if ".." not in Path(file).parts}:
            (environment.packages / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    return environment


def see_dependencies(environment: Environment) -> None:
    """Let an environment import what is installed in this one, except what is installed here in editable mode."""
    folders = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (environment.packages / "dependencies.pth").write_text("\n".join(folders), encoding="utf-8")


def shown(kind: str) -> list[str]:
    """Content of each block of a kind in docs/install.md."""
    return re.findall(rf"^```{kind}\n(.*?)\n```$", INSTALL, re.MULTILINE | re.DOTALL)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# Wheel and sdist


def test_the_wheel_carries_the_whole_package_and_nothing_else(source: Path, built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = {f"{top}/{name}" for top in ("hydra_plugins", "runner", "weightinit") for name in files(source / top)}
    assert names == packages | {f"runner/conf/{name}" for name in files(source / "conf")}
    assert {f"{top}/py.typed" for top in ("hydra_plugins/weightinit", "runner", "weightinit")} <= names


def test_the_sdist_carries_what_the_tests_need(source: Path, built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        f"{top}/{name}" for top in ("conf", "docs", "runner", "tests", "weightinit") for name in files(source / top)
    }
    assert needed | {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml"} <= names


def test_every_tested_package_is_the_installed_one(installed: Environment) -> None:
    code = (
        "import hydra, runner, weightinit, hydra_plugins.weightinit as plugins\n"
        "from runner.config.catalogue import CONF\n"
        "print(runner.__file__, weightinit.__file__, plugins.__file__, CONF / 'config.yaml', hydra.__file__, sep='\\n')"
    )
    *tested, dependency = map(Path, installed.python(code).splitlines())
    assert all(path.is_relative_to(installed.packages) for path in tested)
    assert not dependency.is_relative_to(installed.packages)


def test_the_runner_looks_for_each_package_of_its_extra() -> None:
    names = {re.split(r"[<>=!~\[]", text)[0].lower() for text in PROJECT["optional-dependencies"]["runner"]}
    found = packages_distributions()
    looked_for = [names & {name.lower() for name in found[module]} for module in requirements.MODULES]
    assert all(looked_for)
    assert set().union(*looked_for) == names


# From another folder


def test_a_sweep(installed: Environment) -> None:
    printed = installed.printed("python", "-m", "runner", "scheme=xavier,he", *SMALL, "-m")
    assert "\nxavier " in printed
    assert "\nhe " in printed
    (place,) = re.findall(r"^files: +(.+)$", printed, re.MULTILINE)
    assert place.startswith("outputs")
    assert {"runs.parquet", "curves.parquet", "report.html"} <= files(installed.elsewhere / place)
    assert "look:     python -m mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db" in printed
    assert (installed.elsewhere / "outputs/mlflow.db").is_file()


def test_runs_from_python(installed: Environment) -> None:
    overrides = [*QUICK, "scheme=xavier,he", "outputs=from_python"]
    assert installed.python(f"import runner; print(*runner.run({overrides})[0].fate)") == "finished finished\n"
    assert (installed.elsewhere / "from_python/sweeps").is_dir()


def test_the_console_script_is_the_same_program(installed: Environment) -> None:
    printed = installed.printed("weightinit-runner", "mode=schemes")
    assert printed == installed.printed("python", "-m", "runner", "mode=schemes")
    assert len(printed.splitlines()) > 50
    done = installed.typed("weightinit-runner", "scheme=hee")
    assert done.returncode == 2
    assert "got 'hee'. Pass scheme=he." in done.stderr


@pytest.mark.slow
def test_the_console_script_in_processes_and_with_a_scheme_of_ones_own(installed: Environment) -> None:
    (installed.elsewhere / "mine.py").write_text("from weightinit.schemes import Normal as Mine\n")
    (installed.elsewhere / "my_conf/scheme").mkdir(parents=True)
    (installed.elsewhere / "my_conf/scheme/mine.yaml").write_text("# Mine\n_target_: mine.Mine\nstd: 0.1\n")
    processes = "hydra.launcher.executor=concurrent.futures.ProcessPoolExecutor"
    words = ["--config-dir", "my_conf", "scheme=mine,he", *QUICK, processes, "-m"]
    printed = installed.printed("weightinit-runner", *words)
    assert sorted(re.findall(r"^(he|mine) ", printed, re.MULTILINE)) == ["he", "mine"]


def test_weightinit_alone(installed: Environment, bare: Environment) -> None:
    for environment, programs in (
        (installed, [["weightinit"]]),
        (bare, [["weightinit"], ["python", "-m", "weightinit"]]),
    ):
        path = environment.elsewhere / "weights.npz"
        np.savez(path, w=np.random.default_rng(0).normal(0, 0.1, (200, 100)))
        for program in programs:
            assert "\nw " in environment.printed(*program, "audit", path.name, "--law", "normal(std=0.1)")
        assert environment.typed("weightinit", "audit", path.name, "--law", "normal(std=0.2)").returncode == 1
        assert environment.printed("weightinit", "gain", "relu", "--kind", "second_moment") == "1.414213562\n"
        forecast = environment.printed("weightinit", "forecast", "tanh", "--scheme", "critical", "--depth", "50")
        assert forecast.startswith("critical · tanh · 128-50x128-128\n")


def test_who_reads_the_first_lines_only(installed: Environment) -> None:
    for command in ("weightinit-runner --help", "weightinit gain relu"):
        done = installed.typed("bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}")
        assert done.stderr == ""


# What is missing


def test_without_the_extra_a_sentence_names_it(bare: Environment) -> None:
    for program in (["python", "-m", "runner"], ["weightinit-runner"]):
        for words in ([], ["--help"], ["scheme=xavier,he", "-m"]):
            done = bare.typed(*program, *words)
            assert (done.returncode, done.stdout) == (2, "")
            (line,) = done.stderr.splitlines()
            assert [line] == shown("text")
    code = "import runner\ntry:\n    runner.run()\nexcept ImportError as error:\n    print(error)"
    assert bare.python(code).endswith("): pip install 'weightinit[runner]'.\n")


def test_a_folder_with_the_name_of_a_package_is_none(bare: Environment) -> None:
    (bare.elsewhere / "hydra").mkdir()
    assert "filelock, hydra, " in bare.typed("python", "-m", "runner").stderr


@pytest.mark.parametrize("words", [["--help"], ["mode=schemes"], ["scheme=xavier,he", "-m"]])
def test_a_missing_configuration_is_an_error(words: list[str], without_conf: Environment) -> None:
    done = without_conf.typed("weightinit-runner", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"runner: the lab's configuration must be in \S+conf, which has no config\.yaml\. .*\n", done.stderr
    )


def test_a_missing_configuration_is_an_error_from_python_too(without_conf: Environment) -> None:
    done = without_conf.typed("python", "-c", "import runner; runner.run()")
    assert "ValueError: the lab's configuration must be in" in done.stderr


@pytest.fixture(scope="module")
def without_conf(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with a wheel that lacks conf/."""
    environment = Environment(tmp_path_factory.mktemp("without_conf") / "environment")
    environment.install(*built.glob("*.whl"))
    see_dependencies(environment)
    shutil.rmtree(environment.packages / "runner/conf")
    return environment


# What docs/install.md says


@pytest.mark.slow
def test_the_commands_to_install(source: Path, tmp_path: Path) -> None:
    """Carries them out, without an index: an environment that has what they ask for finds it installed already."""
    environment = Environment(tmp_path / "environment")
    see_dependencies(environment)
    commands = [shlex.split(line, comments=True) for line in "\n".join(shown("bash")[:-1]).splitlines()]
    assert {words[0] for words in commands} == {"pip", "python"}
    for _, *words in (words for words in commands if words[0] == "pip"):
        pip = [sys.executable, "-m", "pip", "--python", str(environment.folder), *words]
        subprocess.run([*pip, "--no-index", "--no-build-isolation", "--quiet"], cwd=source, check=True)
        assert "he" in environment.printed("weightinit", "forecast", "relu") or words[-1] == "build"


def test_the_commands_that_are_shown_with_their_output(installed: Environment) -> None:
    for block in shown("console"):
        command, _, output = block.removeprefix("$ ").partition("\n")
        assert installed.printed(*shlex.split(command)).split() == output.split()
    for command in re.findall(r"`(weightinit \S[^`]+ [^`]+)`", INSTALL):
        assert installed.printed(*shlex.split(command))


# Editable installations


@pytest.mark.slow
def test_an_editable_installation_uses_the_repository_itself(editable: Environment, source: Path) -> None:
    code = "import runner; from runner.config.catalogue import CONF; print(runner.__file__, CONF, sep='\\n')"
    assert editable.python(code).splitlines() == [str(source / "runner/__init__.py"), str(source / "conf")]
    choice = source / "conf/scheme/added.yaml"
    choice.write_text((source / "conf/scheme/he.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    try:
        assert "\n  added  " in editable.printed("weightinit-runner", "--help")
        assert "added · relu" in editable.printed("weightinit-runner", "scheme=added", "mode=forecast")
    finally:
        choice.unlink()


@pytest.mark.parametrize("name", ["installed", pytest.param("editable", marks=pytest.mark.slow)])
def test_hydra_finds_the_plugins(name: str, request: pytest.FixtureRequest) -> None:
    environment: Environment = request.getfixturevalue(name)
    assert "StackedLauncher" in environment.printed("weightinit-runner", "--info", "plugins")
    (found,) = Distribution.discover(name="weightinit", path=[str(environment.packages)])
    registered = {entry.value for entry in found.entry_points if entry.group == "hydra.plugins"}
    mine = [
        kind for kind in Plugins.instance().discover(Plugin) if kind.__module__.startswith("hydra_plugins.weightinit")
    ]
    assert registered == {f"{kind.__module__}:{kind.__name__}" for kind in mine}
    assert len(registered) == 4


# Tab completion

# What is to be written into the file that each shell reads first.
COMPLETION = {"bash": shown("bash")[-1], "zsh": shown("zsh")[0], "fish": shown("fish")[0]}


def completed(environment: Environment, shell: str, code: str) -> set[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    done = environment.typed(shell, "-c", code)
    assert done.stderr == ""
    return set(done.stdout.split())


def in_bash(line: str) -> str:
    """Code that has bash complete the last word of a line as its Tab key does, and prints the words that it offers."""
    return f"""
        {COMPLETION["bash"]}
        COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDS=($COMP_LINE) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        read -r _ _ _ _ _ function _ <<< "$(complete -p weightinit-runner | sed 's/-o [a-z]* //g; s/^/_ _ _ /')"
        $function
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("weightinit-runner architecture.dep", {"architecture.depth="}, marks=pytest.mark.slow),
        pytest.param("weightinit-runner scheme=he activation=ta", {"activation=tanh"}, marks=pytest.mark.slow),
        ("weightinit-runner scheme=xavier,he -m experiment=wh", {"experiment=why"}),
    ],
)
def test_completion_in_bash(line: str, expected: set[str], installed: Environment) -> None:
    assert completed(installed, "bash", in_bash(line)) == expected


@pytest.mark.slow
def test_completion_in_fish(installed: Environment) -> None:
    code = f"{COMPLETION['fish']}; complete -C 'weightinit-runner scheme=xa'"
    assert completed(installed, "fish", code) == {"scheme=xavier"}


@pytest.mark.slow
def test_completion_in_zsh(installed: Environment) -> None:
    """Types the line in a terminal of its own, since zsh completes nowhere else."""
    code = rf"""
        zmodload zsh/zpty
        zpty terminal 'zsh -f -i'
        zpty -w terminal '{COMPLETION["zsh"]}
        print re""ady'
        zpty -r terminal read '*ready*'
        zpty -w -n terminal $'weightinit-runner scheme=xa\t'
        zpty -r terminal read '*scheme=xavier*' && print scheme=xavier
        zpty -d terminal
    """
    assert completed(installed, "zsh", code) == {"scheme=xavier"}


@pytest.mark.parametrize("framework", ["torch", "keras", "jax"])
def test_an_adapter_without_its_framework_says_how_to_install_it(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"weightinit.{framework}", raising=False)
    with pytest.raises(ImportError, match=rf"weightinit\.{framework} needs .*pip install 'weightinit\[{framework}\]'"):
        importlib.import_module(f"weightinit.{framework}")
