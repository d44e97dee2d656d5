"""Everything of Hydra's that is not its public interface.

Hydra may move or change these names in any release. No other module of the lab imports ``hydra._internal``.
"""

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _locate as locate
from hydra._internal.utils import _run_hydra as run_hydra
from hydra._internal.utils import create_config_search_path, get_args_parser

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
    "run_hydra",
]
