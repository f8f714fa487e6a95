"""RegDB: pairs of a visible and a thermal camera, ten random halvings of the people.

Reference: D. T. Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible Light and
Thermal Cameras", Sensors 2017; the halvings: M. Ye et al., "Hierarchical Discriminative Learning for Visible Thermal
Person Re-Identification", AAAI 2018.
A model is trained for each halving ("trial") and the ten results are averaged, so a manifest holds one trial; the
people of all ten are kept in it as well. A capture is one photograph of one camera: rows of the visible camera fill
`rgb`, rows of the thermal one `ir`. Labels in the lists begin anew in every trial; the captures bear the person
numbers of the folders.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import listing, splitlists
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.schema import Content, Record, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CAMERAS = {"visible": (1, "rgb"), "thermal": (2, "ir")}
_SIDES = {"train": "train", "test": "query+gallery"}
_PATH = re.compile(r"(?P<folder>Visible|Thermal)/(?P<pid>\d{1,9})/[^/]+", re.ASCII)
_TRIALS = range(1, 11)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RegDb:
    """RegDB: 412 people, 10 visible and 10 thermal images each, ten random halvings.

    Args:
        root: folder that holds `Visible`, `Thermal` and `idx`, or the folder above it.
        trial: which of the ten halvings.
    """

    root: Path
    trial: Annotated[int, Field(ge=1, le=10)] = 1

    name: ClassVar[str] = "regdb"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="academic use on request to the owners (Dongguk University); no redistribution",
        egress=False,
        default_release="never",
        note="The photographs show real people and may not be redistributed; what is derived from them follows them.",
    )

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Visible photographs and thermal images, in rows of their own."""
        return (TableSpec("rgb", "rgb", "real"), TableSpec("ir", "ir", "real", "lwir"))

    def splits(self) -> tuple[str, ...]:
        """The trial's two halves."""
        return tuple(_SIDES)

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: a folder or a list is missing, or a list has lines that it may not have.
        """
        records = []
        for sensor, (camid, modality) in _CAMERAS.items():
            for path, _, pid in self._listed(split, sensor, self.trial):
                sample_id = listing.stem_id(self.name, path)
                records.append(Record(sample_id, pid, camid, _SIDES[split], modality=modality, source_path=path))
        return sorted(records, key=lambda record: record.sample_id)

    def read(self, record: Record) -> Content:
        """Read one image into the table of its camera."""
        return listing.read_images(self._base, {record.modality: record.source_path})

    def stamp(self, record: Record) -> str:
        """Size and modification time."""
        return listing.stamp(self._base, record)

    def protocol(self) -> Mapping[str, Any]:
        """People of both halves of every trial whose lists are there, and the trial that this manifest holds."""
        splits = {}
        for trial in _TRIALS:
            if all((self._base / _list(side, "visible", trial)).is_file() for side in _SIDES):
                sides = {side: sorted({pid for _, _, pid in self._listed(side, "visible", trial)}) for side in _SIDES}
                splits[str(trial)] = sides
        return {"splits": splits, "trial": self.trial}

    def published(self) -> Published:
        """412 people with ten images of each camera, half of them in each split."""
        halves = tuple(
            Count(splits=(split,), modality=modality, captures=2060, identities=206)
            for split in _SIDES
            for _, modality in _CAMERAS.values()
        )
        whole = tuple(Count(modality=modality, captures=4120, identities=412) for _, modality in _CAMERAS.values())
        return Published(counts=(Count(captures=8240, identities=412), *whole, *halves))

    def inconsistencies(self) -> Iterator[str]:
        """Trials whose lists are missing, or whose halves share people."""
        splits = self.protocol()["splits"]
        missing = [str(trial) for trial in _TRIALS if str(trial) not in splits]
        if missing:
            yield f"lists of {len(missing)} of {len(_TRIALS)} trials are missing: {listing.first_few(missing)}"
        for trial, halves in splits.items():
            both = sorted(set(halves["train"]) & set(halves["test"]))
            if both:
                who = listing.first_few([str(pid) for pid in both])
                yield f"trial {trial} has {len(both)} people in both halves: {who}"

    @cached_property
    def _base(self) -> Path:
        return listing.release(self.root, "RegDB")

    def _listed(self, side: str, sensor: str, trial: int) -> list[tuple[str, int, int]]:
        """Path, label and person of every line of one list."""
        listing.require(self._base, ("Visible", "Thermal", "idx"), "RegDB")
        name = _list(side, sensor, trial)
        lines, mistakes = [], []
        people: dict[int, int] = {}
        for path, label in splitlists.labelled_files(self._base / name):
            found = _PATH.fullmatch(path)
            if found is None or found["folder"].lower() != sensor:
                mistakes.append(f"{path!r} is not {sensor.capitalize()}/<person>/<file>")
                continue
            pid = int(found["pid"])
            if people.setdefault(label, pid) != pid:
                mistakes.append(f"{path!r} has the label of person {people[label]}")
            lines.append((path, label, pid))
        if mistakes:
            raise UserError(
                f"{name} has {len(mistakes)} mistakes: {listing.first_few(mistakes)}; take the official list"
            )
        return lines


def _list(side: str, sensor: str, trial: int) -> str:
    return f"idx/{side}_{sensor}_{trial}.txt"
