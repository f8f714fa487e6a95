"""Files of a data set: sorted listings, paths that stay inside the root, one photograph read with its reason if bad."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from reidsynth import images
from reidsynth.errors import UserError
from reidsynth.schema import Content, Record, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


MISSING = "file is missing"


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


def release(root: Path, *names: str) -> Path:
    """Return the data set's own folder: the root itself, or the first of these folders inside it.

    Args:
        root: as the user gave it.
        names: of the folder that the owners ship, in their spellings.
    """
    return next((root / name for name in names if (root / name).is_dir()), root)


def require(base: Path, needed: Iterable[str], dataset: str) -> Path:
    """Return a folder that holds what a data set is made of.

    Args:
        base: folder of the data set.
        needed: files and folders that must be in it, relative paths.
        dataset: its name, for the message.

    Raises:
        UserError: naming everything that is missing, and some of what is there.
    """
    wanted = list(needed)
    folder(base, f"{dataset} ({', '.join(wanted)})")
    missing = [name for name in wanted if not (base / name).exists()]
    if missing:
        there = ", ".join(sorted(path.name for path in base.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{str(base)!r} is not {dataset}: it lacks {', '.join(missing)} and holds {there}; give the folder as its "
            "owners ship it"
        )
    return base


def image_files(root: Path) -> Listing:
    """List image files below a folder, whatever the order in which the disk gives them.

    Linked folders are counted and not entered: they would name files twice, or files outside. So are names that are
    no valid text (bytes that are not UTF-8), which no table can hold.

    Raises:
        UserError: a folder can't be read.
    """
    skipped: Counter[str] = Counter()
    files = []
    for path in _walk(root, skipped):
        if path.suffix.lower() not in images.SUFFIXES:
            skipped["no image file (by its extension)"] += 1
        elif not is_text(path.name):
            skipped["image whose name is not UTF-8"] += 1
        else:
            files.append(path.relative_to(root).as_posix())
    return Listing(tuple(sorted(files)), dict(sorted(skipped.items())))


def _walk(root: Path, skipped: Counter[str]) -> Iterator[Path]:
    waiting = [root]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as found:
                entries = list(found)
        except OSError as error:
            raise UserError(f"folder {str(place)!r} can't be read ({error.strerror}): mend its permissions") from None
        for entry in entries:
            if entry.is_symlink() and Path(entry.path).is_dir():
                skipped["linked folder, not entered"] += 1
            elif not entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
            elif is_text(entry.name):
                waiting.append(Path(entry.path))
            else:
                skipped["folder whose name is not UTF-8, not entered"] += 1


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8; lone surrogates, from file names or JSON escapes, can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def relative_problem(relative: str) -> str | None:
    """Why a path from an annotation file may not be used; None if it may, as far as its text tells."""
    if not relative.strip():
        return "is empty"
    if not is_text(relative):
        return "is no valid text"
    plain = relative.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":" or "\x00" in plain:
        return "is absolute: write paths relative to the data set's folder"
    if ".." in plain.split("/"):
        return "leaves the data set's folder by '..'"
    if not PurePosixPath(plain).name:
        return "names no file"
    return None


def _below_root(value: str) -> str:
    if value and relative_problem(value) is not None:
        raise ValueError("must be relative to the root, without '..'")
    return value


BelowRoot = Annotated[str, AfterValidator(_below_root)]
"""Parameter of a source: a file or folder below its root; "" for none."""


@lru_cache(maxsize=1024)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


@lru_cache(maxsize=1024)
def _lies_below(folder: Path, root: Path) -> bool:
    return _resolved(folder).is_relative_to(_resolved(root))


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
        if stat.S_ISREG(os.lstat(path).st_mode) and _lies_below(path.parent, root):
            return path  # what nearly all are
        target = path.resolve(strict=True) if path.is_symlink() else _resolved(path.parent) / path.name
    except (OSError, RuntimeError, ValueError):
        raise BadPath(MISSING) from None
    if not target.is_relative_to(_resolved(root)):
        raise BadPath("link leaves the data set's folder")
    if not target.is_file():
        raise BadPath("is no file" if target.exists() else MISSING)
    return path


def read_photo(root: Path, record: Record, texts: Mapping[str, Text] | None = None) -> Content:
    """Read the photograph of a record into the table `rgb`, or say why it can't be read.

    Args:
        root: folder that `source_path` is relative to.
        record: whose photograph it is.
        texts: table -> captions, passed on.
    """
    return read_images(root, {"rgb": record.source_path}, texts)


def read_images(root: Path, files: Mapping[str, str], texts: Mapping[str, Text] | None = None) -> Content:
    """Read the images of one row, or say for each why it can't be read.

    Args:
        root: folder that the paths are relative to.
        files: table -> relative path; the first one is the row's own file, whose checksum is kept.
        texts: table -> captions, passed on.
    """
    found: dict[str, bytes] = {}
    errors: dict[str, str] = {}
    digest: str | None = None
    for number, (table, relative) in enumerate(files.items()):
        try:
            data = inside(root, relative).read_bytes()
            digest = hashlib.sha256(data).hexdigest() if number == 0 else digest
            found[table] = images.checked(data)
        except (BadPath, images.UnreadableImage) as error:
            errors[table] = str(error)
        except OSError as error:
            errors[table] = f"file can't be read: {error.strerror}"
    return Content(images=found, texts=dict(texts or {}), errors=errors, source_sha256=digest)


def stamp(root: Path, record: Record) -> str:
    """Size and modification time of a record's photograph; "missing" where there is none."""
    return file_stamp(root, record.source_path)


def file_stamp(root: Path, relative: str) -> str:
    """Size and modification time of a file; "missing" where there is none."""
    try:
        status = (root / relative).stat()
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"


def stem_id(dataset: str, relative: str) -> str:
    """sample_id of a file: data set, "/", relative path without extension."""
    return f"{dataset}/{PurePosixPath(relative).with_suffix('').as_posix()}"


def mistakes(found: list[str]) -> str:
    """Count mistakes and name the first.

    Example:
        >>> mistakes(["line 3: no pid"])
        '1 mistake: line 3: no pid'
    """
    return f"{len(found)} mistake{'s' if len(found) > 1 else ''}: {first_few(found)}"


def first_few(items: list[str], shown: int = 3) -> str:
    """Join the first mistakes of a list and count the rest."""
    rest = len(items) - shown
    return "; ".join(items[:shown]) + (f"; and {rest} more" if rest > 0 else "")
