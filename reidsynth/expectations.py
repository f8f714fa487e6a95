"""What a recipe expects of the finished manifest: published sizes, compared with what was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reidsynth.manifest import Manifest

EVERY = "all"


class Expectation(BaseModel):
    """Published size of a split, or of all splits together; None where nothing is published.

    Args:
        captures: rows.
        identities: people, distractors apart; of all splits together the sum over the splits, which share nobody.
        rows: table -> rows that hold something (verdict pass or fail).
        people: table -> people, distractors apart, with such a row: where a modality shows fewer than the captures do.
        captions: text table -> captions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    captures: int | None = None
    identities: int | None = None
    rows: dict[str, int] = Field(default_factory=dict)
    people: dict[str, int] = Field(default_factory=dict)
    captions: dict[str, int] = Field(default_factory=dict)


def differences(expected: Mapping[str, Expectation], manifest: Manifest) -> list[str]:
    """Compare a manifest with published sizes.

    Args:
        expected: split -> its size; the name `all` stands for all splits together.
        manifest: what was built.

    Returns:
        One sentence for each difference.
    """
    found = []
    for split, size in expected.items():
        where = f"split {split!r} holds" if split != EVERY else "all splits hold"
        splits = list(manifest.splits) if split == EVERY else [name for name in manifest.splits if name == split]
        for what, want, have in _pairs(size, manifest, splits):
            if want is not None and want != have:
                found.append(f"{where} {have} {what}, and {want} are expected")
    return found


def _pairs(size: Expectation, manifest: Manifest, splits: list[str]) -> Iterator[tuple[str, int | None, int]]:
    infos = [manifest.info.splits[name] for name in splits]
    yield "captures", size.captures, sum(info.rows for info in infos)
    yield "identities", size.identities, sum(info.identities for info in infos)
    for table, want in size.rows.items():
        counts = manifest.tables[table].counts if table in manifest.tables else {}
        have = sum(counts.get(name, {}).get(verdict, 0) for name in splits for verdict in ("pass", "fail"))
        yield f"rows of {table!r}", want, have
    for table, want in size.people.items():
        yield f"people in {table!r}", want, sum(_people(manifest, table, name) for name in splits)
    for table, want in size.captions.items():
        yield f"captions of {table!r}", want, sum(_captions(manifest, table, name) for name in splits)


def _people(manifest: Manifest, table: str, split: str) -> int:
    if table not in manifest.tables:
        return 0
    captures = manifest.table("captures", split).columns(["dataset", "pid", "role"])
    verdicts = manifest.table(table, split).columns(["verdict"])["verdict"]
    there = pc.is_in(verdicts, pa.array(["pass", "fail"]))
    shown = captures.filter(pc.and_(there, pc.not_equal(captures["role"], "distractor")))
    return int(shown.group_by(["dataset", "pid"]).aggregate([]).num_rows)


def _captions(manifest: Manifest, table: str, split: str) -> int:
    if table not in manifest.tables:
        return 0
    column = manifest.table(table, split).columns(["captions"]).column(0)
    return int(pc.sum(pc.list_value_length(column)).as_py() or 0)
