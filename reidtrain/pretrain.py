"""Pre-trains a small image-text encoder on the drawn world: `reidtrain pretrain-backbone`.

One joint objective over photographs, infrared images, sketches and captions of the same captures:

- attributes: one linear classifier per attribute, shared by all four modalities, on the projected feature. What a view
  does not show is not asked. Sharing the classifiers puts a word and a look in one place from the first steps on;
- attributes again, from all tokens of the convolutional stem (images only): the shortest way for a gradient into the
  stem, without which a small ViT learns almost nothing in this time;
- image-text contrast between every image and the captions of its batch, captions of one person counting as one.

The encoder is therefore attribute-supervised and has seen infrared images and sketches of drawn people.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reidtrain.backbone_files import Description, build_clip, save_backbone
from reidtrain.backbones import DualEncoder
from reidtrain.errors import UserError
from reidtrain.losses import unit
from reidtrain.pretrain_data import ABSENT, IMAGES, Captures, augment, read_captures, swap_synonyms, vocabulary_texts
from reidtrain.tokenizer import clip_ids

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": [128, 64], "patch_size": 16, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 77, "width": 128, "heads": 4, "layers": 3},
}
STEM = {"channels": [32, 64, 96, 128, 128], "strides": [2, 2, 2, 2, 1]}
SYNONYM_SHARE = 0.15
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """Options of one pre-training.

    Args:
        steps: optimiser steps.
        minutes: wall-clock limit; the learning rate then falls with time where time runs out before the steps do. Only
            without it is the result a function of the seed.
        batch: captures a step; each gives its photograph and, by `others`, infrared images or sketches.
        others: infrared images and sketches a capture, each (0.5: every second capture gives one).
        lr: peak learning rate of AdamW, cosine to zero after `warmup` steps.
        warmup: steps.
        weight_decay: of AdamW.
        attribute_weight: of the attribute classifiers.
        stem_weight: of the classifiers on the stem.
        contrast_weight: of the image-text contrast.
        seed: of weights, batches and augmentation.
        save_seconds: between two checkpoints.
        half: compute the encoder in bfloat16 where the processor has it.
    """

    steps: int = 3600
    minutes: float | None = None
    batch: int = 64
    others: float = 0.5
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.02
    attribute_weight: float = 4.0
    stem_weight: float = 2.0
    contrast_weight: float = 1.0
    seed: int = 0
    save_seconds: float = 60.0
    half: bool = True


class Learner(nn.Module):
    """The encoder with the heads that only pre-training needs.

    Args:
        encoder: to be trained.
        values: attribute -> number of its values.
        half: see `PretrainOptions`.
    """

    def __init__(self, encoder: DualEncoder, values: Mapping[str, int], *, half: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.values = dict(values)
        self.half_precision = half
        total = sum(values.values())
        stem_width = encoder.vision_width * encoder.grid[0] * encoder.grid[1]
        self.attributes = nn.Linear(encoder.embed_dim, total)
        self.stem_attributes = nn.Linear(stem_width, total)
        self._stem_tokens: torch.Tensor | None = None
        encoder.clip.visual.conv1.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        self._stem_tokens = output

    def images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return global features (B, D) and the stem's attribute logits (B, values)."""
        with self._fast():
            features = self.encoder.image_tokens(images)[0]
        assert self._stem_tokens is not None
        stem = self._stem_tokens.flatten(1).float()
        self._stem_tokens = None
        return features.float(), self.stem_attributes(stem)

    def texts(self, ids: torch.Tensor) -> torch.Tensor:
        """Return global features (B, D)."""
        with self._fast():
            features = self.encoder.text_tokens(ids)[0]
        return features.float()

    def _fast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half_precision)

    def attribute_loss(self, logits: torch.Tensor, labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean over attributes of the cross-entropy over the rows that show the attribute."""
        parts = logits.split(list(self.values.values()), dim=1)
        losses = []
        for name, part in zip(self.values, parts, strict=True):
            known = labels[name] != ABSENT
            if bool(known.any()):
                losses.append(F.cross_entropy(part[known], labels[name][known]))
        return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def contrast(
    first: torch.Tensor, second: torch.Tensor, first_pids: torch.Tensor, second_pids: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Two-way softmax contrast in which every feature of the same person is a correct answer."""
    logits = scale * (unit(first) @ unit(second).T)
    same = (first_pids[:, None] == second_pids[None, :]).float()
    ahead = F.cross_entropy(logits, same / same.sum(dim=1, keepdim=True))
    back = F.cross_entropy(logits.T, same.T / same.T.sum(dim=1, keepdim=True))
    return (ahead + back) / 2


def _generator(seed: int, *parts: int) -> tuple[torch.Generator, np.random.Generator]:
    numbers = np.random.default_rng([seed, *parts])
    return torch.Generator().manual_seed(int(numbers.integers(2**62))), numbers


@dataclass(slots=True)
class _Step:
    """One step's draw of captures: rows of each image modality, and a sentence for every row of `rows`."""

    rows: torch.Tensor
    images: dict[str, torch.Tensor]
    texts: list[str]


def _draw_step(captures: Captures, options: PretrainOptions, step: int) -> _Step:
    per_epoch = max(1, len(captures) // options.batch)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(len(captures), generator=_generator(options.seed, 0, epoch)[0])
    rows = order[place * options.batch : (place + 1) * options.batch]
    generator, numbers = _generator(options.seed, 1, step)
    images = {"rgb": rows}
    for name in (name for name in IMAGES[1:] if name in captures.images):
        images[name] = rows[torch.rand(len(rows), generator=generator) < options.others]
    images = {name: chosen[captures.present[name][chosen]] for name, chosen in images.items()}
    texts = []
    for row in rows.tolist():
        sentences = captures.captions[row] or [""]
        sentence = sentences[int(numbers.integers(len(sentences)))]
        texts.append(swap_synonyms(sentence, numbers, SYNONYM_SHARE))
    return _Step(rows, images, texts)


def _losses(learner: Learner, captures: Captures, options: PretrainOptions, step: int) -> dict[str, torch.Tensor]:
    drawn = _draw_step(captures, options, step)
    generator, _ = _generator(options.seed, 2, step)
    encoder = learner.encoder
    pixels = [
        augment(captures.images[name][rows], mean=encoder.mean, std=encoder.std, generator=generator)
        for name, rows in drawn.images.items()
    ]
    features, stem_logits = learner.images(torch.cat(pixels))
    words = learner.texts(encoder.tokenize(drawn.texts))
    image_rows = torch.cat(list(drawn.images.values()))
    labels = {name: values[image_rows] for name, values in captures.labels.items()}
    text_labels = {name: values[drawn.rows] for name, values in captures.labels.items()}
    scale = encoder.clip.logit_scale.exp().clamp(max=100.0)
    pids, text_pids = captures.pids[image_rows], captures.pids[drawn.rows]
    losses = {
        "attributes": learner.attribute_loss(learner.attributes(features), labels),
        "text": learner.attribute_loss(learner.attributes(words), text_labels),
        "stem": learner.attribute_loss(stem_logits, labels),
        "contrast": contrast(features, words, pids, text_pids, scale),
    }
    total = (
        options.attribute_weight * (losses["attributes"] + losses["text"])
        + options.stem_weight * losses["stem"]
        + options.contrast_weight * losses["contrast"]
    )
    return {"total": total, **losses}


def _optimizer(learner: Learner, options: PretrainOptions) -> torch.optim.AdamW:
    decayed = [value for value in learner.parameters() if value.ndim > 1]
    plain = [value for value in learner.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98))


def _progress(step: int, started: float, options: PretrainOptions) -> float:
    spent = 0.0 if options.minutes is None else (time.monotonic() - started) / (60 * options.minutes)
    return min(1.0, max(step / options.steps, spent))


def _rate(progress: float, step: int, options: PretrainOptions) -> float:
    return options.lr * min(1.0, (step + 1) / options.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


class _Checkpoint:
    """The state of a run in one file, replaced only by a whole one."""

    def __init__(self, folder: Path, options: PretrainOptions, origin: str) -> None:
        self.path = folder / "pretraining.pt"
        # A longer limit may continue a run; anything else would make another result than it claims.
        self.key = {**asdict(options), "minutes": None, "save_seconds": None, "manifest": origin}

    def save(self, learner: Learner, optimizer: torch.optim.Optimizer, step: int, spent: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "spent": spent}
        part = self.path.with_suffix(".part")
        torch.save({**state, "key": self.key}, part)
        part.replace(self.path)

    def load(self, learner: Learner, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        if not self.path.is_file():
            return 0, 0.0
        state = torch.load(self.path, weights_only=True)
        if state["key"] != self.key:
            raise UserError(
                f"{self.path} belongs to a pre-training with other options or another manifest: give another --out, "
                "or remove it to start again"
            )
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), float(state["spent"])


def start(captures: Captures, options: PretrainOptions) -> tuple[Learner, Description]:
    """Build an untrained encoder whose vocabulary covers the captures' words."""
    torch.manual_seed(options.seed)
    description = Description(MODEL, STEM, clip_ids(vocabulary_texts(captures)), MEAN, STD)
    clip, tokenizer = build_clip(description)
    encoder = DualEncoder(clip, tokenizer, mean=MEAN, std=STD, frozen=False)
    sizes = {name: len(values) for name, values in captures.values.items()}
    return Learner(encoder, sizes, half=options.half).train(), description


def train(
    captures: Captures,
    out: Path,
    options: PretrainOptions,
    *,
    origin: str = "",
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Learner:
    """Train on captures, going on from `out`'s checkpoint where there is one.

    Args:
        captures: what to learn from.
        out: folder of the checkpoint.
        options: of the run.
        origin: what the captures are, so that a checkpoint is not continued on others.
        report: called after every step with the losses.

    Returns:
        The learner after the last step.
    """
    learner, _ = start(captures, options)
    optimizer = _optimizer(learner, options)
    checkpoint = _Checkpoint(out, options, origin)
    step, spent = checkpoint.load(learner, optimizer)
    started = saved = time.monotonic()
    started -= spent
    while (progress := _progress(step, started, options)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = _rate(progress, step, options)
        losses = _losses(learner, captures, options, step)
        if not bool(torch.isfinite(losses["total"])):
            raise RuntimeError(f"loss is not finite at step {step}: {losses}")
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        step += 1
        if report is not None:
            report(step, {name: float(value.detach()) for name, value in losses.items()})
        if time.monotonic() - saved >= options.save_seconds:
            saved = time.monotonic()
            checkpoint.save(learner, optimizer, step, saved - started)
    checkpoint.save(learner, optimizer, step, time.monotonic() - started)
    return learner


def pretrain(
    manifest: str | Path,
    out: str | Path,
    *,
    split: str = "pretrain",
    report: Callable[[int, dict[str, float]], None] | None = None,
    **options: Any,  # noqa: ANN401  fields of PretrainOptions, checked by it
) -> Path:
    """Pre-train the small encoder on one split of a manifest and write it as a backbone folder.

    Args:
        manifest: folder with the tables rgb, text and, to learn them, ir and sketch.
        out: folder; `model.safetensors` and `config.json` come in the end, `pretraining.pt` on the way. A run that
            was stopped goes on from there.
        split: of the manifest.
        report: called after every step with its number and losses.
        options: fields of `PretrainOptions`.

    Returns:
        The folder, ready for `build_backbone`.

    Raises:
        UserError: for an unknown option, a manifest that lacks what is needed, or a checkpoint of another run.
    """
    known = PretrainOptions.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"pretrain-backbone has no option {', '.join(unknown)}: its options are {', '.join(known)}")
    chosen, folder = PretrainOptions(**options), Path(out)
    size = MODEL["vision_cfg"]["image_size"]
    captures = read_captures(manifest, split, (size[0], size[1]))
    learner = train(captures, folder, chosen, origin=f"{split}, {len(captures)} captures", report=report)
    export(learner, captures, chosen, folder)
    return folder


def export(learner: Learner, captures: Captures, options: PretrainOptions, folder: Path) -> None:
    """Write the encoder of a learner, without the heads, as a backbone folder."""
    provenance = {
        "trained_by": "reidtrain pretrain-backbone",
        "captures": len(captures),
        "identities": int(captures.pids.unique().numel()),
        "modalities": [*captures.images, "text"],
        "attributes": captures.values,
        "options": asdict(options),
    }
    encoder = learner.encoder
    vocabulary = encoder.tokenizer.vocabulary
    save_backbone(encoder.clip, Description(MODEL, STEM, vocabulary, MEAN, STD, provenance), folder)
