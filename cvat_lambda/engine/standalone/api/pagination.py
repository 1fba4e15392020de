"""Lists in pages of ``count, next, previous, results``."""

from __future__ import annotations

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """Ten items a page, or as many as ``page_size`` says, up to a thousand."""

    page_size = 10
    max_page_size = 1000
    page_size_query_param = "page_size"
