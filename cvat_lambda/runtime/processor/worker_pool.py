"""The workers of one function: started together, replaced alone, put to sleep when idle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Final

from cvat_lambda.runtime.logs import FunctionLog
from cvat_lambda.runtime.processor.faults import EventTimedOut, NoWorkerFree, StartFailed
from cvat_lambda.runtime.processor.health import Health
from cvat_lambda.runtime.processor.link import Answer, WorkerGone, WorkerLink
from cvat_lambda.runtime.processor.memory import watch_memory
from cvat_lambda.runtime.processor.output import OutputLines, describe_exit
from cvat_lambda.runtime.processor.pool import Pool, PoolClosed
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.processor.statistics import Statistics, WorkerStatistics
from cvat_lambda.runtime.processor.workers import Worker
from cvat_lambda.runtime.worker.frames import Meta

TOO_LONG: Final = "was killed because a call took too long"
END_LOOK_S: Final = 0.25  # how often it is looked whether a worker's process has ended
EXIT_GRACE_S: Final = 1.0  # for a worker that hung up to end by itself, so that its status is true
WAKE_TIMEOUT_S: Final = 120.0  # Nuclio's own limit for a start from zero

OnState = Callable[[str, str], None]  # state, message


class Crew:
    """Runs events on the function's workers; keeps as many alive as the function asks for."""

    def __init__(self, settings: ProcessorSettings, log: FunctionLog, on_state: OnState) -> None:
        self.statistics = Statistics(workers=[WorkerStatistics() for _ in range(settings.workers)])
        self.in_flight = 0
        self.last_used_at = time.monotonic()
        self._settings = settings
        self._log = log
        self._on_state = on_state
        self._pool: Pool[Worker] = Pool()
        self._workers = [Worker(number) for number in range(settings.workers)]
        self._health = Health(self._workers, on_state)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asleep = False
        self._shift = 0  # grows at each sleep: what began before it is over
        self._waking: asyncio.Task[None] | None = None
        self._stopping = False
        self._scaling = asyncio.Lock()  # going to sleep and waking do not overlap

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that live."""
        links = [worker.link for worker in self._workers if worker.link is not None]
        return [link.pid for link in links if link.pid and not link.gone.is_set()]

    @property
    def asleep(self) -> bool:
        """Whether the function is scaled to zero."""
        return self._asleep

    async def start(self) -> None:
        """Start all workers side by side; raises StartFailed with the first one's reason."""
        if self._settings.worker_memory is not None:
            self._spawn(watch_memory(self._workers, self._settings.worker_memory))
        self._spawn(self._watch_ends())
        await self._start_all()
        if self._settings.idle_timeout_s is not None:
            self._spawn(self._watch_idleness(self._settings.idle_timeout_s))

    async def _start_all(self) -> None:
        starts = [asyncio.ensure_future(self._start(worker)) for worker in self._workers]
        try:
            await asyncio.wait_for(asyncio.gather(*starts), self._settings.readiness_timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            self._kill_all()
            raise StartFailed(
                f"the function was not ready within {self._settings.readiness_timeout_s:g} s "
                "(spec.readinessTimeoutSeconds): see its log for what it was doing"
            ) from exc
        except StartFailed:
            self._kill_all()
            raise
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        for worker in self._workers:
            self._pool.put(worker)

    async def take(self) -> Worker:
        """Return a free worker, waking the function if need be; raises NoWorkerFree."""
        while True:
            if self._asleep:
                await self.wake()
            worker = await self._take_one()
            if worker.link is not None and worker.link.usable:
                self.in_flight += 1
                return worker
            # It was sent to sleep while it was handed out; it comes back when it is woken.

    async def _take_one(self) -> Worker:
        began = time.monotonic()
        count = self.statistics
        count.allocations += 1
        count.available_percent_sum += 100 * self._pool.free / len(self._workers)
        worker = self._pool.take_now()
        if worker is not None:
            count.given_at_once += 1
        else:
            worker = await self._wait_for_worker(began)
        return worker

    async def _wait_for_worker(self, began: float) -> Worker:
        count = self.statistics
        try:
            worker = await self._pool.take(self._settings.availability_timeout_s)
        except (TimeoutError, asyncio.TimeoutError, PoolClosed) as exc:
            count.refused += 1
            raise NoWorkerFree from exc
        finally:
            count.wait_ms_sum += (time.monotonic() - began) * 1000
        count.given_after_wait += 1
        return worker

    def give_back(self, worker: Worker) -> None:
        """Return a worker that was taken and not used."""
        self.in_flight -= 1
        self._release(worker, worker.link)

    async def call(self, worker: Worker, meta: Meta, body: bytes) -> Answer:
        """Run one event on a taken worker; raises EventTimedOut or WorkerGone (with a reason)."""
        assert worker.link is not None
        link, count = worker.link, self.statistics
        try:
            if self._settings.event_timeout_s is None:
                answer = await link.call(meta, body)
            else:
                answer = await asyncio.wait_for(
                    link.call(meta, body), self._settings.event_timeout_s
                )
        except (asyncio.TimeoutError, TimeoutError) as exc:
            count.failed += 1
            self._log.write(
                "error",
                f"the handler took longer than {self._settings.event_timeout_s:g} s "
                f"(spec.eventTimeout): worker {worker.number} is killed",
                request=worker.request_id,
            )
            worker.end_reason = TOO_LONG
            link.kill()
            raise EventTimedOut from exc
        except WorkerGone as exc:
            count.failed += 1
            raise WorkerGone(await self._why_gone(worker, link)) from exc
        finally:
            self.in_flight -= 1
            self.last_used_at = time.monotonic()
            self._release(worker, link)
        count.succeeded += 1
        count.workers[worker.number].events += 1
        count.workers[worker.number].duration_ms_sum += answer[0]["duration"] * 1000
        was_looping = worker.restarts.looping
        worker.restarts.answered()
        if was_looping:
            self._health.tell("")
        return answer

    def _release(self, worker: Worker, link: WorkerLink | None) -> None:
        # A worker whose process ends comes back through _replace or a wake, and only then is
        # free: were it put back twice, two events would meet in one process.
        if link is not None and worker.link is link and link.usable:
            self._pool.put(worker)

    async def _start(self, worker: Worker) -> None:
        link = WorkerLink(str(worker.number), lambda record: self._on_log(worker, record))
        worker.link = link
        worker.end_reason = ""
        worker.restarts.started()
        try:
            await link.start(self._settings)
        except OSError as exc:
            raise StartFailed(f"its interpreter cannot be started: {exc}") from exc
        output = OutputLines(link.output, lambda line: self._log.write("output", line))
        output.open()
        try:
            told = await link.started
        except WorkerGone as exc:
            await link.exit_status(EXIT_GRACE_S)
            link.kill()  # what it started must not outlive it
            reason = worker.end_reason or describe_exit(await link.exit_status())
            output.finish()
            link.close()
            raise StartFailed(
                f"worker {worker.number} {reason} while it loaded the function"
            ) from exc
        except asyncio.CancelledError:
            link.kill()
            raise
        if told["kind"] == "failed":
            self._log.write("error", told["message"], traceback=told.get("traceback"))
            link.kill()
            raise StartFailed(f"the function does not load: {told['message']}")
        worker.restarts.started()
        self._spawn(self._watch(worker, link, output))

    async def _watch_ends(self) -> None:
        """Hang up on workers that have ended while something that they had forked did not.

        That holds their socket open. An answer that was on its way has come by the second look.
        """
        seen: set[WorkerLink] = set()
        while True:
            await asyncio.sleep(END_LOOK_S)
            links = [worker.link for worker in self._workers if worker.link is not None]
            ended = {link for link in links if not link.gone.is_set() and link.has_ended}
            for link in ended & seen:
                link.kill()
            seen = ended

    async def _watch(self, worker: Worker, link: WorkerLink, output: OutputLines) -> None:
        """Replace a worker when its process ends, for whatever reason."""
        await link.gone.wait()
        await link.exit_status(EXIT_GRACE_S)
        link.kill()  # what it started must not outlive it
        status = await link.exit_status()
        output.finish()
        link.close()
        if self._stopping or self._asleep or worker.link is not link:
            return
        self._pool.remove(worker)
        reason = f"worker {worker.number} {worker.end_reason or describe_exit(status)}"
        self._log.write("error", f"{reason}; it is started anew")
        self.statistics.workers[worker.number].restarts += 1
        if worker.end_reason != TOO_LONG:
            worker.restarts.ended()
        await self._replace(worker, reason)

    async def _replace(self, worker: Worker, reason: str) -> None:
        shift = self._shift
        while True:
            if worker.restarts.looping:
                self._health.tell(f"{reason}, as it did before soon after each start: see the log")
            await asyncio.sleep(worker.restarts.pause_s)
            if self._stopping or shift != self._shift:
                return
            try:
                await asyncio.wait_for(self._start(worker), self._settings.readiness_timeout_s)
            except (StartFailed, asyncio.TimeoutError, TimeoutError) as exc:
                if shift != self._shift:
                    return
                reason = str(exc) or "a worker was not ready in time"
                self._log.write("error", f"worker {worker.number} cannot be replaced: {reason}")
                worker.restarts.failed_to_start()
                self._health.tell(reason)
                continue
            if shift != self._shift:
                return  # it was put to sleep with the others while it started
            self._pool.put(worker)
            if worker.restarts.looping:
                self._spawn(self._health.tell_when_it_lives(worker))
            else:
                self._health.tell("")
            return

    async def _why_gone(self, worker: Worker, link: WorkerLink) -> str:
        reason = worker.end_reason or describe_exit(await link.exit_status())
        return f"worker {worker.number} {reason}"

    def _on_log(self, worker: Worker, record: Meta) -> None:
        if worker.captured is not None:
            worker.captured.append(record)
        self._log.write(
            record["level"],
            record["message"],
            worker=worker.number,
            request=worker.request_id,
            more=record["with"],
        )

    async def _watch_idleness(self, timeout_s: float) -> None:
        while not self._stopping:
            idle_s = time.monotonic() - self.last_used_at
            if not self._asleep and self.in_flight == 0 and idle_s >= timeout_s:
                await self.sleep()
            await asyncio.sleep(max(0.05, min(timeout_s - idle_s, timeout_s / 4, 5.0)))

    async def sleep(self) -> None:
        """Scale to zero: end every worker, so that all their memory is free; wakes on a call."""
        async with self._scaling:
            if self._asleep:
                return
            self._asleep = True
            self._shift += 1
            self._on_state("waitingForScaleResourceToZero", "")
            for worker in self._workers:
                self._pool.remove(worker)
            await self._stop_workers()
            self._on_state("scaledToZero", "")
        if self._pool.waiting:  # sent to sleep by hand, over the heads of these calls
            self._spawn(self._wake_quietly())

    async def _wake_quietly(self) -> None:
        with contextlib.suppress(StartFailed):
            await self.wake()

    async def wake(self) -> None:
        """Start the workers of a sleeping function; raises StartFailed."""
        if self._waking is None:
            self._waking = asyncio.ensure_future(self._wake())
        try:
            await asyncio.wait_for(asyncio.shield(self._waking), WAKE_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            raise StartFailed(f"the function did not wake within {WAKE_TIMEOUT_S:g} s") from exc

    async def _wake(self) -> None:
        try:
            async with self._scaling:
                if self._asleep:
                    await self._start_sleepers()
        finally:
            self._waking = None

    async def _start_sleepers(self) -> None:
        self._on_state("waitingForScaleResourceFromZero", "")
        try:
            await self._start_all()
        except StartFailed as exc:
            self._on_state("scaledToZero", str(exc))
            raise
        self._asleep = False
        self.last_used_at = time.monotonic()
        self._on_state("ready", "")

    async def stop(self) -> None:
        """End every worker: those at an event may finish it within the termination timeout."""
        self._stopping = True
        self._pool.close()
        await self._stop_workers()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stop_workers(self) -> None:
        links = [worker.link for worker in self._workers if worker.link is not None]
        for link in links:
            link.stop()
        waits = [asyncio.ensure_future(link.gone.wait()) for link in links]
        if waits:
            await asyncio.wait(waits, timeout=self._settings.termination_timeout_s)
        for wait in waits:
            wait.cancel()
        self._kill_all()
        # Their sockets close before their memory is free: whoever says so has to know.
        await asyncio.gather(*(link.exit_status() for link in links if link.pid))

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.link is not None:
                worker.link.kill()

    def kill_now(self) -> None:
        """End everything at once: the supervisor is gone."""
        self._stopping = True
        self._kill_all()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
