"""Captions by a vision-language model on this machine: any image-text-to-text model that transformers loads.

Nothing leaves the machine. The model is asked what a service is asked, and decodes greedily, so that on the same
machine and library the same photograph gets the same answer; photographs are taken one at a time on a CPU, because
padding and larger matrix products change last bits. Code that comes with a model is never run.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import weights
from reidsynth.errors import UserError, reason
from reidsynth.schema import Made, Sample, TableSpec
from reidsynth.steps import photo_inputs
from reidsynth.steps.captions.answers import Answer, BadAnswer, Styles, Variant, parse_answer, plain_answer
from reidsynth.steps.captions.outcomes import INFRARED
from reidsynth.steps.captions.prompts import IN_COLOUR, plain_prompt, prompt_hash, prompt_text
from reidsynth.steps.networks import Device, Precision, loaded, torch_device, torch_dtype

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np

_CUDA_BATCH = 8


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VisionLanguage:
    """Asks a vision-language model on this machine.

    Args:
        model: folder saved by transformers, or hub name, of an image-text-to-text model.
        styles: of the captions, one caption each.
        answer: `json` asks for attributes and captions at once; `plain`, for models that write sentences only, asks
            for one caption after the other, and gives no attributes.
        variant: the table is `text-<variant>`.
        max_new_tokens: of an answer.
        precision: `auto` is float32 on a CPU and float16 on CUDA.
        device: `auto` takes CUDA where there is one.
    """

    model: str
    styles: Styles = ("descriptive", "concise")
    answer: Literal["json", "plain"] = "json"
    variant: Variant = "vlm"
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 700
    precision: Precision = "auto"
    device: Device = "auto"

    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "transformers"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        """Table `text-<variant>`."""
        return TableSpec(f"text-{self.variant}", "text", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs; never infrared images.

        Raises:
            UserError: there are none.
        """
        return photo_inputs(self.name, tables, remedy=IN_COLOUR)

    def parameters(self) -> dict[str, Any]:
        """All fields but the device; of a local model its name only."""
        fields = asdict(cast("Any", self))
        del fields["device"]
        return fields | {"styles": list(self.styles), "model": weights.published_name(self.model)}

    def weights(self) -> dict[str, str]:
        """Checksums of every file that decides what the model writes, and the hash of what it is asked.

        Raises:
            UserError: they are not to be had.
        """
        found = weights.folder_checksums(weights.find_snapshot(self.model, purpose=self._purpose))
        return found | {"prompt": prompt_hash(self.styles, {"answer": self.answer})}

    def note(self) -> str:
        """What the card tells of it."""
        return "written by the model named, on the machine of whoever built this, without sampling"

    @property
    def _purpose(self) -> str:
        return f"{self.name} --method {self.method}"

    def load(self) -> Writer:
        """Open the model on its device.

        Raises:
            UserError: the folder holds another kind of model, or a damaged one.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils import logging

        device = torch_device(self.device)
        logging.disable_progress_bar()
        folder = str(weights.find_snapshot(self.model, purpose=self._purpose))
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = AutoProcessor.from_pretrained(folder, **options)
            dtype = torch_dtype(self.precision, device)
            model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, **options)
        except Exception as error:
            raise UserError(
                f"model={self.model!r} can't be opened as an image-text-to-text model ({reason(error)}): pass a folder "
                "that transformers saved with its processor, or the name of one on the hub"
            ) from error
        return Writer(processor, model.to(device).eval(), self.max_new_tokens)

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Describe each photograph."""
        writer = cast("Writer", loaded(self))
        made: list[Made] = []
        for first in range(0, len(samples), writer.batch):
            made += self._batch(writer, samples[first : first + writer.batch])
        return made

    def _batch(self, writer: Writer, samples: Sequence[Sample]) -> list[Made]:
        photos = [sample.images["rgb"] for sample in samples]
        prompts = [prompt_text(self.styles)] if self.answer == "json" else [plain_prompt(s) for s in self.styles]
        written = [writer.write(photos, prompt) for prompt in prompts]
        return [self._made(sample, [told[number] for told in written]) for number, sample in enumerate(samples)]

    def _made(self, sample: Sample, written: Sequence[str]) -> Made:
        if sample.capture.get("modality") == "ir":
            return Made(absent=INFRARED)
        try:
            answer = self._read(written)
        except BadAnswer as problem:
            return Made(error=f"no usable answer: it {problem}")
        return Made(text=answer.text(weights.published_name(self.model) or self.model))

    def _read(self, written: Sequence[str]) -> Answer:
        if self.answer == "json":
            return parse_answer(written[0], self.styles)
        return plain_answer(written, self.styles)


@plain_dataclass(frozen=True)
class Writer:
    """An open model.

    Args:
        processor: prepares images and words.
        model: writes.
        max_new_tokens: of an answer.
    """

    processor: Any
    model: Any
    max_new_tokens: int

    @property
    def batch(self) -> int:
        """Photographs taken at a time."""
        return _CUDA_BATCH if self.model.device.type == "cuda" else 1

    def write(self, photos: Sequence[np.ndarray], prompt: str) -> list[str]:
        """Answer a question about each photograph.

        Args:
            photos: uint8 (H, W, 3) RGB each.
            prompt: the question.
        """
        import torch
        from PIL import Image

        images = [Image.fromarray(photo) for photo in photos]
        self.processor.tokenizer.padding_side = "left"  # answers begin where the questions end
        given = self.processor(
            images=images, text=[self._worded(prompt)] * len(images), padding=True, return_tensors="pt"
        ).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(
                **given, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1, use_cache=True
            )
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, given["input_ids"].shape[1] :]
        written: list[str] = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in written]

    def _worded(self, prompt: str) -> str:
        """The question in the model's own form of a conversation, where it has one."""
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            talk = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(talk, add_generation_prompt=True))
        token = getattr(self.processor, "image_token", None)
        return f"{token}\n{prompt}" if token else prompt
