"""Push a release: what is missing in the repository, after its privacy has been read back."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from reidsynth.card import contact_in
from reidsynth.errors import UserError
from reidsynth.hub.remote import ATTEMPTS, Remote
from reidsynth.manifest import MANIFEST_FILE
from reidsynth.release import GENERATED, File, Release, identity_of, write_generated
from reidsynth.storage import sha256_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from huggingface_hub import HfApi

COMMIT_FILES = 50
COMMIT_BYTES = 2**30
_OURS = (".gitattributes", "README.md")


@dataclass(frozen=True, slots=True)
class Report:
    """What a push did, or would do.

    Args:
        repository: its name.
        visibility: of the repository.
        new: whether it did not exist.
        tables: that are in the release.
        refused: what stays -> why.
        sent: files that were sent (or would be), with their sizes in bytes.
        kept: number of files that were there already.
        deleted: files of the repository that the release no longer names.
        obstacle: of a dry run: what would stop the push; "" where nothing would.
    """

    repository: str
    visibility: str
    new: bool
    tables: tuple[str, ...]
    refused: dict[str, str]
    sent: dict[str, int]
    kept: int
    deleted: tuple[str, ...]
    obstacle: str = ""


def push(
    release: Release,
    repository: str,
    *,
    replace: bool = False,
    forget: bool = False,
    dry_run: bool = False,
    api: HfApi | None = None,
    progress: bool | None = None,
) -> Report:
    """Publish a release: only what is not there yet, nothing before the repository's privacy has been read back.

    Args:
        release: from `reidsynth.release.plan_release`.
        repository: `owner/name` on the Hub.
        replace: delete tables of the repository that the release does not hold, or other captures.
        forget: drop the repository's history after the last commit, so that what was replaced is gone.
        dry_run: send nothing and make nothing; only look.
        api: of huggingface_hub.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        What was sent and what stays.

    Raises:
        UserError: when nothing may be published, the repository is more open than asked or holds something else, a
            shard is damaged, or the Hub refuses or does not answer.
    """
    nothing = _nothing(release)
    if nothing and not dry_run:
        raise UserError(nothing)
    remote = Remote(repository, api, attempts=1 if dry_run else ATTEMPTS)
    release = release if release.contact else dataclasses.replace(release, contact=_contact(remote, dry_run))
    with tempfile.TemporaryDirectory(prefix="reidsynth-release-") as folder:
        generated = write_generated(release, Path(folder), remote.name)
        prepare = _look if dry_run else _prepare
        work = prepare(remote, release, generated, replace=replace, forget=forget)
        if nothing:
            work = _Work(work.new, (), (), obstacle=nothing)
        if not dry_run:
            _send(remote, release, work, progress)
            if forget:
                remote.forget()
            remote.open(release.visibility)
    sent = {file.path: file.bytes for file in (*work.missing, *work.last)}
    return Report(
        repository=remote.name,
        visibility=release.visibility,
        new=work.new,
        tables=release.tables,
        refused=release.refused,
        sent=sent,
        kept=sum(1 for _ in release.files()) + len(generated) - len(sent),
        deleted=work.deleted,
        obstacle=work.obstacle,
    )


def _nothing(release: Release) -> str:
    """Why nothing goes; "" where something does."""
    if len(release.tables) > 1:
        return ""
    reasons = "; ".join(f"{name}: {why}" for name, why in release.refused.items())
    return f"no table of {release.manifest.path} may be published like this ({reasons})"


def _contact(remote: Remote, dry_run: bool) -> str:
    """Contact that an earlier push told: nobody who asks for a take-down should lose it by a later one."""
    try:
        return contact_in(remote.card()) if remote.visibility() is not None else ""
    except UserError:
        if dry_run:
            return ""  # `_look` tells the obstacle
        raise


@dataclass(frozen=True, slots=True)
class _Work:
    """What has to be done: data files, generated files that go last, files to delete."""

    new: bool
    missing: tuple[File, ...]
    last: tuple[File, ...]
    deleted: tuple[str, ...] = ()
    obstacle: str = ""


def _prepare(remote: Remote, release: Release, generated: list[File], *, replace: bool, forget: bool) -> _Work:
    """Make the repository where there is none, read its visibility back, compare its files."""
    new = remote.visibility() is None
    if new:
        remote.create()
    remote.guard(release.visibility)
    if forget:
        remote.can_forget()
    there = remote.files()
    deleted = () if new else tuple(_leftover(remote, release, there, replace))
    missing = tuple(file for file in release.files() if not _same(there.get(file.path), file))
    return _Work(new, missing, tuple(file for file in generated if not _same(there.get(file.path), file)), deleted)


def _look(remote: Remote, release: Release, generated: list[File], *, replace: bool, forget: bool) -> _Work:
    """As `_prepare`, but only looking; what would stop the push is told."""
    everything = _Work(True, tuple(release.files()), tuple(generated))
    try:
        if remote.visibility() is None:
            return everything
        return _prepare(remote, release, generated, replace=replace, forget=forget)
    except UserError as error:
        return dataclasses.replace(everything, new=False, obstacle=str(error))


def _send(remote: Remote, release: Release, work: _Work, progress: bool | None) -> None:
    """Send what is missing in commits of bounded size; card, preview and description go last."""
    hidden = None if progress is None else not progress
    total = sum(file.bytes for file in (*work.missing, *work.last))
    with tqdm(total=total, desc=f"push {remote.name}", unit="B", unit_scale=True, disable=hidden) as bar:
        for batch in _batches(work.missing):
            for file in batch:
                _check(file)
            remote.guard(release.visibility)
            remote.commit(batch, [], f"Add {', '.join(sorted({file.path.partition('/')[0] for file in batch}))}")
            bar.update(sum(file.bytes for file in batch))
        if work.last or work.deleted:
            remote.guard(release.visibility)
            remote.commit(work.last, work.deleted, f"Describe {release.info.name}")
            bar.update(sum(file.bytes for file in work.last))
    there = remote.files()
    lost = [file.path for file in (*work.missing, *work.last) if not _same(there.get(file.path), file)]
    if lost:
        raise UserError(f"{remote.name} does not hold {lost[0]} as it was sent: push again")


def _batches(files: Sequence[File]) -> Iterator[list[File]]:
    batch: list[File] = []
    for file in files:
        if batch and (len(batch) == COMMIT_FILES or sum(f.bytes for f in batch) + file.bytes > COMMIT_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _check(file: File) -> None:
    if not file.local.exists() or (file.sha256 is not None and sha256_file(file.local) != file.sha256):
        raise UserError(
            f"{file.local} is not the file on record (missing, or damaged): `reidsynth validate` tells more; nothing "
            "more was sent"
        )


def _same(found: tuple[int, str] | None, file: File) -> bool:
    """Whether the repository's file has this content."""
    if found is None or found[0] != file.bytes:
        return False
    if found[1] == file.sha256:
        return True
    data = file.local.read_bytes() if file.sha256 is None or len(found[1]) == 40 else None
    if data is None:
        return False
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return found[1] in (git, hashlib.sha256(data).hexdigest())


