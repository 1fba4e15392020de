"""The real clients of CVAT against a live server."""

from __future__ import annotations

import importlib.util

# cvat-sdk and cvat-cli 2.80 need Python 3.11; on 3.10 these modules cannot even be imported.
if importlib.util.find_spec("cvat_sdk") is None:
    collect_ignore = ["test_cvat_cli.py", "test_cvat_sdk.py", "test_lambda_sdk.py"]
