"""An existing manifest as a source: its captures and tables, as the beginning of another one.

Sample ids, people, cameras, roles, checksums of the original files, lists for evaluation and terms stay what they are.
By default the tables that the data set itself holds are read, since what steps made is better made again by the new
recipe, with its steps on record; `only` names others.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth.errors import UserError
from reidsynth.manifest import Manifest, SourceInfo, open_manifest
from reidsynth.policy import Policy, combined
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reidsynth.manifest import TableReader

_CAPTURE = ("sample_id", "dataset", "pid", "camid", "role", "modality", "source_path", "derived_from")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ExistingManifest:
    """An existing manifest: its captures and its tables, read into a new one.

    Args:
        root: folder of the manifest.
        only: names of the tables to read; those of the data set itself by default.
        take: data set whose rows are read; needed only where the manifest holds several.
    """

    root: Path
    only: tuple[str, ...] | None = None
    take: str | None = None

    name: ClassVar[str] = "manifest"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="that of the manifest's own source", note="`terms` gives the terms of the manifest that is read."
    )

    def terms(self) -> Policy:
        """Terms of the sources that the manifest was made from: of each rule the strictest."""
        return combined(Policy.from_dict(source.policy) for source in self._origins)

    def dataset(self) -> str:
        """The manifest's own data set."""
        return self._dataset

    def tables(self) -> tuple[TableSpec, ...]:
        """The tables chosen.

        Raises:
            UserError: one of them is not in the manifest.
        """
        there = self._opened.tables
        chosen = self.only
        if chosen is None:
            chosen = tuple(name for name, table in there.items() if table.step is None)
        missing = [name for name in chosen if name not in there]
        if missing or not chosen:
            wanted = " and ".join(missing) or "of its own data set"
            raise UserError(f"{self.root} has no table {wanted}: it holds {', '.join(there)}")
        return tuple(there[name].spec for name in sorted(chosen))

    def splits(self) -> tuple[str, ...]:
        """The manifest's splits."""
        return self._opened.splits

    def records(self, split: str) -> Iterator[Record]:
        """Rows of a split, in order.

        Raises:
            UserError: a shard is damaged.
        """
        shards = [shard for shard in self._opened.info.captures if shard.split == split]
        stamps = [shard.sha256 for shard in shards for _ in range(shard.rows)]
        columns = self._reader("captures", split).columns(_CAPTURE)
        for row in range(columns.num_rows):
            values = {name: columns.column(name)[row].as_py() for name in _CAPTURE}
            if values.pop("dataset") == self._dataset:
                yield Record(**values, payload={"split": split, "row": row, "shard": stamps[row]})

    def read(self, record: Record) -> Content:
        """One row of every table; a row that failed before keeps its reason.

        Raises:
            UserError: a shard is damaged.
        """
        split, row = record.payload["split"], record.payload["row"]
        images: dict[str, bytes] = {}
        texts: dict[str, Text] = {}
        draws: dict[str, str] = {}
        errors: dict[str, str] = {}
        for spec in self.tables():
            values = self._reader(spec.name, split)[row]
            if values["draw"] is not None:
                draws[spec.name] = values["draw"]
            if values["verdict"] == "error":
                errors[spec.name] = values["reason"] or "could not be read"
            elif spec.kind == "text" and values["captions"] is not None:
                texts[spec.name] = Text(
                    tuple(values["captions"]), values["attributes"], values["model"], values["usage"]
                )
            elif spec.kind == "image" and values["image"] is not None:
                images[spec.name] = values["image"]["bytes"]
        digest = self._reader("captures", split)[row]["source_sha256"]
        return Content(images, texts, draws, errors, digest)

    def stamp(self, record: Record) -> str:
        """Checksums of the shards that hold the row."""
        return self._stamps[record.payload["shard"]]

    def dropped(self) -> Mapping[str, int]:
        """What the manifest's own reader left out."""
        return {reason: count for source in self._origins for reason, count in source.dropped.items()}

    def pid_names(self) -> Mapping[int, str]:
        """Names of people in the manifest."""
        return {int(pid): name for source in self._origins for pid, name in source.pid_names.items()}

    def protocol(self) -> Mapping[str, Any]:
        """Lists for evaluation in the manifest."""
        return self._opened.protocol(self._dataset)

    @cached_property
    def _opened(self) -> Manifest:
        return open_manifest(self.root)

    @cached_property
    def _dataset(self) -> str:
        found = sorted({source.dataset for source in self._opened.info.sources})
        if self.take is None and len(found) == 1:
            return found[0]
        if self.take not in found:
            told = f"no data set {self.take!r}" if self.take else "several data sets"
            raise UserError(f"{self.root} holds {told}: choose one of {', '.join(found)} with --set take=NAME")
        return self.take

    @cached_property
    def _origins(self) -> tuple[SourceInfo, ...]:
        return tuple(source for source in self._opened.info.sources if source.dataset == self._dataset)

    @cached_property
    def _stamps(self) -> dict[str, str]:
        """Checksum of a captures shard -> checksums of the shards of all tables beside it."""
        info = self._opened.info
        names = [spec.name for spec in self.tables()]
        found: dict[str, str] = {}
        for split in self._opened.splits:
            beside = [[s.sha256 for s in info.shards_of(name) if s.split == split] for name in ("captures", *names)]
            found |= {checksums[0]: " ".join(checksums) for checksums in zip(*beside, strict=True)}
        return found

    @cached_property
    def _readers(self) -> dict[tuple[str, str], TableReader]:
        return {}

    def _reader(self, name: str, split: str) -> TableReader:
        if (name, split) not in self._readers:
            self._readers[name, split] = self._opened.table(name, split)
        return self._readers[name, split]
