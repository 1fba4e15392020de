"""``/annotations`` of a task or a job."""

from __future__ import annotations

from typing import Any

from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from cvat_lambda.annotations.serialize import labeled_data_from_json, labeled_data_to_json
from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.standalone.editing import Editor


def _json(data: LabeledData) -> Response:
    return Response(labeled_data_to_json(data))


def _create(editor: Editor, body: Any) -> LabeledData:
    return editor.create(labeled_data_from_json(body, forbid_ids=True))


def _update(editor: Editor, body: Any) -> LabeledData:
    return editor.update(labeled_data_from_json(body, require_ids=True))


def _delete(editor: Editor, body: Any) -> LabeledData:
    return editor.delete(labeled_data_from_json(body, require_ids=True))


_ACTIONS = {"create": _create, "update": _update, "delete": _delete}


def answer(request: Request, editor: Editor) -> Response:
    """GET, PUT (replace), PATCH ``?action=create|update|delete``, DELETE (all)."""
    if request.method in SAFE_METHODS:
        return _json(editor.read())
    if request.method == "DELETE":
        editor.clear()
        return Response(status=status.HTTP_204_NO_CONTENT)
    if request.method == "PUT":
        return _json(editor.replace(labeled_data_from_json(request.data)))
    action = _ACTIONS.get(request.query_params.get("action", ""))
    if action is None:
        raise ValidationError({"action": [f"Must be one of {', '.join(_ACTIONS)}."]})
    return _json(action(editor, request.data))
