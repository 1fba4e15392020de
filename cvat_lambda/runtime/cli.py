"""``python -m cvat_lambda.runtime``: serve function folders and work with functions."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cvat_lambda.runtime import arguments, commands, dashboard_verbs, folder_commands
from cvat_lambda.runtime.authorization import token_in
from cvat_lambda.runtime.client import DEFAULT_PORT
from cvat_lambda.runtime.deploy.settings import (
    DEFAULT_MAX_WORKERS,
    IDLE_TIMEOUT_VARIABLE,
    MAX_WORKERS_VARIABLE,
)
from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold import as_subcommand, new_folder
from cvat_lambda.runtime.spec.function_file import DEFAULT_PROJECT
from cvat_lambda.runtime.spec.quantities import parse_duration
from cvat_lambda.runtime.worker.death_signal import end_with_parent

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction
Parser = argparse.ArgumentParser
_FUNCTIONS_VARIABLE: Final = "CVAT_LAMBDA_FUNCTIONS"
_ALL: Final = "all"
_USAGE_ERROR: Final = 2  # the status that argparse uses
_INTERRUPTED: Final = 130  # the status that shells use for Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. A fault is one sentence on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0] if words else ""
    if first not in _VERBS and first not in ("-h", "--help"):
        if first and not first.startswith("-") and not _may_be_folder(first):
            print(f"error: {_unknown_verb(first)}", file=sys.stderr)
            return _USAGE_ERROR
        words.insert(0, "serve")  # `python -m cvat_lambda.runtime serverless/` serves
    if first == "deploy":
        words = arguments.as_nuctl_arguments(words)
    if first == "new":
        words = as_subcommand(words)
    parsed = make_parser().parse_args(words)
    level = str(getattr(parsed, "log_level", "info")).upper()
    logging.basicConfig(level=level, format="%(levelname)s %(message)s")
    try:
        status = int(parsed.act(parsed))
        sys.stdout.flush()
        return status
    except RuntimeFault as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # as in `logs NAME | head`; the exit must not write either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:  # a folder or file in the arguments cannot be used
        print(f"error: {exc}", file=sys.stderr)
        return 1


def _may_be_folder(text: str) -> bool:
    return os.sep in text or text in (".", "..", "~") or Path(text).exists()


def _unknown_verb(text: str) -> str:
    close = difflib.get_close_matches(text, _VERBS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"verbs are {', '.join(_VERBS)}"
    return f"{text!r} is neither a verb nor a folder: {hint}"


def make_parser() -> Parser:
    """Return the parser of all verbs."""
    parser = Parser(prog="python -m cvat_lambda.runtime", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="VERB")
    for add in _VERBS.values():
        add(subparsers)
    return parser


# --- serve ---------------------------------------------------------------------------------------


def _add_serve(subparsers: Verbs[Parser]) -> None:
    serve = subparsers.add_parser("serve", help="serve the functions in some folders")
    serve.add_argument(
        "folders", nargs="*", type=Path, help="folders that contain function folders"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    serve.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port of the dashboard; 0: any free one"
    )
    serve.add_argument(
        "--token",
        default=os.environ.get("CVAT_LAMBDA_RUNTIME_TOKEN", ""),
        help="bearer token that callers must send (or CVAT_LAMBDA_RUNTIME_TOKEN)",
    )
    serve.add_argument(
        "--token-file",
        type=Path,
        help="file with the token; if it does not exist, a random token is written to it",
    )
    serve.add_argument(
        "--only",
        default=os.environ.get(_FUNCTIONS_VARIABLE, _ALL),
        metavar="ID[,ID]",
        help=f"load only these functions (or {_FUNCTIONS_VARIABLE}; default: {_ALL})",
    )
    serve.add_argument(
        "--project", default=DEFAULT_PROJECT, help="project of functions whose file names none"
    )
    serve.add_argument(
        "--max-workers",
        type=_workers,
        default=os.environ.get(MAX_WORKERS_VARIABLE, str(DEFAULT_MAX_WORKERS)),
        help=f"maximum number of workers of one function (or {MAX_WORKERS_VARIABLE})",
    )
    serve.add_argument(
        "--idle-timeout",
        type=_duration,
        default=os.environ.get(IDLE_TIMEOUT_VARIABLE) or None,
        metavar="DURATION",
        help="stop the workers of a function after this time without a call, such as 30m; the next"
        f" call starts them (or {IDLE_TIMEOUT_VARIABLE}; default: never)",
    )
    _add_gpu_choice(serve)
    serve.add_argument("--state-dir", type=Path, help="folder for logs and deployed code")
    serve.add_argument(
        "--ready-file",
        type=Path,
        help="file to which the URL is written when the dashboard answers",
    )
    serve.add_argument(
        "--log-level",
        choices=("info", "warning", "error"),
        default="info",
        help="info: show the progress of each function, too",
    )
    serve.add_argument("--parent", type=int, metavar="PID", help="end when this process ends")
    serve.add_argument("--offline", action="store_true", help="fetch no weights")
    serve.add_argument("--opt-nuclio", choices=("auto", "mount", "rewrite", "none"), default="auto")
    serve.add_argument(
        "--full-errors", action="store_true", help="answer a handler's error with its traceback"
    )
    _add_preparation(serve)
    serve.set_defaults(act=_serve)


_MOST_WORKERS: Final = 1000
_GPU_CHOICES: Final = {"auto": None, "yes": True, "no": False}


def _add_gpu_choice(parser: Parser) -> None:
    parser.add_argument(
        "--gpu",
        choices=tuple(_GPU_CHOICES),
        default="auto",
        help="use function-gpu.yaml where it exists (auto: if this machine has an NVIDIA device)",
    )


def _add_preparation(parser: Parser) -> None:
    parser.add_argument("--installer", help=argparse.SUPPRESS)  # ignored: uv installs everything
    arguments.add_licence_argument(parser)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return number


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of workers: 1 to {_MOST_WORKERS}"
        )
    return int(text)


def _duration(text: str) -> float:
    try:
        duration_s = parse_duration(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if duration_s <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not longer than zero")
    return duration_s


def _serve(parsed: argparse.Namespace) -> int:
    # The other verbs start in a third of the time without the web server that this imports.
    from cvat_lambda.runtime.service import ServiceOptions, run

    folder_commands.require_folders(parsed.folders)
    if parsed.parent is not None:
        end_with_parent(parsed.parent, signal.SIGTERM)
    options = ServiceOptions(
        folders=tuple(parsed.folders),
        host=parsed.host,
        port=parsed.port,
        token=_token(parsed),
        only=_names(parsed.only),
        project=parsed.project,
        gpu=_GPU_CHOICES[parsed.gpu],
        state_folder=parsed.state_dir,
        ready_file=parsed.ready_file,
        offline=parsed.offline,
        accepted_licences=folder_commands.accepted_licences(parsed.licences),
        opt_nuclio=parsed.opt_nuclio,
        full_errors=parsed.full_errors,
        max_workers=parsed.max_workers,
        idle_timeout_s=parsed.idle_timeout,
    )
    asyncio.run(run(options, lambda url: print(f"runtime ready {url}", flush=True)))
    return 0


def _names(text: str) -> frozenset[str]:
    """Return the names in a list that is separated by commas; none means all functions."""
    names = frozenset(filter(None, (name.strip() for name in text.split(","))))
    return frozenset() if _ALL in names else names


def _token(parsed: argparse.Namespace) -> str:
    if parsed.token or parsed.token_file is None:
        return str(parsed.token)
    return token_in(parsed.token_file)


# --- the verbs of folders ------------------------------------------------------------------------


def _add_check(subparsers: Verbs[Parser]) -> None:
    parser = subparsers.add_parser("check", help="lint folders, start them and check their answers")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each function")
    parser.add_argument("--installer", help=argparse.SUPPRESS)
    arguments.add_check_arguments(parser)
    parser.set_defaults(act=_check)


def _check(parsed: argparse.Namespace) -> int:
    print_error = partial(print, file=sys.stderr)
    passed = folder_commands.check_folders(
        folder_commands.function_folders(parsed.folders, print_error),
        print,
        print_error,
        lint_only=parsed.lint_only,
        licences=parsed.licences,
        gpu=parsed.gpu,
        as_json=parsed.json,
    )
    return 0 if passed else 1


def _add_fetch(subparsers: Verbs[Parser]) -> None:
    parser = subparsers.add_parser(
        "fetch", help="prepare environments and weights without starting a function"
    )
    parser.add_argument("folders", nargs="+", type=Path)
    _add_gpu_choice(parser)
    _add_preparation(parser)
    parser.set_defaults(act=_fetch)


def _fetch(parsed: argparse.Namespace) -> int:
    folder_commands.require_folders(parsed.folders)
    failed = commands.fetch(
        parsed.folders,
        print,
        licences=folder_commands.accepted_licences(parsed.licences),
        gpu=_GPU_CHOICES[parsed.gpu],
    )
    for name, reason in failed:
        print(f"error: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _add_new(subparsers: Verbs[Parser]) -> None:
    parser = subparsers.add_parser("new", help="write a function folder that runs at once")
    arguments.add_new_arguments(parser)
    parser.set_defaults(act=_new)


def _new(parsed: argparse.Namespace) -> int:
    folder = new_folder(vars(parsed))
    print(f"{folder} is written; try it: python -m cvat_lambda.runtime check {folder}")
    return 0


_VERBS: Final = {
    "serve": _add_serve,
    "list": dashboard_verbs.add_list,
    "deploy": dashboard_verbs.add_deploy,
    "remove": dashboard_verbs.add_remove,
    "logs": dashboard_verbs.add_logs,
    "check": _add_check,
    "invoke": dashboard_verbs.add_invoke,
    "fetch": _add_fetch,
    "new": _add_new,
}
