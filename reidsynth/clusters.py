"""Blocks of work on a Ray cluster: one that runs already, or one of this machine's cores for the time of a command.

A block's rows travel to its worker and its results travel back, so that workers need no file of the manifest; only this
process reads and writes it. A worker is an actor that keeps its model and its share of a GPU for as long as it lives. A
worker that is lost, alone or with its node, gives its blocks back to the others, and another is asked for.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import reidsynth
from reidsynth.engines import LOOK_AHEAD
from reidsynth.errors import UserError
from reidsynth.flow import Flow
from reidsynth.nodes import REMEDY, Actor, check_address, deciding_versions, import_ray, own_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reidsynth.flow import Block

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 4  # of one block, whose worker was lost each time
_AT_ONCE = 2  # blocks of one worker: the next one's rows are there when it has done the first
_STARTS = 4  # workers in a row that could not start
_SECONDS_BETWEEN_LOOKS = 5.0


class RayEngine:
    """Actors on a Ray cluster.

    Args:
        workers: how many, at least 1; None takes as many as the cluster's nodes hold. More than it holds now join when
            nodes do.
        address: `host:port` of the head node or `ray://host:port`, as `ray start` prints them; None takes
            `RAY_ADDRESS` where that is set, and otherwise starts a cluster on this machine and ends it again.
        gpus_per_worker: a share of one GPU, or a whole number of them; 0 leaves GPUs alone.
        patience: seconds to wait for a worker when there is none.

    Raises:
        UserError: Ray is not installed, or a value can't be.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        gpus_per_worker: float = 0.0,
        patience: float = 300.0,
    ) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"--workers is {workers}: it must be at least 1")
        if gpus_per_worker < 0 or (gpus_per_worker > 1 and gpus_per_worker != int(gpus_per_worker)):
            raise UserError(f"--gpus-per-worker is {gpus_per_worker:g}: it must be between 0 and 1, or a whole number")
        self.address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.gpus, self.patience = gpus_per_worker, patience
        self._asked = workers
        self._folder: Path | None = None
        self._pool: list[_Worker] = []
        self._actor: Any = None
        self._begun = False
        self._ray = import_ray()

    @property
    def workers(self) -> int:
        """How many there are when all have started; the cluster is asked where the caller did not say."""
        if self._asked is None and self.address == "local" and not self.gpus:
            self._asked = len(os.sched_getaffinity(0))
        if self._asked is None:
            self._connect()
            self._asked = self._room()
        return self._asked

    def __enter__(self) -> Self:
        """Open the engine; the cluster is started or asked with the first task."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers, abandoning what they still hold, and a cluster of this engine's own."""
        self._pool.clear()
        self._actor = None
        if self._begun:  # also where it was interrupted before it was connected
            self._begun = False
            self._ray.shutdown()  # workers end with their owner
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def imap(
        self,
        function: Callable[[Any], Result],
        tasks: Iterable[Task],
        *,
        fetch: Callable[[Task], Any] | None = None,
    ) -> Iterator[Result]:
        """Yield function(fetch(task)) in the order of the tasks, with bounded look-ahead; `fetch` runs here.

        Raises:
            UserError: the cluster does not answer, no worker starts, or a block took `RETRIES` more workers with it.
        """
        self._connect()
        flow = Flow(function, fetch, iter(tasks), LOOK_AHEAD * self.workers)
        try:
            while True:
                self._hand_out(flow)
                if flow.next_is_done():
                    yield flow.take()
                elif flow.ended():
                    return
                else:
                    self._collect(flow)
        finally:
            for worker in self._pool:
                worker.blocks.clear()

    def _hand_out(self, flow: Flow) -> None:
        while len(self._pool) < self.workers:
            self._pool.append(_Worker(self._actor.remote(deciding_versions(), platform.node())))
        ready = [worker for worker in self._pool if worker.started and len(worker.blocks) < _AT_ONCE]
        while ready:
            worker = min(ready, key=lambda one: len(one.blocks))
            block = flow.next_block()
            if block is None:
                return
            rows = block.task if flow.fetch is None else flow.fetch(block.task)
            worker.blocks[worker.actor.run.remote(flow.function, rows)] = block
            if len(worker.blocks) == _AT_ONCE:
                ready.remove(worker)

    def _collect(self, flow: Flow) -> None:
        """Wait for a worker to start or to end a block."""
        waiting = {ref: worker for worker in self._pool for ref in worker.awaited()}
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
        flow.look(any(worker.started for worker in self._pool), self.patience, self.address)
        for ref in done:
            worker = waiting[ref]
            try:
                value = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                self._lose(worker, flow, error)
                continue
            if ref in worker.blocks:
                flow.done[worker.blocks.pop(ref).number] = value
            else:
                worker.started, flow.failed_starts = True, 0

    def _lose(self, worker: _Worker, flow: Flow, error: Exception) -> None:
        self._pool.remove(worker)
        self._ray.kill(worker.actor)  # one that is merely out of reach must not go on
        if not worker.started:
            flow.failed_starts += 1
            if flow.failed_starts >= _STARTS:
                raise UserError(
                    f"{_STARTS} workers of the cluster at {self.address!r} in a row could not start; the last said: "
                    f"{_last_line(error)}"
                ) from error
        for place, block in enumerate(worker.blocks.values()):
            block.losses += place == 0  # the others were not begun
            if block.losses > RETRIES:
                raise UserError(
                    f"a block of work lost its worker {block.losses} times, most often for lack of memory: run the "
                    f"same command again with fewer --workers (now {self.workers}); finished shards are kept"
                ) from error
            flow.again.append(block)

    def _connect(self) -> None:
        if self._actor is not None:
            return
        if self.address != "local":
            check_address(self.address)
        if self._ray.is_initialized():
            raise UserError("this process is connected to a Ray cluster already: call ray.shutdown() first")
        self._begun = True
        about = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "ignore_reinit_error": False,
        }
        if self.address == "local":
            self._start(about)
            self._room()  # which no node will ever add to: nobody waits for it
        else:
            package = str(Path(reidsynth.__file__).parent)  # workers run this code, whatever release lies there
            try:
                self._ray.init(address=self.address, runtime_env={"py_modules": [package]}, **about)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"no Ray cluster answers at {self.address!r} ({_last_line(error)}): {REMEDY}"
                ) from error
        self._actor = self._ray.remote(num_cpus=1, num_gpus=self.gpus, max_restarts=0)(Actor)

    def _start(self, about: dict[str, Any]) -> None:
        """A cluster of this machine: on loopback, without telemetry, its files in a folder that goes with it."""
        self._folder = Path(tempfile.mkdtemp(prefix="reidsynth-"))
        with own_cluster(self._ray):
            self._ray.init(
                address="local",
                num_cpus=self._asked or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                _temp_dir=str(self._folder),
                **about,
            )

    def _room(self) -> int:
        """Workers that the nodes hold, at least 1.

        Raises:
            UserError: no node has room for one.
        """
        room = 0
        for node in self._ray.nodes():
            there = node["Resources"] if node["Alive"] else {}
            workers = int(there.get("CPU", 0))
            if self.gpus:
                gpus = int(there.get("GPU", 0))
                workers = min(workers, gpus * int(1 / self.gpus + 1e-9) if self.gpus < 1 else gpus // int(self.gpus))
            room += workers
        if not room:
            wanted = f"a CPU and {self.gpus:g} GPU" if self.gpus else "a CPU"
            if self.address == "local":
                raise UserError(f"this machine has not {wanted} for a worker: choose another --gpus-per-worker")
            raise UserError(
                f"no node of the cluster at {self.address!r} has {wanted} for a worker: look at `ray status`, or "
                "choose another --gpus-per-worker"
            )
        return room


@dataclass(slots=True, eq=False)
class _Worker:
    """An actor and what it holds."""

    actor: Any
    started: bool = False
    blocks: dict[Any, Block] = field(default_factory=dict)  # by the reference of their results, the running one first
    _readiness: Any = None

    def awaited(self) -> list[Any]:
        """References that tell of it: that it has started, or the results of its blocks."""
        if self._readiness is None:
            self._readiness = self.actor.ready.remote()
        return list(self.blocks) if self.started else [self._readiness]


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
