"""Errors of other people's code, in a few words."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
