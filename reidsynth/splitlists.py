"""Lists in which owners say who and what belongs to a split: person numbers, labelled files, MATLAB arrays."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from reidsynth import listing
from reidsynth.errors import UserError, reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np

_LARGEST_LIST = 1_000_000_000  # bytes; the largest official list has 5 MB


def whole_number(text: str) -> int | None:
    """A number that a manifest's columns can hold; None for anything else.

    Example:
        >>> whole_number("0042"), whole_number("4.2"), whole_number("9" * 30)
        (42, None, None)
    """
    return int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else None


def person_ids(path: Path) -> tuple[int, ...]:
    """Read person numbers separated by commas or white space, as SYSU-MM01 and LLCM ship them on one line.

    Returns:
        The numbers, sorted.

    Raises:
        UserError: no such file, no number in it, something that is none, or a number twice.
    """
    words = re.split(r"[,\s]+", _text(path).strip().strip(","))
    wrong = [word for word in words if whole_number(word) is None]
    if wrong:
        raise UserError(
            f"{str(path)!r} must hold person numbers separated by commas, and holds {wrong[0][:40]!r}: take the "
            "official file"
        )
    return unique_ids(path, [int(word) for word in words])


def unique_ids(path: Path, ids: Iterable[int]) -> tuple[int, ...]:
    """Sort person numbers of which none may stand there twice.

    Raises:
        UserError: naming those that do.
    """
    numbers = sorted(ids)
    twice = sorted({str(a) for a, b in pairwise(numbers) if a == b})
    if twice:
        raise UserError(f"{str(path)!r} names {listing.first_few(twice)} twice: take the official file")
    return tuple(numbers)


def labelled_files(path: Path) -> list[tuple[str, int]]:
    """Read lines of `relative/path label`, as MSMT17, LLCM and RegDB ship them; empty lines are passed over.

    Returns:
        Path and label of each line, in the file's order.

    Raises:
        UserError: counting all mistakes and naming the first: no label, a path that is absolute or leaves the folder,
            the same path twice.
    """
    found: dict[str, int] = {}
    mistakes: list[str] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        relative, _, word = line.strip().rpartition(" ")
        relative = relative.strip().replace("\\", "/")
        label = whole_number(word)
        problem = listing.relative_problem(relative) if relative else "lacks its label or its path"
        if problem is None and label is None:
            problem = f"has the label {word[:40]!r}, which is no whole number"
        if problem is None and relative in found:
            problem = "stands there twice"
        if problem is not None or label is None:
            mistakes.append(f"line {number}: {line.strip()[:80]!r} {problem}")
        else:
            found[relative] = label
    if mistakes:
        raise UserError(
            f"{str(path)!r} has {len(mistakes)} mistakes: {listing.first_few(mistakes)}; take the official file"
        )
    if not found:
        raise UserError(f"{str(path)!r} is empty: copy the official file again")
    return list(found.items())


def matlab(path: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Read arrays of a MATLAB file (format 5, as the owners ship their lists).

    Args:
        path: the file.
        keys: names of the arrays that must be in it.

    Raises:
        UserError: no such file, a damaged one, one of format 7.3 (HDF5), or one without these arrays.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist: put the official file there")
    wanted = list(keys)
    try:
        values = loadmat(path, variable_names=wanted, verify_compressed_data_integrity=True)
    except Exception as error:  # noqa: BLE001 - the reader raises almost anything on damaged bytes
        raise UserError(
            f"{str(path)!r} is no readable MATLAB file of format 5 ({reason(error)}): copy the official file again"
        ) from None
    missing = [key for key in wanted if key not in values]
    if missing:
        raise UserError(f"{str(path)!r} lacks {', '.join(missing)}: take the official file")
    return {key: values[key] for key in wanted}


def matlab_numbers(path: Path, key: str, values: np.ndarray) -> list[int]:
    """Whole numbers of a MATLAB array.

    Raises:
        UserError: it holds something else.
    """
    try:
        numbers = [int(value) for value in values.ravel()]
        exact = all(number == value for number, value in zip(numbers, values.ravel(), strict=True))
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise UserError(f"{str(path)!r}: {key!r} must hold whole numbers; take the official file")
    return numbers


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist: put the official list there")
    try:
        if path.stat().st_size > _LARGEST_LIST:
            raise UserError(f"{str(path)!r} is larger than a gigabyte, so it is no list: take the official file")
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{str(path)!r} can't be read ({error}): copy the official list again") from None
