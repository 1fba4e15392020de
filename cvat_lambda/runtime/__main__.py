"""Entry of ``python -m cvat_lambda.runtime``."""

from __future__ import annotations

import sys

from cvat_lambda.runtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
