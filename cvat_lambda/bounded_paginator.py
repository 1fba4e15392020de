"""Paginators for lists that may have millions of rows, and the admin's lists that use one."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

ADMIN_ROWS: Final = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Shows the first `most_rows` rows of a query, and counts no further.

    People find other rows by the filters of the page. A page reads the primary keys of the rows
    before it, and whole rows of its own only.
    """

    most_rows: ClassVar[int] = 1000

    def __init__(self, rows: Any, per_page: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(rows, per_page, *args, **kwargs)
        self._rows = rows

    @cached_property
    def found(self) -> int:
        """The number of rows, `most_rows` + 1 if there are more."""
        return int(self._rows.order_by()[: self.most_rows + 1].count())

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no page shows."""
        return self.found > self.most_rows

    @cached_property
    def count(self) -> int:
        return min(self.found, self.most_rows)

    def page(self, number: int | str) -> Page[Any]:
        """Return a page. Raise InvalidPage."""
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        if start == 0:
            return Page(self._rows[: min(self.per_page, self.count)], number, self)
        keys = self._rows.values_list("pk", flat=True)
        shown = list(keys[start : min(start + self.per_page, self.count)])
        return Page(self._rows.filter(pk__in=shown), number, self)


class KeysPaginator(BoundedPaginator):
    """Reads the primary keys of all rows that it shows in one query, and the page's rows by them.

    This is for a query whose conditions take long: they are checked once, for the count and for the
    page. ``whole`` selects the rows of a page, in their order, and has no conditions.
    """

    def __init__(self, rows: Any, per_page: int, *, whole: Any) -> None:
        super().__init__(rows, per_page)
        self._whole = whole

    @cached_property
    def _keys(self) -> list[Any]:
        return list(self._rows.values_list("pk", flat=True)[: self.most_rows + 1])

    @cached_property
    def found(self) -> int:
        """The number of rows, `most_rows` + 1 if there are more."""
        return len(self._keys)

    def page(self, number: int | str) -> Page[Any]:
        """Return a page. Raise InvalidPage."""
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        shown = self._keys[start : min(start + self.per_page, self.count)]
        return Page(self._whole.filter(pk__in=shown), number, self)


class AdminPaginator(BoundedPaginator):
    """The paginator of the admin's lists."""

    most_rows = ADMIN_ROWS


class BoundedList:
    """A list of the admin that counts and shows `ADMIN_ROWS` rows at most."""

    paginator: Any = AdminPaginator
    show_full_result_count = False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Say below the title how many rows the list shows."""
        note = {"subtitle": f"up to {ADMIN_ROWS:,} rows; filter or search for others"}
        listed: Any = super()
        return listed.changelist_view(request, {**note, **(extra_context or {})})
