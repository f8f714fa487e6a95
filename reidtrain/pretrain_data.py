"""Captures of one split held in memory for pre-training: pixels, captions, attribute labels, and their augmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from reidtrain.data import decode, open_manifest
from reidtrain.errors import UserError

IMAGES = ("rgb", "ir", "sketch")
ABSENT = -1

# Words that users type and the drawn captions may lack. Training swaps them in, so that their embeddings are learned.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "man": ("guy", "male", "gentleman", "boy"),
    "woman": ("lady", "female", "girl"),
    "person": ("pedestrian", "someone"),
    "wearing": ("dressed in", "in", "has on"),
    "carrying": ("with", "holding"),
    "trousers": ("pants", "slacks"),
    "jeans": ("denim",),
    "sweater": ("pullover", "jumper"),
    "t-shirt": ("tee", "shirt"),
    "jacket": ("blazer",),
    "sneakers": ("trainers",),
    "sunglasses": ("shades",),
    "glasses": ("spectacles", "eyeglasses"),
    "backpack": ("rucksack",),
    "handbag": ("purse",),
    "blond": ("blonde",),
    "grey": ("gray",),
    "beige": ("tan",),
    "navy": ("dark blue",),
    "striped": ("stripy",),
    "checked": ("checkered", "plaid"),
    "heavy": ("stocky", "overweight"),
    "slim": ("thin", "slender"),
}
_WORD = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in sorted(SYNONYMS, key=len, reverse=True)))


@dataclass(slots=True)
class Captures:
    """Everything that pre-training reads.

    Args:
        images: modality -> (N, C, H, W) uint8, C = 3 for rgb and 1 otherwise; zeros where absent.
        present: modality -> (N,) bool.
        captions: N lists of sentences, empty where there is none.
        pids: (N,) int64.
        labels: attribute -> (N,) int64 index into its values, ABSENT where unknown.
        values: attribute -> its values, sorted.
    """

    images: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    captions: list[list[str]]
    pids: torch.Tensor
    labels: dict[str, torch.Tensor]
    values: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.captions)


def read_captures(path: str | Path, split: str, size: tuple[int, int]) -> Captures:
    """Read one split of a manifest into memory.

    Args:
        path: of a manifest with the tables rgb and text, and with ir and sketch where they shall be learned.
        split: its split.
        size: (height, width) of the stored pixels.

    Raises:
        UserError: if the split or one of the two tables is missing, or no row has attributes.
    """
    manifest = open_manifest(path)
    if split not in manifest.splits:
        raise UserError(f"manifest {manifest.path} has no split {split!r}: it has {', '.join(manifest.splits)}")
    for name in ("rgb", "text"):
        if name not in manifest.tables:
            raise UserError(f"pre-training reads the table {name!r}, which manifest {manifest.path} lacks")
    pids = torch.tensor(manifest.captures(split).column("pid").to_pylist(), dtype=torch.long)
    images, present = {}, {}
    for name in IMAGES:
        if name in manifest.tables:
            images[name], present[name] = _read_images(manifest.table(name, split), name, size)
    text = manifest.table("text", split).columns(["captions", "attributes"])
    captions = [list(row or []) for row in text.column("captions").to_pylist()]
    labels, values = _labels(text.column("attributes").to_pylist())
    if not values:
        raise UserError(f"no row of the text table of {manifest.path}, split {split}, has attributes to learn from")
    return Captures(images, present, captions, pids, labels, values)


def _read_images(table: Any, name: str, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401  a TableReader, whose module only data.py may import
    channels = 3 if name == "rgb" else 1
    pixels = torch.zeros((len(table), channels, *size), dtype=torch.uint8)
    present = torch.zeros(len(table), dtype=torch.bool)
    for row in range(len(table)):
        held = table[row]["image"]
        image = decode(held["bytes"]) if held is not None and held["bytes"] else None
        if image is None:
            continue
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[:channels]))
        if tuple(tensor.shape[1:]) != size:
            resized = F.interpolate(tensor[None].float(), size=size, mode="bilinear", antialias=True)
            tensor = resized[0].round().clamp(0, 255).to(torch.uint8)
        pixels[row], present[row] = tensor, True
    return pixels, present


def _labels(rows: Sequence[Mapping[str, str | None] | None]) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    fields = sorted({name for row in rows if row for name in row})
    labels, values = {}, {}
    for name in fields:
        column = [row.get(name) if row else None for row in rows]
        found = sorted({value for value in column if value is not None})
        if len(found) > 1:
            index = {value: number for number, value in enumerate(found)}
            values[name] = found
            labels[name] = torch.tensor([ABSENT if value is None else index[value] for value in column])
    return labels, values


def swap_synonyms(text: str, rng: np.random.Generator, share: float) -> str:
    """Replace each known word by one of its synonyms with probability `share`."""

    def swap(match: re.Match[str]) -> str:
        choices = SYNONYMS[match.group()]
        return choices[int(rng.integers(len(choices)))] if rng.random() < share else match.group()

    return _WORD.sub(swap, text)


def vocabulary_texts(captures: Captures) -> list[str]:
    """Return the texts whose words the text tower shall know: every caption, attribute value and synonym."""
    texts = {caption for captions in captures.captions for caption in captions}
    texts |= {value for values in captures.values.values() for value in values}
    texts |= set(SYNONYMS) | {word for words in SYNONYMS.values() for word in words}
    return sorted(texts)


def augment(
    pixels: torch.Tensor, *, mean: Sequence[float], std: Sequence[float], generator: torch.Generator, pad: int = 6
) -> torch.Tensor:
    """Flip, shift, change light, erase a box, and normalise a batch.

    Args:
        pixels: (B, C, H, W) uint8; one channel is replicated to three.
        mean: of the three channels.
        std: of the three channels.
        generator: of the draws.
        pad: largest shift in pixels; the border is repeated.

    Returns:
        (B, 3, H, W) float32.
    """
    batch, channels, height, width = pixels.shape
    draws = torch.rand(batch, 8, generator=generator)
    flipped = torch.where(draws[:, 0, None, None, None] < 0.5, pixels, pixels.flip(-1))
    padded = F.pad(flipped.float(), (pad, pad, pad, pad), mode="replicate")
    offsets = (draws[:, 1:3] * (2 * pad + 1)).long()
    rows = offsets[:, :1] + torch.arange(height)
    columns = offsets[:, 1:2] + torch.arange(width)
    index = torch.arange(batch)
    image = padded[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2) / 255
    gain = 0.8 + 0.4 * draws[:, 3, None, None, None]
    if channels == 3:
        gain = gain * (0.94 + 0.12 * torch.rand(batch, 3, 1, 1, generator=generator))
    image = (image * gain + 0.1 * (draws[:, 4, None, None, None] - 0.5)).clamp(0, 1)
    image = _erase(image, draws[:, 5:8], generator)
    image = image.expand(-1, 3, -1, -1)
    return (image - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(std).reshape(1, 3, 1, 1)


def _erase(image: torch.Tensor, draws: torch.Tensor, generator: torch.Generator, share: float = 0.25) -> torch.Tensor:
    height, width = image.shape[-2:]
    top = draws[:, 0] * height
    left = draws[:, 1] * width
    side = torch.rand(len(image), 2, generator=generator) * 0.2 + 0.08
    rows, columns = torch.arange(height)[None, :], torch.arange(width)[None, :]
    tall = (rows >= top[:, None]) & (rows < (top + side[:, 0] * height)[:, None])
    wide = (columns >= left[:, None]) & (columns < (left + side[:, 1] * width * 2)[:, None])
    box = (tall[:, :, None] & wide[:, None, :])[:, None] & (draws[:, 2] < share)[:, None, None, None]
    return torch.where(box, 0.5, image)
