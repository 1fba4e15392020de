"""JSON under the name that CVAT's clients ask for, and what is no JSON."""

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
    """For views that answer pictures and archives, and JSON only where something is wrong.

    They know no renderer of ``image/jpeg``, so that a client that asks for just that, as the
    OpenAPI document says, would be refused what it could have.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer of errors: JSON of the first kind where the client asks for none."""
        try:
            chosen: Any = super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            first = next(iter(renderers))
            chosen = first, first.media_type
        return chosen[0], chosen[1]
