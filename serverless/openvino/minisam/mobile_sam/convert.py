"""Convert the published files once: ``python convert.py SOURCE_DIR TARGET_DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

from common.networks import mobile_sam

if __name__ == "__main__":
    mobile_sam.convert(Path(sys.argv[1]), Path(sys.argv[2]))
