"""Sketches and infrared images by diffusion: ControlNet img2img and InstructPix2Pix, any pipeline that diffusers loads.

References: L. Zhang, A. Rao, M. Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023;
T. Brooks, A. Holynski, A. A. Efros, "InstructPix2Pix", CVPR 2023. Photographs are enlarged to the size that such models
are trained for, padded to multiples of 8 (the pipelines would round the size down), and what comes out is cropped and
reduced to the photograph's size. Noise is drawn on the CPU from (seed, sample_id, step), so that neither the batch nor
the device changes it. Nothing here knows whether the model's taste suits re-identification: look at the sheet, and
measure with `reidsynth quality`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import gates, weights
from reidsynth.draws import sample_seed
from reidsynth.errors import UserError, reason
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs, require
from reidsynth.steps.matte import Ground, matte
from reidsynth.steps.networks import Device, Precision, Threads, cpu_threads, loaded, padded, torch_device, torch_dtype

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from PIL import Image

_MULTIPLE = 8  # of the sides, for the auto-encoder
_CUDA_BATCH = 8
_CANNY = (60, 140)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Diffusion(ABC):
    """What both methods share.

    Args:
        model: folder saved by diffusers, or hub name, of the pipeline.
        prompt: what the result shows.
        negative_prompt: what it must not show.
        steps: of the sampler.
        guidance_scale: weight of the prompt.
        drawn_at: short side in pixels that the model works at.
        background: `remove` erases what the mask leaves out first, `keep` leaves the photograph as it is.
        mask: table to remove the background with; None takes the one that a step made, else the real `mask`.
        ground: what takes the background's place.
        seed: of the noise.
        precision: `auto` is float32 on a CPU and float16 on CUDA.
        threads: of one worker on a CPU; part of the parameters, since another number may change the last bits.
        device: `auto` takes CUDA where there is one.
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 7.5
    drawn_at: Annotated[int, Field(ge=8, le=4096)] = 512
    background: Literal["remove", "keep"] = "remove"
    mask: str | None = None
    ground: Ground = "white"
    seed: int = 0
    precision: Precision = "auto"
    threads: Threads = 1
    device: Device = "auto"

    name: ClassVar[str]
    method: ClassVar[str] = "diffusion"
    version: ClassVar[int] = 1

    @abstractmethod
    def open(self, folder: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401 - the library ships no types
        """Open the pipeline."""

    @abstractmethod
    def arguments(self, samples: Sequence[Sample], photos: Sequence[np.ndarray]) -> dict[str, Any]:
        """What the call takes besides prompts, photographs, steps and generators."""

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs and, unless the background is kept, masks.

        Raises:
            UserError: one of them is not there.
        """
        return photo_inputs(self.name, tables, erased=self.background == "remove", mask=self.mask)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of local weights their name only."""
        fields = asdict(cast("Any", self))
        del fields["device"]
        return fields | {"model": weights.published_name(self.model)}

    def weights(self) -> dict[str, str]:
        """Checksums of every file that decides what the pipeline makes.

        Raises:
            UserError: they are not to be had.
        """
        return weights.folder_checksums(self._folder())

    @property
    def _purpose(self) -> str:
        return f"{self.name} --method {self.method}"

    def _folder(self) -> Path:
        return weights.find_folder(self.model, purpose=self._purpose)

    def load(self) -> tuple[Any, int]:
        """Open the pipeline on its device; returns it and how many photographs it takes at a time.

        Raises:
            UserError: the folder holds another kind of pipeline, or a damaged one.
        """
        from diffusers.utils import logging
        from transformers.utils import logging as loading

        device = torch_device(self.device)
        logging.disable_progress_bar()
        loading.disable_progress_bar()
        folder = self._folder()
        try:
            pipeline = self.open(folder, {"torch_dtype": torch_dtype(self.precision, device)})
        except UserError:
            raise
        except Exception as error:  # diffusers and its parts raise almost anything on foreign files
            raise UserError(
                f"model={self.model!r} can't be opened as a pipeline for {self._purpose} ({reason(error)}): pass a "
                "folder that diffusers saved, or the name of one on the hub"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        # One at a time costs a CPU nothing, and matrix products of another size may differ in their last bits.
        return pipeline.to(device), _CUDA_BATCH if device.type == "cuda" else 1

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Draw the photographs, on CUDA those of equal size together."""
        pipeline, most = loaded(self)
        ready = [self._ready(sample) for sample in samples]
        made: dict[int, Made] = {}
        for shape in dict.fromkeys(photo.shape for photo in ready):
            alike = [number for number, photo in enumerate(ready) if photo.shape == shape]
            for first in range(0, len(alike), most):
                part = alike[first : first + most]
                with cpu_threads(self.threads):
                    drawn = self._drawn(pipeline, [samples[n] for n in part], [ready[n] for n in part])
                for number, image in zip(part, drawn, strict=True):
                    made[number] = self._made(samples[number], image)
        return [made[number] for number in range(len(samples))]

    def _drawn(self, pipeline: Any, samples: Sequence[Sample], photos: Sequence[np.ndarray]) -> np.ndarray:  # noqa: ANN401 - the library ships no types
        import torch

        seeds = [sample_seed(self.seed, sample.sample_id, self.name) & 0x7FFFFFFFFFFFFFFF for sample in samples]
        answer = pipeline(
            prompt=[self.prompt] * len(samples),
            negative_prompt=[self.negative_prompt] * len(samples),
            image=[_picture(photo) for photo in photos],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="np",
            **self.arguments(samples, photos),
        )
        return np.asarray(answer.images, dtype=np.float32)

    def _ready(self, sample: Sample) -> np.ndarray:
        photo = sample.images["rgb"]
        if self.background == "remove":
            mask = next(image for name, image in sample.images.items() if name.split("-")[0] == "mask")
            photo = matte(photo, mask, self.ground)
        return self._enlarged(photo)

    def _enlarged(self, image: np.ndarray) -> np.ndarray:
        import cv2

        width, height = self._size(image)
        kind = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
        return padded(cv2.resize(image, (width, height), interpolation=kind), _MULTIPLE)

    def _size(self, image: np.ndarray) -> tuple[int, int]:
        height, width = image.shape[:2]
        scale = self.drawn_at / min(height, width)
        return round(width * scale), round(height * scale)

    def _made(self, sample: Sample, image: np.ndarray) -> Made:
        import cv2

        if not np.isfinite(image).all():
            return Made(error="the pipeline gave no finite pixels")
        photo = sample.images["rgb"]
        width, height = self._size(photo)
        levels = (np.clip(image[:height, :width], 0.0, 1.0) * 255.0).round().astype(np.uint8)
        grey = cv2.cvtColor(np.ascontiguousarray(levels), cv2.COLOR_RGB2GRAY)
        kind = cv2.INTER_AREA if width > photo.shape[1] else cv2.INTER_CUBIC
        made = cv2.resize(grey, (photo.shape[1], photo.shape[0]), interpolation=kind)
        return Made(image=made, scores=gates.generated_scores(self.name.removeprefix("build-"), made, photo))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class DiffusionSketch(Diffusion):
    """Draws by ControlNet img2img (diffusers).

    Args:
        controlnet: folder or hub name of a ControlNet, where the pipeline brings none.
        control: what leads the lines: `canny`, or a sketch table of the manifest such as `sketch-lineart`; white lines
            on black are handed over.
        strength: how far the result may leave the photograph.
        conditioning_scale: weight of the control.
    """

    prompt: str = "a pencil line drawing of a person, full body, black lines on white paper"
    negative_prompt: str = "photograph, colour, shading, grey background"
    controlnet: str | None = None
    control: str = "canny"
    strength: Annotated[float, Field(gt=0, le=1)] = 0.9
    conditioning_scale: Annotated[float, Field(ge=0, le=10)] = 1.0

    name: ClassVar[str] = "build-sketch"

    def output(self) -> TableSpec:
        """Table `sketch-diffusion`: one grey channel."""
        return TableSpec("sketch-diffusion", "sketch", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs, masks unless the background is kept, and the sketches that lead the lines.

        Raises:
            UserError: one of them is not there.
        """
        found = super().inputs(tables)
        if self.control == "canny":
            return found
        remedy = "make that sketch first, or use control=canny"
        there = self.control in tables and self.control.split("-")[0] == "sketch"
        require(self.name, f"the sketch table {self.control!r}", there, tables, remedy)
        return (*found, self.control)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of local weights their name only."""
        return super().parameters() | {"controlnet": weights.published_name(self.controlnet)}

    def weights(self) -> dict[str, str]:
        """Checksums of the pipeline's files and of the ControlNet's."""
        found = super().weights()
        if self.controlnet is not None:
            folder = _controlnet_folder(self.controlnet, self._purpose)
            found |= {f"{folder.name}/{name}": digest for name, digest in weights.folder_checksums(folder).items()}
        return found

    def open(self, folder: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401 - the library ships no types
        """Open an img2img pipeline with a ControlNet, its own or the one given."""
        from diffusers import AutoPipelineForImage2Image, ControlNetModel

        if self.controlnet is not None:
            place = _controlnet_folder(self.controlnet, self._purpose)
            options = options | {"controlnet": ControlNetModel.from_pretrained(str(place), **options)}
        pipeline = AutoPipelineForImage2Image.from_pretrained(str(folder), **options)
        if getattr(pipeline, "controlnet", None) is None:
            raise UserError(
                f"the pipeline model={self.model!r} brings no ControlNet: name one as --set controlnet=FOLDER_OR_NAME"
            )
        return pipeline

    def arguments(self, samples: Sequence[Sample], photos: Sequence[np.ndarray]) -> dict[str, Any]:
        """Control pictures, and how they count."""
        controls = [self._control(sample, photo) for sample, photo in zip(samples, photos, strict=True)]
        return {
            "control_image": [_picture(np.repeat(lines[:, :, None], 3, axis=2)) for lines in controls],
            "strength": self.strength,
            "controlnet_conditioning_scale": self.conditioning_scale,
        }

    def _control(self, sample: Sample, photo: np.ndarray) -> np.ndarray:
        import cv2

        if self.control == "canny":
            return np.asarray(cv2.Canny(photo, *_CANNY))
        lines = sample.images[self.control]
        return 255 - self._enlarged(lines if lines.ndim == 2 else cv2.cvtColor(lines, cv2.COLOR_RGB2GRAY))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class DiffusionInfrared(Diffusion):
    """Makes infrared by InstructPix2Pix (diffusers); its look is the model's idea of infrared, not a measured one.

    Args:
        image_guidance_scale: weight of the photograph.
    """

    model: str = "timbrooks/instruct-pix2pix"
    prompt: str = "turn it into a black and white near-infrared surveillance camera image"
    background: Literal["remove", "keep"] = "keep"
    image_guidance_scale: Annotated[float, Field(ge=1, le=50)] = 1.5

    name: ClassVar[str] = "build-ir"

    def output(self) -> TableSpec:
        """Table `ir-diffusion`: one grey channel, made from colour."""
        return TableSpec("ir-diffusion", "ir", "synthetic", "pseudo")

    def open(self, folder: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401 - the library ships no types
        """Open a pipeline that edits by instruction."""
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(str(folder), **options)
        if "InstructPix2Pix" not in type(pipeline).__name__:
            raise UserError(
                f"the pipeline model={self.model!r} is a {type(pipeline).__name__}, and {self._purpose} needs one of "
                "the InstructPix2Pix kind"
            )
        return pipeline

    def arguments(self, samples: Sequence[Sample], photos: Sequence[np.ndarray]) -> dict[str, Any]:
        """How much the photograph counts."""
        del samples, photos
        return {"image_guidance_scale": self.image_guidance_scale}


def _controlnet_folder(controlnet: str, purpose: str) -> Path:
    """Folder of a ControlNet: its description and its weights side by side."""
    config = weights.find_file(controlnet, "config.json", purpose=purpose)
    weights.find_file(controlnet, "diffusion_pytorch_model.safetensors", purpose=purpose)
    return config.parent


def _picture(image: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(image)
