"""A manifest on disk: its description (`manifest.json`) and its row-aligned tables, read by split and by row."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reidsynth.errors import UserError
from reidsynth.protocol import ProtocolFile, checked_bytes, read_protocol
from reidsynth.schema import SCHEMA_VERSION, Modality, Origin, Spectrum, TableSpec
from reidsynth.storage import content_key, sha256_file, write_json
from reidsynth.tables import CAPTURES

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST_FILE = "manifest.json"
ABSENT_KEY = "absent"  # key of a shard that holds no value: its captures came from a manifest without this table
CACHED_GROUPS = 64


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardInfo(_Part):
    """One Parquet file: path inside the manifest, rows, size in bytes, checksum and content key.

    `stands_for` is the checksum of the shard that it replaces, row for row: one whose rows were joined again from the
    owners' files and carry their checksums. What was made from that shard is as good as made from this one.
    """

    file: str
    split: str
    rows: int
    bytes: int
    sha256: str
    key: str
    stands_for: str | None = None

    @property
    def content(self) -> str:
        """Checksum that steps know this shard by."""
        return self.stands_for or self.sha256


class StepInfo(_Part):
    """What made a table: enough to make it again."""

    name: str
    method: str
    version: int
    parameters: dict[str, Any]
    weights: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    terms: dict[str, Any] = Field(default_factory=dict)  # a policy: of the data that the weights were trained on


class TableInfo(_Part):
    """One table: what it shows, what made it, how its rows fared, its files."""

    name: str
    modality: Modality
    origin: Origin
    spectrum: Spectrum | None = None
    step: StepInfo | None = None
    counts: dict[str, dict[str, int]]
    reasons: dict[str, int] = Field(default_factory=dict)
    shards: tuple[ShardInfo, ...]

    @property
    def spec(self) -> TableSpec:
        """The table's specification."""
        return TableSpec(self.name, self.modality, self.origin, self.spectrum)


class SourceInfo(_Part):
    """The source: its reader, parameters (never the root folder), terms, and what it left out with the reason."""

    name: str
    version: int
    dataset: str
    parameters: dict[str, Any]
    policy: dict[str, Any]
    dropped: dict[str, int] = Field(default_factory=dict)
    pid_names: dict[str, str] = Field(default_factory=dict)


class SplitInfo(_Part):
    """Size of one split."""

    rows: int
    identities: int
    roles: dict[str, int]


class ManifestInfo(_Part):
    """The whole of `manifest.json`.

    `protocol` is data set -> name -> file, see `reidsynth.protocol`. `merged` names the sources of the manifests that
    this one was merged from, `selections` how its rows were chosen from those of another. `withheld` describes tables
    that others were made from and that are not here: because their terms forbid to publish them, or because nobody
    asked for them. Their shards are listed as long as they would be row-aligned with the captures.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    about: str = ""
    recipe: dict[str, Any] | None = None
    source: SourceInfo
    splits: dict[str, SplitInfo]
    captures: tuple[ShardInfo, ...]
    tables: dict[str, TableInfo]
    protocol: dict[str, dict[str, ProtocolFile]] = Field(default_factory=dict)
    merged: tuple[SourceInfo, ...] = ()
    selections: tuple[dict[str, Any], ...] = ()
    withheld: dict[str, TableInfo] = Field(default_factory=dict)

    @property
    def sources(self) -> tuple[SourceInfo, ...]:
        """Every source that rows come from."""
        return self.merged or (self.source,)

    def shards_of(self, name: str) -> tuple[ShardInfo, ...]:
        """Shards of a table, withheld or not, or of `captures`."""
        if name == "captures":
            return self.captures
        return (self.tables.get(name) or self.withheld[name]).shards


def step_shard_key(step: StepInfo, spec: TableSpec, inputs: Iterable[str]) -> str:
    """Content key of a step's shard: what it was made from (checksums) and how."""
    made = [step.name, step.method, step.version, step.parameters, step.weights, list(step.inputs)]
    return content_key(SCHEMA_VERSION, made, [spec.name, spec.modality, spec.origin, spec.spectrum], list(inputs))


