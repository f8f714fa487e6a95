"""Infrared images and sketches by a generator that `reidsynth train-ir-gan` trained (InfraGAN).

Reference: M. A. Özkanoğlu, S. Ozer, "InfraGAN: A GAN architecture to transfer visible images to infrared domain",
Pattern Recognition Letters 155, 2022. A photograph is brought to the size that the generator works at, and what comes
out is brought back, so it has exactly the photograph's size. The generator runs in eval mode: nothing depends on the
batch. How close it comes to true images on pairs that it never saw stands in the card, beside the mean training image.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from reidsynth import gates, weights
from reidsynth.errors import UserError
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs
from reidsynth.steps.matte import matte
from reidsynth.steps.networks import (
    Device,
    Precision,
    Threads,
    in_batches,
    inference,
    loaded,
    torch_device,
    torch_dtype,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import torch

    from reidsynth.translator.weights import Facts

_CPU_PIXELS = 4 * 256 * 128  # four of 256x128 at a time cost a third less each than one by one
_CUDA_PIXELS = 64 * 384 * 128
_COMMANDS = {"ir": "build-ir", "sketch": "build-sketch"}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Gan(ABC):
    """What both methods share.

    Args:
        model: run folder of `reidsynth train-ir-gan` (its last checkpoint is taken), a checkpoint's folder, its
            `generator.safetensors`, or a hub name.
        background: `as-trained` gives the generator what it learned from; `remove` erases what the mask leaves out
            before, `keep` does not.
        mask: table to remove the background with; None takes the one that a step made, else the real `mask`.
        precision: `auto` is float32 on a CPU and mixed float16 on CUDA.
        threads: of one worker on a CPU; part of the parameters, since another number may change the last bits.
        device: `auto` takes CUDA where there is one; it changes no more than the last bits.
    """

    model: str
    background: Literal["as-trained", "remove", "keep"] = "as-trained"
    mask: str | None = None
    precision: Precision = "auto"
    threads: Threads = 1
    device: Device = "auto"

    name: ClassVar[str]
    target: ClassVar[Literal["ir", "sketch"]]
    method: ClassVar[str] = "gan"
    version: ClassVar[int] = 1

    @field_validator("model")
    @classmethod
    def _one_checkpoint(cls, value: str) -> str:
        """A run still in training gains checkpoints: every worker takes the one that the table is recorded with."""
        from reidsynth.translator.weights import last_checkpoint

        found = last_checkpoint(value)
        return value if found is None else str(found)

    def output(self) -> TableSpec:
        """Table `ir-gan` or `sketch-gan`: one grey channel; infrared of the spectrum that the generator learned.

        Raises:
            UserError: no generator, or one for something else.
        """
        return TableSpec(f"{self.target}-gan", self.target, "synthetic", self._generator()[1].spectrum)

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs, and masks where the background is erased.

        Raises:
            UserError: one of them is not there, or the generator is not.
        """
        photo_inputs(self.name, tables)  # before the generator is looked for
        facts = self._generator()[1]
        erased = (facts.background if self.background == "as-trained" else self.background) == "remove"
        return photo_inputs(self.name, tables, erased=erased, mask=self.mask)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of local weights their name only, of a checkpoint that of its run."""
        from reidsynth.translator.weights import run_of

        fields = asdict(cast("Any", self))
        del fields["device"]
        return fields | {"model": weights.published_name(run_of(self.model))}

    def weights(self) -> dict[str, str]:
        """Checksum of the generator's file, which holds the facts about it as well."""
        return weights.checksums([self._generator()[0]])

    def terms(self) -> dict[str, Any]:
        """Terms of the data that the generator learned from."""
        return dict(self._generator()[1].terms)

    def note(self) -> str:
        """What the generator learned from, and how close it comes."""
        return self._generator()[1].note()

    def _generator(self) -> tuple[Path, Facts]:
        from reidsynth.translator.weights import find_generator, read_facts

        file = find_generator(self.model, purpose=f"{self.name} --method {self.method}")
        facts = read_facts(file)
        if facts.target != self.target:
            raise UserError(
                f"{self.name}: model={self.model!r} makes {facts.target}, not {self.target}: use it with `reidsynth "
                f"{_COMMANDS[facts.target]} --method gan`, or give a generator trained with --target {self.target}"
            )
        return file, facts

    def load(self) -> tuple[torch.nn.Module, Facts, torch.device, torch.dtype]:
        """Load the generator onto its device.

        Raises:
            UserError: the file is damaged.
        """
        from reidsynth.translator.weights import load_generator

        file, facts = self._generator()
        device = torch_device(self.device)
        return load_generator(file).to(device), facts, device, torch_dtype(self.precision, device)

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Translate the photographs."""
        import torch

        from reidsynth.translator.pixels import levels, scaled
        from reidsynth.translator.prepared import fitted

        generator, facts, device, dtype = loaded(self)

        def run(stack: np.ndarray) -> np.ndarray:
            with inference(device, dtype, self.threads):
                photos = torch.from_numpy(stack).to(device).permute(0, 3, 1, 2)
                made: np.ndarray = levels(generator(scaled(photos)))[:, 0].cpu().numpy()
            return made

        ready = [fitted(self._photo(sample), facts.size) for sample in samples]
        # On several threads a CPU cuts batches of another size up in another way, and may change the last bits.
        pixels = _CUDA_PIXELS if device.type == "cuda" else _CPU_PIXELS if self.threads == 1 else 1
        drawn = in_batches(ready, run, pixels=pixels)
        return [self._made(sample, image) for sample, image in zip(samples, drawn, strict=True)]

    def _photo(self, sample: Sample) -> np.ndarray:
        photo = sample.images["rgb"]
        mask = next((image for name, image in sample.images.items() if name != "rgb"), None)
        return photo if mask is None else matte(photo, mask)

    def _made(self, sample: Sample, image: np.ndarray) -> Made:
        from reidsynth.translator.prepared import fitted

        photo = sample.images["rgb"]
        made = np.ascontiguousarray(fitted(image, (photo.shape[0], photo.shape[1])))
        return Made(image=made, scores=gates.generated_scores(self.target, made, photo))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class GanInfrared(Gan):
    """Makes infrared by a generator that learned from aligned pairs (InfraGAN); needs its weights."""

    name: ClassVar[str] = "build-ir"
    target: ClassVar[Literal["ir", "sketch"]] = "ir"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class GanSketch(Gan):
    """Draws by a generator that learned from aligned pairs of photographs and sketches; needs its weights."""

    name: ClassVar[str] = "build-sketch"
    target: ClassVar[Literal["ir", "sketch"]] = "sketch"
