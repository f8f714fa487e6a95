"""A new manifest of some of another's rows: by a condition, by verdict, by people, or drawn by a seed.

Draws come from the hash of (seed, person or sample id), so a smaller subset of the same seed lies within a larger one,
whatever else the manifest holds.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reidsynth.assembly import Piece, assemble
from reidsynth.draws import sample_seed
from reidsynth.errors import UserError
from reidsynth.jobs import commit, shard_starts, stale_shards
from reidsynth.linking import link_files, refuse_foreign
from reidsynth.manifest import Manifest, ManifestInfo, TableInfo, open_manifest
from reidsynth.schema import ROWS_PER_SHARD, VERDICTS
from reidsynth.storage import locked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

_LIGHT = ("sample_id", "dataset", "pid", "camid", "split", "role", "modality", "source_path", "width", "height")
_LIGHT_WITH_ORIGIN = (*_LIGHT, "derived_from")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows and tables are kept; every rule narrows what the ones before left.

    Args:
        where: condition over the captures' columns, and over `TABLE.verdict`, `TABLE.draw` and `TABLE.SCORE` in
            backticks, as pandas' `DataFrame.query` reads it.
        verdicts: table -> verdicts that its rows may have.
        splits: names; all by default.
        pids: people, by the data set's own number; all by default.
        identities: so many people of each split, drawn; distractors are nobody, and go.
        captures: so many captures of each split, drawn; below 1 it is their share.
        seed: of the draws.
        tables: that are kept, besides `captures`; all by default.
    """

    where: str = ""
    verdicts: Mapping[str, Collection[str]] = field(default_factory=dict)
    splits: Sequence[str] | None = None
    pids: Collection[int] | None = None
    identities: int | None = None
    captures: float | None = None
    seed: int = 0
    tables: Sequence[str] | None = None

    def rules(self) -> dict[str, Any]:
        """The rules that say anything, as JSON values, for `manifest.json` and the card."""
        values = asdict(self)
        values["verdicts"] = {table: sorted(verdicts) for table, verdicts in self.verdicts.items()}
        values["pids"] = None if self.pids is None else sorted(self.pids)
        if self.identities is None and self.captures is None:
            values.pop("seed")
        return {name: value for name, value in values.items() if value not in (None, "", {})}


def select(
    manifest: Manifest, selection: Selection, out: Path, *, name: str = "", progress: bool | None = None
) -> Manifest:
    """Make a manifest of some of another's rows and tables.

    Splits that are kept whole are linked; of the others the rows are written.

    Args:
        manifest: the whole one; it stays as it is.
        selection: what to keep.
        out: folder of the new one.
        name: of the new one; that of the old one by default.
        progress: whether to draw a bar; None draws it on terminals only.

    Returns:
        The new manifest.

    Raises:
        UserError: for an unknown split, table, column or verdict, a condition that can't be read, rules that leave no
            row, or a folder that holds something else.
    """
    _check(manifest, selection)
    refuse_foreign(out)
    if out.resolve() == manifest.path.resolve():
        raise UserError(f"{out} is the manifest itself: choose another folder for the selection")
    wanted = manifest.splits if selection.splits is None else tuple(selection.splits)
    pieces: list[Piece] = []
    whole = set(wanted) == set(manifest.splits)
    for split in (split for split in manifest.splits if split in wanted):
        numbers = chosen_rows(manifest, split, selection)
        every = len(numbers) == manifest.info.splits[split].rows
        whole = whole and every
        pieces += list(_whole(manifest, split) if every else _rows(split, numbers))
    if not pieces:
        raise UserError(f"no row of {manifest.path} is left by these rules ({selection.rules()}): loosen one")
    info = _described(manifest.info, selection, name, whole)
    with locked(out):
        made = assemble(out, info, [manifest], pieces, progress=progress)
        for lists in made.protocol.values():
            link_files(manifest.path, out, lists.values())
        commit(out, made)
    return open_manifest(out)


