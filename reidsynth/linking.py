"""New manifests from old ones: files are linked, not copied, wherever the disk allows it."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from reidsynth.errors import UserError
from reidsynth.manifest import MANIFEST_FILE
from reidsynth.storage import disk_errors, writing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from reidsynth.manifest import ShardInfo
    from reidsynth.protocol import ProtocolFile

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


def refuse_foreign(out: Path) -> None:
    """Make sure that a folder may become a manifest.

    Raises:
        UserError: when it is a file, or holds other things than a manifest (begun or whole).
    """
    with disk_errors(out):
        whole_file = out.is_file()
    if whole_file:
        raise UserError(f"{out} is a file: choose a folder for the manifest")
    known = {"captures", "rgb", "preview", "README.md", MANIFEST_FILE, ".parts"}
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if there and not there & known:
        raise UserError(f"{out} holds other files ({sorted(there)[0]!r}): choose an empty or a new folder")


def mark(out: Path) -> None:
    """Make an empty folder one that `refuse_foreign` takes for a manifest that was begun, however soon it is killed.

    Raises:
        UserError: when the folder may not be written.
    """
    with disk_errors(out):
        (out / "captures").mkdir(exist_ok=True)


def link(source: Path, target: Path) -> None:
    """Let `target` name the content of `source`; a copy where the disk has no links between the two places.

    Both names then share one file. No program here ever writes into a file that exists, so neither can change the
    other.

    Raises:
        UserError: when the disk is full or the folder may not be written.
    """
    real = source.resolve()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if target.samefile(real):
                return
            target.unlink()
        try:
            os.link(real, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with real.open("rb") as origin, writing(target) as handle:
                shutil.copyfileobj(origin, handle, 2**20)


def link_files(source: Path, out: Path, files: Iterable[ShardInfo | ProtocolFile]) -> None:
    """Link files of one manifest into another, under the same names."""
    for entry in files:
        link_shard(source, out, entry, entry.file)


def link_shard(source: Path, out: Path, entry: ShardInfo | ProtocolFile, name: str) -> None:
    """Link one file of a manifest into another under a name.

    Its bytes are not read: they stay those on record, or are found damaged where they are read, under either name.

    Raises:
        UserError: when it is missing or has another size than the one on record.
    """
    path, target = source / entry.file, out / name
    if not path.exists() or path.stat().st_size != entry.bytes:
        raise UserError(f"{path} is not the file on record (missing, or damaged): `reidsynth validate` tells more")
    link(path, target)
