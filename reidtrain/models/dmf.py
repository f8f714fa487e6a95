"""DMF: photographs and attribute words as samples of one identity, in turn, through one transformer.

Paper: "Deep Multimodal Fusion for Generalizable Person Re-identification" (2022). Decisions, and what differs from the
authors' released code, which has no text branch, pairs the synthetic photographs with random ones of a withdrawn data
set, and feeds identity labels to a loss of +-1:

- Image samples and text samples are separate sequences: frozen pre-trained encoder, linear map to D, a class token and
  position embedding of their own, one shared transformer. A batch mixes both; `modality_mix` is the share of places
  that give their photograph, the others give their words.
- The frozen encoders are the backbone's towers (data2vec-vision and data2vec-text in the paper's preset).
- Text samples are the attribute words of a caption, in order; words that are no attribute are left out (`key_words`),
  among token ids where these tell words apart, else (data2vec) before captions are tokenized.
- Losses: classification on the feature behind a BatchNorm neck, triplet on the feature before it. The triplet's
  distance is euclidean, not squared as the paper prints it (an option of the objective).
- Fine-tuning reads photographs alone (a stage with `modality_mix: 1`); projection and transformer go on, classifier and
  neck begin anew. Searched with the feature before the neck.
- The paper does not say how the transformer starts: ViT initialisation here, or a copy of the backbone's image tower
  with `transformer="backbone"`.
- `residual_global` is ours, off by default: the frozen encoder's global feature joins the class token, and as a unit
  vector it is added to what a linear map of the transformer's feature, zero at the start, makes of it, so that step 0
  is the frozen encoder.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reidtrain.backbones import DualEncoder
from reidtrain.batch import Batch
from reidtrain.errors import UserError
from reidtrain.losses import unit
from reidtrain.models.options import DMFOptions
from reidtrain.models.tokenizers import AttributeFinder
from reidtrain.trunks import fresh_trunk

RESIDUAL_LENGTH = 0.1


@dataclass(slots=True)
class DMFOutputs:
    """What one batch gives.

    Args:
        features: (B, D) before the neck, zeros where `valid` is false.
        logits: (n, classes) of the valid rows; None without a classifier.
        valid: (B,) bool, rows that hold the modality drawn for them.
        is_text: (B,) bool, rows that gave their words.
    """

    features: torch.Tensor
    logits: torch.Tensor | None
    valid: torch.Tensor
    is_text: torch.Tensor

    @classmethod
    def join(cls, parts: Sequence[DMFOutputs]) -> DMFOutputs:
        """Join the outputs of parts of a batch; no logits where a part with one valid row has none."""
        whole = all(part.logits is not None or not bool(part.valid.any()) for part in parts)
        logits = [part.logits for part in parts if part.logits is not None]
        return cls(
            torch.cat([part.features for part in parts]),
            torch.cat(logits) if whole and logits else None,
            torch.cat([part.valid for part in parts]),
            torch.cat([part.is_text for part in parts]),
        )


class _Sequence(nn.Module):
    """One modality's way into the transformer: linear map, class token, positions."""

    def __init__(self, width_in: int, width: int, length: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width_in, width)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1 + length, width) * 0.02)

    def forward(self, tokens: torch.Tensor, plain: torch.Tensor | None = None) -> torch.Tensor:
        """Turn (n, L, width_in) into (n, 1 + L, width); `plain` (n, width_in) is added to the class token."""
        projected = self.projection(tokens)
        start = self.start.to(projected.dtype).expand(len(tokens), 1, -1)
        if plain is not None:
            start = start + self.projection(plain)[:, None]
        joined: torch.Tensor = torch.cat([start, projected], dim=1) + self.positions[: 1 + tokens.shape[1]]
        return joined


