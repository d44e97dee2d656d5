"""Everything of Hydra's that is not its public interface.

Hydra may move or change these names in any release. No other module of the lab imports ``hydra._internal``.
"""

from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _locate as locate
from hydra._internal.utils import create_config_search_path, get_args_parser

if TYPE_CHECKING:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

__all__ = [
    "BasicSweeper",
    "CachingConfigRepository",
    "ConfigLoaderImpl",
    "ConfigRepository",
    "Hydra",
    "create_config_search_path",
    "create_defaults_list",
    "get_args_parser",
    "get_overrides_dirname",
    "locate",
]


def __getattr__(name: str) -> Any:
    if name == "BasicSweeper":  # Hydra makes this class again whenever it looks for plugins: give the latest
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        return BasicSweeper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