class TableReader:
    """Rows of one table in one split, by number, without loading the table.

    Args:
        paths: the split's shards in order.
        name: of the table, for messages.

    Raises:
        UserError: when a shard turns out to be damaged (pages carry checksums).
    """

    def __init__(self, paths: Iterable[Path], name: str) -> None:
        self.name = name
        self._paths = list(paths)
        self._files = [self._opened(path) for path in self._paths]
        groups = [
            (number, group, file.metadata.row_group(group).num_rows)
            for number, file in enumerate(self._files)
            for group in range(file.metadata.num_row_groups)
        ]
        self._groups = [(number, group) for number, group, _ in groups]
        self._ends = list(accumulate(rows for _, _, rows in groups))
        self._cache: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one row; an absent image or caption is None.

        Raises:
            IndexError: outside the split.
            UserError: when the shard is damaged.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} in table {self.name!r}")
        group = bisect_right(self._ends, row)
        start = self._ends[group - 1] if group else 0
        values: dict[str, Any] = self._group(group).slice(row - start, 1).to_pylist()[0]
        return values

    def columns(self, names: Iterable[str]) -> pa.Table:
        """Return whole columns; meant for the light ones.

        Raises:
            UserError: when a shard is damaged.
        """
        wanted = list(names)
        tables = []
        for path, file in zip(self._paths, self._files, strict=True):
            try:
                tables.append(file.read(columns=wanted).replace_schema_metadata(None))
            except (pa.ArrowException, OSError) as error:
                raise damaged(path) from error
        return pa.concat_tables(tables)

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the rows start <= row < stop."""
        return [self[row] for row in range(start, min(stop, len(self)))]

    def _group(self, index: int) -> pa.Table:
        table = self._cache.get(index)
        if table is None:
            number, group = self._groups[index]
            try:
                table = self._files[number].read_row_group(group, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise damaged(self._paths[number]) from error
            self._cache[index] = table
            if len(self._cache) > CACHED_GROUPS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(index)
        return table

    @staticmethod
    def _opened(path: Path) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path) from error

    def __getstate__(self) -> dict[str, Any]:
        """A reader sent to another process opens its files there."""
        return {"name": self.name, "paths": self._paths}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["paths"], state["name"])  # type: ignore[misc] # a fresh reader over the same files


def damaged(path: Path) -> UserError:
    """The error of a shard whose bytes are not those that were written."""
    return UserError(
        f"{path} is damaged (its content does not match its checksum): delete that file and run the command that made "
        "it again, or take it from your copy"
    )


class Manifest:
    """An open manifest; `reidsynth.open_manifest` makes one.

    Args:
        path: its folder.
        info: its description.
    """

    def __init__(self, path: Path, info: ManifestInfo) -> None:
        self.path = path
        self.info = info

    @property
    def tables(self) -> dict[str, TableInfo]:
        """Tables besides `captures`, by name."""
        return self.info.tables

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.info.splits)

    @property
    def checksum(self) -> str:
        """Checksum over all files' checksums: equal for equal data and equal protocol files."""
        shards = [*self.info.captures, *(s for table in self.tables.values() for s in table.shards)]
        sums = [(shard.file, shard.sha256) for shard in shards]
        sums += [(entry.file, entry.sha256) for files in self.info.protocol.values() for entry in files.values()]
        return content_key(*sorted(sums))

    def protocol(self, dataset: str) -> dict[str, Any]:
        """Lists that the evaluation of a data set needs (id lists, query sets, artists); see `reidsynth.protocol`.

        Args:
            dataset: value of the captures' `dataset` column.

        Returns:
            name -> JSON value; {} for data sets without such lists.

        Raises:
            UserError: when a file is missing or is not the one on record.
        """
        return read_protocol(self.path, self.info.protocol.get(dataset, {}))

    def check_protocol(self) -> None:
        """Compare every protocol file with its checksum.

        Raises:
            UserError: when one is missing or damaged.
        """
        for files in self.info.protocol.values():
            for entry in files.values():
                checked_bytes(self.path, entry)

    def captures(self, split: str) -> pa.Table:
        """All captures of a split, in row order.

        Raises:
            UserError: for an unknown split.
        """
        return self.table("captures", split).columns(CAPTURES.names)

    def table(self, name: str, split: str) -> TableReader:
        """A reader of one table in one split.

        Raises:
            UserError: for an unknown table or split; the message lists what is there.
        """
        if name != "captures" and name not in self.tables:
            raise UserError(f"{self.path} has no table {name!r}: it holds {', '.join(sorted(self.tables))}")
        if split not in self.info.splits:
            raise UserError(f"{self.path} has no split {split!r}: it holds {', '.join(self.splits)}")
        shards = [shard for shard in self.info.shards_of(name) if shard.split == split]
        return TableReader([self.path / shard.file for shard in shards], name)

    def check_shard(self, shard: ShardInfo) -> None:
        """Compare one shard with its checksum.

        Raises:
            UserError: when it is missing or damaged.
        """
        path = self.path / shard.file
        if not path.exists():
            raise UserError(f"{path} is missing: run the command that made it again, or take it from your copy")
        if path.stat().st_size != shard.bytes or sha256_file(path) != shard.sha256:
            raise damaged(path)


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest folder.

    Args:
        path: the folder that holds `manifest.json`.

    Returns:
        The manifest; its shards exist and have the sizes on record (their bytes are checked when they are read, and
        by `reidsynth validate`).

    Raises:
        UserError: when the folder is no manifest, is of another schema version, or lacks a shard.
    """
    folder = Path(path)
    manifest = Manifest(folder, read_info(folder))
    every = [manifest.info.captures, *(table.shards for table in manifest.tables.values())]
    for shard in (shard for shards in every for shard in shards):
        file = folder / shard.file
        if not file.exists():
            raise UserError(f"{file} is missing: run the command that made it again, or take it from your copy")
        if file.stat().st_size != shard.bytes:
            raise damaged(file)
    return manifest


def read_info(folder: Path) -> ManifestInfo:
    """Read and check `manifest.json`.

    Raises:
        UserError: when it is absent, unreadable or of another schema version.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        what = "does not exist" if not folder.exists() else f"holds no {MANIFEST_FILE}"
        raise UserError(
            f"{folder} {what}, so it is no manifest: build one with `reidsynth build` or `reidsynth ingest`"
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {version!r}, and this program reads version {SCHEMA_VERSION}: build the "
                "manifest again, or use the program's release that wrote it"
            )
        return ManifestInfo.model_validate(values)
    except (ValueError, ValidationError) as error:
        raise UserError(f"{file} can't be read as a manifest ({error}): build the manifest again") from error


def write_info(folder: Path, info: ManifestInfo) -> None:
    """Write `manifest.json` atomically."""
    write_json(folder / MANIFEST_FILE, info.model_dump(mode="json"))
