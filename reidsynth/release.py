"""What of a manifest may be published, and the description of exactly that: no network, no uploads.

A *delta* holds the captures (with the checksum of every source file) and what steps made; whoever has the data set
joins the rest with `reidsynth rehydrate`. A *full* release holds the data set's own tables as well, where its terms
allow that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reidsynth.card import PREVIEW_FILE, ReleaseNotes, write_card
from reidsynth.errors import UserError
from reidsynth.jobs import stale_shards
from reidsynth.manifest import MANIFEST_FILE, Manifest, ManifestInfo, write_info
from reidsynth.policy import Visibility, decide, permits, policy_of
from reidsynth.storage import content_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CARD_FILE = "README.md"
GENERATED = (CARD_FILE, PREVIEW_FILE, MANIFEST_FILE)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a release.

    Args:
        path: inside the repository.
        local: where it lies on this machine.
        bytes: its size.
        sha256: of its content, as the manifest has it on record; None for the generated ones.
    """

    path: str
    local: Path
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """What goes and what stays.

    Args:
        manifest: that it is made from.
        info: description of what goes; other tables stand in `withheld`.
        visibility: of the repository.
        full: whether the data set's own tables go as well.
        tables: names of the tables that go, `captures` first.
        refused: what stays -> why.
        contact: where people ask for a take-down.
    """

    manifest: Manifest
    info: ManifestInfo
    visibility: Visibility
    full: bool
    tables: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    contact: str = ""

    def files(self) -> Iterator[File]:
        """Files that the manifest holds already, captures first; the generated ones come from `write_generated`."""
        folder = self.manifest.path
        for name in self.tables:
            for shard in self.info.shards_of(name):
                yield File(shard.file, folder / shard.file, shard.bytes, shard.sha256)
        for lists in self.info.protocol.values():
            for entry in lists.values():
                yield File(entry.file, folder / entry.file, entry.bytes, entry.sha256)


def plan_release(
    manifest: Manifest,
    *,
    visibility: Visibility = "private",
    full: bool = False,
    tables: Collection[str] | None = None,
    contact: str = "",
) -> Release:
    """Decide what of a manifest goes into a repository of a visibility.

    Args:
        manifest: to publish.
        visibility: of the repository.
        full: send the data set's own tables too, where their terms allow it.
        tables: only these, besides `captures`; all by default.
        contact: for the card: where people ask for a take-down.

    Returns:
        The plan; every table of the manifest is in it, with the reason where it stays.

    Raises:
        UserError: for an unknown table, for one that was made from other inputs than those now there, or where the
            terms do not even let captures (ids and checksums) go.
    """
    info = manifest.info
    unknown = sorted(set(tables or ()) - set(info.tables))
    if unknown:
        raise UserError(f"{manifest.path} has no table {unknown[0]!r}: it holds {', '.join(sorted(info.tables))}")
    captures = policy_of(info).release.get("captures", "public")
    if not permits(captures, visibility):
        raise UserError(
            f"the terms of {info.source.dataset} let its captures (ids, file names, checksums) go into a {captures} "
            f"repository at most, and this one is {visibility}: nothing of it can be published there"
        )
    refused = {}
    for name, table in info.tables.items():
        reason = decide(info, table).refusal(visibility)
        if tables is not None and name not in tables:
            reason = "not asked for"
        elif not reason and table.step is None and not full:
            reason = "part of the data set itself: `reidsynth rehydrate` joins it (--full sends it)"
        if reason:
            refused[name] = reason
    going = {name: table for name, table in info.tables.items() if name not in refused}
    for name, table in going.items():
        if stale_shards(info, table):
            raise UserError(
                f"table {name!r} of {manifest.path} was made from other inputs than those now there: make it again "
                "first, or name the tables to send with --table"
            )
    staying = {name: table for name, table in info.tables.items() if name in refused}
    lists = policy_of(info).release_of("protocol")
    if info.protocol and not permits(lists, visibility):
        refused["protocol"] = f"lists of the owners' package, which their terms keep ({lists})"
    kept = info.model_copy(
        update={
            "tables": going,
            "withheld": info.withheld | staying,
            "protocol": {} if "protocol" in refused else info.protocol,
        }
    )
    return Release(manifest, kept, visibility, full, ("captures", *going), refused, contact)


def write_generated(release: Release, folder: Path, repository: str = "REPOSITORY") -> list[File]:
    """Write card, preview and description of a release; equal releases give equal bytes.

    Args:
        release: the plan.
        folder: to write them to; not the manifest's own.
        repository: its name, for the card.

    Returns:
        The files, the description last.
    """
    notes = ReleaseNotes(release.visibility, release.refused, release.contact, repository)
    write_card(release.manifest.path, release.info, out=folder, release=notes)
    write_info(folder, release.info)
    return [File(name, folder / name, (folder / name).stat().st_size) for name in GENERATED]


def identity_of(info: ManifestInfo) -> str:
    """What the captures are, whatever tables stand beside them: two manifests of one identity can be joined."""
    return content_key([(shard.file, shard.sha256) for shard in info.captures])
