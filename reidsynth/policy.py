"""What a data set's owners allow: changing it, sending it out, publishing it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Release = Literal["public", "gated", "private", "never"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Terms of one source.

    Args:
        licence: SPDX name, or a sentence where there is none.
        modify: whether derived images may be made.
        egress: whether pixels may be sent to an external service.
        release: table's modality -> how it may be published; what is not named follows `default_release`. The name
            `protocol` stands for the lists that evaluation needs (`reidsynth.protocol`).
        default_release: for every modality that `release` does not name.
        note: one sentence for the dataset card.
    """

    licence: str
    modify: bool = True
    egress: bool = False
    release: dict[str, Release] = field(default_factory=dict)
    default_release: Release = "never"
    note: str = ""

    def release_of(self, modality: str) -> Release:
        """How a modality may be published."""
        return self.release.get(modality, self.default_release)

    def as_dict(self) -> dict[str, Any]:
        """The policy as JSON values, for `manifest.json`."""
        return asdict(self)
