"""Show a function in the API: CVAT 2.54's function object with the function's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cvat_lambda.annotations.labels import labels_v2
from cvat_lambda.functions.spec import FunctionSpec, InteractorSpec, Kind

_OLD_STATES: Final = {"missing": "away", "scaled_to_zero": "asleep"}
_NOT_USABLE: Final = ("missing", "error")


def describe(spec: FunctionSpec, *, to_page: bool = False) -> dict[str, Any]:
    """Return the JSON object of a function: the common fields, those of its kind, and ``state``.

    ``to_page``: CVAT's pages (2.54) show neither the state nor a detector's description. For them
    the state of a function that cannot be used is appended to its name.
    """
    return {
        "id": spec.id,
        "kind": spec.kind.value,
        "labels_v2": labels_v2(spec.labels),
        "description": f"{_not_usable(spec)}{spec.description}",
        "name": _name(spec, to_page=to_page),
        "version": spec.version,
        "state": spec.state,
        **_deprecated_state(spec),
        **_EXTRAS.get(spec.kind, _nothing)(spec),
    }


def describe_briefly(spec: FunctionSpec, *, to_page: bool = False) -> dict[str, Any]:
    """Return only id, name, kind and state of `describe`."""
    return {
        "id": spec.id,
        "name": _name(spec, to_page=to_page),
        "kind": spec.kind.value,
        "state": spec.state,
    }


def _name(spec: FunctionSpec, *, to_page: bool) -> str:
    return f"{spec.name} ({spec.state})" if to_page and spec.state in _NOT_USABLE else spec.name


def _deprecated_state(spec: FunctionSpec) -> dict[str, str]:
    """Return the state under its former name, for clients of earlier versions; removed in 0.2."""
    old = _OLD_STATES.get(spec.state)
    return {} if old is None else {"deprecated_state": old}


def _not_usable(spec: FunctionSpec) -> str:
    """Return the beginning of the description of a function that cannot be used."""
    if spec.state == "missing":
        since = (
            "" if spec.missing_since is None else f" since {spec.missing_since:%Y-%m-%d %H:%M} UTC"
        )
        return f"(missing{since}) "
    return "(error) " if spec.state == "error" else ""


def _nothing(spec: FunctionSpec) -> dict[str, Any]:
    return {}


def _detector(spec: FunctionSpec) -> dict[str, Any]:
    return {"prompts": list(spec.prompts)} if spec.prompts else {}


def _interactor(spec: FunctionSpec) -> dict[str, Any]:
    interactor = spec.interactor or InteractorSpec()
    return {
        "min_pos_points": interactor.min_pos_points,
        "min_neg_points": interactor.min_neg_points,
        "startswith_box": interactor.startswith_box,
        "startswith_box_optional": interactor.startswith_box_optional,
        "help_message": interactor.help_message,
        "animated_gif": interactor.animated_gif,
    }


def _tracker(spec: FunctionSpec) -> dict[str, Any]:
    # CVAT's page fails on a tracker without supported_shape_types.
    return {"supported_shape_types": list(spec.supported_shape_types)}


_EXTRAS: Final[Mapping[Kind, Callable[[FunctionSpec], dict[str, Any]]]] = {
    Kind.DETECTOR: _detector,
    Kind.INTERACTOR: _interactor,
    Kind.TRACKER: _tracker,
}
