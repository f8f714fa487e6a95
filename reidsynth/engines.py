"""Engines run independent blocks of work and hand the results back in order."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.abc import MetaPathFinder
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

    @property
    def workers(self) -> int:
        """How many work at once."""
        ...

    def imap(
        self,
        function: Callable[[Any], Result],
        tasks: Iterable[Task],
        *,
        fetch: Callable[[Task], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield function(task) in the order of the tasks, with bounded look-ahead.

        Args:
            function: runs in a worker.
            tasks: what it is given, one by one.
            fetch: reads what a task names; the function is given that instead. It runs where files can be read, in this
                process where workers are on other machines.
        """
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
        self._workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if self._workers < 1:
            raise UserError(f"--workers is {self._workers}: it must be at least 1")
        self._pool: ProcessPoolExecutor | None = None

    @property
    def workers(self) -> int:
        """Number of processes."""
        return self._workers

    def __enter__(self) -> Self:
        """Open the engine; processes start with the first task."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers, abandoning what they still hold; whoever interrupts a run need not wait for what they do."""
        if self._pool is not None:
            if any(isinstance(one, KeyboardInterrupt) for one in exception):
                for worker in list((self._pool._processes or {}).values()):  # public from Python 3.14 on
                    worker.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def imap(
        self,
        function: Callable[[Any], Result],
        tasks: Iterable[Task],
        *,
        fetch: Callable[[Task], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield function(fetch(task)) in the order of the tasks, with bounded look-ahead; workers fetch for themselves.

        Raises:
            UserError: a worker was killed.
        """
        if fetch is not None:
            function = partial(_fetched, function, fetch)
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


def _fetched(function: Callable[[Any], Result], fetch: Callable[[Task], Any], task: Task) -> Result:
    return function(fetch(task))


def engine_of(name: str, workers: int | None, *, address: str | None = None, gpus_per_worker: float = 0.0) -> Engine:
    """An engine by its name.

    Args:
        name: `local` or `ray`.
        workers: how many; None for all that there is room for.
        address: of a Ray cluster.
        gpus_per_worker: share of a GPU that each worker of a Ray cluster holds.

    Raises:
        UserError: a value can't be, or does not go with the engine, or Ray is missing.
    """
    if name == "ray":
        from reidsynth.clusters import RayEngine

        return RayEngine(workers, address=address, gpus_per_worker=gpus_per_worker)
    if name != "local":
        raise UserError(f"--engine {name!r} is unknown: choose local or ray")
    given = {"--address": address, "--gpus-per-worker": gpus_per_worker}
    stray = [option for option, value in given.items() if value]
    if stray:
        raise UserError(f"{' and '.join(stray)} mean a Ray cluster: add --engine ray")
    return LocalEngine(workers)


def _prepare_worker(parent: int, threads: int) -> None:
    """Budget the threads of a worker and end it with its parent, however that ends."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = str(threads)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _keep_pandas_out()
    import cv2

    cv2.setNumThreads(threads)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse one name and leave the others to the next finder."""
        del path, target
        if fullname == "pandas":
            raise ImportError


def _keep_pandas_out() -> None:
    """Let pyarrow look for pandas, as it does with the first array that it makes, while there is none.

    It only wants to know whether values are pandas' own, which those of workers never are, and the import costs every
    worker 50 MB and as much time as all others together. Whoever imports pandas afterwards gets it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)
