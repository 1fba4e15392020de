"""Operations on functions, for both command lines."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, announces_binary, encode
from cvat_lambda.runtime.client import Answer, DashboardClient, checked, in_path
from cvat_lambda.runtime.deploy import archives
from cvat_lambda.runtime.deploy.deployment import PROVISIONED
from cvat_lambda.runtime.deploy.prepare import make_preparer
from cvat_lambda.runtime.deploy.revision import REVISION_ANNOTATION
from cvat_lambda.runtime.errors import Conflict, RuntimeFault
from cvat_lambda.runtime.paths import ORIGIN_FILE
from cvat_lambda.runtime.spec.discovery import choose_file, discover, file_chooser
from cvat_lambda.runtime.spec.fields import JsonObject
from cvat_lambda.runtime.spec.function_file import (
    DEFAULT_PROJECT,
    PROJECT_LABEL,
    FunctionConfig,
    in_project,
    parse_function,
    read_document,
)

Progress = Callable[[str], object]
POLL_S = 0.2
CVAT_NETWORK: Final = "cvat_cvat"  # the network of CVAT's compose file
CVAT_REDIS_HOST: Final = "CVAT_FUNCTIONS_REDIS_HOST"  # a variable of CVAT's trackers


def list_functions(client: DashboardClient) -> list[JsonObject]:
    """Return the function objects, sorted by name."""
    found = client.get("/api/functions")
    return [found[name] for name in sorted(found)]


def deploy(
    client: DashboardClient,
    folder: Path,
    progress: Progress,
    *,
    project: str = DEFAULT_PROJECT,
    gpu: bool = False,
    timeout_s: float = 1800.0,
) -> JsonObject:
    """Send a folder to the runtime, wait until it is ready and return the function object.

    The folder is sent as an archive with its links followed, so the runtime may be on another
    machine. Raise RuntimeFault with the function's message if it does not become ready.
    """
    config = read_config(folder, gpu=gpu)
    document = in_project(read_document(choose_file(folder, gpu=gpu)), project)
    archive = base64.b64encode(archives.pack(folder)).decode()
    document["spec"] = {
        **document["spec"],
        "build": {
            **(document["spec"].get("build") or {}),
            "codeEntryType": "archive",
            "path": f"data:application/zip;base64,{archive}",
        },
    }
    _make_project(client, str(document["metadata"]["labels"][PROJECT_LABEL]))
    before = client.send("GET", f"/api/functions/{config.name}")
    told_ms = _newest_record_ms(before.json()) if before.status == 200 else 0.0
    checked(client.send("PUT", f"/api/functions/{config.name}", document, timeout_s=300))
    return wait_until_settled(client, config.name, progress, timeout_s=timeout_s, told_ms=told_ms)


def revision_of(found: JsonObject) -> str:
    """Return the revision that a function object states, or ""."""
    annotations = found["metadata"].get("annotations") or {}
    return str(annotations.get(REVISION_ANNOTATION, ""))


def _newest_record_ms(found: JsonObject) -> float:
    """Return the time of the newest record of a function's deployments, or 0."""
    return max((record["time"] for record in found["status"].get("logs", [])), default=0.0)


def _make_project(client: DashboardClient, name: str) -> None:
    """Create a project if it does not exist: functions of an unknown project are refused."""
    made = client.send("POST", "/api/projects", {"metadata": {"name": name}, "spec": {}})
    if made.status != Conflict.status_code:
        checked(made)


