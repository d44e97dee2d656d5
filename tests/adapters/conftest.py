"""Tests that need a framework: collected only where it is installed, as `make test-adapters` does."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
