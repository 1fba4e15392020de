"""Template tags of the pages."""

from __future__ import annotations

from typing import Any

from django import template

from cvat_lambda.web.assets import asset_url
from cvat_lambda.web.links import frame_url, task_url

register = template.Library()

register.simple_tag(asset_url, name="asset")
register.simple_tag(frame_url)
register.simple_tag(task_url)


@register.simple_tag(takes_context=True)
def with_page(context: dict[str, Any], number: int) -> str:
    """Return the query string of the present page with another page number."""
    query = context["request"].GET.copy()
    query["page"] = str(number)
    return f"?{query.urlencode()}"


@register.filter
def duration(seconds: float | None) -> str:
    """Return a duration in words: ``45 s``, ``12 min``, ``3 h 5 min``."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