def wait_until_settled(
    client: DashboardClient,
    name: str,
    progress: Progress,
    *,
    timeout_s: float,
    told_ms: float = 0.0,
) -> JsonObject:
    """Wait until a function is ready and return its object; report the deployment's records.

    Those up to `told_ms` (since the epoch) are of an earlier deployment.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = client.function(name)
        status = found["status"]
        for record in status.get("logs", []):
            if record["time"] > told_ms:
                told_ms = record["time"]
                if record["level"] != "error":  # the fault below has this message
                    progress(record["message"])
        if status["state"] == "error":
            raise RuntimeFault(f"function {name!r}: {status.get('message', 'failed')}")
        if status["state"] in PROVISIONED:
            return found
        time.sleep(POLL_S)
    raise RuntimeFault(f"function {name!r} was not ready within {timeout_s:g} s")


def deploy_with_nuctl(
    folder: Path,
    *,
    platform: str,
    namespace: str,
    project: str = DEFAULT_PROJECT,
    gpu: bool = False,
    network: str | None = None,
    arguments: Sequence[str] = (),
    nuctl: str = "nuctl",
) -> None:
    """Deploy a folder to Nuclio on Docker (``local``) or Kubernetes (``kube``) with its own tool.

    On Docker the function joins `network`. By default this is the network of CVAT's compose file,
    if it exists and the function file names none; there it gets the address of CVAT's Redis, too.
    `arguments` are passed on to ``nuctl deploy``; a ``--platform-config`` among them replaces ours.

    The project is created if it does not exist, since Nuclio refuses functions of unknown projects.
    nuctl writes its progress to the terminal. Raise RuntimeFault if nuctl is missing or fails.
    """
    if shutil.which(nuctl) is None:
        raise RuntimeFault(
            "nuctl is not on this machine: get the one of your Nuclio's version from its releases"
        )
    project = read_config(folder, gpu=gpu, project=project).project
    file = choose_file(folder, gpu=gpu)
    where = ["--namespace", namespace, "--platform", platform]
    # It fails if the project exists. If it failed for another reason, the deployment fails, too.
    made = subprocess.run(
        [nuctl, "create", "project", project, *where],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-") as temporary:
        # nuctl does not follow links, and shared code is linked into the folder.
        copy = Path(temporary) / folder.resolve().name
        shutil.copytree(
            folder, copy, ignore=shutil.ignore_patterns("__pycache__", ".venv", ORIGIN_FILE)
        )
        command = [nuctl, "deploy", "--path", str(copy), "--file", str(copy / file.name)]
        command += ["--project-name", project, *where]
        if platform == "local" and not _has_platform_config(arguments):
            command += _network_arguments(network, read_document(file), arguments)
        status = subprocess.run([*command, *arguments]).returncode
    if status != 0:
        said = made.stdout.strip().splitlines()[-1:] if made.returncode != 0 else []
        about = f" (nuctl create project {project} said: {said[0]})" if said else ""
        raise RuntimeFault(
            f"nuctl deploy ended with status {status}: see its messages above{about}"
        )


def _has_platform_config(arguments: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == "--platform-config" for word in arguments)


def _network_arguments(
    network: str | None, document: JsonObject, arguments: Sequence[str]
) -> list[str]:
    """Return the arguments of nuctl that put a function into a network of Docker.

    In CVAT's network the function also gets the address of CVAT's Redis, in which CVAT's own
    trackers keep their states. As CVAT's script does, every function gets it.
    """
    if network is None:
        platform = document["spec"].get("platform") or {}
        if (platform.get("attributes") or {}).get("network") or not _network_exists(CVAT_NETWORK):
            return []
        network = CVAT_NETWORK
    words = ["--platform-config", json.dumps({"attributes": {"network": network}})]
    if network == CVAT_NETWORK and not any(CVAT_REDIS_HOST in word for word in arguments):
        words += ["--env", f"{CVAT_REDIS_HOST}=cvat_redis_ondisk"]
        words += ["--env", "CVAT_FUNCTIONS_REDIS_PORT=6666"]
    return words


def _network_exists(name: str) -> bool:
    try:
        found = subprocess.run(
            ["docker", "network", "inspect", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0


def remove(client: DashboardClient, name: str) -> None:
    """Remove a function; raise RuntimeFault when there is none."""
    namespace = client.function(name)["metadata"].get("namespace", "")
    metadata = {"name": name, "namespace": namespace}
    checked(client.send("DELETE", "/api/functions", {"metadata": metadata}, timeout_s=120))


def read_logs(client: DashboardClient, name: str, *, lines: int | None = None) -> str:
    """Return the end of a function's log; raise RuntimeFault when there is no such function."""
    client.function(name)
    tail = "" if lines is None else f"&tailLines={lines}"
    texts = []
    function = f"/api/functions/{in_path(name)}"
    for replica in client.get(f"{function}/replicas")["names"]:
        path = f"{function}/logs/{replica}?follow=false{tail}"
        texts.append(checked(client.send("GET", path)).body.decode("utf-8", "replace"))
    return "".join(texts)


