"""The demo, ``script/demo``: annotate photographs on a standalone server of its own.

It starts the server on loopback, creates a task from photographs, and annotates the task with a
function in the background. Then it writes the photographs with the annotations into a folder.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from PIL import Image

from cvat_lambda.annotations.serialize import labeled_data_from_json
from cvat_lambda.annotations.types import Label
from cvat_lambda.server.catalogue import packaged_function_ids
from cvat_lambda.server.client import Client, ServerRefused
from cvat_lambda.server.demo_arguments import parse
from cvat_lambda.server.drawing import paint
from cvat_lambda.server.home import REPOSITORY, default_home, is_checkout
from cvat_lambda.server.processes import ProcessFailed
from cvat_lambda.server.progress import ProgressBar
from cvat_lambda.server.services import Options, Services
from cvat_lambda.web.overlay import draw

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LISTED_WITHIN_S = 90.0
READY_WITHIN_S = 1800.0  # the first start builds the functions' environments
ANNOTATED_WITHIN_S = 3600.0


class DemoFailed(Exception):
    """The demo cannot continue; the message gives the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Return the exit status, 0 only if every frame was annotated."""
    options = parse(arguments)
    only = (options.function,) if options.minimal else _functions_to_serve(options)
    services = Services(
        Options(
            home=_home(),
            functions=(options.functions,),
            only=only,
            port=options.port,
            platform_port=options.platform_port,
            workers=options.workers,
        )
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        photographs = find_photographs(options.images)
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
        print("Starting Redis, the function runtime, the web server and a worker ...", flush=True)
        with services:
            complete = do_the_job(services, options, photographs)
            if not options.once:
                print("Press Ctrl-C to stop.", flush=True)
                services.run_until_interrupted()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0 if not options.once else 130
    except (
        DemoFailed,
        ProcessFailed,
        ServerRefused,
        OSError,
    ) as exc:  # errors of `requests` are OSErrors
        print(f"The demo failed: {exc}", file=sys.stderr)
        return 1
    return 0 if complete else 1


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _home() -> Path:
    if is_checkout() and not os.environ.get("CVAT_LAMBDA_HOME"):
        return REPOSITORY / "var"
    return default_home().resolve()


def _functions_to_serve(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the chosen function and those whose weights are all in packages."""
    return tuple(dict.fromkeys((options.function, *packaged_function_ids(options.functions))))


def find_photographs(place: Path) -> list[Path]:
    """Return the images of a folder by name; report and skip files that cannot be decoded.

    Raise DemoFailed if none is left.
    """
    if not place.is_dir():
        raise DemoFailed(f"{place} is not a folder")
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
    readable = [path for path in found if _decodes(path)]
    if not readable:
        raise DemoFailed(f"{place} holds no images ({', '.join(sorted(SUFFIXES))})")
    return readable


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        print(f"{path.name} is left out: it cannot be read as an image ({exc})", flush=True)
        return False
    return True


