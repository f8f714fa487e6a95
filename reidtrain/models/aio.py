"""AIO: photographs, infrared, sketches and captions, any of them together, as tokens of one frozen transformer.

Paper: Li et al., "All in One Framework for Multimodal Re-identification in the Wild" (CVPR 2024). There is no released
code. Decisions where the paper is silent:

- The trunk is the backbone's image tower: its first norm, blocks and last norm, frozen; gradients pass through it to
  the tokenizers. A feature is the class token behind the last norm, before any projection.
- The class token starts as the trunk's with its position, image positions as the trunk's, one table per modality; each
  caption token has a learnable position. Word embeddings start as CLIP's and are trained; a trunk without a text tower
  takes them from another CLIP (option `words`, as the rows of the paper's table 5 do).
- Absent modalities are missing from the multimodal sequence: they and the padding of captions are masked in attention.
- In training each sample draws 2 to 4 of the modalities that it has for its multimodal feature; one with fewer than
  two has none.
- Classification: BatchNorm neck and linear classifier, shared by all features, mean over the features present.
- Masked attributes: a second pass of the caption in which all attribute words are [MASK]; the encoded [MASK] at a
  word's first token beside the photograph's feature tells the word. `mask_share` masks only some words.
- Searched with features before the neck.
- Ours, off by default: `token_budget`; and three that let a few people and minutes be enough where the paper has
  millions of images: `image_tokenizer="trunk"` (start from copies of the trunk's own patch embedding, whose BatchNorm
  keeps its statistics, instead of fresh IBN stems), `text_tokenizer="tower"` (the frozen text tower's tokens through a
  linear map instead of word embeddings), `residual_global` (a feature is the sum of the frozen encoder's unit global
  features of its modalities plus a linear map of the class token that starts at zero: step 0 is the frozen encoder).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reidtrain.backbones import DualEncoder, build_backbone, require_clip
from reidtrain.batch import IMAGE_MODALITIES, MODALITIES, Batch
from reidtrain.errors import UserError
from reidtrain.losses import unit
from reidtrain.models.joining import join_named
from reidtrain.models.options import AIOOptions
from reidtrain.models.tokenizers import AttributeFinder, ImageTokenizer, pool_tokens

RESIDUAL_LENGTH = 0.1

Tokens = tuple[torch.Tensor, torch.Tensor]
"""(B, L, W) tokens and (B, L) bool, which of them are real."""


@dataclass(slots=True)
class AIOOutputs:
    """What one batch gives.

    Args:
        features: modality, or `fused` -> (B, W), zeros where absent.
        present: the same keys -> (B,) bool.
        logits: (n, classes), one for each feature present; None without a classifier.
        rows: (n,) the batch's row of each of the logits.
        words: (m, vocabulary) logits of masked words, in rows that hold photograph and caption.
        targets: (m,) the words that were masked.
    """

    features: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    logits: torch.Tensor | None
    rows: torch.Tensor
    words: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def join(cls, parts: Sequence[AIOOutputs]) -> AIOOutputs:
        """Join the outputs of parts of a batch; parts too small for the neck's statistics have no logits."""
        sizes = [len(next(iter(part.present.values()))) for part in parts]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        classified = [(part, start) for part, start in zip(parts, starts, strict=True) if part.logits is not None]
        return cls(
            join_named([part.features for part in parts], sizes),
            join_named([part.present for part in parts], sizes),
            torch.cat([part.logits for part, _ in classified if part.logits is not None]) if classified else None,
            torch.cat([part.rows + start for part, start in classified] or [parts[0].rows]),
            torch.cat([part.words for part in parts]),
            torch.cat([part.targets for part in parts]),
        )