class DMF(nn.Module):
    """The model.

    Args:
        backbone: frozen encoders of images and texts.
        options: see `DMFOptions`.
    """

    def __init__(self, backbone: DualEncoder, options: DMFOptions) -> None:
        super().__init__()
        if not backbone.frozen:
            raise UserError("dmf trains a transformer behind frozen encoders: set backbone.frozen=true")
        self.backbone, self.options = backbone, options
        self.modality_mix = options.modality_mix
        copied = options.transformer == "backbone"
        width = backbone.vision_width if copied else options.width
        if copied:
            self.transformer = copy.deepcopy(backbone.trunk()).requires_grad_(True)
        else:
            self.transformer = fresh_trunk(width, options.depth, options.heads)
        rows, columns = backbone.grid
        self.image = _Sequence(backbone.embed_dim, width, rows * columns)
        self.text = _Sequence(backbone.embed_dim, width, backbone.tokenize([""]).shape[1])
        self.finder = AttributeFinder(backbone.tokenizer.word_ids, backbone.tokenizer.word_ends())
        keep_words = getattr(backbone, "keep_words", None)
        if options.key_words and keep_words is not None:
            keep_words(self.finder.words)
        self.out = nn.Linear(width, backbone.embed_dim, bias=False) if options.residual_global else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)
        features = backbone.embed_dim if options.residual_global else width
        self.neck = nn.BatchNorm1d(features) if options.classes else None
        self.classifier = IdentityClassifier(features, options.classes) if options.classes else None
        if self.neck is not None:
            self.neck.bias.requires_grad_(False)

    def begin_stage(self, *, modality_mix: float | None = None) -> None:
        """Take the options of a stage; what it leaves out returns to the model's own.

        Raises:
            UserError: for a share out of range.
        """
        mix = self.options.modality_mix if modality_mix is None else modality_mix
        if not 0 <= mix <= 1:
            raise UserError(f"dmf: modality_mix is {mix}, it must lie between 0 and 1")
        self.modality_mix = mix

    def supports(self, modalities: Sequence[str]) -> bool:
        """Whether `encode` takes these modalities: rgb alone, or text alone."""
        return tuple(modalities) in (("rgb",), ("text",))

    def encode(self, batch: Batch, modalities: Sequence[str]) -> torch.Tensor:
        """Encode queries or gallery items.

        Args:
            batch: rows that have the modality.
            modalities: rgb, or text.

        Returns:
            (B, D) before the neck, not normalised.

        Raises:
            UserError: for other modalities, or where the batch lacks it.
        """
        if not self.supports(modalities):
            raise UserError(f"dmf cannot encode {'+'.join(modalities) or 'nothing'}: give rgb, or text")
        if modalities[0] == "text":
            if batch.tokens is None:
                raise UserError("the samples hold no text: choose a mode whose modalities the data has")
            return self._text_features(batch.tokens)
        if "rgb" not in batch.images:
            raise UserError("the samples hold no rgb: choose a mode whose modalities the data has")
        return self._image_features(batch.images["rgb"])

    def _finished(self, encoded: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
        start: torch.Tensor = encoded[:, 0]
        if self.out is None:
            return start
        added: torch.Tensor = unit(plain) + self.out(start * (RESIDUAL_LENGTH * start.shape[-1] ** -0.5))
        return added

    def _given(self, plain: torch.Tensor) -> torch.Tensor | None:
        """What joins the class token: with `residual_global` the frozen encoder's feature, or it could not be bent."""
        return None if self.out is None else plain

    def _image_features(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            plain, tokens, _ = self.backbone.image_tokens(images)
        return self._finished(self.transformer(self.image(tokens, self._given(plain))), plain)

    def _text_features(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            pick = self.options.key_words and bool(self.finder.patterns)
            plain, tokens, lengths = self.backbone.text_tokens(self._key_words(ids) if pick else ids)
        sequence = self.text(tokens, self._given(plain))
        mask = torch.arange(sequence.shape[1], device=ids.device)[None] <= lengths[:, None]
        return self._finished(self.transformer(sequence, mask), plain)

    def _key_words(self, ids: torch.Tensor) -> torch.Tensor:
        """Keep the attribute words between the first token and the end token, in order."""
        ends = ids.argmax(dim=1, keepdim=True)
        place = torch.arange(ids.shape[1], device=ids.device)[None]
        kept: torch.Tensor = (self.finder(ids)[1] & (place < ends)) | (place == 0) | (place == ends)
        order = (~kept).long().argsort(dim=1, stable=True)
        return (ids * kept).gather(1, order)

    def forward(self, batch: Batch) -> DMFOutputs:
        """Encode the photograph or the words of each row, as drawn."""
        count = len(batch)
        absent = torch.zeros(count, dtype=torch.bool, device=batch.labels.device)
        is_text = torch.rand(count, device=batch.labels.device) >= self.modality_mix
        has_text = batch.present.get("text", absent) & is_text
        has_image = batch.present.get("rgb", absent) & ~is_text
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        if bool(has_image.any()):
            parts.append((has_image, self._image_features(batch.images["rgb"][has_image])))
        if batch.tokens is not None and bool(has_text.any()):
            parts.append((has_text, self._text_features(batch.tokens[has_text])))
        width = self.backbone.embed_dim if self.out is not None else self.image.positions.shape[1]
        features = self.image.positions.new_zeros(count, width)
        for rows, encoded in parts:
            features = features.to(encoded.dtype).index_put((rows.nonzero()[:, 0],), encoded)
        valid = has_image | has_text
        logits = None
        if self.neck is not None and self.classifier is not None and int(valid.sum()) > 1:
            logits = self.classifier(self.neck(features[valid]))
        return DMFOutputs(features, logits, valid, is_text)


class IdentityClassifier(nn.Linear):
    """Linear classifier without bias, its weights of deviation 0.001, as behind a BatchNorm neck.

    Args:
        width: of features.
        classes: number of identities.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=0.001)


def build(backbone: DualEncoder, **options: Any) -> DMF:  # noqa: ANN401  checked by DMFOptions
    """Build DMF from flat options.

    Args:
        backbone: a frozen `DualEncoder`.
        options: fields of `DMFOptions`.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    known = [entry.name for entry in dataclasses.fields(DMFOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"dmf has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    return DMF(backbone, DMFOptions(**options))
