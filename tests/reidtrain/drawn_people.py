"""A source of tiny drawn people: two coloured bands, seen by two cameras, in four modalities."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import images
from reidsynth.draws import sample_rng
from reidsynth.policy import Policy
from reidsynth.schema import Content, Record, TableSpec, Text

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 210),
    "white": (235, 235, 235),
    "black": (25, 25, 25),
    "yellow": (220, 210, 40),
    "purple": (130, 40, 150),
    "brown": (120, 80, 40),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class People:
    """People whose upper and lower garment are told apart; options make it incomplete."""

    identities: int = 12
    captures: int = 4
    dataset_name: str = "people"
    sketchless: int = 0
    """Every n-th capture has no sketch."""
    blank: int = 0
    """Every n-th infrared image is blank, and fails its gate."""
    val: bool = True
    text: bool = True
    name: ClassVar[str] = "people"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy("Apache-2.0")

    def dataset(self) -> str:
        return self.dataset_name

    def tables(self) -> tuple[TableSpec, ...]:
        specs = [TableSpec("rgb", "rgb", "real"), TableSpec("ir", "ir", "real", "nir")]
        specs += [TableSpec("sketch", "sketch", "real"), TableSpec("sketch-late", "sketch", "synthetic")]
        return (*specs, TableSpec("text", "text", "real")) if self.text else tuple(specs)

    def splits(self) -> tuple[str, ...]:
        return ("train", "val", "test") if self.val else ("train", "test")

    def records(self, split: str) -> list[Record]:
        first = {"train": 0, "val": 100, "test": 200}[split]
        role = "train" if split == "train" else "query+gallery"
        return [
            Record(f"{self.dataset_name}/{split}/{first + pid:06d}_{view}", first + pid, view % 2 + 1, role)
            for pid in range(self.identities)
            for view in range(self.captures)
        ]

    def stamp(self, record: Record) -> str:
        return ""

    def read(self, record: Record) -> Content:
        names = list(COLOURS)
        upper, lower = names[record.pid % 8], names[(record.pid // 8 * 3 + record.pid + 3) % 8]
        rng = sample_rng(0, record.sample_id, "people")
        photo = np.empty((40, 20, 3), np.uint8)
        photo[:20], photo[20:] = COLOURS[upper], COLOURS[lower]
        photo = np.clip(photo + rng.integers(-20, 21, photo.shape), 0, 255).astype(np.uint8)
        view = int(record.sample_id[-1])
        infrared = np.full_like(photo[:, :, 0], 90) if self.blank and view % self.blank == 0 else photo[:, :, 0]
        sketch = np.full((40, 20), 255, np.uint8)
        sketch[10 + record.pid % 8 : 38 : 2 + record.pid % 5, 4:16] = 0
        made = {
            "rgb": images.encode(photo, "jpeg"),
            "ir": images.encode(infrared),
            "sketch-late": images.encode(sketch),
        }
        if not (self.sketchless and view % self.sketchless == 0):
            made["sketch"] = images.encode(255 - (255 - sketch) // 2)
        captions = (f"a person in a {upper} shirt and {lower} trousers", f"{upper} above, {lower} below")
        return Content(
            images=made, texts={"text": Text(captions[: 1 + view % 2])} if self.text else {}, source_sha256="0" * 64
        )
