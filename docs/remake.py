"""Makes the README's picture and the output it shows again, by the commands it shows: ``make gallery``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def output(command: str) -> str:
    """What ``command`` prints when it is typed in the repository's folder, its environment being active."""
    # Those of a make around this one would change what `make run` prints.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    print(f"$ {command}", flush=True)
    return subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    """Writes ``docs/layers.png``, and ``README.md`` with every ``console`` block's output as it is now."""
    text = README.read_text(encoding="utf-8")
    picture = re.findall(r"^    (python -m runner .+)$", text, re.MULTILINE)[0]
    said = output(picture.replace("runner", "runner tracking=none outputs=outputs/gallery", 1))
    folder = re.findall(r"^files: +(.+)$", said, re.MULTILINE)[0]
    shutil.copy(ROOT / folder / "figures" / "layers.png", ROOT / "docs")
    text = re.sub(
        r"^```console\n\$ (.+)\n[^`]*```$",
        lambda block: f"```console\n$ {block[1]}\n{output(block[1])}```",
        text,
        flags=re.MULTILINE,
    )
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
