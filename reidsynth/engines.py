"""Engines run independent blocks of work and hand the results back in order."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")

LOOK_AHEAD = 3  # blocks in flight for each worker: enough to keep it busy, few enough to keep memory flat


class Engine(Protocol):
    """Runs a function over tasks; what comes out never depends on the engine or on its number of workers."""

    def imap(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield function(task) in the order of the tasks, with bounded look-ahead."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class LocalEngine:
    """A pool of processes on this machine; with one worker everything runs in this process.

    Args:
        workers: number of processes, at least 1; None takes one for each core.

    Raises:
        UserError: for fewer than one worker.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if self.workers < 1:
            raise UserError(f"--workers is {self.workers}: it must be at least 1")
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Open the engine; processes start with the first task."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers, abandoning what they still hold."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def imap(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield function(task) in the order of the tasks, with bounded look-ahead."""
        if self.workers == 1:
            yield from map(function, tasks)
            return
        pool = self._pool = self._pool or self._start()
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) >= LOOK_AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, most often for lack of memory: run the same command again with fewer "
                f"--workers (now {self.workers}); finished shards are kept"
            ) from error
        finally:
            for future in waiting:
                future.cancel()

    def _start(self) -> ProcessPoolExecutor:
        threads = max(1, len(os.sched_getaffinity(0)) // self.workers)
        return ProcessPoolExecutor(
            self.workers,
            mp_context=get_context("spawn"),  # a forked child would inherit the parent's threads half-way
            initializer=_prepare_worker,
            initargs=(os.getpid(), threads),
        )


def _prepare_worker(parent: int, threads: int) -> None:
    """Budget the threads of a worker and end it with its parent, however that ends."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = str(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import cv2

    cv2.setNumThreads(threads)
