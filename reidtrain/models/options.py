"""The options of each model and what they may be, without torch: a configuration is checked in a moment."""

from __future__ import annotations

from dataclasses import dataclass

from reidtrain.batch import IMAGE_MODALITIES, MODALITIES
from reidtrain.errors import UserError

ROUTINGS = ("adaptive", "topk", "soft", "hash", "mlp")
ROUTING_UNITS = ("token", "sequence")
FORMS = ("dense", "sparse", "auto")
FUSIONS = ("cmqf", "concat", "sum", "hierarchical", "global-sum")


@dataclass(frozen=True, slots=True)
class FlexiReIDOptions:
    """Options; the defaults are the paper's.

    Args:
        experts: number of experts n.
        threshold: of the adaptive routing, 0 to 1.
        routing: `adaptive`, `topk`, `soft`, `hash` or `mlp`.
        routing_unit: `token` or `sequence`.
        top_k: of the top-k routing.
        adapter_width: bottleneck of an expert.
        adapter_scale: factor on what the experts add.
        moe: how experts are computed, `dense`, `sparse` or `auto`; the numbers are the same.
        fusion: `cmqf`, `concat`, `sum`, `hierarchical` or `global-sum`.
        missing: `learnable` or `zeros`.
        local_tokens: K, at most the rows of the image's patch grid.
        fusion_heads: heads of the fusion blocks, a divisor of the feature length.
        fusion_ratio: hidden width of their FFN over the feature length.
        residual_global: beyond the paper; see `reidtrain.models.fusion.Fusion`.
    """

    experts: int = 6
    threshold: float = 0.6
    routing: str = "adaptive"
    routing_unit: str = "token"
    top_k: int = 2
    adapter_width: int = 64
    adapter_scale: float = 0.1
    moe: str = "auto"
    fusion: str = "cmqf"
    missing: str = "learnable"
    local_tokens: int = 8
    fusion_heads: int = 8
    fusion_ratio: float = 4.0
    residual_global: bool = False

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise UserError(f"flexireid: {'; '.join(problems)}")

    def _problems(self) -> list[str]:
        choices: dict[str, tuple[str, ...]] = {
            "routing": ROUTINGS,
            "routing_unit": ROUTING_UNITS,
            "moe": FORMS,
            "fusion": FUSIONS,
            "missing": ("learnable", "zeros"),
        }
        found = [
            f"{name} is {getattr(self, name)!r}, choose one of {', '.join(valid)}"
            for name, valid in choices.items()
            if getattr(self, name) not in valid
        ]
        for name in ("experts", "top_k", "adapter_width", "local_tokens", "fusion_heads"):
            if getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}, it must be at least 1")
        for name in ("adapter_scale", "fusion_ratio"):
            if not getattr(self, name) > 0:
                found.append(f"{name} is {getattr(self, name)}, it must be greater than 0")
        if not 0 <= self.threshold <= 1:
            found.append(f"threshold is {self.threshold}, it must lie between 0 and 1")
        if self.top_k > self.experts:
            found.append(f"top_k is {self.top_k}, there are only {self.experts} experts")
        return found


@dataclass(frozen=True, slots=True)
class UNIReIDOptions:
    """Options; the defaults are the authors'.

    Args:
        scale: inverse temperature at the start.
        frozen_statistics: BatchNorm layers of the backbone stay in eval mode.
    """

    scale: float = 1 / 0.07
    frozen_statistics: bool = True

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise UserError(f"unireid: scale is {self.scale}, it must be greater than 0")


@dataclass(frozen=True, slots=True)
class AIOOptions:
    """Options; the defaults are the paper's.

    Args:
        classes: identities of the training data; 0 builds no classifier.
        mask_share: share of a caption's attribute words that are masked; at least one is.
        token_budget: most image tokens that a multimodal sequence holds over all its images, pooled to fit; None for
            all of them.
        image_tokenizer: `ibn`, or `trunk`.
        text_tokenizer: `words`, or `tower`.
        words: a CLIP whose word embeddings captions begin with, as `backbone.name`; None for the trunk's own.
        residual_global: beyond the paper; see `reidtrain.models.aio`.
        fewest: modalities that a multimodal feature is drawn from in training, at least.
        most: and at most.
    """

    classes: int = 0
    mask_share: float = 1.0
    token_budget: int | None = None
    image_tokenizer: str = "ibn"
    text_tokenizer: str = "words"
    words: str | None = None
    residual_global: bool = False
    fewest: int = 2
    most: int = 4

    def __post_init__(self) -> None:
        problems = []
        for name, valid in (("image_tokenizer", ("ibn", "trunk")), ("text_tokenizer", ("words", "tower"))):
            if getattr(self, name) not in valid:
                problems.append(f"{name} is {getattr(self, name)!r}, choose one of {', '.join(valid)}")
        if self.words is not None and self.text_tokenizer != "words":
            problems.append(f"words is {self.words!r}, but text_tokenizer={self.text_tokenizer} has no use for them")
        if not 0 < self.mask_share <= 1:
            problems.append(f"mask_share is {self.mask_share}, it must be greater than 0 and at most 1")
        if self.token_budget is not None and self.token_budget < len(IMAGE_MODALITIES):
            problems.append(f"token_budget is {self.token_budget}, it must be at least {len(IMAGE_MODALITIES)}")
        if not 2 <= self.fewest <= self.most <= len(MODALITIES):
            problems.append(f"fewest and most are {self.fewest} and {self.most}, they must lie in order within 2 to 4")
        if problems:
            raise UserError(f"aio: {'; '.join(problems)}")


@dataclass(frozen=True, slots=True)
class DMFOptions:
    """Options; the defaults are the paper's.

    Args:
        classes: identities of the training data; 0 builds no classifier.
        modality_mix: share of a batch's places that give their photograph, 0 to 1.
        width: D of the transformer; ignored with `transformer="backbone"`, like `depth` and `heads`.
        depth: its blocks.
        heads: of each block, a divisor of `width`.
        transformer: `fresh`, or `backbone`.
        key_words: text samples are attribute words alone.
        residual_global: beyond the paper; see `reidtrain.models.dmf`.
    """

    classes: int = 0
    modality_mix: float = 0.5
    width: int = 768
    depth: int = 12
    heads: int = 12
    transformer: str = "fresh"
    key_words: bool = True
    residual_global: bool = False

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.modality_mix <= 1:
            problems.append(f"modality_mix is {self.modality_mix}, it must lie between 0 and 1")
        if self.transformer not in ("fresh", "backbone"):
            problems.append(f"transformer is {self.transformer!r}, choose fresh or backbone")
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.heads < 1 or self.width % self.heads:
            problems.append(f"heads is {self.heads}, it must divide width {self.width}")
        if problems:
            raise UserError(f"dmf: {'; '.join(problems)}")
