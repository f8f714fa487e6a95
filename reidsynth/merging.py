"""One manifest from several: rows of different data sets side by side, in sample_id order, tables filled up.

Shards are linked wherever the parts' rows do not interleave, which is so for different data sets. A table that only
some parts have gets empty rows for the others; the step that made it completes them when it is run again.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from reidsynth.assembly import Piece, assemble
from reidsynth.errors import UserError
from reidsynth.jobs import commit, shard_starts, stale_shards
from reidsynth.linking import link_files, refuse_foreign
from reidsynth.manifest import Manifest, ManifestInfo, SourceInfo, TableInfo, open_manifest
from reidsynth.policy import Policy, combined
from reidsynth.schema import ROWS_PER_SHARD
from reidsynth.storage import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from reidsynth.protocol import ProtocolFile


def merge(
    manifests: Sequence[Manifest],
    out: Path,
    *,
    name: str = "",
    about: str = "",
    tables: Sequence[str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Manifest:
    """Merge manifests.

    Splits of one name become one split; identities of different data sets stay different people, whatever their
    numbers. The terms of the result are of each rule the strictest.

    Args:
        manifests: at least one; they stay as they are.
        out: folder of the new one.
        name: of the new one; the old names joined by "+" by default.
        about: one sentence for its card.
        tables: that are kept, besides `captures`; all by default.
        recipe: the recipe that this is part of, kept in `manifest.json`.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        The merged manifest.

    Raises:
        UserError: when two parts share a sample id, or made a table of one name in different ways; for an unknown
            table, or a folder that holds something else.
    """
    refuse_foreign(out)
    for part in manifests:
        if part.path.resolve() == out.resolve():
            raise UserError(f"{out} is one of the parts: choose another folder for the merged manifest")
        _refuse_stale(part)
    kept = _tables(manifests, tables)
    splits = dict.fromkeys(chain.from_iterable(part.splits for part in manifests))
    pieces = [piece for split in splits for piece in _pieces(manifests, split)]
    info = ManifestInfo(
        name=name or "+".join(dict.fromkeys(part.info.name for part in manifests)),
        about=about or _about(manifests),
        recipe=None if recipe is None else dict(recipe),
        source=_source([source for part in manifests for source in part.info.sources]),
        splits={},
        captures=(),
        tables=kept,
        merged=_merged([source for part in manifests for source in part.info.sources]),
        selections=tuple(rules for part in manifests for rules in part.info.selections),
        withheld=_withheld(manifests, kept),
        protocol=_protocol(manifests),
    )
    with locked(out):
        made = assemble(out, info, manifests, pieces, progress=progress)
        for part in manifests:
            for files in part.info.protocol.values():
                link_files(part.path, out, files.values())
        commit(out, made)
    return open_manifest(out)


def _about(manifests: Sequence[Manifest]) -> str:
    """What the parts tell of themselves; "" where one tells nothing, which the others do not speak for."""
    told = [part.info.about for part in manifests]
    return " ".join(dict.fromkeys(told)) if all(told) else ""


def _refuse_stale(part: Manifest) -> None:
    for name, table in part.tables.items():
        if stale_shards(part.info, table):
            raise UserError(
                f"table {name!r} of {part.path} was made from other inputs than those now there: make it again first"
            )


def _protocol(manifests: Sequence[Manifest]) -> dict[str, dict[str, ProtocolFile]]:
    lists: dict[str, dict[str, ProtocolFile]] = {}
    for part in manifests:
        for dataset, files in part.info.protocol.items():
            if lists.setdefault(dataset, files) != files:
                raise UserError(f"{part.path} holds other lists for evaluation of {dataset} than the parts before it")
    return lists


def _tables(manifests: Sequence[Manifest], wanted: Sequence[str] | None) -> dict[str, TableInfo]:
    """Tables of all parts by name; those of one name must be of one kind and one making."""
    found: dict[str, tuple[Manifest, TableInfo]] = {}
    for part in manifests:
        for name, table in part.tables.items():
            if wanted is not None and name not in wanted:
                continue
            other = found.setdefault(name, (part, table))
            if (other[1].spec, other[1].step) != (table.spec, table.step):
                mine, theirs = _kind(table), _kind(other[1])
                if mine == theirs:
                    mine, theirs = f"{mine} {_beside(table)}", f"{theirs} {_beside(other[1])}"
                raise UserError(
                    f"table {name!r} is {mine} in {part.path} and {theirs} in {other[0].path}: one table can't hold "
                    "both; make it again in one of them, or leave it out (--table names those to keep)"
                )
    unknown = sorted(set(wanted or ()) - set(found))
    if unknown:
        there = sorted({name for part in manifests for name in part.tables})
        raise UserError(f"no part has a table {unknown[0]!r}: they hold {', '.join(there)}")
    return {name: table for name, (_, table) in sorted(found.items())}


def _kind(table: TableInfo) -> str:
    spectrum = f" ({table.spectrum})" if table.spectrum else ""
    if table.step is None:
        return f"{table.origin}{spectrum}"
    told = ", ".join(f"{name}={value}" for name, value in table.step.parameters.items())
    return f"{table.step.name} {table.step.method} version {table.step.version}{spectrum} ({told})"


def _beside(table: TableInfo) -> str:
    """What else decides a table: what judged it, its weights, what it was made from."""
    step = table.step
    assert step is not None  # tables without a step differ in their kind
    told = [f"judged by gates version {step.gate}"]
    told += [f"{name} {limit}" for name, limit in step.gates.items()]
    told += [f"weights {file} {digest[:12]}" for file, digest in step.weights.items()]
    return ", ".join([*told, f"from {' and '.join(step.inputs)}"])


def _withheld(manifests: Sequence[Manifest], kept: dict[str, TableInfo]) -> dict[str, TableInfo]:
    """Tables that kept ones were made from and that are not here; their shards belong to the parts."""
    used = {name for table in kept.values() if table.step is not None for name in table.step.inputs}
    found: dict[str, TableInfo] = {}
    for part in manifests:
        for name, table in (part.info.withheld | part.tables).items():
            if name not in kept and (name in used or name in part.info.withheld):
                found.setdefault(name, table.model_copy(update={"shards": ()}))
    return found


def _merged(sources: Sequence[SourceInfo]) -> tuple[SourceInfo, ...]:
    distinct = [source for number, source in enumerate(sources) if source not in sources[:number]]
    return tuple(distinct) if len(distinct) > 1 else ()


def _source(sources: Sequence[SourceInfo]) -> SourceInfo:
    """The one source of all parts, or one that speaks for several with their strictest terms."""
    distinct = _merged(sources)
    if not distinct:
        return sources[0]
    dropped: Counter[str] = Counter()
    for source in distinct:  # two may be of one data set
        dropped.update({f"{source.dataset}: {reason}": count for reason, count in source.dropped.items()})
    return SourceInfo(
        name="merge",
        version=1,
        dataset=" + ".join(dict.fromkeys(source.dataset for source in distinct)),
        parameters={},
        policy=combined(Policy.from_dict(source.policy) for source in distinct).as_dict(),
        dropped=dict(dropped),
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """One part's rows of a split."""

    owner: int
    rows: int
    first: str
    last: str


