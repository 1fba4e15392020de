"""Load a function's folder into the test's interpreter, and call it as the platform does.

All folders use the same names for their modules (`main`, `model`, `network`). They are removed from
`sys.modules` once the folder is loaded, so that tests of several functions share an interpreter.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import yaml
from PIL import Image

SERVERLESS = Path(__file__).resolve().parents[3] / "serverless"


class Response:
    """The platform's response object."""

    def __init__(
        self, *, body: str, headers: dict[str, str], content_type: str, status_code: int
    ) -> None:
        self.body = body
        self.headers = headers
        self.content_type = content_type
        self.status_code = status_code


class Logger:
    """The platform's logger. It keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def info(self, message: str, *args: object) -> None:
        """Keep a message."""
        self.messages.append(message % args if args else message)

    debug = warn = error = info


class Function:
    """A function's folder: its modules, its specification, and methods that call it."""

    def __init__(self, folder: str) -> None:
        self.folder = SERVERLESS / folder
        with _imports_from(self.folder):
            self.main: Any = importlib.import_module("main")
            importlib.import_module("model")  # the entry point imports it when it starts
            self.modules: dict[str, ModuleType] = dict(_modules_of(self.folder))
        self.context = SimpleNamespace(
            user_data=SimpleNamespace(), logger=Logger(), Response=Response
        )

    def __getattr__(self, name: str) -> Any:
        if name in self.modules:
            return self.modules[name]
        raise AttributeError(name)

    def spec(self, file: str = "function.yaml") -> dict[str, Any]:
        """Read one of the folder's function files."""
        content: dict[str, Any] = yaml.safe_load((self.folder / file).read_text(encoding="utf-8"))
        return content

    def labels(self) -> list[dict[str, Any]]:
        """Return the labels that the function declares."""
        labels: list[dict[str, Any]] = json.loads(self.spec()["metadata"]["annotations"]["spec"])
        return labels

    def start(self) -> None:
        """Run `init_context`."""
        sys.modules.update(self.modules)
        try:
            self.main.init_context(self.context)
        finally:
            _forget_modules_of(self.folder)

    @property
    def logged(self) -> list[str]:
        """The messages that were logged so far."""
        messages: list[str] = self.context.logger.messages
        return messages

    def invoke(self, payload: object) -> tuple[int, Any]:
        """Call the handler; return the status and the parsed JSON."""
        event = SimpleNamespace(body=payload, content_type="application/json")
        answer = self.main.handler(self.context, event)
        assert answer.content_type == "application/json"
        return answer.status_code, json.loads(answer.body)


@contextmanager
def _imports_from(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _forget_modules_of(folder)


def _forget_modules_of(folder: Path) -> None:
    for name, _ in _modules_of(folder):
        del sys.modules[name]


def _modules_of(folder: Path) -> list[tuple[str, ModuleType]]:
    return [
        (name, module)
        for name, module in sys.modules.items()
        if getattr(module, "__file__", None) and Path(str(module.__file__)).parent == folder
    ]


def encoded(picture: np.ndarray, kind: str = "PNG") -> str:
    """Return a picture as an image file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
