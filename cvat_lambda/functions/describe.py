"""A function as the API shows it: the function object of CVAT 2.54, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cvat_lambda.annotations.labels import labels_v2
from cvat_lambda.functions.spec import FunctionSpec, InteractorSpec, Kind

_OLD_STATES: Final = {"missing": "away", "scaled_to_zero": "asleep"}
_NOT_USABLE: Final = ("missing", "error")


def describe(spec: FunctionSpec, *, to_page: bool = False) -> dict[str, Any]:
    """Show a function: the fields of every kind, those of its own, and ``state``.

    ``to_page``: CVAT's pages (2.54) show neither a state nor, of detectors, the description, so
    that people would see nowhere that a function cannot be used: to these its name says it.
    """
    state = f" ({spec.state})" if to_page and spec.state in _NOT_USABLE else ""
    return {
        "id": spec.id,
        "kind": spec.kind.value,
        "labels_v2": labels_v2(spec.labels),
        "description": f"{_not_usable(spec)}{spec.description}",
        "name": f"{spec.name}{state}",
        "version": spec.version,
        "state": spec.state,
        **_deprecated_state(spec),
        **_EXTRAS.get(spec.kind, _nothing)(spec),
    }


def _deprecated_state(spec: FunctionSpec) -> dict[str, str]:
    """The state under its old name, for clients of earlier versions; removed in 0.2."""
    old = _OLD_STATES.get(spec.state)
    return {} if old is None else {"deprecated_state": old}


def _not_usable(spec: FunctionSpec) -> str:
    """What people must know before they choose it, where no ``state`` is shown."""
    if spec.state == "missing":
        since = (
            "" if spec.missing_since is None else f" since {spec.missing_since:%Y-%m-%d %H:%M} UTC"
        )
        return f"(missing{since}) "
    return "(error) " if spec.state == "error" else ""


def _nothing(spec: FunctionSpec) -> dict[str, Any]:
    return {}


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
    # Never without it: CVAT's page fails on a tracker that has no supported_shape_types.
    return {"supported_shape_types": list(spec.supported_shape_types)}


_EXTRAS: Final[Mapping[Kind, Callable[[FunctionSpec], dict[str, Any]]]] = {
    Kind.INTERACTOR: _interactor,
    Kind.TRACKER: _tracker,
}
