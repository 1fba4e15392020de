"""Commands on function folders, shared by both command lines: deploy, check, new.

The command lines are ``python -m cvat_lambda.runtime`` and ``manage.py functions``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvat_lambda.runtime import commands
from cvat_lambda.runtime.check import check_folder
from cvat_lambda.runtime.client import DashboardClient
from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.spec.discovery import discover
from cvat_lambda.runtime.watch import watch as watch_folders
from cvat_lambda.runtime.weights.licences import ACCEPT_VARIABLE

Write = Callable[[str], object]  # prints one line


def accepted_licences(given: Sequence[str]) -> frozenset[str]:
    """Return the licences accepted by arguments or by the environment variable."""
    named = [*given, *os.environ.get(ACCEPT_VARIABLE, "").split(",")]
    return frozenset(filter(None, (text.strip() for text in named)))


def require_folders(roots: Sequence[Path]) -> None:
    """Raise RuntimeFault for the first root that is not a folder."""
    for root in roots:
        if not root.is_dir():
            raise RuntimeFault(f"{root} is not a folder")


def function_folders(roots: Sequence[Path], write_error: Write) -> tuple[Path, ...]:
    """Return the function folders below the roots; write a line for each unreadable folder.

    Raise RuntimeFault if there is none.
    """
    require_folders(roots)
    found = discover(roots)
    for path, reason in found.unreadable:
        write_error(f"error: the folder {path} cannot be read: {reason}")
    if not found.folders:
        raise RuntimeFault("no function folder is there: a folder with a function.yaml")
    return found.folders


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """Where functions are deployed to."""

    platform: str  # runtime or nuclio
    nuclio_platform: str  # local or kube
    namespace: str  # Nuclio's
    project: str  # of functions whose file names none
    gpu: bool
    network: str | None = None  # of Docker; None = the one of CVAT, if it exists
    nuctl_arguments: tuple[str, ...] = ()  # of nuctl deploy, after our own


def deploy_folders(
    client: DashboardClient,
    roots: Sequence[Path],
    options: DeployOptions,
    write: Write,
    write_error: Write,
    *,
    watch: bool = False,
) -> None:
    """Deploy the functions below the roots one after the other; raise RuntimeFault if one fails.

    With `watch`, deploy them again when they change, until Ctrl-C. A failure is only written then.
    """
    _check_options(options)
    folders = function_folders(roots, write_error)
    if options.platform == "runtime":
        client.get("/api/versions")  # if no runtime answers: one error, not one for each folder
    failed = 0
    for folder in folders:
        try:
            _deploy(client, folder, options, write)
        except RuntimeFault as exc:
            write_error(f"error: {exc}")
            failed += 1
    if watch:
        watch_folders(
            folders, lambda each: _deploy(client, each, options, write), write, write_error
        )
    elif failed:
        raise RuntimeFault(f"{failed} of {len(folders)} functions are not deployed")


def _check_options(options: DeployOptions) -> None:
    """Raise RuntimeFault for options that the platform does not have."""
    if options.network is not None and (options.platform, options.nuclio_platform) != (
        "nuclio",
        "local",
    ):
        raise RuntimeFault("--network is for Nuclio on Docker only: see --platform")
    if options.nuctl_arguments and options.platform != "nuclio":
        raise RuntimeFault("the arguments behind -- are for nuctl: add --platform nuclio")


def _deploy(client: DashboardClient, folder: Path, options: DeployOptions, write: Write) -> None:
    if options.platform == "nuclio":
        commands.deploy_with_nuctl(
            folder,
            platform=options.nuclio_platform,
            namespace=options.namespace,
            project=options.project,
            gpu=options.gpu,
            network=options.network,
            arguments=options.nuctl_arguments,
        )
        return
    found = commands.deploy(client, folder, write, project=options.project, gpu=options.gpu)
    write(f"{found['metadata']['name']} is {found['status']['state']} at {client.where(found)}")


def check_folders(
    folders: Sequence[Path],
    write: Write,
    write_progress: Write,
    *,
    lint_only: bool,
    licences: Sequence[str],
    gpu: bool,
    as_json: bool = False,
) -> bool:
    """Check function folders, write a report for each, and return whether all passed."""
    all_passed = True
    for folder in folders:
        report = check_folder(
            folder,
            lambda text: write_progress(f"  {text}"),
            run=not lint_only,
            licences=accepted_licences(licences),
            gpu=gpu,
        )
        all_passed = all_passed and report.passed
        if as_json:
            found = {"errors": report.errors, "warnings": report.warnings}
            write(json.dumps({"name": report.name, "passed": report.passed, **found}))
            continue
        write(f"{report.name}: {'passed' if report.passed else 'FAILED'}")
        for kind, texts in (("error", report.errors), ("warning", report.warnings)):
            for text in texts:
                write(f"  {kind}: {text}")
    return all_passed
