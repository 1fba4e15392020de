"""Pages of lists in CVAT's form: ``count``, ``next``, ``previous``, ``results``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from rest_framework.pagination import PageNumberPagination

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator


class ShortListPaginator(_Paginator):
    """Counts the rows only if they do not fit on the first page."""

    def page(self, number: int | str) -> Page[Any]:
        """Return a page. Raise InvalidPage."""
        if str(number) != "1":
            return super().page(number)
        rows = list(self.object_list[: self.per_page + 1])
        if len(rows) <= self.per_page:
            self.count = len(rows)
        return Page(rows[: self.per_page], 1, self)


class Pages(PageNumberPagination):
    """Ten items a page unless ``page_size`` says otherwise, 1000 at most."""

    django_paginator_class = ShortListPaginator
    page_size = 10
    max_page_size = 1000
    page_size_query_param = "page_size"


class LongPages(Pages):
    """A hundred items a page unless ``page_size`` says otherwise."""

    page_size = 100
