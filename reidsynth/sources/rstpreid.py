"""RSTPReid with its official annotation `data_captions.json`.

Reference: A. Zhu et al., "DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval", ACM
MM 2021. The annotation calls an image's path `img_path`; images lie flat in `imgs` as `<person>_c<camera>_<index>.jpg`.
Images come from MSMT17 and were numbered anew: neither people nor names match those of MSMT17 or ICFG-PEDES.
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
class RstpReid(CaptionedPhotographs):
    """RSTPReid: 4,101 people by 15 cameras, five images each with two sentences; train, val and test.

    Args:
        root: folder that holds `imgs` and `data_captions.json`, or the folder above it.
    """

    name: ClassVar[str] = "rstpreid"
    policy: ClassVar[Policy] = Policy(
        licence="MIT as stated by the owners' repository; the images under MSMT17's terms; no redistribution",
        egress=False,
        default_release="never",
        note="Images are MSMT17's and show real people, so the terms of MSMT17 bind whatever the repository states.",
    )
    title: ClassVar[str] = "RSTPReid"
    annotations: ClassVar[tuple[str, ...]] = ("data_captions.json",)
    path_key: ClassVar[str] = "img_path"
    camera: ClassVar[re.Pattern[str] | None] = re.compile(r"^\d+_c(\d+)_")

    def published(self) -> Published:
        """The owners' sizes: five images of each person, two sentences for each."""
        sizes = {"train": (18_505, 3701), "val": (1000, 200), "test": (1000, 200)}
        return Published(
            counts=(
                Count(captures=20_505, identities=4101, captions=41_010),
                *(
                    Count(splits=(split,), captures=n, identities=people, captions=2 * n)
                    for split, (n, people) in sizes.items()
                ),
            ),
            captions_each=(2, 2),
        )
