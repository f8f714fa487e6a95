"""Names and paths that stay inside a manifest, checked where a description is read: it may come from anybody."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"\w[\w.+-]*")


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of letters, digits, '.', '_', '-' and '+'")
    return value


def _inside_path(value: str) -> str:
    path = PurePosixPath(value)
    hidden = any(part.startswith(".") for part in path.parts)  # `..`, and what is not meant to be seen: ledgers, drafts
    if path.is_absolute() or not path.parts or hidden or "\\" in value or "\x00" in value or ":" in value:
        raise ValueError(f"{value!r} is no path inside the manifest")
    return value


PlainName = Annotated[str, AfterValidator(_plain_name)]
"""Name of a table or a split: names folders and files."""

InsidePath = Annotated[str, AfterValidator(_inside_path)]
"""Relative path, with `/`, that can't leave the folder it is relative to."""
