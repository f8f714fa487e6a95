"""ICFG-PEDES with its official annotation, which goes by three spellings.

Reference: Z. Ding et al., "Semantically Self-Aligned Network for Text-to-Image Part-aware Person Re-identification",
arXiv:2107.12666. Images are MSMT17's and keep its names (person_index_camera_time_frame_box) and its folders `train`
and `test`, which are **not** the splits: rows of the split train lie in both. There is no validation split.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from reidsynth.policy import Policy
from reidsynth.published import Count, Published
from reidsynth.sources.captioned import CaptionedPhotographs


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class IcfgPedes(CaptionedPhotographs):
    """ICFG-PEDES: 4,102 people, 54,522 images with one long sentence each, train and test.

    Args:
        root: folder that holds `imgs` and `ICFG-PEDES.json` (or `ICFG_PEDES.json`), or the folder above it.
    """

    name: ClassVar[str] = "icfg-pedes"
    policy: ClassVar[Policy] = Policy(
        licence="research use on request to the owners; the images under MSMT17's terms; no redistribution",
        egress=False,
        default_release="never",
        note="Images are MSMT17's and show real people, so the terms of MSMT17 bind as well.",
    )
    title: ClassVar[str] = "ICFG-PEDES"
    annotations: ClassVar[tuple[str, ...]] = ("ICFG-PEDES.json", "ICFG_PEDES.json", "ICFG-PDES.json")
    camera: ClassVar[re.Pattern[str] | None] = re.compile(r"^\d+_\d+_(\d{2})_")

    def published(self) -> Published:
        """The owners' sizes."""
        return Published(
            counts=(
                Count(captures=54_522, identities=4102, captions=54_522),
                Count(splits=("train",), captures=34_674, identities=3102, captions=34_674),
                Count(splits=("test",), captures=19_848, identities=1000, captions=19_848),
            ),
            captions_each=(1, 1),
        )
