"""Make the public copy of IOG's network importable: its module of paths is not valid Python.

Import this module first.
"""

from __future__ import annotations

import sys
from types import ModuleType

_paths = ModuleType("mypath")
_paths.Path = None  # type: ignore[attr-defined]  # read only where weights are fetched
sys.modules["mypath"] = _paths
