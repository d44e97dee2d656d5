"""Form of the data that an architecture is made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from weightinit.nn.tape import Shape


class Form(NamedTuple):
    """Form of one sample: ``shape`` (features,), (height, width, channels) or, of numbers of tokens, (tokens,).

    ``vocabulary``: how many tokens there are, None where features are no tokens; ``per_token``: whether the targets are
    classes of each token; ``ahead``: whether these are the tokens that follow, which a token must not see.
    """

    shape: Shape
    vocabulary: int | None = None
    per_token: bool = False
    ahead: bool = False

    @classmethod
    def of(cls, given: Form | Mapping[str, Any] | None, inputs: int) -> Form:
        """Return the form that is given, or that of plain features."""
        if given is None:
            return cls((inputs,))
        if isinstance(given, Form):
            return given
        flags = (bool(given.get(name, False)) for name in ("per_token", "ahead"))
        return cls(tuple(given["shape"]), given.get("vocabulary"), *flags)


Given: TypeAlias = Form | Mapping[str, Any] | None


def image(form: Form, architecture: str) -> Shape:
    """Return the shape of an image; raise ValueError for data that has none."""
    if len(form.shape) != 3:
        raise ValueError(
            f"architecture={architecture} needs images, and this data has plain features. "
            "Pass data=digits, or for a data file of your own data.image_shape=[28,28]."
        )
    return form.shape
