"""Background removal by rembg's segmentation networks, through their ONNX sessions.

What differs from `rembg.remove`: only models that are named and run on this machine; photographs are prepared through
a table of 256 values (bit for bit what rembg computes from each pixel) and run in batches where the model takes them;
and the network's probabilities stay raw. rembg rescales every mask to its own minimum and maximum, which makes a mask
out of an empty prediction. Here they are stored as they are, times 255, and judged as they are.

Photographs keep their proportions, where rembg stretches them to the network's square: over crops of people with known
masks that found more of the person, most of all in narrow crops (benchmarks/masks.py). The border is repeated around
the photograph, which did better than a constant colour. Half of the square and more would be border around a person,
and a heavy network spends all of its time on the square's pixels. So a photograph at most half as wide as high goes
to a canvas of seven tenths of the square's width, and likewise with width and height exchanged: masks are as good
there, and on narrower canvases they are not. The size that an ONNX file states is opened for that (onnx_sizes).
Networks with attention, and others whose nodes hold them to their square, keep it; that is found out when the model
is loaded, follows from its file alone, and is told in a line on the standard error.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from reidsynth import weights
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import require
from reidsynth.steps.networks import Device, Threads, loaded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from reidsynth.steps.rembg_models import Network

MODELS = (
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "silueta",
    "isnet-general-use",
    "birefnet-general",
    "birefnet-general-lite",
    "birefnet-general-fp16",
    "birefnet-portrait",
    "birefnet-dis",
    "birefnet-hrsod",
    "birefnet-cod",
    "birefnet-massive",
    "u2net_custom",
)
"""Models of rembg's registry that segment a person and run on this machine under terms that allow any use."""

