"""Blocks of work that tests send to the workers of a cluster."""

from __future__ import annotations

import os
import signal
import time
from functools import lru_cache
from pathlib import Path

from reidsynth.errors import UserError


def square(number: int) -> int:
    time.sleep(0.02 * (number % 3))  # so that they end in another order than they begin
    return number * number


@lru_cache
def loaded() -> tuple[int, float]:
    return os.getpid(), time.monotonic()


def where(number: int) -> tuple[int, float]:
    time.sleep(0.05)
    return loaded()


def dies_once(task: tuple[str, int]) -> int:
    """Takes its worker with it the first time that number 5 is reached."""
    folder, number = task
    mark = Path(folder) / "died"
    if number == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def deadly(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def complains(number: int) -> int:
    if number == 3:
        raise UserError("number 3 is wrong: leave it out")
    return number


def code_path(number: int) -> str:
    import reidsynth

    return reidsynth.__file__
