"""A person's own module: located, and built for the data."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from torch import nn

from weightinit.nn.architectures import Form
from weightinit.torch.errors import first_line, raised
from weightinit.torch.samples import main_output

Input = Literal["auto", "flat", "image", "tokens"]
INPUTS = ("auto", "flat", "image", "tokens")


@dataclass(frozen=True)
class Recipe:
    """Recipe of a module: its ``address`` as ``my.module:Net``, its ``options``, and the data it is built for.

    ``form``: of a sample; ``outputs``: classes or targets; ``entering``: the shape in which samples enter, None for
    that of the data's features.
    """

    address: str
    options: Mapping[str, Any]
    form: Form
    inputs: int
    outputs: int
    entering: Literal["flat", "image", "tokens"]
    dtype: torch.dtype

    @property
    def called(self) -> str:
        """Name of the module for people."""
        return self.address.rpartition(":")[2]

    def build(self) -> nn.Module:
        """Return a new module, drawn by its own code from PyTorch's global generator.

        Raises ValueError where it can't be built, TypeError where that is no module.
        """
        made = located(self.address)
        try:
            built = self._from_transformers(made) or made(**self._arguments(made))
        except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, ImportError, AssertionError) as error:
            if str(error).startswith("architecture."):
                raise
            raise ValueError(
                f"architecture.module={self.address} must be built by architecture.options={dict(self.options)}; it "
                f"raised {raised(error)}. Pass other architecture.options."
            ) from error
        if not isinstance(built, nn.Module):
            raise TypeError(
                f"architecture.module must name a torch.nn.Module, or a function that returns one; got "
                f"{type(built).__name__} from {self.address}. Pass architecture.module=my.module:Net."
            )
        return built.to(self.dtype)

    def arranged(self, x: torch.Tensor) -> torch.Tensor:
        """Return samples (..., features) in the shape in which the module takes them."""
        if self.entering == "tokens":
            return x.long()
        if self.entering == "image":
            return x.unflatten(-1, self.form.shape).movedim(-1, -3)  # channels first
        return x

    @property
    def leaving(self) -> tuple[int, ...]:
        """Shape of the output of one sample."""
        return (*self.form.shape, self.outputs) if self.form.per_token else (self.outputs,)

    def check(self, output: Any, x: torch.Tensor) -> None:
        """Raise ValueError for an output that isn't as the data's targets are."""
        found = main_output(output)
        wanted = (len(x), *self.leaving)
        if found is None or tuple(found.shape) != wanted:
            got = "no tensor" if found is None else str(tuple(found.shape))
            raise ValueError(
                f"architecture.module={self.address} must return {wanted} for a batch of {tuple(x.shape)}, as the data "
                f"has {self.outputs} outputs{' for each token' if self.form.per_token else ''}; got {got}. Give its "
                "last layer that size: an argument called outputs is filled in."
            )

    def _arguments(self, made: Any) -> dict[str, Any]:
        known = inspect.signature(made).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            for name in self.options:
                if name not in known:
                    raise ValueError(
                        f"architecture.options.{name} is no argument of {self.address}; allowed: "
                        f"{', '.join(known) or 'none'}. Leave it out."
                    )
        sizes = {"inputs": self.inputs, "outputs": self.outputs}
        return {name: size for name, size in sizes.items() if name in known} | dict(self.options)

    def _from_transformers(self, made: Any) -> nn.Module | None:
        """Return the model of a configuration class of transformers', with the head that the data needs."""
        transformers: Any = sys.modules.get("transformers")
        if transformers is None or not (isinstance(made, type) and issubclass(made, transformers.PreTrainedConfig)):
            return None
        values: dict[str, Any] = {"num_labels": self.outputs, "pad_token_id": None, "use_cache": False}
        if self.form.vocabulary is not None:
            values["vocab_size"] = self.form.vocabulary
        if self.entering == "image":
            values |= {"image_size": self.form.shape[0], "num_channels": self.form.shape[2]}
            head = transformers.AutoModelForImageClassification
        elif self.form.ahead:
            values["is_decoder"] = True  # BERT's like then sees what came before alone
            head = transformers.AutoModelForCausalLM
        elif self.form.per_token:
            head = transformers.AutoModelForTokenClassification
        else:
            head = transformers.AutoModelForSequenceClassification
        model: nn.Module = head.from_config(made(**values | dict(self.options)), attn_implementation="eager")
        return model


def located(address: str) -> Any:
    """Return what an address as ``my.module:Net`` names; raise ValueError where that can't be imported or called."""
    module, _, name = address.rpartition(":")
    try:
        if not module:
            raise ValueError("it has no colon")
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(f"it is {found!r:.50}, which can't be called")
    except (Exception, SystemExit) as error:
        raise ValueError(
            "architecture.module must name a class or function that can be imported, as my.module:Net does; got "
            f"{address!r} ({first_line(error)}). Check the spelling, and that its folder is on PYTHONPATH."
        ) from error
    return found


def entering(asked: str, form: Form) -> Literal["flat", "image", "tokens"]:
    """Return the shape in which samples enter; raise ValueError for one that the data doesn't have."""
    if asked not in INPUTS:
        raise ValueError(
            f"architecture.input must be one of {', '.join(INPUTS)}; got {asked!r}. Pass architecture.input=auto."
        )
    tokens = form.vocabulary is not None
    if asked == "tokens" and not tokens:
        raise ValueError(
            "architecture.input=tokens needs data of tokens. Pass data=copying, or architecture.input=flat."
        )
    if tokens and asked in ("flat", "image"):
        raise ValueError(
            f"architecture.input={asked} needs numbers, and this data has tokens. Pass architecture.input=auto."
        )
    if asked == "image" and len(form.shape) != 3:
        raise ValueError(
            "architecture.input=image needs images, and this data has plain features. Pass data=digits, or for a data "
            "file of your own data.image_shape=[28,28]."
        )
    return "tokens" if tokens else "image" if asked == "image" else "flat"