_REMOTE = ("withoutbg", "atlascloud")
_BATCH = 8
_OUTSIDE = 1e-3  # of 0..1: rounding of a sigmoid, not a logit


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Rembg:
    """Masks people with a network of rembg's registry; its probabilities are kept as they are.

    Args:
        model: one of u2net, u2netp, u2net_human_seg, silueta, isnet-general-use, birefnet-* or u2net_custom.
        file: ONNX file to use; `u2net_custom` needs it, for the others it stands in place of rembg's download.
        fit: `letterbox` keeps the photograph's proportions on the network's square, `narrow` leaves out three tenths
            of that square around narrow photographs where the network takes such a canvas, `square` stretches.
        logits: whether a `u2net_custom` network leaves out its last sigmoid.
        threads: of one worker on a CPU; part of the parameters, since another number may change the last bits.
        device: `auto` takes CUDA where ONNX Runtime offers it.
    """

    model: str
    file: str | None = None
    fit: Literal["narrow", "letterbox", "square"] = "narrow"
    logits: bool = False
    threads: Threads = 1
    device: Device = "auto"

    name: ClassVar[str] = "remove-background"
    method: ClassVar[str] = "rembg"
    version: ClassVar[int] = 2

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if model in _REMOTE:
            raise ValueError(f"{model} sends images to a remote service: choose a model that runs on this machine")
        if model not in MODELS:
            raise ValueError(f"no model of that name is offered; there are {', '.join(MODELS)}")
        return model

    def __post_init__(self) -> None:
        """Check what depends on two fields."""
        if self.model == "u2net_custom" and self.file is None:
            raise ValueError("model 'u2net_custom' needs the parameter 'file': the path of an ONNX file")

    def output(self) -> TableSpec:
        """Table `mask-<model>`: probability of person, 0 to 255."""
        return TableSpec(f"mask-{self.model.replace('_', '-')}", "mask", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs.

        Raises:
            UserError: there are none.
        """
        require(self.name, "the table 'rgb'", "rgb" in tables, tables, "ingest a source that holds photographs")
        return ("rgb",)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of a file its name only."""
        fields = asdict(cast("Any", self))
        del fields["device"]
        return fields | {"file": weights.published_name(self.file)}

    def weights(self) -> dict[str, str]:
        """Checksum of the ONNX file.

        Raises:
            UserError: it is not to be had.
        """
        from reidsynth.steps import rembg_models

        return weights.checksums([rembg_models.find(self.model, self.file)])

    def load(self) -> Network:
        """Open the model.

        Raises:
            UserError: the file is no model of this kind.
        """
        from reidsynth.steps import rembg_models

        options = rembg_models.Options(self.device, self.threads, self.logits, _BATCH, self.fit == "narrow")
        return rembg_models.load(self.model, self.file, options)

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Mask the photographs; `scores` holds the certainty of the raw probabilities."""
        network: Network = loaded(self)  # one batch of photographs is in memory at a time, however many there are
        made: list[Made] = []
        for first in range(0, len(samples), _BATCH):
            made += _masks(network, [sample.images["rgb"] for sample in samples[first : first + _BATCH]], self.fit)
        return made


Size = tuple[int, int]
"""Width and height."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of the photograph on its canvas."""


def _masks(network: Network, photos: Sequence[np.ndarray], fit: str) -> list[Made]:
    """Mask the photographs of one batch, those of one canvas together."""
    canvases = [_canvas(photo, network) for photo in photos]
    boxes = [_box(photo, canvas, fit) for photo, canvas in zip(photos, canvases, strict=True)]
    found: dict[int, np.ndarray] = {}
    for canvas in dict.fromkeys(canvases):
        alike = [number for number, each in enumerate(canvases) if each == canvas]
        stack = np.stack([network.prepared(_placed(photos[number], boxes[number], canvas)) for number in alike])
        found.update(zip(alike, network.probabilities(stack), strict=True))
    return [_mask(found[n], photo, boxes[n], canvases[n]) for n, photo in enumerate(photos)]


def _canvas(photo: np.ndarray, network: Network) -> Size:
    """What the photograph is put on: the network's own canvas, or a narrower one where it would fill half at most."""
    left, top, right, bottom = _box(photo, network.size, "letterbox")
    for canvas in network.canvases:
        narrower = canvas[0] < network.size[0] and 2 * (right - left) <= network.size[0]
        lower = canvas[1] < network.size[1] and 2 * (bottom - top) <= network.size[1]
        if narrower or lower:
            return canvas
    return network.size


def _box(photo: np.ndarray, size: Size, fit: str) -> Box:
    if fit == "square":
        return 0, 0, *size
    height, width = photo.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    return left, top, left + across, top + down


def _placed(photo: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """The photograph on its canvas, its border repeated where it does not reach."""
    import cv2
    from PIL import Image

    left, top, right, bottom = box
    resized = Image.fromarray(photo).resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    around = (top, size[1] - bottom, left, size[0] - right)
    placed: np.ndarray = cv2.copyMakeBorder(np.asarray(resized), *around, cv2.BORDER_REPLICATE)
    return placed


def _mask(raw: np.ndarray, photo: np.ndarray, box: Box, size: Size) -> Made:
    """Cut the probabilities out of the canvas and bring them to the photograph's size."""
    from PIL import Image

    scale = (raw.shape[1] / size[0], raw.shape[0] / size[1])  # some networks answer at another size
    left, right = round(box[0] * scale[0]), max(round(box[2] * scale[0]), round(box[0] * scale[0]) + 1)
    top, bottom = round(box[1] * scale[1]), max(round(box[3] * scale[1]), round(box[1] * scale[1]) + 1)
    part = raw[top:bottom, left:right]
    if not np.isfinite(part).all():
        return Made(error="the network gave no finite probability")
    if part.min() < -_OUTSIDE or part.max() > 1.0 + _OUTSIDE:
        return Made(error="the network's output leaves 0..1, so it gives logits: set logits=true")
    confidence = float(np.abs(2.0 * part.astype(np.float64) - 1.0).mean())
    levels = Image.fromarray((part.clip(0.0, 1.0) * 255.0).round().astype(np.uint8))
    mask = levels.resize((photo.shape[1], photo.shape[0]), Image.Resampling.BILINEAR)
    return Made(image=np.asarray(mask).copy(), scores={"confidence": confidence})
