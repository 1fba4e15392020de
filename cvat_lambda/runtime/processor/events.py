"""Events made from HTTP requests, CloudEvents among them, as Nuclio 1.14 makes them."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from aiohttp import web

from cvat_lambda.runtime.worker.frames import Meta

_STRUCTURED: Final = "application/cloudevents"  # the content type begins with it
_BINARY: Final = "Ce-Cloudeventsversion"


class MalformedCloudEvent(Exception):
    """The body is not a JSON object with the fields of a CloudEvent."""


def make_event(
    request: web.BaseRequest, body: bytes, *, trigger: str, hide_authorization: bool
) -> tuple[Meta, bytes]:
    """Return the map and the body of the event for a worker; raise MalformedCloudEvent."""
    headers = {canonical(key): value for key, value in request.headers.items()}
    if hide_authorization:
        headers.pop("Authorization", None)  # the token is for the runtime, not for the function
    content_type = request.headers.get("Content-Type", "")
    event: Meta = {
        "kind": "event",
        "content_type": content_type,
        "trigger": {"kind": "http", "name": trigger},
        "fields": dict(request.rel_url.query.items()) if request.query_string else {},
        "headers": headers,
        "id": uuid.uuid4().hex,
        "method": request.method,
        "path": request.path,
        "size": len(body),
        "timestamp": int(time.time()),
        "url": "",
        "shard_id": -1,
        "num_shards": 0,
        "type": "",
        "type_version": "",
        "version": "",
        "offset": 0,
        "topic": "",
    }
    if content_type.startswith(_STRUCTURED):
        return _structured(event, body)
    if _BINARY in headers:
        event.update(_binary(headers, event["timestamp"]))
    return event, body


def _structured(event: Meta, body: bytes) -> tuple[Meta, bytes]:
    """Return the event that a CloudEvent of version 0.1 in the body describes."""
    try:
        given = json.loads(body)
    except ValueError as exc:
        raise MalformedCloudEvent from exc
    if not isinstance(given, dict):
        raise MalformedCloudEvent
    data = given.get("data")
    extensions = given.get("extensions")
    event.update(
        content_type=_text(given.get("contentType")),
        headers=extensions if isinstance(extensions, dict) else {},
        trigger={"kind": _text(given.get("source")), "name": event["trigger"]["name"]},
        id=_text(given.get("eventID")),
        type=_text(given.get("eventType")),
        type_version=_text(given.get("eventTypeVersion")),
        version=_text(given.get("cloudEventsVersion")),
        timestamp=_timestamp(_text(given.get("eventTime")), event["timestamp"]),
    )
    if data is None:
        return event, b""
    return event, (data if isinstance(data, str) else json.dumps(data)).encode()


def _binary(headers: dict[str, str], now: int) -> Meta:
    """Return the fields of an event that CE headers of version 0.1 describe."""

    def header(name: str) -> str:
        return headers.get(canonical(f"ce-{name}"), "")

    return {
        "trigger": {"kind": header("source"), "name": header("name")},
        "id": header("eventid"),
        "type": header("eventtype"),
        "type_version": header("eventtypeversion"),
        "version": header("cloudeventsversion"),
        "timestamp": _timestamp(header("eventtime"), now),
    }


def _timestamp(text: str, otherwise: int) -> int:
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except ValueError:
        return otherwise


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=1024)
def canonical(name: str) -> str:
    """Return a header's name as Go writes it: ``X-Some-Name``."""
    return "-".join(part.capitalize() for part in name.split("-"))
