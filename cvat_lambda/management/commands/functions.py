"""``manage.py functions VERB``: the functions of the platform, of the registry and of folders."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from cvat_lambda import signals
from cvat_lambda.annotations.mask_text import MaskText
from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionNotFound, LambdaError
from cvat_lambda.functions import registry
from cvat_lambda.functions.background import refresh_quietly
from cvat_lambda.functions.models import ENDPOINT, MISSING, NUCLIO, Function
from cvat_lambda.functions.refresh import RefreshResult
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.endpoints import Endpoint, remove_endpoint, save_endpoint
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.nuclio import platform
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.gateway.probe import probe
from cvat_lambda.management.functions_arguments import ARGUMENTS
from cvat_lambda.runtime.arguments import as_nuctl_arguments
from cvat_lambda.runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from cvat_lambda.runtime.client import DashboardClient


class Command(BaseCommand):
    """Dispatches a verb to its method; the method's docstring is its help."""

    help = "List, deploy, remove, check, invoke and make functions; add HTTP endpoints."

    def run_from_argv(self, argv: list[str]) -> None:
        super().run_from_argv(as_nuctl_arguments(argv) if argv[2:3] == ["deploy"] else argv)

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, add in ARGUMENTS.items():
            verb = getattr(type(self), f"verb_{name}")
            add(verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"verb_{options['verb']}")(options)
        except ModuleNotFoundError as exc:
            raise CommandError(
                f"{exc.name} is not installed: install cvat-lambda with its 'runtime' extra"
            ) from exc
        except LambdaError as exc:
            raise CommandError(exc.message) from exc
        except RuntimeFault as exc:
            raise CommandError(str(exc)) from exc
        except (OperationalError, ProgrammingError) as exc:
            raise CommandError(
                f"the database cannot be used: {exc}; if it is new, run manage.py migrate"
            ) from exc
        except KeyboardInterrupt:
            self.stdout.write("")
        except BrokenPipeError:  # as in `functions list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def verb_list(self, options: dict[str, Any]) -> None:
        """show every known function, also the broken and the missing ones"""
        rows = list(registry.rows())
        if rows:
            self._compare(rows)
        else:
            self._tell_refresh(registry.refresh(force=True))
            rows = list(registry.rows())
        width = max((len(row.pk) for row in rows), default=0)
        for row in rows:
            # Other problems of a function that failed to deploy matter only after a deployment.
            in_error = row.state == "error" and bool(row.message)
            state = "broken" if row.problem and not in_error else row.state
            state = state if row.enabled else "switched off"
            self.stdout.write(
                f"{row.pk:<{width}}  {row.kind or '-':<10}  {state:<12}  {row.name or '-'}"
            )
            for text in (row.message, "" if in_error else row.problem):
                if text:
                    self.stdout.write(f"    {text.splitlines()[0]}")

    def _compare(self, rows: list[Function]) -> None:
        """Write what the platform has now. Only the server's processes change the table."""
        try:
            listed = set(platform().functions())
        except LambdaError as exc:
            self._tell_refresh(RefreshResult(error=exc.message))
            return
        known = {row.pk for row in rows if row.platform == NUCLIO and row.state != MISSING}
        words = [f"the platform has {len(listed)} functions"]
        for text, ids in (
            ("not in the table yet", listed - known),
            ("not on the platform any more", known - listed),
        ):
            if ids:
                words.append(f"{text}: {', '.join(sorted(ids))}")
        if listed != known:
            words.append(f"it is at {settings.PLATFORM_URL}; 'functions refresh' reads it")
        self.stderr.write("; ".join(words))

    def verb_refresh(self, options: dict[str, Any]) -> None:
        """read the platform's list into the registry"""
        if not options["loop"]:
            result = registry.refresh(force=True)
            self._tell_refresh(result)
            if result.error:
                raise CommandError(result.error)
            return
        pause = threading.Event()
        while not pause.wait(max(1.0, settings.FUNCTIONS_REFRESH_S)):
            refresh_quietly()

    def verb_deploy(self, options: dict[str, Any]) -> None:
        """send function folders to the platform and wait until they are ready"""
        from cvat_lambda.runtime.folder_commands import DeployOptions, deploy_folders
        from cvat_lambda.runtime.spec.function_file import DEFAULT_PROJECT

        target = DeployOptions(
            platform=options["platform"],
            nuclio_platform=options["nuclio_platform"],
            namespace=options["namespace"] or settings.PLATFORM_NAMESPACE,
            project=options["project"] or settings.PLATFORM_PROJECT or DEFAULT_PROJECT,
            gpu=options["gpu"],
            network=options["network"],
            nuctl_arguments=tuple(options["nuctl_arguments"]),
        )
        write, write_error = self.stdout.write, self.stderr.write
        try:
            deploy_folders(
                _runtime_client(),
                options["folders"],
                target,
                write,
                write_error,
                watch=options["watch"],
            )
        finally:
            result = registry.refresh(force=True)
            self._tell_refresh(result)
            for function_id in result.changed:
                signals.action_taken.send_robust(
                    sender=Command,
                    action="deployed",
                    object_kind="function",
                    object_id=function_id,
                    details={"folders": [str(root) for root in options["folders"]]},
                )

    def verb_remove(self, options: dict[str, Any]) -> None:
        """remove a function from the platform"""
        function_id = options["id"]
        if _is_endpoint(function_id):
            raise CommandError(f"'{function_id}' is an endpoint: functions endpoint remove")
        platform().function(function_id)  # the platform answers the same for an unknown one
        platform().remove(function_id)
        self._tell_refresh(registry.refresh(force=True))
        self.stdout.write(f"{function_id} is removed")

    def verb_logs(self, options: dict[str, Any]) -> None:
        """show the last lines of a function's log"""
        if _is_endpoint(options["id"]):
            raise CommandError(f"'{options['id']}' is an endpoint: its own server has its log")
        nuclio = platform()
        for replica in nuclio.replicas(options["id"]):
            text = nuclio.logs(options["id"], replica=replica, lines=options["lines"])
            self.stdout.write(text, ending="")

    def verb_check(self, options: dict[str, Any]) -> None:
        """call functions by id, or lint and start folders, and check their answers"""
        folders = [Path(target) for target in options["targets"] if Path(target).is_dir()]
        ids = [target for target in options["targets"] if not Path(target).is_dir()]
        passed = [self._check_known(function_id) for function_id in ids]
        if folders:
            passed.append(self._check_folders(folders, options))
        if not all(passed):
            raise CommandError("not all functions keep their contract")

    def _check_folders(self, roots: list[Path], options: dict[str, Any]) -> bool:
        from cvat_lambda.runtime.folder_commands import check_folders, function_folders

        return check_folders(
            function_folders(roots, self.stderr.write),
            self.stdout.write,
            self.stderr.write,
            lint_only=options["lint_only"],
            licences=options["licences"],
            gpu=options["gpu"],
        )

    def verb_invoke(self, options: dict[str, Any]) -> None:
        """call a function and show its answer"""
        fields = _read_json(options["data"])
        image = options["image"]
        images = {"image": _read_file(image)} if image is not None else {}
        spec = _function(options["id"])
        called = invoke_with_retries(
            spec,
            encode_payload(fields, images, binary=spec.binary),
            request_id=f"manage-{uuid.uuid4().hex[:12]}",
            deadline_s=options["timeout"],
        )
        text = json.dumps(called.answer, indent=2, ensure_ascii=False, default=_as_json)
        self.stdout.write(text)

    def verb_new(self, options: dict[str, Any]) -> None:
        """write a function folder that runs at once"""
        from cvat_lambda.runtime.scaffold import new_folder

        folder = new_folder(options)
        self.stdout.write(f"{folder} is written; try it: manage.py functions check {folder}")

    def verb_endpoint(self, options: dict[str, Any]) -> None:
        """add, test and remove functions behind a plain HTTP endpoint"""
        getattr(self, f"_endpoint_{options['action']}")(options)

    def _endpoint_add(self, options: dict[str, Any]) -> None:
        labels = options["labels"]
        row = save_endpoint(
            Endpoint(
                function_id=options["id"],
                url=options["url"],
                kind=options["kind"],
                labels=_read_file(labels).decode("utf-8", "replace") if labels is not None else "",
                name=options["name"],
                description=options["description"],
                token=sys.stdin.readline().strip() if options["token_stdin"] else "",
                timeout_s=options["timeout"],
                workers=options["workers"],
                max_body_bytes=options["max_body_bytes"],
                annotations=_read_annotations(options["annotations"]),
            )
        )
        self.stdout.write(f"{row.pk} is saved; try it: manage.py functions endpoint test {row.pk}")
        if labels is None and row.kind == Kind.DETECTOR.value:
            self.stderr.write("it has no labels yet: give them with --labels, or in the admin")

    def _endpoint_test(self, options: dict[str, Any]) -> None:
        if not self._check_known(options["id"]):
            raise CommandError(f"'{options['id']}' does not keep the contract of its kind")

    def _endpoint_remove(self, options: dict[str, Any]) -> None:
        remove_endpoint(options["id"])
        self.stdout.write(f"{options['id']} is removed")

    def _check_known(self, function_id: str) -> bool:
        try:
            trial = probe(_function(function_id))
        except LambdaError as exc:
            self.stdout.write(f"{function_id}: FAILED: {exc.message}")
            return False
        self.stdout.write(f"{function_id}: passed: {trial.summary} in {trial.duration_s:.3f} s")
        return True

    def _tell_refresh(self, result: RefreshResult) -> None:
        words = [f"the platform has {result.found} functions"]
        if result.error:
            words = [f"{result.error} (CVAT_LAMBDA_PLATFORM_URL is {settings.PLATFORM_URL})"]
        for word, ids in (
            ("changed", result.changed),
            ("broken", result.broken),
            ("missing", result.missing),
        ):
            if ids:
                words.append(f"{word}: {', '.join(ids)}")
        self.stderr.write("; ".join(words))


def _runtime_client() -> DashboardClient:
    """Return a client of the embedded runtime that the settings name."""
    from cvat_lambda.runtime.client import DashboardClient

    advice = "start one, or name another with CVAT_LAMBDA_PLATFORM_URL"
    return DashboardClient(settings.PLATFORM_URL, token=settings.PLATFORM_TOKEN, advice=advice)


def _function(function_id: str) -> FunctionSpec:
    """Return a function; if it is not in the table, read the platform's list first."""
    try:
        return registry.get(function_id)
    except FunctionNotFound:
        if function_id not in platform().functions():
            raise
    registry.refresh(force=True)
    return registry.get(function_id)


def _is_endpoint(function_id: str) -> bool:
    return Function.objects.filter(pk=function_id, platform=ENDPOINT).exists()


def _as_json(value: object) -> object:
    """Return what JSON holds in place of the bytes or the mask of an interactor's answer."""
    if isinstance(value, MaskText):
        return value.tolist()
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}") from exc


def _read_json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise CommandError(f"--data is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise CommandError("--data must be a JSON object")
    return value


def _read_annotations(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise CommandError(f"--annotation {pair}: write it as NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
