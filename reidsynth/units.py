"""Bytes and seconds as people read them."""

from __future__ import annotations


def bytes_of(count: float) -> str:
    """A number of bytes in a readable unit.

    Example:
        >>> bytes_of(950), bytes_of(1_234_567)
        ('950 B', '1.2 MB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def time_of(seconds: float) -> str:
    """A time in a readable unit.

    Example:
        >>> time_of(0.0042), time_of(75.0), time_of(40_000)
        ('4.2 ms', '75 s', '11.1 h')
    """
    for unit, size in (("days", 172_800), ("h", 7200), ("min", 120)):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3600, 'min': 60}[unit]:.1f} {unit}"
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
