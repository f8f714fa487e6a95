"""A manifest on disk: its description (`manifest.json`) and its row-aligned tables, read by split and by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reidsynth.errors import UserError
from reidsynth.inside import InsidePath, PlainName
from reidsynth.measurements import Measurement
from reidsynth.protocol import ProtocolFile, checked_bytes, read_protocol
from reidsynth.reader import TableReader as TableReader  # part of this module's interface
from reidsynth.reader import damaged, missing
from reidsynth.schema import SCHEMA_VERSION, Modality, Origin, Spectrum, TableSpec
from reidsynth.storage import content_key, sha256_file, write_json
from reidsynth.tables import CAPTURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANIFEST_FILE = "manifest.json"
PARTIAL_KEY = "partial"  # of a shard with rows from a manifest that lacked the table: a step makes such a shard anew

NOT_JOINED = "not joined: "  # how the reason of a row begins that `reidsynth rehydrate` found no file for


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardInfo(_Part):
    """One Parquet file: path inside the manifest, rows, size in bytes, checksum and content key.

    `stands_for` is the checksum of the shard that it replaces, row for row: one whose rows were joined again from the
    owners' files and carry their checksums. What was made from that shard is as good as made from this one.
    """

    file: InsidePath
    split: PlainName
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
    gate: int = 1  # version of the gates that judged
    gates: dict[str, float | None] = Field(default_factory=dict)  # thresholds other than the default; None is never
    note: str = ""  # a sentence for the card
    terms: dict[str, Any] = Field(default_factory=dict)  # a policy: of the data that the weights were trained on


class TableInfo(_Part):
    """One table: what it shows, what made it, how its rows fared, its files."""

    name: PlainName
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
    gates: dict[str, float | None] = Field(default_factory=dict)  # thresholds other than the default; None is never
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
    asked for them. Their shards are listed as long as they would be row-aligned with the captures. `quality` is what
    `reidsynth quality` measured.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    about: str = ""
    recipe: dict[str, Any] | None = None
    source: SourceInfo
    splits: dict[PlainName, SplitInfo]
    captures: tuple[ShardInfo, ...]
    tables: dict[PlainName, TableInfo]
    protocol: dict[str, dict[str, ProtocolFile]] = Field(default_factory=dict)
    merged: tuple[SourceInfo, ...] = ()
    selections: tuple[dict[str, Any], ...] = ()
    withheld: dict[PlainName, TableInfo] = Field(default_factory=dict)
    quality: tuple[Measurement, ...] = ()

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
    made: list[Any] = [step.name, step.method, step.version, step.parameters, step.weights, list(step.inputs)]
    made += [[step.gate, step.gates]] if step.gate > 1 or step.gates else []
    return content_key(SCHEMA_VERSION, made, [spec.name, spec.modality, spec.origin, spec.spectrum], list(inputs))


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
        sums = [(shard.file, shard.content) for shard in shards]
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

    def table(self, name: str, split: str, *, in_order: bool = False) -> TableReader:
        """A reader of one table in one split.

        Args:
            name: of the table.
            split: of the rows.
            in_order: rows will be asked for once and in order, which needs less memory.

        Raises:
            UserError: for an unknown table or split; the message lists what is there.
        """
        if name != "captures" and name not in self.tables:
            raise UserError(f"{self.path} has no table {name!r}: it holds {', '.join(sorted(self.tables))}")
        if split not in self.info.splits:
            raise UserError(f"{self.path} has no split {split!r}: it holds {', '.join(self.splits)}")
        shards = [shard for shard in self.info.shards_of(name) if shard.split == split]
        return TableReader([(self.path / shard.file, shard.rows) for shard in shards], name, in_order=in_order)

    def check_shard(self, shard: ShardInfo) -> None:
        """Compare one shard with its checksum.

        Raises:
            UserError: when it is missing or damaged.
        """
        path = self.path / shard.file
        if not path.exists():
            raise missing(path)
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
    for file in lost_files(folder, (shard for shards in every for shard in shards)):
        raise missing(file) if not file.exists() else damaged(file)
    return manifest


def lost_files(folder: Path, shards: Iterable[ShardInfo]) -> Iterator[Path]:
    """Files of shards that are not there, or not of the size on record."""
    for shard in shards:
        file = folder / shard.file
        if not file.exists() or file.stat().st_size != shard.bytes:
            yield file


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
    return parse_info(file)


def parse_info(file: Path) -> ManifestInfo:
    """Read and check one `manifest.json`.

    Raises:
        UserError: when it is unreadable or of another schema version.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{file} has schema version {version!r}, and this program reads version {SCHEMA_VERSION}: build the "
                "manifest again, or use the program's release that wrote it"
            )
        return ManifestInfo.model_validate(values)
    except ValueError as error:
        told = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            told = f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(f"{file} can't be read as a manifest ({told}): build the manifest again") from error


def write_info(folder: Path, info: ManifestInfo) -> None:
    """Write `manifest.json` atomically."""
    write_json(folder / MANIFEST_FILE, info.model_dump(mode="json"))
