"""Convert the published files once: ``python convert.py SOURCE_DIR TARGET_DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

from common.conversion import graph_model_to_ir
from common.networks import ssdlite
from model import WEIGHTS

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    ssdlite.convert(source, target)
    graph_model_to_ir(source / "movenet-thunder.json", target / WEIGHTS)