def _described(info: ManifestInfo, selection: Selection, name: str, whole: bool) -> ManifestInfo:
    """The new description; tables that others were made from are remembered where they are left out."""
    kept = {key: table for key, table in info.tables.items() if selection.tables is None or key in selection.tables}
    used = {other for table in kept.values() if table.step is not None for other in table.step.inputs}
    left: dict[str, TableInfo] = {key: table for key, table in info.tables.items() if key in used and key not in kept}
    withheld = info.withheld | left
    if not whole:  # their shards would no longer be aligned with the captures
        withheld = {key: table.model_copy(update={"shards": ()}) for key, table in withheld.items()}
    rules = selection.rules()
    return info.model_copy(
        update={
            "name": name or info.name,
            "recipe": None,
            "tables": kept,
            "withheld": withheld,
            "quality": info.quality if whole else (),  # measured on other rows
            "selections": (*info.selections, *((rules,) if rules else ())),
        }
    )


def _whole(manifest: Manifest, split: str) -> Iterator[Piece]:
    sizes = [shard.rows for shard in manifest.info.captures if shard.split == split]
    for number, (start, size) in enumerate(zip(shard_starts(manifest.info, split), sizes, strict=True)):
        yield Piece(split, array("h", [0]) * size, array("q", range(start, start + size)), whole=number)


def _rows(split: str, numbers: array[int]) -> Iterator[Piece]:
    for start in range(0, len(numbers), ROWS_PER_SHARD):
        part = numbers[start : start + ROWS_PER_SHARD]
        yield Piece(split, array("h", [0]) * len(part), part)


def _check(manifest: Manifest, selection: Selection) -> None:
    """Every name that the rules speak of is there.

    Raises:
        UserError: naming what is there.
    """
    for split in selection.splits or ():
        manifest.table("captures", split)
    for table in (*(selection.tables or ()), *selection.verdicts):
        if table not in manifest.tables:
            raise UserError(f"{manifest.path} has no table {table!r}: it holds {', '.join(sorted(manifest.tables))}")
    for table, verdicts in selection.verdicts.items():
        unknown = sorted(set(verdicts) - set(VERDICTS))
        if unknown:
            raise UserError(f"verdict {unknown[0]!r} of {table} is not known: it is one of {', '.join(VERDICTS)}")
    _check_draws(selection)
    for name, info in manifest.tables.items():
        if stale_shards(manifest.info, info):
            raise UserError(f"table {name!r} was made from other inputs than those now there: make it again first")


def _check_draws(selection: Selection) -> None:
    for what, value in (("--identities", selection.identities), ("--captures", selection.captures)):
        if value is not None and value <= 0:
            raise UserError(f"{what} is {value:g}: it must be more than 0")
    captures = selection.captures
    if captures is not None and not (captures < 1 or float(captures).is_integer()):
        raise UserError(f"--captures is {captures:g}: write a whole number of them, or a share below 1")


def chosen_rows(manifest: Manifest, split: str, selection: Selection) -> array[int]:
    """Numbers of the rows of a split that the rules leave, ascending.

    Args:
        manifest: the whole one.
        split: of it.
        selection: the rules.

    Raises:
        UserError: for a condition that can't be read.
    """
    selection = replace(selection, where=_with_quoted_names(selection.where, manifest))
    numbers, ids = array("q"), []
    people: list[str | None] = []  # None for distractors, who are nobody
    for start, frame in _frames(manifest, split, selection):
        kept = _filtered(frame, selection)
        numbers.extend(start + int(i) for i in kept.index)
        if selection.identities is not None:
            rows = zip(kept["dataset"], kept["pid"], kept["role"], strict=True)
            people += [None if role == "distractor" else f"{dataset}/{pid}" for dataset, pid, role in rows]
        if selection.captures is not None:
            ids += kept["sample_id"].tolist()
    if selection.identities is not None:
        drawn = sorted(
            {person for person in people if person is not None},
            key=lambda person: sample_seed(selection.seed, person, "select"),
        )
        chosen = set(drawn[: selection.identities])
        keep = [person in chosen for person in people]
        numbers = array("q", (number for number, yes in zip(numbers, keep, strict=True) if yes))
        ids = [sample_id for sample_id, yes in zip(ids, keep, strict=True) if yes] if ids else ids
    if selection.captures is not None:
        count = selection.captures if selection.captures >= 1 else selection.captures * len(numbers)
        order = sorted(range(len(numbers)), key=lambda i: sample_seed(selection.seed, ids[i], "select"))
        numbers = array("q", sorted(numbers[i] for i in order[: max(1, round(count))]))
    return numbers


