"""Convert the published files once: ``python convert.py SOURCE_DIR TARGET_DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

from common.networks import mobile_sam, nanodet

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    nanodet.convert(source, target)
    mobile_sam.convert(source, target)
