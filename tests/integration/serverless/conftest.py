"""Let the tests import ``common`` as the functions do, as a top-level package."""

from __future__ import annotations

import sys
from pathlib import Path

SERVERLESS = str(Path(__file__).resolve().parents[3] / "serverless")
if SERVERLESS not in sys.path:
    sys.path.insert(0, SERVERLESS)
