"""Make the outputs and the pictures of the documentation again, by the commands they show: ``make gallery``."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import house  # noqa: E402

from tests.browser import INSTALLED, browser  # noqa: E402
from tests.pages import CONSOLE, DATE, PAGES, Page, dialogue  # noqa: E402

# Stands for the date of every command, so that a page changes only where its numbers or words do.
SHOWN_DATE = "2026-11-24_12-00-00"
# A picture, and the first command below it, which draws it.
PICTURE = re.compile(r"\((?:docs/)?(\w+)\.png\).*?^    (python -m runner [^\n#]+)", re.MULTILINE | re.DOTALL)


@contextmanager
def reader(page: Page) -> Iterator[Path]:
    """A reader's new folder: the Makefile, the environment and the files that the page shows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "Makefile", folder)
        for older in ("pyproject.toml", "constraints.txt"):  # than the environment, which make then leaves alone
            (folder / older).touch()
            os.utime(folder / older, (0, 0))
        (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        for path, text in page.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        for example in page.examples:
            if ".to_csv(" in example or ".savez(" in example:  # data for the commands below it
                run([sys.executable, "-c", example], folder)
        yield folder


def run(command: str | list[str], folder: Path) -> str:
    """Output of ``command`` in ``folder``, where the environment is active. Raises CalledProcessError if it fails."""
    # Variables of a make around this script would change what `make run` prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["PATH"] = os.pathsep.join((str(Path(sys.prefix, "bin")), os.environ["PATH"]))
    environment["PYTHONPATH"] = str(ROOT)
    print(f"$ {command if isinstance(command, str) else command[-1]}", flush=True)
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def remade(block: str, folder: Path) -> str:
    """The console block with the output that its commands print now."""
    parts = (f"$ {command}\n{DATE.sub(SHOWN_DATE, run(command, folder))}" for command, _ in dialogue(block))
    return f"```console\n{''.join(parts)}```"


def draw(name: str, command: str, folder: Path) -> None:
    """Write ``docs/NAME.png``: the figure of this name that ``command`` draws, or for ``page`` its page."""
    if name == "page" and not INSTALLED:
        print(f"{name}.png stays as it is: it takes Chromium and its chromedriver")
        return
    if name == "page":  # needs a sweep to compare
        run("python -m runner experiment=why -m", folder)
    paths = dict(re.findall(r"^(files|page): +(.+)$", run(command, folder), re.MULTILINE))
    to = ROOT / "docs" / f"{name}.png"
    if name == "page":
        photograph((folder / paths["page"]).as_uri(), to)
    else:
        drawn = folder / paths["files"] / "figures" if "files" in paths else folder / "pictures"
        shutil.copy(drawn / to.name, to)


def photograph(address: str, to: Path) -> None:
    """Write the top of a page as a browser shows it."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile), "1040,1900") as window:
        window.call("POST", "/url", url=address)
        time.sleep(2)  # charts are drawn as they come into view
        picture = Image.open(io.BytesIO(base64.b64decode(window.call("GET", "/screenshot"))))
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(to, optimize=True)


def main() -> None:
    """Rewrite each page with the outputs as they are now, then the pictures. Arguments: pages to rewrite, else all."""
    if not Path(sys.prefix, ".installed").exists():
        sys.exit("the documentation is made again in the environment of make: make gallery")
    for page in PAGES:
        if sys.argv[1:] and page.name not in sys.argv[1:]:
            continue
        if page.name == "docs/own-modules.md":  # needs PyTorch: tests/adapters/test_docs.py holds it
            continue
        with reader(page) as folder:
            text = CONSOLE.sub(lambda block: remade(block[1], folder), page.text)
            page.path.write_text(text, encoding="utf-8")
            for name, command in PICTURE.findall(text):
                draw(name, command.rstrip(), folder)
    house.draw()


if __name__ == "__main__":
    main()
