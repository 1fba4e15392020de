"""Renderers and content negotiation as CVAT's clients need them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request


class CvatJSONRenderer(JSONRenderer):
    """``Accept: application/vnd.cvat+json``."""

    media_type = "application/vnd.cvat+json"
    charset = None


class PictureNegotiation(DefaultContentNegotiation):
    """Content negotiation of views that return images and archives, and JSON for errors.

    There is no renderer of ``image/jpeg``. REST framework's own negotiation would refuse a client
    that accepts only ``image/jpeg``, although the view returns it.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the renderer for errors: the first one if the client accepts none of them."""
        try:
            chosen: Any = super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            first = next(iter(renderers))
            chosen = first, first.media_type
        return chosen[0], chosen[1]
