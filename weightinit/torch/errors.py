"""Errors of other people's code, in a few words."""

import sysconfig
import traceback
from pathlib import Path
from types import FrameType
from typing import Final

LAB: Final = ("weightinit", "runner")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def raised(error: BaseException) -> str:
    """Return an error's type, first line and place: the last line of a person's own code on the way to it."""
    own = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _own(frame)]
    place = f" ({Path(own[-1][0].f_code.co_filename).name}:{own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {first_line(error)}{place}"


def _own(frame: FrameType) -> bool:
    """Whether a frame is of code that is neither installed nor the lab's."""
    file = frame.f_code.co_filename
    installed = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package not in LAB and not file.startswith("<") and not any(map(Path(file).is_relative_to, installed))