def do_the_job(
    services: Services, options: argparse.Namespace, photographs: Sequence[Path]
) -> bool:
    """Create the task, run the request, print the summary and draw the images.

    Return whether every frame was annotated."""
    client = Client(services.url)
    account = _account(services)
    client.authorize(account.token)
    function = wait_for_function(services, client, options.function)
    task = make_task(client, function, photographs)
    print(f"Task #{task['id']} holds {task['size']} photographs.", flush=True)
    fields: dict[str, Any] = {"function": function["id"], "task": task["id"]}
    if options.threshold is not None:
        fields["threshold"] = options.threshold
    request = client.call("POST", "/api/lambda/requests", json=fields)
    print(f"Request {request['id']}: {function['name']} annotates them.", flush=True)
    request = watch(services, client, request["id"])
    place = options.output or services.options.home / "pictures" / f"task-{task['id']}"
    report(client, task, request, place)
    if options.once:
        print("Without --once they are served as web pages, too.", flush=True)
    else:
        print(f"Open {services.url}/ and {account.hint}", flush=True)
    return bool(request["status"] == "finished" and request["done"] == request["total"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The token of the demo, and the login for a person."""

    token: str
    hint: str


def _account(services: Services) -> Login:
    """Create the account in this process, with the server's settings."""
    os.environ.update(services.environment)
    import django

    django.setup()
    from cvat_lambda.server.account import ensure_account, token_of

    account = ensure_account(services.options.home)
    return Login(token=token_of(account.name), hint=account.hint())


def wait_for_function(services: Services, client: Client, function_id: str) -> dict[str, Any]:
    """Wait until the function is ready, and return it. Raise DemoFailed if that fails."""
    start = time.monotonic()
    last = ""
    while time.monotonic() < start + READY_WITHIN_S:
        services.check()
        function = _look(client, function_id)
        if function is None:
            if time.monotonic() > start + LISTED_WITHIN_S:
                raise DemoFailed(f"the function runtime does not know a function '{function_id}'")
            time.sleep(0.5)
            continue
        state, message = function["state"], function.get("message", "")
        if state == "ready":
            return function
        if state == "error":
            raise DemoFailed(f"function '{function_id}' cannot run: {message}")
        line = f"Function '{function_id}' is {state}{f': {message}' if message else ''} ..."
        if line != last:
            print(line, flush=True)
            last = line
        time.sleep(0.5)
    raise DemoFailed(f"function '{function_id}' was not ready after {READY_WITHIN_S:.0f} s")


def _look(client: Client, function_id: str) -> dict[str, Any] | None:
    """Return a function of the list; None if it is not listed (yet)."""
    listed = client.call("GET", "/api/lambda/functions")
    return next((function for function in listed if function["id"] == function_id), None)


def make_task(
    client: Client, function: dict[str, Any], photographs: Sequence[Path]
) -> dict[str, Any]:
    """Create a task with the function's labels and the photographs as frames."""
    labels = [
        {
            key: label[key]
            for key in ("name", "type", "attributes", "sublabels", "svg")
            if key in label
        }
        for label in function["labels_v2"]
    ]
    for label in labels:
        for attribute in label.get("attributes", ()):
            attribute.setdefault("mutable", False)
            attribute.setdefault("default_value", "")
    task = client.call("POST", "/api/tasks", json={"name": "Photographs", "labels": labels})
    stored = client.upload(task["id"], photographs)
    while (state := client.call("GET", f"/api/requests/{quote(stored, safe='')}"))["status"] in (
        "queued",
        "started",
    ):
        time.sleep(0.1)
    if state["status"] != "finished":
        client.call("DELETE", f"/api/tasks/{task['id']}")
        raise DemoFailed(f"the photographs could not be stored: {state['message']}")
    made: dict[str, Any] = client.call("GET", f"/api/tasks/{task['id']}")
    return made


@contextmanager
def _bar() -> Iterator[ProgressBar]:
    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.end()


def watch(services: Services, client: Client, request_id: str) -> dict[str, Any]:
    """Show a request's progress until it ends. Raise DemoFailed if it fails."""
    end = time.monotonic() + ANNOTATED_WITHIN_S
    with _bar() as bar:
        while time.monotonic() < end:
            services.check()
            request: dict[str, Any] = client.call("GET", f"/api/lambda/requests/{request_id}")
            bar.show(
                done=request["done"],
                failed=request["failed"],
                total=request["total"],
                rate=request["rate"],
                eta_s=request["eta_s"],
            )
            if request["status"] not in ("queued", "started"):
                return request
            time.sleep(0.2)
    raise DemoFailed(f"request {request_id} did not end within {ANNOTATED_WITHIN_S:.0f} s")


def report(client: Client, task: dict[str, Any], request: dict[str, Any], place: Path) -> None:
    """Print the summary, and write the photographs with the annotations."""
    data = client.call("GET", f"/api/tasks/{task['id']}/annotations/")
    labels = client.call("GET", "/api/labels", params={"task_id": task["id"], "page_size": 1000})
    names = {label["id"]: label["name"] for label in labels["results"]}
    print(f"The request {request['status']}: {request['done']} frames done, ", end="")
    print(f"{request['failed']} failed; {request['rate'] or 0:.1f} frames/s.")
    if request["failed"]:
        print(f"Not all frames were annotated: {request['failed']} of {request['total']} failed.")
    if request["exc_info"]:
        print(f"  {request['exc_info']}")
    for error in request["errors"]:
        print(f"  frame {error['frame']}: {error['message']}")
    found = [*data["shapes"], *data["tags"], *data["tracks"]]
    counts = Counter(names[item["label_id"]] for item in found)
    for name, number in counts.most_common():
        print(f"  {name}: {number}")
    annotations = labeled_data_from_json(data)
    palette = [_label(label) for label in labels["results"]]
    meta = client.call("GET", f"/api/tasks/{task['id']}/data/meta")
    place.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(meta["frames"]):
        image = client.call(
            "GET",
            f"/api/tasks/{task['id']}/data/",
            params={"type": "frame", "number": number, "quality": "original"},
        )
        shapes = [shape for shape in annotations.shapes if shape.frame == number]
        photograph = Image.open(io.BytesIO(image))
        drawn = paint(photograph, draw(shapes, palette, photograph.size))
        drawn.save(place / f"{number:03d}-{Path(frame['name']).stem}.png")
    print(f"The photographs with what was found: {place}", flush=True)


def _label(label: dict[str, Any]) -> Label:
    """Convert a label of the API for the drawing."""
    return Label(
        id=label["id"],
        name=label["name"],
        type=label["type"],
        svg=label.get("svg") or "",
        sublabels=tuple(_label(sublabel) for sublabel in label["sublabels"]),
    )


if __name__ == "__main__":
    sys.exit(main())