def _leftover(remote: Remote, release: Release, there: dict[str, Any], replace: bool) -> list[str]:
    """Files of an existing repository that must go, where the user agrees."""
    mine = {file.path for file in release.files()} | set(GENERATED)
    others = sorted(set(there) - mine - set(_OURS))
    info = remote.info() if MANIFEST_FILE in there else None
    if info is None:
        if others and not _interrupted(others, there, release):
            raise UserError(
                f"{remote.name} holds files that are no manifest ({others[0]!r}): choose an empty or a new repository"
            )
        return []
    if identity_of(info) != identity_of(release.info) and not replace:
        raise UserError(
            f"{remote.name} holds other captures than {release.manifest.path}: choose another repository, or --replace "
            "what is there"
        )
    lost = sorted(set(info.tables) - set(release.info.tables))
    if lost and not replace:
        raise UserError(
            f"{remote.name} holds tables that this release lacks ({', '.join(lost)}): pull them first, or --replace "
            "what is there, which deletes them"
        )
    return others


def _interrupted(others: Sequence[str], there: dict[str, Any], release: Release) -> bool:
    """Whether a repository without description is what an interrupted push of these captures left."""
    return not [path for path in others if not path.endswith(".parquet")] and any(
        shard.file in there for shard in release.info.captures
    )