class AIO(nn.Module):
    """The model.

    Args:
        backbone: whose image tower is the trunk; frozen.
        options: see `AIOOptions`.
    """

    def __init__(self, backbone: DualEncoder, options: AIOOptions) -> None:
        super().__init__()
        if not backbone.frozen:
            raise UserError("aio trains tokenizers before a frozen trunk: set backbone.frozen=true")
        self.backbone, self.options = backbone, options
        width = backbone.vision_width
        self.start = nn.Parameter(backbone.start_token().clone())
        self.image_tokenizers = nn.ModuleDict({name: self._image_tokenizer() for name in IMAGE_MODALITIES})
        self.image_positions = nn.ParameterDict(
            {name: nn.Parameter(backbone.positions().clone()) for name in IMAGE_MODALITIES}
        )
        own_words = options.text_tokenizer == "words"
        table = _word_table(backbone, options.words) if own_words else None
        self.words = None if table is None else nn.Embedding.from_pretrained(table.clone(), freeze=False)
        text_width = backbone.embed_dim if table is None else table.shape[1]
        self.word_projection = nn.Linear(text_width, width) if text_width != width or not own_words else nn.Identity()
        length = backbone.tokenize([""]).shape[1]
        self.text_positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.mask = nn.Parameter(torch.randn(text_width) * 0.02)
        self.finder = AttributeFinder(backbone.tokenizer.word_ids, backbone.tokenizer.word_ends())
        features = backbone.embed_dim if options.residual_global else width
        self.out = nn.Linear(width, features, bias=False) if options.residual_global else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)
        self.attributes = nn.Sequential(
            nn.Linear(features + width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, len(self.finder.words)),
        )
        self.neck = nn.BatchNorm1d(features) if options.classes else None
        self.classifier = nn.Linear(features, options.classes, bias=False) if options.classes else None
        if self.neck is not None and self.classifier is not None:
            self.neck.bias.requires_grad_(False)
            nn.init.normal_(self.classifier.weight, std=0.001)

    def _image_tokenizer(self) -> nn.Module:
        if self.options.image_tokenizer == "trunk":
            return copy.deepcopy(self.backbone.patch_embedding).requires_grad_(True)
        return ImageTokenizer(self.backbone.vision_width, self.backbone.patch_size[0])

    def train(self, mode: bool = True) -> AIO:
        """Switch to training mode; tokenizers copied from the trunk keep the statistics of their BatchNorm.

        A frozen trunk knows tokens under these statistics: under those of a batch, step 0 is another encoder.
        """
        super().train(mode)
        if self.options.image_tokenizer == "trunk":
            for module in self.image_tokenizers.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def supports(self, modalities: Sequence[str]) -> bool:
        """Whether `encode` takes these modalities: any subset of rgb, ir, sketch and text."""
        return bool(modalities) and set(modalities) <= set(MODALITIES)

    def encode(self, batch: Batch, modalities: Sequence[str]) -> torch.Tensor:
        """Encode queries or gallery items.

        Args:
            batch: rows that have at least one of these modalities; one that a row lacks is missing from its sequence.
            modalities: any subset of rgb, ir, sketch and text.

        Returns:
            (B, W), not normalised.

        Raises:
            UserError: for other modalities, or where a row has none of them.
        """
        if not self.supports(modalities):
            raise UserError(
                f"aio cannot encode {'+'.join(modalities) or 'nothing'}: give any of {', '.join(MODALITIES)}"
            )
        tokens = self._tokens(batch, modalities)
        held = [mask.any(dim=1) for _, mask in tokens.values()]
        if not held or not bool(torch.stack(held).any(dim=0).all()):
            raise UserError(f"a sample holds no {' or '.join(modalities)}: choose a mode whose modalities the data has")
        feature = self._feature(self._join(tokens))
        return feature + self._summed(self._global(batch, tuple(tokens)))

    def _tokens(self, batch: Batch, modalities: Sequence[str] = MODALITIES) -> dict[str, Tokens]:
        """Tokens of each of the modalities that some row has, in the order of the multimodal sequence."""
        held = [name for name in modalities if name in batch.present and bool(batch.present[name].any())]
        found = {name: self._image_tokens(batch, name) for name in IMAGE_MODALITIES if name in held}
        if "text" in held and batch.tokens is not None:
            found["text"] = self._text_tokens(batch.tokens, batch.present["text"])
        return found

    def _image_tokens(self, batch: Batch, name: str) -> Tokens:
        rows = batch.present[name]
        tokens = self.image_tokenizers[name](batch.images[name][rows]).flatten(2).transpose(1, 2)
        tokens = tokens + self.image_positions[name]
        if not bool(rows.all()):
            # Absent images never pass the tokenizer: its normalisation would learn from them.
            whole = tokens.new_zeros(len(rows), *tokens.shape[1:])
            tokens = whole.index_put((rows.nonzero()[:, 0],), tokens)
        return tokens, rows[:, None].expand(-1, tokens.shape[1])

    def _text_tokens(self, ids: torch.Tensor, rows: torch.Tensor, hidden: torch.Tensor | None = None) -> Tokens:
        lengths = ids.argmax(dim=1) + 1
        longest = int(lengths.max())
        ids, real = ids[:, :longest], torch.arange(longest, device=ids.device)[None] < lengths[:, None]
        tokens = self.backbone.text_tokens(ids)[1] if self.words is None else self.words(ids)
        if hidden is not None:
            tokens = torch.where(hidden[:, :longest, None], self.mask.to(tokens.dtype), tokens)
        return self.word_projection(tokens) + self.text_positions[:longest], real & rows[:, None]

    def _join(self, tokens: Mapping[str, Tokens]) -> Tokens:
        images = sum(name in IMAGE_MODALITIES for name in tokens)
        budget = self.options.token_budget
        parts, masks = [], []
        for name, (part, mask) in tokens.items():
            if budget is not None and name in IMAGE_MODALITIES and len(tokens) > 1:
                part = pool_tokens(part, self.backbone.grid, budget // images)
                mask = mask[:, : part.shape[1]]
            parts.append(part)
            masks.append(mask)
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)

    def _walk(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        start = self.start.to(tokens.dtype).expand(len(tokens), 1, -1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        encoded: torch.Tensor = self.backbone.trunk()(
            torch.cat([start, tokens], dim=1), None if bool(mask.all()) else mask
        )
        return encoded

    def _feature(self, tokens: Tokens) -> torch.Tensor:
        """The class token; with `residual_global`, what it adds to the frozen encoder's features."""
        encoded = self._walk(*tokens)[:, 0]
        if self.out is None:
            return encoded
        # Shorter than the unit features beside it, or one step of the optimiser would outweigh them.
        added: torch.Tensor = self.out(encoded * (RESIDUAL_LENGTH * encoded.shape[-1] ** -0.5))
        return added

    @torch.no_grad()
    def _global(self, batch: Batch, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Modality -> (B, D) unit features of the frozen encoder, zero where absent; none without `residual_global`."""
        if self.out is None:
            return {}
        found: dict[str, torch.Tensor] = {}
        images = [name for name in names if name != "text"]
        if images:
            together = unit(self.backbone.image_tokens(torch.cat([batch.images[name] for name in images]))[0])
            found = dict(zip(images, together.chunk(len(images)), strict=True))
        if "text" in names and batch.tokens is not None:
            found["text"] = unit(self.backbone.text_tokens(batch.tokens)[0])
        return {name: feature * batch.present[name][:, None] for name, feature in found.items()}

    @staticmethod
    def _summed(features: Mapping[str, torch.Tensor]) -> torch.Tensor | float:
        return torch.stack(list(features.values())).sum(dim=0) if features else 0.0

    def forward(self, batch: Batch) -> AIOOutputs:
        """Encode every modality of a training batch, a random union of them, and captions with masked words."""
        tokens = self._tokens(batch)
        features, present = self._single(tokens)
        plain = self._global(batch, tuple(tokens))
        features = {name: feature + plain[name] if plain else feature for name, feature in features.items()}
        drawn = self._draw(present)
        if bool(drawn.any()):
            union = {name: (part, mask & drawn[:, [i]]) for i, (name, (part, mask)) in enumerate(tokens.items())}
            whole = drawn.any(dim=1)
            fused, mask = self._join(union)
            summed = self._summed({name: plain[name] * drawn[:, [i]] for i, name in enumerate(plain)})
            features["fused"] = self._scatter(self._feature((fused[whole], mask[whole])), whole) + summed
            present["fused"] = whole
        logits, rows = self._classify(features, present)
        words, targets = self._masked_words(batch, features)
        return AIOOutputs(features, present, logits, rows, words, targets)

    def _single(self, tokens: Mapping[str, Tokens]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        present = {name: mask.any(dim=1) for name, (_, mask) in tokens.items()}
        images = [name for name in tokens if name != "text"]
        features: dict[str, torch.Tensor] = {}
        if images:
            stacked = torch.cat([tokens[name][0][present[name]] for name in images])
            encoded = self._feature((stacked, stacked.new_ones(stacked.shape[:2], dtype=torch.bool)))
            parts = encoded.split([int(present[name].sum()) for name in images])
            features = {name: self._scatter(part, present[name]) for name, part in zip(images, parts, strict=True)}
        if "text" in tokens:
            part, mask = tokens["text"]
            rows = present["text"]
            features["text"] = self._scatter(self._feature((part[rows], mask[rows])), rows)
        return features, present

    @staticmethod
    def _scatter(features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        whole = features.new_zeros(len(rows), features.shape[1])
        return whole.index_put((rows.nonzero()[:, 0],), features)

    def _draw(self, present: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, modalities) bool: for each row a random choice among the modalities that it has."""
        held = torch.stack(list(present.values()), dim=1)
        count = held.sum(dim=1)
        low, high = count.clamp_max(self.options.fewest), count.clamp_max(self.options.most)
        size = low + (torch.rand(len(count), device=held.device) * (high - low + 1)).long().clamp_max(high - low)
        order = torch.rand(held.shape, device=held.device).masked_fill(~held, 2.0).argsort(dim=1).argsort(dim=1)
        return (order < size[:, None]) & held & (count >= 2)[:, None]

    def _classify(
        self, features: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        rows = torch.cat([present[name].nonzero()[:, 0] for name in features])
        if self.neck is None or self.classifier is None:
            return None, rows
        stacked = torch.cat([features[name][present[name]] for name in features])
        if len(stacked) < 2:  # BatchNorm has no statistics of one row
            return None, rows
        return self.classifier(self.neck(stacked)), rows

    def _masked_words(self, batch: Batch, features: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        nothing = self.start.new_zeros(0, len(self.finder.words)), batch.labels.new_zeros(0)
        if batch.tokens is None or "rgb" not in features:
            return nothing
        classes, covered = self.finder(batch.tokens)
        both = (batch.present["text"] & batch.present["rgb"])[:, None]
        classes = torch.where(both, classes, -1)
        if self.options.mask_share < 1:
            classes, covered = self._some(classes, covered)
        rows = (classes >= 0).any(dim=1)
        if not bool(rows.any()):
            return nothing
        part, mask = self._text_tokens(batch.tokens[rows], rows[rows], covered[rows])
        encoded = self._walk(part, mask)[:, 1:]
        row, place = (classes[rows] >= 0).nonzero(as_tuple=True)
        joined = torch.cat([features["rgb"][rows][row], encoded[row, place]], dim=1)
        return self.attributes(joined), classes[rows][row, place]

    def _some(self, classes: torch.Tensor, covered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep a random share of the words of each caption, at least one."""
        found = classes >= 0
        draw = torch.rand(classes.shape, device=classes.device)
        first = draw.masked_fill(~found, 2.0).argmin(dim=1, keepdim=True)
        kept = found & ((draw < self.options.mask_share) | torch.zeros_like(found).scatter(1, first, True))
        # The other tokens of a word go with its first one: each covered token belongs to the last start before it.
        number = found.long().cumsum(dim=1)
        chosen = torch.zeros(len(kept), int(number.max()) + 1, dtype=torch.bool, device=kept.device)
        row, place = kept.nonzero(as_tuple=True)
        chosen[row, number[row, place]] = True
        return torch.where(kept, classes, -1), covered & chosen.gather(1, number)


def _word_table(backbone: DualEncoder, name: str | None) -> torch.Tensor:
    """(V, W') word embeddings of the trunk, or of the CLIP `name`."""
    if name is None:
        return backbone.word_table
    clip = build_backbone(name)
    require_clip(clip, "aio's option words")
    if clip.word_table.shape[0] != backbone.tokenizer.size:
        raise UserError(
            f"aio: the vocabulary of words={name} has {clip.word_table.shape[0]} pieces and that of the trunk "
            f"{backbone.tokenizer.size}: give a CLIP with the same tokenizer"
        )
    return clip.word_table


def build(backbone: DualEncoder, **options: Any) -> AIO:  # noqa: ANN401  checked by AIOOptions
    """Build AIO from flat options.

    Args:
        backbone: a frozen `DualEncoder`.
        options: fields of `AIOOptions`.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    known = [entry.name for entry in dataclasses.fields(AIOOptions)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"aio has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    return AIO(backbone, AIOOptions(**options))
