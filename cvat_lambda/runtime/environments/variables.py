"""Environment variables of child processes: the machine's, without secrets of the runtime."""

from __future__ import annotations

import os
from typing import Final

_MACHINE: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "SHELL"}
    | {"LD_LIBRARY_PATH", "LD_PRELOAD", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
    | {"http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
)
_MACHINE_PREFIXES: Final = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "OV_",
    "ONEDNN_",
    "CVAT_LAMBDA_THREADS",
)
# Sources of packages, and settings of compilers for packages without a wheel.
_INSTALLER: Final = frozenset(
    {"XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "NETRC", "NODE_EXTRA_CA_CERTS"}
    | {"CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "MAKEFLAGS"}
)
_INSTALLER_PREFIXES: Final = ("PIP_", "UV_", "NPM_CONFIG_", "npm_config_", "PYENV_")
_INSTALLER_NOT: Final = frozenset({"PIP_REQUIRE_VIRTUALENV"})


def machine_variables() -> dict[str, str]:
    """Return the variables for a function's code: workers and conversion scripts."""
    return {
        key: value
        for key, value in os.environ.items()
        if key in _MACHINE or key.startswith(_MACHINE_PREFIXES)
    }


def thread_variables(workers: int) -> dict[str, str]:
    """Return the variables that divide the cores among the workers of a function.

    They also make waiting threads of OpenMP sleep. By default the threads spin, so that two
    networks on the same cores take many times as long as one after the other.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return {"OMP_NUM_THREADS": str(max(1, cores // workers)), "OMP_WAIT_POLICY": "PASSIVE"}


def installer_variables() -> dict[str, str]:
    """Return the variables for pip, uv and npm, and for the builds of packages."""
    own = {
        key: value
        for key, value in os.environ.items()
        if (key in _INSTALLER or key.startswith(_INSTALLER_PREFIXES)) and key not in _INSTALLER_NOT
    }
    return {**machine_variables(), **own}
