"""Lets mmdet and mmpose be imported beside mmcv-lite, which lacks mmcv's compiled operators.

To be imported before them. The networks that are built here call none of those operators; one
that did would fail with its name.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn


class Operators(ModuleType):
    """Stands for mmcv's compiled module: every operator is there, and none can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*values: object, **more: object) -> NoReturn:
            raise NotImplementedError(f"mmcv's compiled operator {name!r} is not here")

        return missing


_operators = Operators("mmcv._ext")
_operators.__spec__ = ModuleSpec("mmcv._ext", None)  # mmengine looks whether it is there
sys.modules["mmcv._ext"] = _operators
# The wheel of xtcocotools does not load with NumPy 2; mmpose only imports it.
for _part in ("", ".coco", ".cocoeval", ".mask"):
    sys.modules[f"xtcocotools{_part}"] = importlib.import_module(f"pycocotools{_part}")
