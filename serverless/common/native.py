"""Serves a function of CVAT's SDK (``cvat_sdk.auto_annotation``): ``spec.handler`` names `handler`.

The section ``x-cvat-lambda`` of the folder's function.yaml names the function::

    native: cvat_sdk.auto_annotation.functions.torchvision_detection
    parameters: {model_name: fasterrcnn_resnet50_fpn_v2}

As for ``cvat-cli``, a module is a function itself, or makes one with its ``create``. After a colon
may stand the name of a function or of its factory in the module.

``python -m common.native`` prints the annotations that function.yaml needs, as a JSON object.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml
from cvat_sdk import auto_annotation

from common.answers import answer
from common.native_detector import NativeDetector
from common.native_interactor import NativeInteractor
from common.native_tracker import NativeTracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.platform import Context, Event

FUNCTION_FILE = Path(__file__).parent.parent / "function.yaml"
SECTION = "x-cvat-lambda"
# The class of a function's spec -> what serves it. Older releases of the SDK lack some classes.
_KINDS: dict[str, Callable[[Any], NativeFunction]] = {
    "DetectionFunctionSpec": NativeDetector,
    "InteractionFunctionSpec": NativeInteractor,
    "TrackingFunctionSpec": NativeTracker,
}


class NativeFunction(Protocol):
    """A loaded function of the SDK, of one kind."""

    def annotations(self) -> dict[str, str]:
        """Return the annotations of function.yaml that describe the function."""

    def answer(self, body: dict[str, Any]) -> object:
        """Return the answer to a call's body; raise BadInput where the caller is wrong."""


def init_context(context: Context) -> None:
    """Load the function. Nuclio calls this once in each worker process."""
    document = yaml.safe_load(FUNCTION_FILE.read_text(encoding="utf-8"))
    function = load(document.get(SECTION) or {})
    if isinstance(function, NativeTracker):
        _require_one_worker(document)
    context.user_data.function = function
    given = document["metadata"].get("annotations") or {}
    for name, value in function.annotations().items():
        if given.get(name, "").strip() != value.strip():
            context.logger.warn(
                f"the annotation '{name}' in function.yaml is not that of the function: "
                "python -m common.native prints the function's"
            )


def handler(context: Context, event: Event) -> Any:
    """Answer one call. Nuclio calls this for each event."""
    return answer(context, event, context.user_data.function.answer)


def load(section: dict[str, Any]) -> NativeFunction:
    """Import and make the function that a section ``x-cvat-lambda`` names. Raise ValueError."""
    name, parameters = section.get("native"), section.get("parameters") or {}
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise ValueError(f"{SECTION} needs 'native: module:attribute', and 'parameters' if any")
    function = _made(name, parameters)
    if not hasattr(function, "spec"):
        raise ValueError(f"{name!r} is no function of cvat_sdk.auto_annotation: it has no 'spec'")
    for class_name, adapter in _KINDS.items():
        if isinstance(function.spec, getattr(auto_annotation, class_name, ())):
            return adapter(function)
    kind = type(function.spec).__name__
    raise ValueError(f"the 'spec' of {name!r} is a {kind}, one of {', '.join(_KINDS)} is needed")


def _made(name: str, parameters: dict[str, Any]) -> Any:
    """Return the object that ``module`` or ``module:attribute`` names; call it if it makes one."""
    module_name, _, attribute = name.partition(":")
    found = importlib.import_module(module_name)
    if attribute:
        found = getattr(found, attribute)
    elif hasattr(found, "create"):
        found = found.create
    if isinstance(found, type) or (callable(found) and not hasattr(found, "spec")):
        return found(**parameters)
    if parameters:
        raise ValueError(f"{name!r} takes no parameters: it is a function, not a factory")
    return found


def _require_one_worker(document: dict[str, Any]) -> None:
    """Raise ValueError if a trigger has several workers. They do not share the tracks' states."""
    for trigger in (document["spec"].get("triggers") or {}).values():
        for name in ("numWorkers", "maxWorkers"):
            if int(trigger.get(name) or 1) != 1:
                raise ValueError(
                    f"a tracker of cvat_sdk keeps its states in one process: set {name} to 1"
                )


if __name__ == "__main__":
    section = yaml.safe_load(FUNCTION_FILE.read_text(encoding="utf-8")).get(SECTION) or {}
    print(json.dumps(load(section).annotations()))
