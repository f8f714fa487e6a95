"""The files of a manifest: as bytes for comparison, and a copy for a test that changes them."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path


def tree(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes of every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def linked(folder: Path, copy: Path) -> Path:
    """A copy by hard links: what writes to a manifest puts new files in the place of old ones, and opens none."""
    return shutil.copytree(folder, copy, copy_function=os.link)


@contextmanager
def unchanged(folder: Path):
    """A manifest that tests share: none of them may have changed it, not even through a link."""
    before = tree(folder)
    yield folder
    assert tree(folder) == before, f"a test changed {folder}, which others read"
