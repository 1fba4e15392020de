"""Pages of long lists, in the form of CVAT's own API."""

from __future__ import annotations

from rest_framework.pagination import PageNumberPagination


class OutcomePagination(PageNumberPagination):
    """``count``, ``next``, ``previous``, ``results``."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000
