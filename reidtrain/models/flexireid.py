"""FlexiReID: seven query modes over text, sketch and infrared against photographs, on a frozen CLIP.

Paper: Sun et al., "FlexiReID: Adaptive Mixture of Expert for Multi-Modal Person Re-Identification" (2025). There is no
released code. Decisions where the paper is silent or contradicts itself:

- The mixture of adapters stands beside the frozen FFN of every block of both towers, after attention, on the FFN's
  normalised input, and its up-projections start at zero: step 0 equals CLIP.
- The threshold stands in the paper as 0.6, 0.4 and 0.65; the default is 0.6. Gates are raw probabilities.
- CMQF works on 1 + K tokens a modality; missing modalities are learnable (1 + K) x D embeddings.
- The local tokens are patch and word tokens after the tower's last norm and projection, like the global feature.
- The gallery feature is the plain class feature of the photograph, with the adapters.
- `residual_global` is ours, off by default; see `reidtrain.models.fusion.Fusion`.
- `adapter_scale` 0.1, ReLU and the Kaiming down-projection follow AdaptFormer (NeurIPS 2022); width 64 likewise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from reidtrain.backbones import Adapter, DualEncoder, require_clip
from reidtrain.batch import SEVEN_MODES, Batch
from reidtrain.errors import UserError
from reidtrain.models.experts import ExpertLayer, ExpertOptions, Routing, adaptive_gates
from reidtrain.models.fusion import QUERY_MODALITIES, Fusion, segment_tokens, stripe_tokens
from reidtrain.models.joining import join_named
from reidtrain.models.options import FlexiReIDOptions

__all__ = ["FlexiReID", "FlexiReIDOptions", "FlexiReIDOutputs", "adaptive_gates", "build"]


@dataclass(slots=True)
class FlexiReIDOutputs:
    """What one batch gives.

    Args:
        queries: modalities of a mode, as `QueryMode.query` orders them -> (B, D) fused features.
        valid: the same keys -> (B,) bool, rows that hold all of the mode's modalities.
        gallery: (B, D) class features of the photographs.
        gallery_valid: (B,) bool, rows that hold a photograph.
        routing: one per expert layer and tower pass, empty for a single adapter.
    """

    queries: dict[tuple[str, ...], torch.Tensor]
    valid: dict[tuple[str, ...], torch.Tensor]
    gallery: torch.Tensor
    gallery_valid: torch.Tensor
    routing: list[Routing] = field(default_factory=list)

    @classmethod
    def join(cls, parts: Sequence[FlexiReIDOutputs]) -> FlexiReIDOutputs:
        """Join the outputs of parts of a batch."""
        rows = [len(part.gallery) for part in parts]
        return cls(
            queries=join_named([part.queries for part in parts], rows),
            valid=join_named([part.valid for part in parts], rows),
            gallery=torch.cat([part.gallery for part in parts]),
            gallery_valid=torch.cat([part.gallery_valid for part in parts]),
            routing=[Routing.join(layer) for layer in zip(*(part.routing for part in parts), strict=True)],
        )


class FlexiReID(nn.Module):
    """The model.

    Args:
        backbone: frozen image-text encoder.
        options: see `FlexiReIDOptions`.
    """

    def __init__(self, backbone: DualEncoder, options: FlexiReIDOptions) -> None:
        super().__init__()
        require_clip(backbone, "flexireid")
        if options.local_tokens > backbone.grid[0]:
            raise UserError(
                f"flexireid: local_tokens is {options.local_tokens}, but images of {backbone.image_size} have only "
                f"{backbone.grid[0]} rows of patches: give {backbone.grid[0]} or fewer"
            )
        if backbone.embed_dim % options.fusion_heads:
            raise UserError(
                f"flexireid: fusion_heads is {options.fusion_heads}, it must divide the feature length "
                f"{backbone.embed_dim}"
            )
        self.backbone = backbone
        self.options = options
        layer = _expert_options(options)
        self.vision_experts = nn.ModuleList(
            ExpertLayer(backbone.vision_width, layer) for _ in range(backbone.vision_layers)
        )
        self.text_experts = nn.ModuleList(ExpertLayer(backbone.text_width, layer) for _ in range(backbone.text_layers))
        self.fusion = Fusion(
            backbone.embed_dim,
            kind=options.fusion,
            local_tokens=options.local_tokens,
            missing=options.missing,
            heads=options.fusion_heads,
            ratio=options.fusion_ratio,
            residual_global=options.residual_global,
        )

    def _image_sequences(self, images: torch.Tensor, routing: list[Routing] | None) -> torch.Tensor:
        top, patches, grid = self.backbone.image_tokens(images, _adapters(self.vision_experts, routing))
        return torch.cat([top[:, None], stripe_tokens(patches, grid, self.options.local_tokens)], dim=1)

    def _text_sequences(self, ids: torch.Tensor, routing: list[Routing] | None) -> torch.Tensor:
        top, tokens, lengths = self.backbone.text_tokens(ids, _adapters(self.text_experts, routing))
        return torch.cat([top[:, None], segment_tokens(tokens, lengths, self.options.local_tokens)], dim=1)

    def sequences(
        self, batch: Batch, modalities: Sequence[str], routing: list[Routing] | None = None
    ) -> dict[str, torch.Tensor]:
        """Encode each modality once; all images go through the shared image tower together.

        Args:
            batch: what to encode.
            modalities: which; one that the batch lacks altogether is left out.
            routing: receives how each layer routed.

        Returns:
            Modality -> (B, 1 + K, D): the global feature, then K local ones.
        """
        found: dict[str, torch.Tensor] = {}
        names = [name for name in modalities if name in batch.images]
        if names:
            together = self._image_sequences(torch.cat([batch.images[name] for name in names]), routing)
            found.update(zip(names, together.chunk(len(names)), strict=True))
        if "text" in modalities and batch.tokens is not None:
            found["text"] = self._text_sequences(batch.tokens, routing)
        return found

    def supports(self, modalities: Sequence[str]) -> bool:
        """Whether `encode` takes these modalities: rgb alone, or any subset of text, sketch and ir."""
        wanted = set(modalities)
        return wanted == {"rgb"} or (bool(wanted) and wanted <= set(QUERY_MODALITIES))

    def encode(self, batch: Batch, modalities: Sequence[str]) -> torch.Tensor:
        """Encode queries or gallery items.

        Args:
            batch: what to encode; where a row lacks a modality, its missing embedding stands in.
            modalities: any subset of text, sketch and ir, or rgb alone (the plain class feature).

        Returns:
            (B, D), not normalised.

        Raises:
            UserError: for other combinations, or where the batch holds none of the modalities.
        """
        wanted = _encodable(modalities)
        tokens = self.sequences(batch, wanted)
        if not tokens:
            raise UserError(f"the samples hold no {' or '.join(wanted)}: choose a mode whose modalities the data has")
        if wanted == ("rgb",):
            return tokens["rgb"][:, 0]
        fused: torch.Tensor = self.fusion(tokens, {name: batch.present[name] for name in tokens})
        return fused

    def encode_part(self, batch: Batch, modality: str) -> torch.Tensor:
        """Encode one modality of samples that all have it: (B, 1 + K, D), for `join_parts`."""
        return self.sequences(batch, (modality,))[modality]

    def join_parts(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Join what `encode_part` gave for each modality of a query or gallery item.

        Args:
            parts: modality -> (B, 1 + K, D).

        Returns:
            (B, D), as `encode` gives for these modalities.

        Raises:
            UserError: as `encode`.
        """
        if _encodable(tuple(parts)) == ("rgb",):
            return parts["rgb"][:, 0]
        fused: torch.Tensor = self.fusion(
            parts, {name: torch.ones(len(part), dtype=torch.bool, device=part.device) for name, part in parts.items()}
        )
        return fused

    def forward(self, batch: Batch) -> FlexiReIDOutputs:
        """Encode photographs and all query modes that the batch has the modalities for.

        The modes are fused in one pass, mode after mode along the batch axis.
        """
        routing: list[Routing] = []
        tokens = self.sequences(batch, ("rgb", *QUERY_MODALITIES), routing)
        gallery = tokens.pop("rgb")[:, 0]
        modes = [mode.query for mode in SEVEN_MODES if set(mode.query) <= tokens.keys()]
        present = {name: torch.cat([batch.present[name] & (name in mode) for mode in modes]) for name in tokens}
        stacked = {name: sequence.repeat(len(modes), 1, 1) for name, sequence in tokens.items()}
        fused = self.fusion(stacked, present).chunk(len(modes))
        valid = {mode: _all(batch.present, mode) for mode in modes}
        return FlexiReIDOutputs(dict(zip(modes, fused, strict=True)), valid, gallery, batch.present["rgb"], routing)


