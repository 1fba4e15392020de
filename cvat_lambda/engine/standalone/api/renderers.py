"""JSON under the name that CVAT's clients ask for."""

from __future__ import annotations

from rest_framework.renderers import JSONRenderer


class CvatJSONRenderer(JSONRenderer):
    """``Accept: application/vnd.cvat+json``."""

    media_type = "application/vnd.cvat+json"
    charset = None
