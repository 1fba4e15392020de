"""Starts a function folder on a separate runtime, calls it, and checks its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, announces_binary, decode
from cvat_lambda.runtime.check import fixtures
from cvat_lambda.runtime.check.answers import (
    clip_problems,
    detector_problems,
    interactor_problems,
    read_strictly,
    reid_problems,
    tracker_problems,
)
from cvat_lambda.runtime.check.lint import Finding, labels_of, lint
from cvat_lambda.runtime.client import Answer, DashboardClient
from cvat_lambda.runtime.commands import invoke, read_config, wait_until_settled
from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.spec.function_file import FunctionConfig

Progress = Callable[[str], object]
START_TIMEOUT_S: Final = 120.0
CALL_TIMEOUT_S: Final = 300.0
_SHIFT: Final = 4  # pixels that the disc moves between two frames


@dataclass(slots=True, kw_only=True)
class Report:
    """What a check found."""

    name: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the function keeps its contract."""
        return not self.errors


def check_folder(
    folder: Path,
    progress: Progress,
    *,
    run: bool = True,
    licences: frozenset[str] = frozenset(),
    gpu: bool = False,
    timeout_s: float = 1800.0,
) -> Report:
    """Lint a folder, and unless `run` is False start its function and judge the answers.

    With `gpu`, function-gpu.yaml is used if there is one, even on a machine without a GPU.
    """
    try:
        config = read_config(folder, gpu=gpu)
    except RuntimeFault as exc:
        return Report(name=folder.name, errors=[str(exc)])
    report = Report(name=config.name)
    _take_findings(report, lint(config))
    # A function with findings is started, too, unless its kind is unknown.
    if run and _kind_of(config) in _CHECKS:
        try:
            with _served(config.folder, licences, gpu=gpu) as client:
                wait_until_settled(client, config.name, progress, timeout_s=timeout_s)
                report.errors += _call_problems(client, config)
        except RuntimeFault as exc:
            report.errors.append(str(exc))
    return report


def _take_findings(report: Report, findings: list[Finding]) -> None:
    for finding in findings:
        (report.errors if finding.severe else report.warnings).append(finding.text)


