"""Checks a manifest against its own description, down to the bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from reidsynth.errors import UserError
from reidsynth.jobs import stale_shards
from reidsynth.manifest import open_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from reidsynth.manifest import Manifest


def validate(folder: Path) -> list[str]:
    """Find everything that is wrong with a manifest.

    Checks: the checksum of every shard and protocol file; that each table has exactly the captures' rows, in order;
    that sample ids are sorted and unique; that each step's table was made from the inputs now on record.

    Args:
        folder: of the manifest.

    Returns:
        One sentence for each problem; empty when the manifest is sound.

    Raises:
        UserError: when the folder is no manifest, or lacks a shard.
    """
    manifest = open_manifest(folder)
    problems = _damaged_shards(manifest)
    if problems:
        return problems  # rows of damaged shards can't be compared
    for split in manifest.splits:
        problems += _misaligned(manifest, split)
    for table in manifest.tables.values():
        stale = stale_shards(manifest.info, table)
        if stale:
            problems.append(f"table {table.name!r} was made from other inputs than those now there: make it again")
    return problems


def _damaged_shards(manifest: Manifest) -> list[str]:
    problems = []
    for name in ("captures", *manifest.tables):
        for shard in manifest.info.shards_of(name):
            try:
                manifest.check_shard(shard)
            except UserError as error:
                problems.append(str(error))
    try:
        manifest.check_protocol()
    except UserError as error:
        problems.append(str(error))
    return problems


def _misaligned(manifest: Manifest, split: str) -> list[str]:
    ids = manifest.captures(split).column("sample_id").to_pylist()
    problems = []
    if any(before >= after for before, after in pairwise(ids)):
        problems.append(f"captures of split {split!r} are not in ascending order of unique sample ids")
    for name in manifest.tables:
        if manifest.table(name, split).columns(["sample_id"]).column(0).to_pylist() != ids:
            problems.append(f"table {name!r} of split {split!r} is not row-aligned with its captures")
    return problems