def invoke(
    client: DashboardClient,
    name: str,
    payload: JsonObject,
    *,
    image: Path | None = None,
    binary: bool | None = None,
    timeout_s: float = 60.0,
) -> Answer:
    """Call a function through the dashboard and return its answer with any status.

    ``binary``: send a binary body. By default, a function that announces it gets one.
    Raise RuntimeFault if the image cannot be read, or the function cannot be called.
    """
    if image is not None:
        payload = {**payload, "image": base64.b64encode(_read_file(image)).decode()}
    if binary is None:
        binary = announces_binary(client.function(name)["metadata"].get("annotations") or {})
    body = encode(payload) if binary else payload
    headers = {
        "Content-Type": BINARY_TYPE if binary else "application/json",
        "x-nuclio-function-name": name,
        "x-nuclio-invoke-timeout": f"{max(1, round(timeout_s))}s",
    }
    answer = client.send(
        "POST", "/api/function_invocations", body, headers=headers, timeout_s=timeout_s + 5
    )
    if answer.status >= 400 and b'"Failed to invoke function: ' in answer.body:
        _raise_reason(client, name, answer)
    return answer


def _raise_reason(client: DashboardClient, name: str, answer: Answer) -> None:
    """Raise RuntimeFault with the reason why the function itself did not answer."""
    status = client.function(name)["status"]
    if status["state"] not in ("ready", "unhealthy"):
        message = f": {status['message']}" if status.get("message") else ""
        raise RuntimeFault(f"function {name!r} is {status['state']}{message}")
    checked(answer)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise RuntimeFault(f"{path} cannot be read: {exc.strerror}") from exc


def fetch(
    folders: list[Path],
    progress: Progress,
    *,
    licences: frozenset[str] = frozenset(),
    gpu: bool | None = None,
) -> list[tuple[str, str]]:
    """Build the environments and fetch the weights of function folders.

    `gpu` chooses the function files, as for serving.
    Return a pair (function, reason) for each that could not be prepared.
    """
    preparer = make_preparer(offline=False, licences=licences, compile_all=True)
    failed: list[tuple[str, str]] = []
    choose = file_chooser(gpu)
    for folder in discover(folders).folders:
        name = folder.name
        try:
            config = parse_function(read_document(choose(folder)), folder)
            name = config.name
            progress(f"{name}:")
            preparer.prepare(config, lambda text: progress(f"  {text}"))
        except RuntimeFault as exc:
            failed.append((name, str(exc)))
    return failed


def read_config(
    folder: Path, *, gpu: bool = False, project: str = DEFAULT_PROJECT
) -> FunctionConfig:
    """Return the configuration of one function folder; raise RuntimeFault."""
    document = in_project(read_document(choose_file(folder, gpu=gpu)), project)
    return parse_function(document, folder.resolve())


def parse_payload(text: str) -> JsonObject:
    """Return the JSON object in a text; raise RuntimeFault."""
    try:
        value: Any = json.loads(text)
    except ValueError as exc:
        raise RuntimeFault(f"the payload is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise RuntimeFault("the payload must be a JSON object")
    return value