def _encodable(modalities: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(modalities)
    if wanted != ("rgb",) and (not wanted or not set(wanted) <= set(QUERY_MODALITIES)):
        raise UserError(
            f"flexireid cannot encode {'+'.join(wanted) or 'nothing'}: give rgb alone, or any of "
            f"{', '.join(QUERY_MODALITIES)}"
        )
    return wanted


def _all(present: Mapping[str, torch.Tensor], names: Sequence[str]) -> torch.Tensor:
    return torch.stack([present[name] for name in names]).all(dim=0)


def _expert_options(options: FlexiReIDOptions) -> ExpertOptions:
    """The part that an expert layer needs."""
    return ExpertOptions(
        count=options.experts,
        routing=options.routing,
        threshold=options.threshold,
        top_k=options.top_k,
        routing_unit=options.routing_unit,
        width=options.adapter_width,
        scale=options.adapter_scale,
        form=options.moe,
    )


def _adapters(layers: nn.ModuleList, routing: list[Routing] | None) -> list[Adapter]:
    def bind(layer: nn.Module) -> Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]:
        told = False

        def adapt(tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            nonlocal told
            update: torch.Tensor
            update, routed = layer(tokens, mask)
            # Gradient checkpointing calls a second time, on the way back.
            if routing is not None and routed is not None and not told:
                routing.append(routed)
                told = True
            return update

        return adapt

    return [bind(layer) for layer in layers]


def build(backbone: DualEncoder, **options: Any) -> FlexiReID:  # noqa: ANN401  checked by FlexiReIDOptions
    """Build FlexiReID from flat options.

    Args:
        backbone: a frozen `DualEncoder`.
        options: fields of `FlexiReIDOptions`.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    known = [entry.name for entry in dataclasses.fields(FlexiReIDOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"flexireid has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    return FlexiReID(backbone, FlexiReIDOptions(**options))