def _pieces(manifests: Sequence[Manifest], split: str) -> Iterator[Piece]:
    """Shards of a split: linked ones where the parts' sample ids do not interleave, else rows in order."""
    spans = []
    for owner, part in enumerate(manifests):
        if split in part.splits:
            captures = part.table("captures", split)
            last = len(captures) - 1
            spans.append(_Span(owner, last + 1, captures[0]["sample_id"], captures[last]["sample_id"]))
    spans.sort(key=lambda span: span.first)
    if all(before.last < after.first for before, after in pairwise(spans)):
        for span in spans:
            yield from _linked(manifests[span.owner], span.owner, split)
    else:
        yield from _interleaved(manifests, [span.owner for span in spans], split)


def _linked(part: Manifest, owner: int, split: str) -> Iterator[Piece]:
    sizes = [shard.rows for shard in part.info.captures if shard.split == split]
    for number, (start, size) in enumerate(zip(shard_starts(part.info, split), sizes, strict=True)):
        yield Piece(split, array("h", [owner]) * size, array("q", range(start, start + size)), whole=number)


def _interleaved(manifests: Sequence[Manifest], owners: Sequence[int], split: str) -> Iterator[Piece]:
    streams = [_ids(manifests[owner], owner, split) for owner in owners]
    piece = Piece(split, array("h"), array("q"))
    before = ("", -1)
    for sample_id, owner, number in heapq.merge(*streams):
        if sample_id == before[0]:
            raise UserError(
                f"{manifests[before[1]].path} and {manifests[owner].path} both hold {sample_id!r}: a manifest holds "
                "each capture once; select different rows of them first"
            )
        before = (sample_id, owner)
        piece.owners.append(owner)
        piece.numbers.append(number)
        if len(piece.numbers) == ROWS_PER_SHARD:
            yield piece
            piece = Piece(split, array("h"), array("q"))
    if piece.numbers:
        yield piece


def _ids(part: Manifest, owner: int, split: str) -> Iterator[tuple[str, int, int]]:
    reader = part.table("captures", split)
    for start in range(0, len(reader), ROWS_PER_SHARD):
        stop = min(start + ROWS_PER_SHARD, len(reader))
        ids = reader.light(start, stop).column("sample_id").to_pylist()
        yield from ((sample_id, owner, start + i) for i, sample_id in enumerate(ids))
