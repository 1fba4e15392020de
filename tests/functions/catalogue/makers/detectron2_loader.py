"""Make Detectron2 0.6 importable without its compiled operators, with current NumPy and Pillow.

Import this module first. The network that is built here calls none of those operators.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import PIL.Image

sys.modules["detectron2._C"] = ModuleType("detectron2._C")
# Names that the package reads on import and that NumPy 1.24 and Pillow 10 do not have.
for _name, _value in (("bool", bool), ("float", float), ("int", int), ("object", object)):
    if not hasattr(np, _name):
        setattr(np, _name, _value)
if not hasattr(PIL.Image, "LINEAR"):
    setattr(PIL.Image, "LINEAR", PIL.Image.Resampling.BILINEAR)  # noqa: B010 (it has no such name)
