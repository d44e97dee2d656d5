"""Makes the README's pictures and the output it shows again, by the commands it shows: ``make gallery``."""

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
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
sys.path.insert(0, str(ROOT))

from tests.browser import INSTALLED, browser  # noqa: E402


def output(command: str) -> str:
    """What ``command`` prints when it is typed in the repository's folder, its environment being active."""
    # Those of a make around this one would change what `make run` prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    print(f"$ {command}", flush=True)
    return subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def draw(name: str, command: str) -> None:
    """Writes ``docs/NAME.png``: the figure of this name that ``command`` draws, or for ``page`` its page."""
    if "mode=" not in command:  # a sweep for its picture alone, which is not to be the latest
        command = command.replace("runner", "runner tracking=none outputs=outputs/gallery", 1)
    said = output(command.replace("mode.figures=pictures", "mode.figures=outputs/gallery"))
    told = dict(re.findall(r"^(files|page): +(.+)$", said, re.MULTILINE))
    to = ROOT / "docs" / f"{name}.png"
    if name == "page":
        photograph((ROOT / told["page"]).as_uri(), to)
    elif "files" in told:
        shutil.copy(ROOT / told["files"] / "figures" / to.name, to)
    else:
        shutil.copy(ROOT / "outputs" / "gallery" / to.name, to)


def photograph(address: str, to: Path) -> None:
    """Writes the top of a page as a browser shows it."""
    if not INSTALLED:
        print(f"{to.name} stays as it is: that takes Chromium and its chromedriver")
        return
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile), "1040,1900") as window:
        window.call("POST", "/url", url=address)
        time.sleep(2)  # charts are drawn as they come into view
        picture = Image.open(io.BytesIO(base64.b64decode(window.call("GET", "/screenshot"))))
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(to, optimize=True)


def main() -> None:
    """Writes ``README.md`` with every ``console`` block's output as it is now, then the pictures in it.

    A picture is made by the first command below it.
    """
    text = re.sub(
        r"^```console\n\$ (.+)\n[^`]*```$",
        lambda block: f"```console\n$ {block[1]}\n{output(block[1])}```",
        README.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    README.write_text(text, encoding="utf-8")
    pictures = re.findall(r"\(docs/(\w+)\.png\).*?^    (python -m runner [^\n#]+)", text, re.MULTILINE | re.DOTALL)
    for name, command in pictures:
        draw(name, command.rstrip())


if __name__ == "__main__":
    main()
