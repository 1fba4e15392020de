"""Pages of lists in CVAT's form: ``count``, ``next``, ``previous``, ``results``."""

from __future__ import annotations

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """Ten items a page unless ``page_size`` says otherwise, 1000 at most."""

    page_size = 10
    max_page_size = 1000
    page_size_query_param = "page_size"


class LongPages(Pages):
    """A hundred items a page unless ``page_size`` says otherwise."""

    page_size = 100
