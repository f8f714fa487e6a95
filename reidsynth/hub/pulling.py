"""Pull a manifest from the Hub, or some of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reidsynth import protocol
from reidsynth.errors import UserError
from reidsynth.hub.remote import Remote
from reidsynth.jobs import commit
from reidsynth.manifest import MANIFEST_FILE, Manifest, ManifestInfo, open_manifest, read_info
from reidsynth.release import GENERATED, identity_of
from reidsynth.storage import locked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from huggingface_hub import HfApi

_BEGUN = (".cache", "captures", protocol.FOLDER, *(Path(name).parts[0] for name in GENERATED))
"""What an interrupted pull may have left, besides tables."""


def fetch(
    repository: str, *, folder: Path | None = None, tables: Sequence[str] | None = None, api: HfApi | None = None
) -> Path:
    """Download a manifest, or some of its tables; what is there already is not downloaded again.

    Args:
        repository: `owner/name`, `owner/name@revision` or `hf://datasets/owner/name`.
        folder: where to; the Hub client's own cache by default.
        tables: only these, besides `captures`.
        api: of huggingface_hub.

    Returns:
        The folder.

    Raises:
        UserError: no such repository, no manifest in it, an unknown table, or no connection.
    """
    remote = Remote(repository, api)
    info = _described(remote)
    unknown = sorted(set(tables or ()) - set(info.tables))
    if unknown:
        raise UserError(f"{remote.name} has no table {unknown[0]!r}: it holds {', '.join(sorted(info.tables))}")
    names = ("captures", *(info.tables if tables is None else tables))
    wanted = [*GENERATED, f"{protocol.FOLDER}/*", *(f"{name}/*" for name in names)]
    place = {} if folder is None else {"local_dir": folder}
    path = remote.ask(remote.api.snapshot_download, revision=remote.revision, allow_patterns=wanted, **place)
    return Path(path)


def pull(repository: str, out: Path, *, tables: Sequence[str] | None = None, api: HfApi | None = None) -> Manifest:
    """Download a manifest into a folder and check it down to the bytes; run again to resume.

    Args:
        repository: `owner/name` or `owner/name@revision`.
        out: the folder; made if needed.
        tables: only these, besides `captures`; the others are described and can be pulled later.
        api: of huggingface_hub.

    Returns:
        The manifest.

    Raises:
        UserError: as `fetch`; when the folder holds another manifest or other files; when a file arrived damaged.
    """
    info = _described(Remote(repository, api))
    if (out / MANIFEST_FILE).is_file():
        if identity_of(read_info(out)) != identity_of(info):
            raise UserError(f"{out} holds other captures than {repository}: choose another folder")
    elif out.is_dir() and {path.name for path in out.iterdir()} - {*_BEGUN, *info.tables}:
        raise UserError(f"{out} holds other files: choose an empty or a new folder")
    with locked(out):
        if (out / MANIFEST_FILE).is_file() and read_info(out) != info:
            for name in GENERATED:  # of an earlier pull of fewer tables; the client would take them for up to date
                (out / name).unlink(missing_ok=True)
        fetch(repository, folder=out, tables=tables, api=api)
        info = read_info(out)
        kept = info.tables if tables is None else {name: info.tables[name] for name in tables}
        others = {name: table for name, table in info.tables.items() if name not in kept}
        info = info.model_copy(update={"tables": kept, "withheld": info.withheld | others})
        _check(Manifest(out, info))
        if others:
            commit(out, info)
    return open_manifest(out)


def _described(remote: Remote) -> ManifestInfo:
    info = remote.info()
    if info is None:
        raise UserError(f"{remote.name} holds no {MANIFEST_FILE}, so it is no manifest")
    return info


def _check(manifest: Manifest) -> None:
    """Compare every file with its checksum; a damaged one is deleted, so that the next pull fetches it again."""
    for name in ("captures", *manifest.tables):
        for shard in manifest.info.shards_of(name):
            try:
                manifest.check_shard(shard)
            except UserError as error:
                (manifest.path / shard.file).unlink(missing_ok=True)
                raise UserError(f"{shard.file} did not arrive whole and was deleted: pull again") from error
    manifest.check_protocol()
