"""A paginator for lists that may have hundreds of thousands of rows."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Paginator
from django.utils.functional import cached_property

MOST_ROWS: Final = 1000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Shows the first `MOST_ROWS` rows of a query, and counts no further.

    People find older rows by the filters of the page.
    """

    def __init__(self, rows: Any, per_page: int) -> None:
        super().__init__(rows[: MOST_ROWS + 1], per_page)

    @cached_property
    def found(self) -> int:
        """The number of rows, `MOST_ROWS` + 1 if there are more."""
        rows: Any = self.object_list
        return int(rows.count())

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no page shows."""
        return self.found > MOST_ROWS

    @cached_property
    def count(self) -> int:
        return min(self.found, MOST_ROWS)