def _with_quoted_names(where: str, manifest: Manifest) -> str:
    """The condition with columns of tables between backticks, as pandas wants names with dots and hyphens.

    Raises:
        UserError: it speaks of a table that is not there.
    """
    for spoken in re.finditer(r"`([^`]+)\.\w+`", where):
        if spoken[1] not in manifest.tables:
            there = ", ".join(sorted(manifest.tables))
            raise UserError(f"{manifest.path} has no table {spoken[1]!r}, which --where names: it holds {there}")
    names = "|".join(re.escape(name) for name in sorted(manifest.tables, key=len, reverse=True))
    apart = rf"""('[^']*'|"[^"]*"|`[^`]*`)|(?<![\w.-])({names})\.(\w+)"""  # what is quoted stays as it is
    return re.sub(apart, lambda found: found[1] or f"`{found[2]}.{found[3]}`", where) if names else where


def _frames(manifest: Manifest, split: str, selection: Selection) -> Iterator[tuple[int, pd.DataFrame]]:
    """Light columns of the captures with those of other tables that the rules speak of, a shard at a time."""
    import pandas as pd

    spoken = [name for name in manifest.tables if f"`{name}." in selection.where or name in selection.verdicts]
    total = manifest.info.splits[split].rows
    readers = {name: manifest.table(name, split) for name in ("captures", *spoken)}
    for start in range(0, total, ROWS_PER_SHARD):
        stop = min(start + ROWS_PER_SHARD, total)
        blocks = {name: reader.light(start, stop) for name, reader in readers.items()}
        frame = blocks["captures"].select(_LIGHT_WITH_ORIGIN).to_pandas()
        columns = {}
        for name in spoken:
            columns[f"{name}.verdict"] = blocks[name].column("verdict").to_pandas()
            columns[f"{name}.draw"] = blocks[name].column("draw").to_pandas()
            for score, values in zip(_scores(blocks[name]), blocks[name].column("scores").flatten(), strict=True):
                columns[f"{name}.{score}"] = values.to_pandas()
        yield start, pd.concat([frame, pd.DataFrame(columns)], axis=1) if columns else frame


def _scores(table: Any) -> list[str]:  # noqa: ANN401 - an Arrow table
    kind = table.schema.field("scores").type
    return [kind.field(i).name for i in range(kind.num_fields)]


def _filtered(frame: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    if selection.pids is not None:
        frame = frame[frame["pid"].isin(list(selection.pids))]
    for table, verdicts in selection.verdicts.items():
        frame = frame[frame[f"{table}.verdict"].isin(list(verdicts))]
    if not selection.where:
        return frame
    try:
        kept = frame.query(selection.where, engine="python")
    except Exception as error:
        valid = ", ".join(f"`{name}`" if not name.isidentifier() else name for name in frame.columns)
        told = re.sub(r"'BACKTICK_QUOTED_STRING_\w+'", "between backticks", str(error))  # how pandas calls such names
        raise UserError(
            f"--where {selection.where!r} can't be read ({told}): write a condition like \"camid == 2 and role == "
            f"'query'\"; columns are {valid}, and of every table `TABLE.verdict`, `TABLE.draw`, `TABLE.SCORE`"
        ) from error
    return kept
