"""Convert the published file once: ``python convert.py SOURCE_DIR TARGET_DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

from common.networks import mobilenet_v2
from model import LAYERS, WEIGHTS

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    mobilenet_v2.convert(source, target / WEIGHTS, layers=LAYERS, pooled=False)
