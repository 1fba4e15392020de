"""Arguments that ``python -m cvat_lambda.runtime`` and ``manage.py functions`` share.

Nothing here needs the packages of the ``runtime`` extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cvat_lambda.runtime.scaffold import add_new_arguments as add_new_arguments
from cvat_lambda.runtime.weights.licences import ACCEPT_VARIABLE


def as_nuctl_arguments(words: Sequence[str]) -> list[str]:
    """Return a command line with each word after ``--`` as an option ``--nuctl-argument``.

    A parser cannot distinguish the words after ``--`` from folders. A second ``--`` is left out.
    """
    if "--" not in words:
        return list(words)
    end = list(words).index("--")
    behind = [word for word in words[end + 1 :] if word != "--"]
    return [*words[:end], *(f"--nuctl-argument={word}" for word in behind)]


def add_deploy_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``deploy``; `namespace` and `project` are None if not given."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--platform",
        choices=("runtime", "nuclio"),
        default="runtime",
        help="the embedded runtime, or Nuclio through its tool nuctl",
    )
    parser.add_argument(
        "--nuclio-platform", choices=("local", "kube"), default="local", help="Docker or Kubernetes"
    )
    parser.add_argument("--namespace", help="Nuclio's namespace")
    parser.add_argument(
        "--network",
        help="Docker network of the functions on Nuclio (default: cvat_cvat, if it exists)",
    )
    parser.add_argument(
        "--nuctl-argument",
        action="append",
        default=[],
        dest="nuctl_arguments",
        metavar="WORD",
        help="one more argument of nuctl deploy; or write all of them after --",
    )
    parser.add_argument("--project", help="project of functions whose file names none")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="deploy a function again when its files, or the trained model that `new` read, change",
    )
    add_gpu_argument(parser)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``, except for the folders."""
    parser.add_argument("--lint-only", action="store_true", help="do not start the functions")
    add_gpu_argument(parser)
    add_licence_argument(parser)


def add_gpu_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpu``, which selects the function files for a GPU."""
    parser.add_argument("--gpu", action="store_true", help="use function-gpu.yaml where it exists")


def add_licence_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-licence``; see `folder_commands.accepted_licences`."""
    parser.add_argument(
        "--accept-licence",
        action="append",
        default=[],
        metavar="ID",
        dest="licences",
        help=f"fetch weights under this licence too (or {ACCEPT_VARIABLE}, separated by commas)",
    )
