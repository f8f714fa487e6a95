"""UNIReID: sketch, caption or both against photographs, on a CLIP that is trained whole.

Paper: Chen, Ye and Jiang, "Towards Modality-Agnostic Person Re-Identification with Descriptive Query" (CVPR 2023).
Decisions, and what differs from the authors' released code:

- Photographs and sketches share the visual encoder. A feature is the class token (image) or the token at the end mark
  (text) after the tower's last norm and projection; position embeddings are resized bilinearly without antialiasing,
  as there.
- T+S is the sum of the un-normalised features; whoever compares normalises afterwards.
- The scale is a free parameter that starts at 1/0.07, as there.
- The authors draw captures at random; our presets draw distinct identities, which the loss presumes.
- `frozen_statistics` is ours: a backbone with a BatchNorm keeps its statistics in training. CLIP has none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reidtrain.backbones import DualEncoder, require_clip
from reidtrain.batch import Batch
from reidtrain.errors import UserError
from reidtrain.models.joining import join_named
from reidtrain.models.options import UNIReIDOptions

QUERIES = (("text",), ("sketch",), ("text", "sketch"))


@dataclass(slots=True)
class UNIReIDOutputs:
    """What one batch gives.

    Args:
        features: `rgb`, `sketch`, `text` and `fused` -> (B, D), not normalised; zeros where the batch has none.
        valid: (B,) bool, rows that hold photograph, sketch and caption.
        scale: inverse temperature, a scalar.
    """

    features: dict[str, torch.Tensor]
    valid: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def join(cls, parts: Sequence[UNIReIDOutputs]) -> UNIReIDOutputs:
        """Join the outputs of parts of a batch."""
        features = join_named([part.features for part in parts], [len(part.valid) for part in parts])
        return cls(features, torch.cat([part.valid for part in parts]), parts[0].scale)


class UNIReID(nn.Module):
    """The model.

    Args:
        backbone: image-text encoder, trained unless it is frozen.
        scale: inverse temperature at the start.
        frozen_statistics: BatchNorm layers of the backbone stay in eval mode.
    """

    def __init__(self, backbone: DualEncoder, *, scale: float = 1 / 0.07, frozen_statistics: bool = True) -> None:
        super().__init__()
        if scale <= 0:
            raise UserError(f"unireid: scale is {scale}, it must be greater than 0")
        require_clip(backbone, "unireid")
        self.backbone = backbone
        self.frozen_statistics = frozen_statistics
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        # CLIP's own temperature has no part in the loss: it would be a parameter without a gradient.
        backbone.clip.logit_scale.requires_grad_(False)

    def train(self, mode: bool = True) -> UNIReID:
        """Switch to training mode; BatchNorm keeps its statistics where `frozen_statistics` says so."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def supports(self, modalities: Sequence[str]) -> bool:
        """Whether `encode` takes these modalities: rgb alone, or text, sketch or both."""
        return set(modalities) == {"rgb"} or set(modalities) in [set(query) for query in QUERIES]

    def encode(self, batch: Batch, modalities: Sequence[str]) -> torch.Tensor:
        """Encode queries or gallery items.

        Args:
            batch: rows that have these modalities.
            modalities: rgb alone, or text, sketch or both.

        Returns:
            (B, D), not normalised.

        Raises:
            UserError: for other combinations.
        """
        return self.join_parts({modality: self.encode_part(batch, modality) for modality in modalities})

    def encode_part(self, batch: Batch, modality: str) -> torch.Tensor:
        """Encode one modality of samples that all have it: (B, D), for `join_parts`."""
        if modality == "text":
            if batch.tokens is None:
                raise UserError("the samples hold no text: choose a mode whose modalities the data has")
            return self.backbone.text_tokens(batch.tokens)[0]
        if modality not in batch.images:
            raise UserError(f"the samples hold no {modality}: choose a mode whose modalities the data has")
        return self.backbone.image_tokens(batch.images[modality])[0]

    def join_parts(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum what `encode_part` gave for each modality of a query or gallery item: (B, D).

        Raises:
            UserError: as `encode`.
        """
        if not self.supports(tuple(parts)):
            raise UserError(
                f"unireid cannot encode {'+'.join(parts) or 'nothing'}: give rgb alone, text, sketch, or text+sketch"
            )
        return torch.stack(list(parts.values())).sum(dim=0)

    def forward(self, batch: Batch) -> UNIReIDOutputs:
        """Encode a training batch of photographs, sketches and captions."""
        names = [name for name in ("rgb", "sketch") if name in batch.images]
        features: dict[str, torch.Tensor] = {}
        if names:
            together, _, _ = self.backbone.image_tokens(torch.cat([batch.images[name] for name in names]))
            features = dict(zip(names, together.chunk(len(names)), strict=True))
        if batch.tokens is not None:
            features["text"] = self.backbone.text_tokens(batch.tokens)[0]
        nothing = self.scale.new_zeros(len(batch), self.backbone.embed_dim)
        features = {name: features.get(name, nothing) for name in ("rgb", "sketch", "text")}
        features["fused"] = features["sketch"] + features["text"]
        absent = torch.zeros_like(batch.labels, dtype=torch.bool)
        held = [batch.present.get(name, absent) for name in ("rgb", "sketch", "text")]
        return UNIReIDOutputs(features, torch.stack(held).all(dim=0), self.scale * 1.0)


def build(backbone: DualEncoder, **options: Any) -> UNIReID:  # noqa: ANN401  checked by UNIReIDOptions
    """Build UNIReID from flat options.

    Args:
        backbone: a `DualEncoder`.
        options: fields of `UNIReIDOptions`.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    known = [entry.name for entry in dataclasses.fields(UNIReIDOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise UserError(f"unireid has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    chosen = UNIReIDOptions(**options)
    return UNIReID(backbone, scale=chosen.scale, frozen_statistics=chosen.frozen_statistics)
