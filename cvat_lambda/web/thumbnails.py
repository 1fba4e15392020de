"""Small images of frames, which browsers keep."""

from __future__ import annotations

import hashlib
from typing import Final

from django.http import HttpRequest, HttpResponse
from PIL import Image

from cvat_lambda.engine import get_engine
from cvat_lambda.images.decode import opened
from cvat_lambda.images.encode import JPEG, encode
from cvat_lambda.web.pages import page, task_of_frame

SIDE: Final = 256  # pixels, at most
_KEEP_S: Final = 3600


@page("GET")
def thumbnail(request: HttpRequest, task_id: int, number: int) -> HttpResponse:
    """Answer a small image of a frame; 304 if the browser has the frame's present content."""
    task_of_frame(request, task_id, number)
    engine = get_engine()
    key = hashlib.blake2b(engine.frame_key(task_id, number).encode(), digest_size=12).hexdigest()
    etag = f'"{key}"'
    kept = request.headers.get("If-None-Match", "")
    if kept.removeprefix("W/") == etag:  # GZipMiddleware, which CVAT uses, makes the tag weak
        return HttpResponse(status=304)
    with opened(engine.frame(task_id, number).data) as image:
        image.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at a fraction of its size
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        data = encode(image, JPEG, quality=80)
    headers = {"ETag": etag, "Cache-Control": f"private, max-age={_KEEP_S}"}
    return HttpResponse(data, content_type=JPEG, headers=headers)
