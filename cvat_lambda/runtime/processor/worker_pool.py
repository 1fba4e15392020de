"""The pool of worker processes of one function: start, restart, scale to zero, stop.

The workers of a function are processes, or threads of one process. A call takes a free slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.logs import FunctionLog
from cvat_lambda.runtime.processes.memory_limit import MemoryLimit, read_limit
from cvat_lambda.runtime.processor.errors import (
    EventTimedOut,
    NoWorkerFree,
    StartFailed,
    WorkerEnded,
)
from cvat_lambda.runtime.processor.health import Health
from cvat_lambda.runtime.processor.loading import start_one_by_one
from cvat_lambda.runtime.processor.memory import watch_memory
from cvat_lambda.runtime.processor.output import OutputLines, describe_exit
from cvat_lambda.runtime.processor.resource_queue import QueueClosed, ResourceQueue
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.processor.statistics import Statistics, WorkerStatistics
from cvat_lambda.runtime.processor.worker_process import Answer, Slot, Worker, WorkerProcess
from cvat_lambda.runtime.worker.frames import Meta

TOO_LONG: Final = "was killed because a call took too long"
END_POLL_INTERVAL_S: Final = 0.25  # between two checks for worker processes that have ended
EXIT_GRACE_S: Final = 1.0  # after a worker closed its socket, for it to exit
WAKE_TIMEOUT_S: Final = 120.0  # Nuclio's own limit for a start from zero

OnState = Callable[[str, str], None]  # state, message


class WorkerPool:
    """Runs events on the workers and restarts each worker that ends."""

    def __init__(self, settings: ProcessorSettings, log: FunctionLog, on_state: OnState) -> None:
        self.statistics = Statistics(workers=[WorkerStatistics() for _ in range(settings.workers)])
        self.in_flight = 0
        self.last_used_at = time.monotonic()
        self.notice = ""  # why fewer workers run than the function asks for
        self._settings = settings
        self._log = log
        self._on_state = on_state
        self._free: ResourceQueue[Slot] = ResourceQueue()
        if settings.threads:
            self._workers = [Worker(0, settings.workers)]
        else:
            self._workers = [Worker(number, 1) for number in range(settings.workers)]
        self._health = Health(self._workers, on_state)
        self._tasks: set[asyncio.Task[None]] = set()
        self._scaled_to_zero = False
        self._generation = 0  # of the workers; it grows each time they are scaled to zero
        self._starting: asyncio.Task[None] | None = None
        self._stopping = False
        self._scaling = asyncio.Lock()  # scaling down and up do not overlap

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        processes = [worker.process for worker in self._workers if worker.process is not None]
        return [process.pid for process in processes if process.pid and not process.gone.is_set()]

    @property
    def started_workers(self) -> int:
        """The number of workers that were started; fewer than asked for if memory is limited."""
        return sum(len(one.slots) for one in self._workers if one.process is not None)

    @property
    def scaled_to_zero(self) -> bool:
        """Whether the function is scaled to zero."""
        return self._scaled_to_zero

    async def start(self) -> None:
        """Start the workers; raise StartFailed with the reason of the first failure.

        They start in parallel, or one by one if memory is limited.
        """
        if self._settings.worker_memory is not None:
            self._spawn(watch_memory(self._workers, self._settings.worker_memory))
        self._spawn(self._watch_exits())
        await self._start_all()
        if self._settings.idle_timeout_s is not None:
            self._spawn(self._watch_idleness(self._settings.idle_timeout_s))

    async def _start_all(self) -> None:
        memory = self._memory_limit()
        if memory is not None:
            lock = Path(self._settings.loading_lock)
            try:
                missing = await start_one_by_one(self._workers, self._start_in_time, memory, lock)
            except StartFailed:
                self._kill_all()
                raise
            if missing:
                self._log.write("warn", missing)
            self.notice = missing
        else:
            await self._start_in_parallel()
        for worker in self._workers:
            if worker.process is not None and worker.process.usable:
                self._free_slots(worker)

    def _memory_limit(self) -> MemoryLimit | None:
        folder = self._settings.memory_cgroup
        return read_limit(Path(folder)) if folder else None

    async def _start_in_time(self, worker: Worker) -> None:
        try:
            await asyncio.wait_for(self._start(worker), self._settings.readiness_timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            raise self._not_in_time() from exc

    def _not_in_time(self) -> StartFailed:
        return StartFailed(
            f"the function was not ready within {self._settings.readiness_timeout_s:g} s "
            "(spec.readinessTimeoutSeconds): read its log for what it was doing"
        )

    async def _start_in_parallel(self) -> None:
        starts = [asyncio.ensure_future(self._start(worker)) for worker in self._workers]
        try:
            await asyncio.wait_for(asyncio.gather(*starts), self._settings.readiness_timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            self._kill_all()
            raise self._not_in_time() from exc
        except StartFailed:
            self._kill_all()
            raise
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)

    def _free_slots(self, worker: Worker) -> None:
        for slot in worker.slots:
            self._free.put(slot)

    async def take(self) -> Slot:
        """Return a free slot. Start the workers if the function is scaled to zero.

        Raise NoWorkerFree, or StartFailed.
        """
        while True:
            if self._scaled_to_zero:
                await self.scale_up()
            slot = await self._take_one()
            process = slot.worker.process
            if process is not None and process.usable:
                self.in_flight += 1
                return slot
            # It was scaled to zero meanwhile. It becomes free again when the workers start.

    async def _take_one(self) -> Slot:
        began = time.monotonic()
        count = self.statistics
        count.allocations += 1
        count.available_percent_sum += 100 * self._free.free / self._settings.workers
        slot = self._free.take_now()
        if slot is not None:
            count.given_at_once += 1
        else:
            slot = await self._wait_for_slot(began)
        return slot

    async def _wait_for_slot(self, began: float) -> Slot:
        count = self.statistics
        try:
            slot = await self._free.take(self._settings.availability_timeout_s)
        except (TimeoutError, asyncio.TimeoutError, QueueClosed) as exc:
            count.refused += 1
            raise NoWorkerFree from exc
        finally:
            count.wait_ms_sum += (time.monotonic() - began) * 1000
        count.given_after_wait += 1
        return slot

    def give_back(self, slot: Slot) -> None:
        """Make a slot free that was taken and not used."""
        self.in_flight -= 1
        self._release(slot, slot.worker.process)

    async def call(self, slot: Slot, meta: Meta, body: bytes) -> Answer:
        """Run one event in a taken slot; raise EventTimedOut, or WorkerEnded with a reason."""
        worker = slot.worker
        assert worker.process is not None
        process, count = worker.process, self.statistics
        try:
            if self._settings.event_timeout_s is None:
                answer = await process.call(meta, body, slot.index)
            else:
                answer = await asyncio.wait_for(
                    process.call(meta, body, slot.index), self._settings.event_timeout_s
                )
        except (asyncio.TimeoutError, TimeoutError) as exc:
            count.failed += 1
            self._log.write(
                "error",
                f"the handler took longer than {self._settings.event_timeout_s:g} s "
                f"(spec.eventTimeout): worker {worker.number} is killed",
                request=slot.request_id,
            )
            worker.end_reason = TOO_LONG
            process.kill()
            raise EventTimedOut from exc
        except WorkerEnded as exc:
            count.failed += 1
            raise WorkerEnded(await self._why_gone(worker, process)) from exc
        finally:
            self.in_flight -= 1
            self.last_used_at = time.monotonic()
            self._release(slot, process)
        count.succeeded += 1
        count.workers[slot.number].events += 1
        count.workers[slot.number].duration_ms_sum += answer[0]["duration"] * 1000
        was_looping = worker.backoff.in_crash_loop
        worker.backoff.record_answer()
        if was_looping:
            self._health.report("")
        return answer

    def _release(self, slot: Slot, process: WorkerProcess | None) -> None:
        # `_replace` or a start from zero makes a slot free whose process has ended. If it became
        # free here too, one slot would get two events at once.
        if process is not None and slot.worker.process is process and process.usable:
            self._free.put(slot)

    async def _start(self, worker: Worker) -> None:
        process = WorkerProcess(
            str(worker.number), lambda record, index: self._on_log(worker, record, index)
        )
        worker.process = process
        worker.end_reason = ""
        worker.backoff.record_start()
        try:
            await process.start(self._settings)
        except OSError as exc:
            raise StartFailed(f"its interpreter cannot be started: {exc}") from exc
        output = OutputLines(process.output, lambda line: self._log.write("output", line))
        output.open()
        try:
            told = await process.started
        except WorkerEnded as exc:
            await process.exit_status(EXIT_GRACE_S)
            process.kill()  # its descendants may still run
            reason = worker.end_reason or describe_exit(await process.exit_status())
            output.finish()
            process.close()
            # A model that exceeds the memory limit will exceed it at the next attempt as well.
            raise StartFailed(
                f"worker {worker.number} {reason} while it loaded the function",
                transient=not worker.end_reason,
            ) from exc
        except asyncio.CancelledError:
            process.kill()
            raise
        if told["kind"] == "failed":
            self._log.write("error", told["message"], traceback=told.get("traceback"))
            process.kill()
            raise StartFailed(f"the function does not load: {told['message']}", transient=False)
        worker.backoff.record_start()
        self._spawn(self._watch(worker, process, output))

    async def _watch_exits(self) -> None:
        """Kill the descendants of workers whose own process has ended.

        A descendant may keep the worker's socket open, so the socket does not show the end. An
        answer that the worker sent has arrived by the second check.
        """
        seen: set[WorkerProcess] = set()
        while True:
            await asyncio.sleep(END_POLL_INTERVAL_S)
            processes = [worker.process for worker in self._workers if worker.process is not None]
            ended = {
                process for process in processes if not process.gone.is_set() and process.has_ended
            }
            for process in ended & seen:
                process.kill()
            seen = ended

    async def _watch(self, worker: Worker, process: WorkerProcess, output: OutputLines) -> None:
        """Wait until a worker's process ends for any reason, and start another one."""
        await process.gone.wait()
        await process.exit_status(EXIT_GRACE_S)
        process.kill()  # its descendants may still run
        status = await process.exit_status()
        output.finish()
        process.close()
        if self._stopping or self._scaled_to_zero or worker.process is not process:
            return
        self._withdraw(worker)
        reason = f"worker {worker.number} {worker.end_reason or describe_exit(status)}"
        self._log.write("error", f"{reason}; it is restarted")
        self.statistics.workers[worker.number].restarts += 1
        if worker.end_reason != TOO_LONG:
            worker.backoff.record_crash()
        await self._replace(worker, reason)

    async def _replace(self, worker: Worker, reason: str) -> None:
        generation = self._generation
        while True:
            if worker.backoff.in_crash_loop:
                self._health.report(f"{reason}, shortly after each start: read its log")
            await asyncio.sleep(worker.backoff.delay_s)
            if self._stopping or generation != self._generation:
                return
            try:
                await asyncio.wait_for(self._start(worker), self._settings.readiness_timeout_s)
            except (StartFailed, asyncio.TimeoutError, TimeoutError) as exc:
                if generation != self._generation:
                    return
                reason = str(exc) or "a worker was not ready in time"
                self._log.write("error", f"worker {worker.number} cannot be replaced: {reason}")
                worker.backoff.record_failed_start()
                self._health.report(reason)
                continue
            if generation != self._generation:
                return  # all workers were scaled to zero while this one started
            self._free_slots(worker)
            if worker.backoff.in_crash_loop:
                self._spawn(self._health.report_when_stable(worker))
            else:
                self._health.report("")
            return

    async def _why_gone(self, worker: Worker, process: WorkerProcess) -> str:
        reason = worker.end_reason or describe_exit(await process.exit_status())
        return f"worker {worker.number} {reason}"

    def _on_log(self, worker: Worker, record: Meta, index: int) -> None:
        slot = worker.slot_of(index)
        if slot is not None and slot.captured is not None:
            slot.captured.append(record)
        self._log.write(
            record["level"],
            record["message"],
            worker=worker.number if slot is None else slot.number,
            request="" if slot is None else slot.request_id,
            more=record["with"],
        )

    async def _watch_idleness(self, timeout_s: float) -> None:
        while not self._stopping:
            idle_s = time.monotonic() - self.last_used_at
            if not self._scaled_to_zero and self.in_flight == 0 and idle_s >= timeout_s:
                await self.scale_down()
            await asyncio.sleep(max(0.05, min(timeout_s - idle_s, timeout_s / 4, 5.0)))

    async def scale_down(self) -> None:
        """End all workers, which frees their memory. The next call starts them again."""
        async with self._scaling:
            if self._scaled_to_zero:
                return
            self._scaled_to_zero = True
            self._generation += 1
            self._on_state("waitingForScaleResourceToZero", "")
            for worker in self._workers:
                self._withdraw(worker)
            await self._stop_workers()
            self._on_state("scaledToZero", "")
        if self._free.waiting:  # the function was scaled to zero by hand while these calls waited
            self._spawn(self._try_scale_up())

    def _withdraw(self, worker: Worker) -> None:
        for slot in worker.slots:
            self._free.remove(slot)

    async def _try_scale_up(self) -> None:
        with contextlib.suppress(StartFailed):
            await self.scale_up()

    async def scale_up(self) -> None:
        """Start the workers if the function is scaled to zero; raise StartFailed."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start_from_zero())
        try:
            await asyncio.wait_for(asyncio.shield(self._starting), WAKE_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            raise StartFailed(
                f"the function did not start from zero within {WAKE_TIMEOUT_S:g} s"
            ) from exc

    async def _start_from_zero(self) -> None:
        try:
            async with self._scaling:
                if self._scaled_to_zero:
                    await self._start_workers_again()
        finally:
            self._starting = None

    async def _start_workers_again(self) -> None:
        self._on_state("waitingForScaleResourceFromZero", "")
        try:
            await self._start_all()
        except StartFailed as exc:
            self._on_state("scaledToZero", str(exc))
            raise
        self._scaled_to_zero = False
        self.last_used_at = time.monotonic()
        self._on_state("ready", "")

    async def stop(self) -> None:
        """End all workers. Each may finish its current event within the termination timeout."""
        self._stopping = True
        self._free.close()
        await self._stop_workers()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop_workers(self) -> None:
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.stop()
        waits = [asyncio.ensure_future(process.gone.wait()) for process in processes]
        if waits:
            await asyncio.wait(waits, timeout=self._settings.termination_timeout_s)
        for wait in waits:
            wait.cancel()
        self._kill_all()
        # The socket closes before the process has ended and its memory is freed.
        await asyncio.gather(*(process.exit_status() for process in processes if process.pid))

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()

    def kill_now(self) -> None:
        """Kill all workers at once, because the supervisor has ended."""
        self._stopping = True
        self._kill_all()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
