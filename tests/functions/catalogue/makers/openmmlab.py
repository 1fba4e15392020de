"""Make mmdet and mmpose importable with mmcv-lite, which lacks mmcv's compiled operators.

Import this module first. The networks that are built here call none of those operators. A call
of one would fail with its name.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn


class Operators(ModuleType):
    """Stand-in for mmcv's compiled module: every operator exists, and none can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*values: object, **more: object) -> NoReturn:
            raise NotImplementedError(f"mmcv's compiled operator {name!r} is not here")

        return missing


_operators = Operators("mmcv._ext")
_operators.__spec__ = ModuleSpec("mmcv._ext", None)  # mmengine checks that it exists
sys.modules["mmcv._ext"] = _operators
# The wheel of xtcocotools does not load with NumPy 2; mmpose only imports it.
for _part in ("", ".coco", ".cocoeval", ".mask"):
    sys.modules[f"xtcocotools{_part}"] = importlib.import_module(f"pycocotools{_part}")
