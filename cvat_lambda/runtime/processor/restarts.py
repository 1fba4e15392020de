"""How often a worker ended soon after it had started, and how long its next start is put off.

One crash is mended at once. A worker that crashes whenever it is started would keep the machine
busy with nothing but loading: each start is then put off for longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

QUICK_LIFE_S: Final = 60.0  # a worker that ends before it has lived for so long ended soon
LOOP_AFTER: Final = 5  # such ends in a row, without an answer in between
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 30.0
MAX_PAUSE_OF_USEFUL_S: Final = 1.0  # while it answers calls between its ends


class Restarts:
    """The restarts of one worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quick = 0  # ends in a row that came soon
        self._barren = 0  # those of them since the last life with an answer
        self._useful = False  # whether it has answered since its start
        self._began_at = clock()

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        if not self._quick:
            return 0.0
        most = MAX_PAUSE_S if self._barren else MAX_PAUSE_OF_USEFUL_S
        return min(FIRST_PAUSE_S * 2.0 ** min(self._quick - 1, 20), most)

    @property
    def looping(self) -> bool:
        """Whether it does nothing but crash."""
        return self._barren >= LOOP_AFTER

    def started(self) -> None:
        """Say that it begins to load, or to live."""
        self._began_at = self._clock()
        self._useful = False

    def answered(self) -> None:
        """Say that it has answered a call."""
        self._barren = 0
        self._useful = True

    def lived(self) -> None:
        """Say that it has lived for long enough."""
        self._quick = self._barren = 0

    def ended(self) -> None:
        """Say that it ended, and that nobody had asked it to."""
        if self._clock() - self._began_at >= QUICK_LIFE_S:
            self.lived()
        else:
            self._quick += 1
            self._barren += not self._useful

    def failed_to_start(self) -> None:
        """Say that it could not be started, however long that took."""
        self._quick += 1
        self._barren += 1
