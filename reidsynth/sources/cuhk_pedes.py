"""CUHK-PEDES with its official annotation `reid_raw.json`.

Reference: S. Li et al., "Person Search with Natural Language Description", CVPR 2017.
Person numbers are the annotation's `id` (the numbers in file names belong to the data sets that the images came from),
splits are its `split`. The folders below `imgs` are origins of images, never splits, whatever their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.sources.captioned import IMAGES, CaptionedPhotographs

if TYPE_CHECKING:
    from pathlib import Path

_OLD_ANNOTATION = "caption_all.json"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CuhkPedes(CaptionedPhotographs):
    """CUHK-PEDES: 13,003 people, 40,206 images, two sentences each, splits of `reid_raw.json`.

    Args:
        root: folder that holds `imgs` and `reid_raw.json`, or the folder above it.
    """

    name: ClassVar[str] = "cuhk-pedes"
    policy: ClassVar[Policy] = Policy(
        licence="academic use on request to the owners; no redistribution",
        egress=False,
        default_release="never",
        note="Images come from several data sets of real people (Market-1501, CUHK01, CUHK03, VIPeR, CUHK-SYSU).",
    )
    title: ClassVar[str] = "CUHK-PEDES"
    annotations: ClassVar[tuple[str, ...]] = ("reid_raw.json",)

    def published(self) -> Published:
        """The owners' sizes; the numbers of captions by split are told in papers."""
        sizes = {"train": (34_054, 11_003, 68_126), "val": (3078, 1000, 6158), "test": (3074, 1000, 6156)}
        return Published(
            counts=(
                Count(captures=40_206, identities=13_003, captions=80_440),
                *(Count(splits=(split,), captures=n, identities=people) for split, (n, people, _) in sizes.items()),
                *(Count(splits=(split,), captions=told, sure=False) for split, (_, _, told) in sizes.items()),
            ),
            captions_each=(2, None),
        )

    def _annotation_file(self, base: Path) -> Path:
        (official,) = self.annotations
        if not (base / official).is_file() and (base / _OLD_ANNOTATION).is_file():
            raise UserError(
                f"{str(base)!r} holds only {_OLD_ANNOTATION}, which has no splits (folders below {IMAGES} are origins "
                f"of images, not splits): get {official} from the data set's owners"
            )
        return super()._annotation_file(base)
