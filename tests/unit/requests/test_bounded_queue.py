"""The bounded queue between the threads of a run."""

from __future__ import annotations

import threading

import pytest

from cvat_lambda.requests.run.bounded_queue import BoundedQueue, QueueStopped


def test_items_are_returned_in_order_then_none() -> None:
    queue: BoundedQueue[int] = BoundedQueue(max_items=3)
    for number in range(3):
        queue.put(number)
    queue.close()
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == [0, 1, 2, None]
    assert queue.ended


@pytest.mark.parametrize(
    ("options", "sizes"),
    [({"max_items": 2}, [1, 1, 1]), ({"max_items": 9, "max_bytes": 100}, [60, 40, 1])],
)
def test_put_waits_until_the_item_fits(options: dict[str, int], sizes: list[int]) -> None:
    queue: BoundedQueue[int] = BoundedQueue(**options)
    queue.put(0, sizes[0])
    queue.put(1, sizes[1])
    done = threading.Event()

    def put_third() -> None:
        queue.put(2, sizes[2])
        done.set()

    thread = threading.Thread(target=put_third)
    thread.start()
    assert not done.wait(0.05)
    assert queue.get() == 0
    assert done.wait(180)
    thread.join()


def test_empty_queue_takes_an_item_of_any_size() -> None:
    queue: BoundedQueue[str] = BoundedQueue(max_items=4, max_bytes=10)
    queue.put("large", 1000)
    assert queue.get() == "large"


def test_stop_makes_waiting_threads_raise() -> None:
    queue: BoundedQueue[int] = BoundedQueue(max_items=1)
    caught = threading.Event()

    def wait() -> None:
        try:
            queue.get()
        except QueueStopped:
            caught.set()

    thread = threading.Thread(target=wait)
    thread.start()
    queue.stop()
    assert caught.wait(180)
    thread.join()
    with pytest.raises(QueueStopped):
        queue.put(1)


def test_get_returns_none_after_the_timeout() -> None:
    queue: BoundedQueue[int] = BoundedQueue(max_items=1)
    assert queue.get(timeout_s=0.01) is None
    assert not queue.ended
