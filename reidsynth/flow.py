"""Blocks on their way through workers that may be lost: handed out in order, some again, results taken in order."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(slots=True)
class Block:
    """A task, its place in the order, and how many workers were lost while they ran it."""

    number: int
    task: Any
    losses: int = 0


class Flow:
    """The blocks of one call: handed out in order, some again, results yielded in order.

    Args:
        function: what workers run.
        fetch: makes of a task what is sent; None sends the task.
        tasks: not begun.
        window: blocks between the next result to be yielded and the last one handed out, at most.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        fetch: Callable[[Any], Any] | None,
        tasks: Iterator[Any],
        window: int,
    ) -> None:
        self.function, self.fetch = function, fetch
        self.again: deque[Block] = deque()
        self.done: dict[int, Any] = {}
        self.failed_starts = 0
        self._tasks, self._window = enumerate(tasks), window
        self._begun, self._yielded, self._exhausted = 0, 0, False
        self._alone_since: float | None = None

    def next_block(self) -> Block | None:
        """The next block to hand out; None where there is none, or where results are to be yielded first."""
        if self.again:
            return self.again.popleft()
        if self._exhausted or self._begun - self._yielded >= self._window:
            return None
        found = next(self._tasks, None)
        if found is None:
            self._exhausted = True
            return None
        self._begun += 1
        return Block(*found)

    def next_is_done(self) -> bool:
        """Whether the next result in order is there."""
        return self._yielded in self.done

    def take(self) -> Any:  # noqa: ANN401 - any result
        """The next result in order."""
        self._yielded += 1
        return self.done.pop(self._yielded - 1)

    def ended(self) -> bool:
        """Whether every task was handed out and every result yielded."""
        return self._exhausted and self._yielded == self._begun

    def look(self, anybody: bool, patience: float, address: str) -> None:
        """Give up when there was no worker for too long."""
        now = time.monotonic()
        if anybody:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or now
        if now - self._alone_since > patience:
            raise UserError(
                f"the cluster at {address!r} gave no worker for {patience:g} seconds: look at `ray status` for nodes "
                "that are lost or busy, and run the same command again; finished shards are kept"
            )
