"""The verbs of a running dashboard: list, deploy, remove, logs and invoke."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cvat_lambda.runtime import arguments, commands, folder_commands
from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, decode
from cvat_lambda.runtime.client import DEFAULT_URL, Answer, DashboardClient
from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.spec.function_file import DEFAULT_NAMESPACE, DEFAULT_PROJECT

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction
Parser = argparse.ArgumentParser
_LONGEST_CALL_S: Final = 86400.0


def _add_client(parser: Parser) -> None:
    parser.add_argument(
        "--url", help=f"URL of the dashboard (or CVAT_LAMBDA_RUNTIME_URL; {DEFAULT_URL})"
    )
    parser.add_argument("--token", help="the dashboard's token (or CVAT_LAMBDA_RUNTIME_TOKEN)")


def _client(parsed: argparse.Namespace) -> DashboardClient:
    return DashboardClient(parsed.url, token=parsed.token)


def add_list(subparsers: Verbs[Parser]) -> None:
    """Add the verb `list`."""
    parser = subparsers.add_parser("list", help="show the functions and their states")
    _add_client(parser)
    parser.set_defaults(act=_list)


def _list(parsed: argparse.Namespace) -> int:
    client = _client(parsed)
    for found in commands.list_functions(client):
        status = found["status"]
        kind = (found["metadata"].get("annotations") or {}).get("type", "-")
        name = found["metadata"]["name"]
        print(f"{name:<56} {kind:<10} {status['state']:<12} {client.where(found)}")
        if status.get("message"):
            print(f"    {status['message']}")
    return 0


def add_deploy(subparsers: Verbs[Parser]) -> None:
    """Add the verb `deploy`."""
    parser = subparsers.add_parser("deploy", help="send a function folder to a platform")
    arguments.add_deploy_arguments(parser)
    _add_client(parser)
    parser.set_defaults(act=_deploy)


def _deploy(parsed: argparse.Namespace) -> int:
    options = folder_commands.DeployOptions(
        platform=parsed.platform,
        nuclio_platform=parsed.nuclio_platform,
        namespace=parsed.namespace or DEFAULT_NAMESPACE,
        project=parsed.project or DEFAULT_PROJECT,
        gpu=parsed.gpu,
        network=parsed.network,
        nuctl_arguments=tuple(parsed.nuctl_arguments),
    )
    folder_commands.deploy_folders(
        _client(parsed),
        parsed.folders,
        options,
        _print,
        partial(print, file=sys.stderr),
        watch=parsed.watch,
    )
    return 0


def _print(text: str) -> None:
    print(text, flush=True)  # a watch prints for hours


def add_remove(subparsers: Verbs[Parser]) -> None:
    """Add the verb `remove`."""
    parser = subparsers.add_parser("remove", help="stop and delete a function")
    parser.add_argument("name")
    _add_client(parser)
    parser.set_defaults(act=_remove)


def _remove(parsed: argparse.Namespace) -> int:
    commands.remove(_client(parsed), parsed.name)
    print(f"{parsed.name} is removed")
    return 0


def add_logs(subparsers: Verbs[Parser]) -> None:
    """Add the verb `logs`."""
    parser = subparsers.add_parser("logs", help="show the log of a function")
    parser.add_argument("name")
    parser.add_argument("--lines", type=int, help="show only so many lines from the end")
    _add_client(parser)
    parser.set_defaults(act=_logs)


def _logs(parsed: argparse.Namespace) -> int:
    print(commands.read_logs(_client(parsed), parsed.name, lines=parsed.lines), end="")
    return 0


def add_invoke(subparsers: Verbs[Parser]) -> None:
    """Add the verb `invoke`."""
    parser = subparsers.add_parser("invoke", help="call a function and show its answer")
    parser.add_argument("name")
    parser.add_argument("--image", type=Path, help="an image file to send as 'image'")
    parser.add_argument(
        "--data", default="{}", help="the other fields of the payload, a JSON object"
    )
    parser.add_argument("--timeout", type=_seconds, default=60.0, help="seconds")
    _add_client(parser)
    parser.set_defaults(act=_invoke)


def _invoke(parsed: argparse.Namespace) -> int:
    payload = commands.parse_payload(parsed.data)
    answer = commands.invoke(
        _client(parsed), parsed.name, payload, image=parsed.image, timeout_s=parsed.timeout
    )
    print(_shown(answer))
    if answer.status != 200:
        print(f"status {answer.status}", file=sys.stderr)
    return 0 if answer.status == 200 else 1


def _shown(answer: Answer) -> str:
    """Return the text of an answer. The bytes of a binary one are shown in base64."""
    if not answer.content_type.startswith(BINARY_TYPE):
        return answer.body.decode("utf-8", "replace")
    try:
        return json.dumps(decode(answer.body))
    except ValueError as exc:
        raise RuntimeFault(f"the answer is not a binary body: {exc}") from exc


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= _LONGEST_CALL_S:
        raise argparse.ArgumentTypeError(
            f"{text} is not a time limit: up to {_LONGEST_CALL_S:g} seconds"
        )
    return number
