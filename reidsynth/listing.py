"""Files of a data set: sorted listings, paths that stay inside the root, one photograph read with its reason if bad."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from reidsynth import images
from reidsynth.errors import UserError
from reidsynth.schema import Content, Record, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class BadPath(ValueError):  # noqa: N818 - names the thing, and never leaves a reader
    """A path that may not or can't be read; the message is a short reason."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Image files below a folder.

    Args:
        files: paths relative to the folder, with `/`, sorted.
        skipped: reason -> number of files that are no image files, and of linked folders.
    """

    files: tuple[str, ...]
    skipped: Mapping[str, int]


def folder(path: Path, purpose: str) -> Path:
    """Return a folder that exists.

    Args:
        path: as the user gave it.
        purpose: what is expected in it, for the message.

    Raises:
        UserError: it does not exist or is a file.
    """
    if not path.exists():
        raise UserError(f"folder {str(path)!r} does not exist: give the folder that holds {purpose}")
    if not path.is_dir():
        raise UserError(f"{str(path)!r} is a file: give the folder that holds {purpose}")
    return path


def image_files(root: Path) -> Listing:
    """List image files below a folder, whatever the order in which the disk gives them.

    Linked folders are counted and not entered: they would name files twice, or files outside.
    """
    skipped: Counter[str] = Counter()
    files = []
    for path in _walk(root, skipped):
        if path.suffix.lower() in images.SUFFIXES:
            files.append(path.relative_to(root).as_posix())
        else:
            skipped["no image file (by its extension)"] += 1
    return Listing(tuple(sorted(files)), dict(sorted(skipped.items())))


def _walk(root: Path, skipped: Counter[str]) -> Iterator[Path]:
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.is_dir():
                    skipped["linked folder, not entered"] += 1
                else:
                    yield Path(entry.path)


def relative_problem(relative: str) -> str | None:
    """Why a path from an annotation file may not be used; None if it may, as far as its text tells."""
    if not relative.strip():
        return "is empty"
    if PurePosixPath(relative).is_absolute() or PureWindowsPath(relative).is_absolute() or "\x00" in relative:
        return "is absolute: write paths relative to the data set's folder"
    if ".." in PurePosixPath(relative).parts or ".." in PureWindowsPath(relative).parts:
        return "leaves the data set's folder by '..'"
    return None


def inside(root: Path, relative: str) -> Path:
    """Return the file that a relative path names, if it lies below the root.

    Raises:
        BadPath: it is absolute, leaves the root (by `..` or by a link), is missing or is no file.
    """
    problem = relative_problem(relative)
    if problem is not None:
        raise BadPath(f"path {problem}")
    path = root / relative
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise BadPath("file is missing") from None
    if not target.is_relative_to(root.resolve()):
        raise BadPath("link leaves the data set's folder")
    if not target.is_file():
        raise BadPath("is no file")
    return path


def read_photo(root: Path, record: Record, texts: Mapping[str, Text] | None = None) -> Content:
    """Read the photograph of a record into the table `rgb`, or say why it can't be read.

    Args:
        root: folder that `source_path` is relative to.
        record: whose photograph it is.
        texts: table -> captions, passed on.
    """
    told = dict(texts or {})
    try:
        data = inside(root, record.source_path).read_bytes()
    except BadPath as error:
        return Content(texts=told, errors={"rgb": str(error)})
    except OSError as error:
        return Content(texts=told, errors={"rgb": f"file can't be read: {error.strerror}"})
    digest = hashlib.sha256(data).hexdigest()
    try:
        photo = images.checked(data)
    except images.UnreadableImage as error:
        return Content(texts=told, errors={"rgb": str(error)}, source_sha256=digest)
    return Content(images={"rgb": photo}, texts=told, source_sha256=digest)


def stamp(root: Path, record: Record) -> str:
    """Size and modification time of a record's photograph; "missing" where there is none."""
    try:
        status = (root / record.source_path).stat()
    except OSError:
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"


def stem_id(dataset: str, relative: str) -> str:
    """sample_id of a file: data set, "/", relative path without extension."""
    return f"{dataset}/{PurePosixPath(relative).with_suffix('').as_posix()}"


def first_few(items: list[str], shown: int = 3) -> str:
    """Join the first mistakes of a list and count the rest."""
    rest = len(items) - shown
    return "; ".join(items[:shown]) + (f"; and {rest} more" if rest > 0 else "")
