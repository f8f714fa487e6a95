"""A source and a step of a few lines, registered by the tests of the pipeline."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth import images
from reidsynth.draws import sample_rng
from reidsynth.policy import Policy
from reidsynth.schema import ATTRIBUTE_FIELDS, Content, Made, Record, Sample, TableSpec, Text
from reidsynth.steps import require


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Noise:
    """Rows of noise; every seventh photograph is unreadable, every fifth capture has no text."""

    rows: int = 10
    seed: int = 0
    version_of_files: str = ""
    name: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy("Apache-2.0")

    def dataset(self) -> str:
        return "noise"

    def tables(self) -> tuple[TableSpec, ...]:
        return (TableSpec("rgb", "rgb", "real"), TableSpec("mask", "mask", "real"), TableSpec("text", "text", "real"))

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def records(self, split: str) -> list[Record]:
        role = "train" if split == "train" else "query+gallery"
        return [Record(f"noise/{split}/{i:05d}", i // 2, i % 2 + 1, role) for i in range(self.rows)]

    def stamp(self, record: Record) -> str:
        return self.version_of_files

    def read(self, record: Record) -> Content:
        number = int(record.sample_id[-5:])
        pixels = sample_rng(self.seed, record.sample_id, "noise").integers(0, 255, (24 + number % 2, 12, 3), np.uint8)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[4:20, 3:9] = 255
        photo = images.encode(pixels, "jpeg")
        text = Text((f"person {number}",), dict.fromkeys(ATTRIBUTE_FIELDS) | {"gender": "woman"})
        return Content(
            images={"rgb": photo[: len(photo) // 2] if number % 7 == 6 else photo, "mask": images.encode(mask)},
            texts={} if number % 5 == 4 else {"text": text},
            source_sha256="0" * 64,
        )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Inverse:
    """Inverted grey; a step whose output says in which batch it was made would break the tests."""

    offset: int = 0
    name: ClassVar[str] = "build-ir"
    method: ClassVar[str] = "inverse"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        return TableSpec("ir-inverse", "ir", "synthetic", "pseudo")

    def inputs(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        require("build-ir", "table 'rgb'", "rgb" in tables, tables, "ingest photographs first")
        return ("rgb",)

    def parameters(self) -> dict[str, int]:
        return {"offset": self.offset}

    def weights(self) -> dict[str, str]:
        return {}

    def process(self, samples: list[Sample]) -> list[Made]:
        return [Made(image=255 - sample.images["rgb"].mean(axis=2).astype(np.uint8)) for sample in samples]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Outline(Inverse):
    """Needs the inverse; says by `draw` what it was given."""

    name: ClassVar[str] = "build-sketch"
    method: ClassVar[str] = "outline"

    def output(self) -> TableSpec:
        return TableSpec("sketch-outline", "sketch", "synthetic")

    def inputs(self, tables: tuple[str, ...]) -> tuple[str, ...]:
        require("build-sketch", "table 'ir-inverse'", "ir-inverse" in tables, tables, "run build-ir first")
        return ("rgb", "ir-inverse", "text")

    def process(self, samples: list[Sample]) -> list[Made]:
        return [
            Made(error="nothing to draw")
            if sample.sample_id.endswith("3")
            else Made(image=sample.images["ir-inverse"][..., 0], draw=",".join(sorted(sample.texts)))
            for sample in samples
        ]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Same(Inverse):
    """Writes the same sentence for everybody below a person number; the others have their own."""

    below: int = 40
    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "same"

    def output(self) -> TableSpec:
        return TableSpec("text-same", "text", "synthetic")

    def parameters(self) -> dict[str, int]:
        return {"below": self.below}

    def process(self, samples: list[Sample]) -> list[Made]:
        pids = [sample.capture["pid"] for sample in samples]
        return [Made(text=Text((f"A person, number {0 if pid < self.below else pid}.",))) for pid in pids]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Slow(Inverse):
    """Sleeps for 20 ms a row."""

    method: ClassVar[str] = "slow"

    def output(self) -> TableSpec:
        return TableSpec("ir-slow", "ir", "synthetic", "pseudo")

    def process(self, samples: list[Sample]) -> list[Made]:
        time.sleep(0.02 * len(samples))
        return super().process(samples)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Shifting(Inverse):
    """Its weights are other ones each time that somebody looks, as if they were exchanged while a command runs."""

    method: ClassVar[str] = "shifting"
    looks: ClassVar[list[int]] = []

    def output(self) -> TableSpec:
        return TableSpec("ir-shifting", "ir", "synthetic", "pseudo")

    def weights(self) -> dict[str, str]:
        self.looks.append(1)
        return {"model.pth": f"{len(self.looks):064}"}