@contextmanager
def _served(folder: Path, licences: frozenset[str], *, gpu: bool) -> Iterator[DashboardClient]:
    """Serve one folder for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-check-") as temporary:
        ready = Path(temporary) / "ready"
        command = [sys.executable, "-m", "cvat_lambda.runtime", "serve", str(folder)]
        command += ["--port", "0", "--state-dir", str(Path(temporary) / "state")]
        command += ["--ready-file", str(ready), "--token", "", "--parent", str(os.getpid())]
        command += ["--gpu", "yes" if gpu else "no"]
        command += ["--log-level", "warning"]  # `progress` writes the rest
        for licence in licences:
            command += ["--accept-licence", licence]
        root = Path(__file__).resolve().parents[3]
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
        try:
            yield DashboardClient(_wait_for_url(process, ready), token="")
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_url(process: subprocess.Popen[bytes], ready: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if ready.exists():
            return ready.read_text(encoding="utf-8").strip()
        time.sleep(0.05)
    raise RuntimeFault("the runtime did not start: see its messages above")


def _call_problems(client: DashboardClient, config: FunctionConfig) -> list[str]:
    """Return the problems of calls with JSON, and with binary bodies if they are announced."""
    problems = _problems_of(_Caller(client, config))
    if announces_binary(_annotations(config)):
        found = _problems_of(_Caller(client, config, binary=True))
        problems += [f"with a binary body: {text}" for text in found]
    return problems


def _problems_of(caller: _Caller) -> list[str]:
    return [*_CHECKS[_kind_of(caller.config)](caller), *_check_bad_input(caller)]


def _kind_of(config: FunctionConfig) -> str:
    return str(_annotations(config).get("type"))


def _annotations(config: FunctionConfig) -> dict[str, Any]:
    return config.document["metadata"].get("annotations") or {}


class _Caller:
    """Calls one function; a failed call is one problem."""

    def __init__(
        self, client: DashboardClient, config: FunctionConfig, *, binary: bool = False
    ) -> None:
        self._client = client
        self.config = config
        self.binary = binary  # send binary bodies, as the app does
        # A function decodes the same file from both kinds of bodies: one kind tries all modes.
        self.modes = fixtures.MODES[:1] if binary else fixtures.MODES

    def call(self, payload: dict[str, Any]) -> Answer:
        return invoke(
            self._client,
            self.config.name,
            payload,
            binary=self.binary,
            timeout_s=CALL_TIMEOUT_S,
        )

    def answer(self, payload: dict[str, Any], problems: list[str]) -> Any | None:
        """Return the value of a good answer, or None with what is wrong added to `problems`."""
        told = self.call(payload)
        if told.status != 200:
            text = told.body[:300].decode("utf-8", "replace")
            problems.append(f"{_brief(payload)} was answered with {told.status}: {text}")
            return None
        content_type = told.content_type.partition(";")[0].strip()
        parse: Callable[..., Any] = json.loads
        if self.binary and content_type == BINARY_TYPE:
            parse = partial(decode, allow_bytes=_kind_of(self.config) == "interactor")
        elif content_type != "application/json":
            problems.append(f"the content type is {told.content_type!r}, not application/json")
        try:
            return read_strictly(told.body, parse=parse)
        except ValueError as exc:
            problems.append(f"{_brief(payload)} was answered with no JSON: {exc}")
            return None


def _check_detector(caller: _Caller) -> Iterator[str]:
    labels = {
        str(label["name"]): str(label.get("type") or "any") for label in labels_of(caller.config)
    }
    fields: dict[str, Any] = {}
    if not labels and "text" in str(_annotations(caller.config).get("prompts", "")):
        fields, labels = {"text": ["object"]}, {"object": "any"}  # found by what a call describes
    payloads: list[dict[str, Any]] = [
        {**fields, "image": fixtures.picture(), "threshold": threshold} for threshold in (0, 0.5, 1)
    ]
    # Without a threshold, the function takes its default.
    payloads += [{**fields, "image": fixtures.picture(mode=mode)} for mode in caller.modes]
    for payload in payloads:
        problems: list[str] = []
        answer = caller.answer(payload, problems)
        if answer is not None:
            problems += detector_problems(answer, labels, binary=caller.binary)
        yield from problems


def _check_interactor(caller: _Caller) -> Iterator[str]:
    x, y, radius = fixtures.DISC
    prompt = {
        "pos_points": [[x, y]],
        "neg_points": [[x + 2 * radius, y]],
        "obj_bbox": [[x - radius, y - radius], [x + radius, y + radius]],
    }
    payloads: list[dict[str, Any]] = [
        {**prompt, "image": fixtures.picture(mode=mode)} for mode in caller.modes
    ]
    payloads.append({**payloads[0], "threshold": 0.8})
    for payload in payloads:
        problems: list[str] = []
        answer = caller.answer(payload, problems)
        if answer is not None:
            problems += interactor_problems(
                answer, fixtures.WIDTH, fixtures.HEIGHT, binary=caller.binary
            )
        yield from problems


def _check_tracker(caller: _Caller) -> Iterator[str]:
    problems: list[str] = []
    shape: Any = {"type": "rectangle", "points": fixtures.disc_box()}
    annotations = caller.config.document["metadata"]["annotations"]
    if not annotations.get("supported_shape_types"):
        shape = shape["points"]  # the older protocol of bare coordinates
    for mode in caller.modes[1:]:
        started: dict[str, Any] = {
            "image": fixtures.picture(mode=mode),
            "shapes": [shape],
            "states": [],
        }
        caller.answer(started, problems)
    first = caller.answer({"image": fixtures.picture(), "shapes": [shape], "states": []}, problems)
    if first is not None:
        problems += tracker_problems(first, 1)
    if first is not None and not problems:
        # CVAT keeps a state as JSON text between two calls.
        states = json.loads(json.dumps(first["states"]))
        payload = {"image": fixtures.picture(_SHIFT), "shapes": [None], "states": states}
        second = caller.answer(payload, problems)
        if second is not None:
            problems += tracker_problems(second, 1)
        if not problems and _max_frames(annotations) > 1:
            problems += _check_clip(caller, shape, second)
    yield from problems


def _max_frames(annotations: Mapping[str, Any]) -> int:
    value = str(annotations.get("max_frames") or "1")
    return int(value) if value.isdigit() else 1


def _check_clip(caller: _Caller, shape: Any, single: Any) -> list[str]:
    """Return what is wrong with a clip of two frames; ``single`` is the answer to its last one."""
    problems: list[str] = []
    images = [fixtures.picture(), fixtures.picture(_SHIFT)]
    answer = caller.answer({"images": images, "shapes": [shape], "states": []}, problems)
    if answer is None:
        return problems
    problems += clip_problems(answer, 1, len(images))
    if not problems and answer["results"][-1] != single["shapes"]:
        problems.append(
            f"a call with both images finds {answer['results'][-1]} on the last one, and two calls "
            f"with one image each find {single['shapes']}"
        )
    return problems


def _check_reid(caller: _Caller) -> Iterator[str]:
    box0 = {"type": "rectangle", "points": fixtures.disc_box()}
    box1 = {"type": "rectangle", "points": fixtures.disc_box(_SHIFT)}
    images = {"image0": fixtures.picture(), "image1": fixtures.picture(_SHIFT)}
    limits = {"threshold": 0.5, "max_distance": 50}
    payloads: list[dict[str, Any]] = [
        {**images, **limits, "boxes0": boxes0, "boxes1": boxes1}
        for boxes0, boxes1 in (([box0], [box1]), ([], [box1]), ([box0], []))
    ]
    # Without limits, the function takes its defaults.
    payloads += [
        {
            "image0": fixtures.picture(mode=mode),
            "image1": fixtures.picture(_SHIFT, mode),
            "boxes0": [box0],
            "boxes1": [box1],
        }
        for mode in caller.modes
    ]
    for payload in payloads:
        problems: list[str] = []
        answer = caller.answer(payload, problems)
        if answer is not None:
            problems += reid_problems(answer, len(payload["boxes0"]), len(payload["boxes1"]))
        yield from problems


def _check_bad_input(caller: _Caller) -> Iterator[str]:
    for what, payload in (
        ("a call without an image", {}),
        ("an image that does not decode", {"image": "bm8gaW1hZ2U="}),
    ):
        told = caller.call(payload)
        if told.status == 200:
            yield f"{what} was answered with 200: answer 400 and one sentence"
        elif told.status >= 500:
            yield f"{what} was answered with {told.status}: answer 400 and one sentence"


def _mode_of(image: object) -> str:
    """Return how the picture of a call is named in a sentence."""
    for mode in fixtures.MODES:
        if image in (fixtures.picture(mode=mode), fixtures.picture(_SHIFT, mode)):
            return f"{mode} picture"
    return "..."


def _shown_images(value: object) -> object:
    return [_mode_of(image) for image in value] if isinstance(value, list) else _mode_of(value)


def _brief(payload: dict[str, Any]) -> str:
    shown = {
        key: _shown_images(value) if key.startswith("image") else value
        for key, value in payload.items()
    }
    text = json.dumps(shown)
    return text if len(text) < 200 else f"{text[:200]}..."


_CHECKS: Final[dict[str, Callable[[_Caller], Iterator[str]]]] = {
    "detector": _check_detector,
    "interactor": _check_interactor,
    "tracker": _check_tracker,
    "reid": _check_reid,
}
