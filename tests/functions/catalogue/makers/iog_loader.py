"""Lets the public copy of IOG's network be imported: its module of paths is not valid Python.

To be imported before it.
"""

from __future__ import annotations

import sys
from types import ModuleType

_paths = ModuleType("mypath")
_paths.Path = None  # type: ignore[attr-defined]  # read only where weights are fetched
sys.modules["mypath"] = _paths
