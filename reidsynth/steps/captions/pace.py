"""The pace of requests: at most so many a minute, and none while the service asks to wait."""

from __future__ import annotations

import asyncio
import email.utils
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Pace:
    """Gives turns to requests.

    Args:
        per_minute: turns in a minute, evenly spaced; None sets no limit.
    """

    def __init__(self, per_minute: float | None = None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._held_until = 0.0

    async def turn(self) -> None:
        """Wait for the next turn; what `hold` says while waiting counts too."""
        slot = max(time.monotonic(), self._next)
        self._next = slot + self._gap
        while (wait := max(slot, self._held_until) - time.monotonic()) > 0:
            await asyncio.sleep(wait)

    def hold(self, seconds: float) -> None:
        """Give no turn for so many seconds; the longest of several demands counts."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait, from `retry-after-ms` or `Retry-After` (seconds or a date).

    Example:
        >>> retry_after({"retry-after": "2.5"}), retry_after({})
        (2.5, None)
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(found[name]) * factor)
        except (KeyError, ValueError):
            continue
    if "retry-after" not in found:
        return None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(found["retry-after"]).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
