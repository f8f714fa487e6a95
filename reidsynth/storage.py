"""Files that are either whole or absent: atomic writes, checksums, the lock of a manifest."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY = ".writing-"
_NO_PLACE = (
    errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
)  # fmt: skip
_LONGEST_PATH_TOLD = 120


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or forbidden disk, or a path that can't be, into one sentence about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f"no space is left to write {path}: nothing half-written was kept; free some space and run the same "
                "command again, finished shards are not made twice"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"{path} can't be written ({error.strerror}): choose a folder that you may write"
            ) from error
        if error.errno in _NO_PLACE and _speaks_of(error, path):
            raise UserError(
                f"{_shortened(path)} can't be written ({(error.strerror or '').lower()}): choose another place"
            ) from error
        raise


def _speaks_of(error: OSError, path: Path) -> bool:
    """Whether an error is about a path, its temporary file or the folders above it."""
    named = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    above = (path, *path.parents)
    return any(name in above or (name.name.startswith(TEMPORARY) and name.parent == path.parent) for name in named)


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _LONGEST_PATH_TOLD else f"{text[:_LONGEST_PATH_TOLD]}..."


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends well and vanishes when it does not.

    The file is flushed to disk before the rename and the folder after it, so a power cut leaves the old file or the
    new one.

    Raises:
        UserError: when the disk is full or the folder may not be written.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with writing(path) as handle:
        handle.write(text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    """Checksum of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def shard_sha256(path: Path) -> str:
    """Checksum of a finished shard: it is never changed, only replaced, so the same file is read once a process.

    What proves that files are sound reads them every time (`sha256_file`).
    """
    status = path.stat()
    return _read_once(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=4096)
def _read_once(path: Path, *_: int) -> str:
    return sha256_file(path)


def content_key(*parts: Any) -> str:  # noqa: ANN401 - any JSON values
    """Key of a piece of work: equal parts give equal keys, on any machine.

    Example:
        >>> content_key("a", {"y": 1, "x": 2}) == content_key("a", {"x": 2, "y": 1})
        True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Delete what killed runs left half-written below a folder."""
    for path in list(folder.glob(f"**/{TEMPORARY}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second writer; the lock ends with the process, however it ends.

    Raises:
        UserError: when another process writes there, or the folder can't be made.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_temporaries(folder)
        yield
    except BlockingIOError as error:
        raise UserError(f"another process is writing {folder}: wait for it or choose another folder") from error
    finally:
        os.close(descriptor)
