"""Checks a manifest against its own description, down to the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc
from tqdm import tqdm

from reidsynth.errors import UserError
from reidsynth.jobs import stale_shards
from reidsynth.manifest import open_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from reidsynth.manifest import Manifest


def validate(folder: Path, *, progress: bool | None = None) -> list[str]:
    """Find everything that is wrong with a manifest.

    Checks: the checksum of every shard and protocol file; that each table has exactly the captures' rows, in order;
    that sample ids are sorted and unique; that each step's table was made from the inputs now on record.

    Args:
        folder: of the manifest.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        One sentence for each problem; empty when the manifest is sound.

    Raises:
        UserError: when the folder is no manifest, or lacks a shard.
    """
    manifest = open_manifest(folder)
    problems = _damaged_shards(manifest, progress)
    if problems:
        return problems  # rows of damaged shards can't be compared
    for split in manifest.splits:
        problems += _misaligned(manifest, split)
    for table in manifest.tables.values():
        stale = stale_shards(manifest.info, table)
        if stale:
            problems.append(f"table {table.name!r} was made from other inputs than those now there: make it again")
    return problems


def _damaged_shards(manifest: Manifest, progress: bool | None) -> list[str]:
    problems = []
    shards = [shard for name in ("captures", *manifest.tables) for shard in manifest.info.shards_of(name)]
    bar = tqdm(
        total=sum(shard.bytes for shard in shards),
        desc="validate",
        unit="B",
        unit_scale=True,
        disable=None if progress is None else not progress,
    )
    with bar:
        for shard in shards:
            try:
                manifest.check_shard(shard)
            except UserError as error:
                problems.append(str(error))
            bar.update(shard.bytes)
    try:
        manifest.check_protocol()
    except UserError as error:
        problems.append(str(error))
    return problems


def _misaligned(manifest: Manifest, split: str) -> list[str]:
    ids = manifest.table("captures", split).columns(["sample_id"])["sample_id"].combine_chunks()
    problems = []
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        problems.append(f"captures of split {split!r} are not in ascending order of unique sample ids")
    for name in manifest.tables:
        if not manifest.table(name, split).columns(["sample_id"])["sample_id"].combine_chunks().equals(ids):
            problems.append(f"table {name!r} of split {split!r} is not row-aligned with its captures")
    return problems
