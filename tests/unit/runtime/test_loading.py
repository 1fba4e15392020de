"""The order in which workers load their models where memory is limited."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cvat_lambda.runtime.processes.memory_limit import MemoryLimit
from cvat_lambda.runtime.processor.loading import start_one_by_one
from cvat_lambda.runtime.processor.worker_process import Worker


def test_first_workers_of_all_waiting_functions_start_before_second_workers(
    tmp_path: Path,
) -> None:
    (tmp_path / "memory.current").write_text("0")
    memory = MemoryLimit(limit=2**30, folder=tmp_path)
    order: list[str] = []

    async def load(function: str) -> str:
        async def start(worker: Worker) -> None:
            order.append(f"{function}{worker.number}")
            await asyncio.sleep(0)

        workers = [Worker(number, 1) for number in range(2)]
        return await start_one_by_one(workers, start, memory, tmp_path / "loading.lock")

    async def load_all() -> tuple[str, ...]:
        return await asyncio.gather(load("a"), load("b"), load("c"))

    assert list(asyncio.run(load_all())) == ["", "", ""]
    assert {name[1] for name in order[:3]} == {"0"}
    assert sorted(order) == ["a0", "a1", "b0", "b1", "c0", "c1"]
