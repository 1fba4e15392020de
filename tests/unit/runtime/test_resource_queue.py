from __future__ import annotations

import asyncio

import pytest

from cvat_lambda.runtime.processor.resource_queue import QueueClosed, ResourceQueue


def test_callers_get_items_in_the_order_of_their_calls() -> None:
    async def play() -> list[tuple[str, int]]:
        pool: ResourceQueue[int] = ResourceQueue()
        served: list[tuple[str, int]] = []

        async def call(name: str) -> None:
            served.append((name, await pool.take(5)))

        calls = [asyncio.ensure_future(call(name)) for name in "abc"]
        await asyncio.sleep(0)
        for item in (1, 2, 3):
            pool.put(item)
        await asyncio.gather(*calls)
        return served

    assert asyncio.run(play()) == [("a", 1), ("b", 2), ("c", 3)]


def test_later_caller_does_not_overtake_a_waiting_one() -> None:
    async def play() -> int | None:
        pool: ResourceQueue[int] = ResourceQueue()
        waiting = asyncio.ensure_future(pool.take(5))
        await asyncio.sleep(0)
        pool.put(1)  # assigned to the waiting caller, whose task has not run yet
        overtaker = pool.take_now()
        assert await waiting == 1
        return overtaker

    assert asyncio.run(play()) is None


def test_caller_with_a_timeout_of_zero_is_refused_at_once() -> None:
    async def play() -> None:
        with pytest.raises(TimeoutError):
            await ResourceQueue[int]().take(0)

    asyncio.run(play())


def test_caller_that_timed_out_gets_no_item() -> None:
    async def play() -> int:
        pool: ResourceQueue[int] = ResourceQueue()
        with pytest.raises(TimeoutError):
            await pool.take(0.01)
        pool.put(1)
        return pool.free

    assert asyncio.run(play()) == 1


def test_item_of_a_cancelled_caller_is_assigned_to_the_next_caller() -> None:
    async def play() -> tuple[int, int]:
        pool: ResourceQueue[int] = ResourceQueue()
        first = asyncio.ensure_future(pool.take(5))
        second = asyncio.ensure_future(pool.take(5))
        await asyncio.sleep(0)
        pool.put(1)
        first.cancel()
        return await second, pool.free

    assert asyncio.run(play()) == (1, 0)


def test_closed_queue_refuses_waiting_and_later_callers() -> None:
    async def play() -> None:
        pool: ResourceQueue[int] = ResourceQueue()
        waiting = asyncio.ensure_future(pool.take(5))
        await asyncio.sleep(0)
        pool.close()
        for call in (waiting, pool.take(5)):
            with pytest.raises(QueueClosed):
                await call

    asyncio.run(play())


def test_removed_item_is_not_given_out() -> None:
    async def play() -> int | None:
        pool: ResourceQueue[int] = ResourceQueue()
        pool.put(1)
        pool.remove(1)
        pool.remove(2)
        return pool.take_now()

    assert asyncio.run(play()) is None
