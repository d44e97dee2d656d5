"""``python -m runner``, and the console script ``weightinit-runner``: the same program."""

from __future__ import annotations

import gc
import os
import sys

from runner import requirements

# New objects before a search for circles among them. Imports and figures make many objects and hardly a circle: at
# Python's 700 such searches take 7% of a short command.
OBJECTS = 50_000


def main() -> int:
    """Return the exit status of this process's command line; end the process at once where it was interrupted."""
    gc.set_threshold(OBJECTS)
    try:
        requirements.check()
    except ImportError as error:
        print(f"runner: {error}", file=sys.stderr)
        return 2
    from runner import cli

    try:
        status = cli.main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = cli.INTERRUPTED
    except BrokenPipeError:  # as `head` leaves behind
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return cli.FAILED
    if status == cli.INTERRUPTED:
        # A worker may be in the midst of a long step, and nothing of its is wanted.
        sys.stderr.flush()
        os._exit(status)
    gc.freeze()  # the process ends: no search for circles among all that it has imported
    return status


if __name__ == "__main__":
    sys.exit(main())
