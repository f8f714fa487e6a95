"""`demo`: a drawn world of pedestrians, to try, test and measure everything without a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from reidsynth.draws import sample_rng
from reidsynth.policy import Policy
from reidsynth.schema import Content, Record, TableSpec, Text

if TYPE_CHECKING:
    import numpy as np

    from reidsynth.world import Identity

_JPEG_QUALITY = 92
# Splits number their people from different thousands on, so a person number means one person of the whole data set.
_FIRST_PID = {"train": 0, "val": 1_000_000, "test": 2_000_000, "pretrain": 3_000_000}

Count = Annotated[int, Field(ge=0, lt=1_000_000)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Demo:
    """Draw people of a world in colour, near infrared, sketches, masks and captions.

    Splits share no combination of attributes, whatever the seeds; `hard` people differ from another of their split in
    at most three attributes. The first half of a person's observations is the gallery, the second half, by other
    cameras, the queries.

    Args:
        seed: of the world; equal seeds draw equal bytes.
        train: identities of the split `train`.
        val: identities of the split `val`.
        test: identities of the split `test`.
        pretrain: identities of the split `pretrain`, for training a backbone.
        observations: captures of each identity.
        height: of the images in pixels.
        width: of the images in pixels.
        hard: share of identities that are another one with one to three attributes changed.
        cameras: cameras of the world.
        detail: chance that a caption tells each of build, hair, headwear, glasses, pattern, shoes and bag, where the
            view shows it; gender and clothes are always told. People who describe others leave things out.
    """

    name: ClassVar[str] = "demo"
    version: ClassVar[int] = 1
    policy: ClassVar[Policy] = Policy(
        licence="Apache-2.0",
        modify=True,
        egress=True,
        default_release="public",
        note="Drawn by a program; no photograph and no real person went into it.",
    )

    seed: int = 0
    train: Count = 400
    val: Count = 50
    test: Count = 200
    pretrain: Count = 0
    observations: Annotated[int, Field(ge=1, le=99)] = 4
    height: Annotated[int, Field(ge=64, le=1024)] = 128
    width: Annotated[int, Field(ge=32, le=1024)] = 64
    hard: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    cameras: Annotated[int, Field(ge=2, le=99)] = 8
    detail: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> Demo:
        if not self.splits():
            raise ValueError("every split has 0 identities: set train, val, test or pretrain to at least 1")
        if not 1.5 <= self.height / self.width <= 4:
            raise ValueError(
                f"height {self.height} and width {self.width} don't frame a standing person: "
                "height must be 1.5 to 4 times the width"
            )
        return self

    def dataset(self) -> str:
        """Name in the captures' `dataset` column."""
        return self.name

    def tables(self) -> tuple[TableSpec, ...]:
        """Every modality is real, of this world."""
        return (
            TableSpec("rgb", "rgb", "real"),
            TableSpec("mask", "mask", "real"),
            TableSpec("ir", "ir", "real", "nir"),
            TableSpec("sketch", "sketch", "real"),
            TableSpec("text", "text", "real"),
        )

    def splits(self) -> tuple[str, ...]:
        """Splits that have identities."""
        return tuple(split for split in _FIRST_PID if getattr(self, split) > 0)

    def records(self, split: str) -> Iterator[Record]:
        """List the captures of a split, sorted by sample_id."""
        from reidsynth.world.identities import sample_identities

        people = sample_identities(self.seed, split, hard=self.hard)
        for index in range(getattr(self, split)):
            person = next(people)
            yield from sorted(self._records_of(person, split, index), key=lambda record: record.sample_id)

    def _records_of(self, person: Identity, split: str, index: int) -> Iterator[Record]:
        pid = _FIRST_PID[split] + index
        gallery = (self.observations + 1) // 2
        cameras = sample_rng(self.seed, person.key, "cameras").permutation(self.cameras).tolist()
        half = (self.cameras + 1) // 2
        for observation in range(self.observations):
            first = observation < gallery
            # Queries come from other cameras than the gallery of the same person.
            pool = cameras[:half] if first else cameras[half:]
            camera = pool[(observation if first else observation - gallery) % len(pool)]
            role = "train" if split in ("train", "pretrain") else ("gallery" if first else "query")
            yield Record(
                sample_id=f"demo/{split}/{pid:07d}_c{camera:02d}_{observation:02d}",
                pid=pid,
                camid=camera,
                role=role,
                payload={**person.as_payload(), "camera": camera, "observation": observation},
            )

    def read(self, record: Record) -> Content:
        """Draw one capture."""
        from reidsynth.world import Identity, World

        world = World(seed=self.seed, size=(self.height, self.width), hard=self.hard, detail=self.detail)
        payload: dict[str, Any] = dict(record.payload)
        made = world.draw(Identity.from_payload(payload), payload["camera"], payload["observation"])
        rgb = _encode(".jpg", made.rgb[..., ::-1])
        images = {
            "rgb": rgb,
            "mask": _encode(".png", made.mask),
            "ir": _encode(".jpg", made.ir),
            "sketch": _encode(".png", made.sketch),
        }
        text = Text(captions=made.captions, attributes=made.attributes)
        return Content(images=images, texts={"text": text}, source_sha256=hashlib.sha256(rgb).hexdigest())

    def stamp(self, record: Record) -> str:
        """Nothing lies on disk that could change."""
        return ""


@lru_cache(maxsize=2)
def _options(suffix: str) -> list[int]:
    import cv2

    # Level 1 packs line art nearly as small as the default and five times faster.
    return {".jpg": [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY], ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1]}[suffix]


def _encode(suffix: str, image: np.ndarray) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, image, _options(suffix))
    if not done:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}")
    return bytes(data)
