"""What `reidsynth quality` measured, as `manifest.json` keeps it: numbers, what they were measured on, and by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from reidsynth.inside import PlainName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reidsynth.manifest import ManifestInfo

Kind = Literal["paired", "distance", "acceptance"]
KINDS: tuple[Kind, ...] = ("paired", "distance", "acceptance")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Numbers(_Part):
    """Numbers on one sample.

    Args:
        name: what was measured: the table, or what stands beside it for comparison.
        n: images, or queries.
        values: metric -> value; PSNR in dB, R1 and mAP as fractions.
        spread: metric -> standard deviation (paired, kernel distance) or standard error over people (acceptance).
        about: what `n` is made of, and what else must be known to read the numbers.
    """

    name: str
    n: int
    values: dict[str, float]
    spread: dict[str, float] = Field(default_factory=dict)
    about: str = ""


class Measurement(_Part):
    """One table, measured in one way.

    Args:
        kind: `paired` with the real modality, `distance` to a reference, `acceptance` by a search for photographs.
        table: that was judged.
        against: real table, `MANIFEST:table`, or `rgb`.
        split: of the manifest.
        found: its numbers.
        beside: numbers that show what these are worth: baselines, bounds, the real modality, chance.
        network: that gave the features; "" where none was needed.
        weights: file -> sha256 of the network's weights.
        seed: of the sample.
        warnings: what makes the numbers doubtful.
        made_from: table of this manifest -> checksum of its rows in the split when it was measured.
    """

    kind: Kind
    table: PlainName
    against: str
    split: PlainName
    found: Numbers
    beside: tuple[Numbers, ...] = ()
    network: str = ""
    weights: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    warnings: tuple[str, ...] = ()
    made_from: dict[PlainName, str] = Field(default_factory=dict)

    @property
    def question(self) -> tuple[str, ...]:
        """What was asked; a new answer to it replaces the old one."""
        return (self.kind, self.table, self.against, self.split, self.network)


def rows_checksum(info: ManifestInfo, table: str, split: str) -> str:
    """Checksum of the rows of a table (or of `captures`) in a split; "" where the table is not on record."""
    from reidsynth.storage import content_key

    if table != "captures" and table not in info.tables and table not in info.withheld:
        return ""
    return content_key([shard.content for shard in info.shards_of(table) if shard.split == split])


def stale(info: ManifestInfo, measurement: Measurement) -> tuple[str, ...]:
    """Tables that have other rows now than when something was measured on them; () while the numbers hold."""
    made_from = measurement.made_from.items()
    return tuple(name for name, before in made_from if rows_checksum(info, name, measurement.split) != before)


def joined(before: Iterable[Measurement], new: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Old and new measurements in one order; a new one takes the place of an old one with the same question."""
    found = {one.question: one for one in (*before, *new)}
    order = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(found.values(), key=lambda one: (order[one.kind], *one.question[1:])))
