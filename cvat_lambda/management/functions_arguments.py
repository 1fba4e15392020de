"""The command line of ``manage.py functions``: the arguments of each verb."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cvat_lambda.functions.spec import Kind
from cvat_lambda.runtime.arguments import (
    add_check_arguments,
    add_deploy_arguments,
    add_new_arguments,
)


def _no_arguments(parser: ArgumentParser) -> None:
    pass


def _refresh_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--loop", action="store_true", help="repeat every FUNCTIONS_REFRESH_S seconds"
    )


def _id_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")


def _logs_arguments(parser: ArgumentParser) -> None:
    _id_arguments(parser)
    parser.add_argument("--lines", type=int, default=200)


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("targets", nargs="+", metavar="ID|FOLDER")
    add_check_arguments(parser)


def _invoke_arguments(parser: ArgumentParser) -> None:
    _id_arguments(parser)
    parser.add_argument("--image", type=Path)
    parser.add_argument(
        "--data", default="{}", help="the other fields of the payload, a JSON object"
    )
    parser.add_argument("--timeout", type=float, help="seconds")


def _endpoint_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add an endpoint, or change it")
    _id_arguments(add)
    add.add_argument("url", metavar="URL")
    add.add_argument("--kind", choices=[kind.value for kind in Kind], required=True)
    add.add_argument("--labels", type=Path, metavar="FILE", help="the labels, a JSON array")
    add.add_argument("--name", default="")
    add.add_argument("--description", default="")
    add.add_argument(
        "--token-stdin", action="store_true", help="read the bearer token from standard input"
    )
    add.add_argument("--timeout", type=float, help="time limit of one call in seconds")
    add.add_argument(
        "--workers", type=int, default=1, help="number of calls that it can answer at the same time"
    )
    add.add_argument("--max-body-bytes", type=int)
    add.add_argument(
        "--annotation",
        dest="annotations",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one more annotation, for example version=2 or min_pos_points=1",
    )
    for name in ("test", "remove"):
        _id_arguments(actions.add_parser(name, help=f"{name} an endpoint"))


ARGUMENTS: Final[dict[str, Callable[[ArgumentParser], None]]] = {
    "list": _no_arguments,
    "refresh": _refresh_arguments,
    "deploy": add_deploy_arguments,
    "remove": _id_arguments,
    "logs": _logs_arguments,
    "check": _check_arguments,
    "invoke": _invoke_arguments,
    "new": add_new_arguments,
    "endpoint": _endpoint_arguments,
}
