"""A generator's file: its weights, and in the same file what it is, what it learned from and under which terms.

One safetensors file is all that a step needs; its checksum covers the facts as well as the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from reidsynth import weights
from reidsynth.errors import UserError
from reidsynth.schema import Spectrum
from reidsynth.translator.pairs import PLURALS, Background, Target

if TYPE_CHECKING:
    import torch

    from reidsynth.translator.generator import Generator

FORMAT = 1
CHECKPOINTS = "checkpoints"
GENERATOR = "generator.safetensors"
_FACTS = "reidsynth"


class Facts(BaseModel):
    """What a generator's file says of it.

    Args:
        format: of these facts.
        target: what it makes.
        spectrum: of infrared images that it makes.
        height: that it works at.
        width: that it works at.
        channels: of its first level.
        downs: how often it halves its images.
        background: whether photographs come to it with their background erased.
        data: names of the data that it learned from.
        pairs: that it learned from.
        held_out: pairs that it was scored on.
        terms: of the data, as `Policy.as_dict` gives them.
        epoch: finished epochs.
        step: optimiser steps taken.
        scores: name (the translator, the baselines) -> measure -> value, of the last epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    target: Target
    spectrum: Spectrum | None
    height: int
    width: int
    channels: int
    downs: int
    background: Background
    data: tuple[str, ...]
    pairs: int
    held_out: int
    terms: dict[str, Any]
    epoch: int
    step: int
    scores: dict[str, dict[str, float]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def note(self) -> str:
        """A sentence for the card of what it makes."""
        what = PLURALS[self.target] + (f" ({self.spectrum})" if self.spectrum else "")
        told = ", ".join(
            f"{name} {values['psnr']:.2f} dB / {values['ssim']:.3f}" for name, values in self.scores.items()
        )
        measured = f"; PSNR / SSIM on {self.held_out} held-out pairs: {told}" if told else "; never scored"
        return (
            f"{what} by an InfraGAN generator trained on {self.pairs} pairs of {', '.join(self.data)} for {self.epoch} "
            f"epochs ({self.step} steps){measured}"
        )


def find_generator(model: str, *, purpose: str) -> Path:
    """Find a generator's file.

    Args:
        model: the file, the folder of a run (its last checkpoint counts), the folder of a checkpoint, or a hub name.
        purpose: who needs it, in messages.

    Raises:
        UserError: there is none.
    """
    if last_checkpoint(model) is None and (Path(model).expanduser() / CHECKPOINTS).is_dir():
        raise UserError(f"{model!r} holds no checkpoint yet: run the `reidsynth train-ir-gan` that began it again")
    model = str(last_checkpoint(model) or model)
    return weights.find_file(model, GENERATOR, purpose=purpose)


def last_checkpoint(model: str) -> Path | None:
    """Folder of a run's last whole checkpoint; None where `model` is no run, or a run without any."""
    found = (Path(model).expanduser() / CHECKPOINTS).glob("step-*")
    steps = sorted(path for path in found if (path / GENERATOR).is_file())
    return steps[-1] if steps else None


def run_of(model: str) -> str:
    """The run's folder where `model` is the folder of one of its checkpoints, else `model` itself."""
    place = Path(model).expanduser()
    return str(place.parents[1]) if place.parent.name == CHECKPOINTS and place.is_dir() else model


def read_facts(file: Path) -> Facts:
    """Read what a generator's file says of it, without its weights.

    Raises:
        UserError: it is damaged, or no file of a translator.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            told = (opened.metadata() or {}).get(_FACTS)
        if told is None:
            raise ValueError("it says nothing of a translator")
        values = json.loads(told)
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            raise ValueError(f"its format is {found!r}, and this release reads {FORMAT}")
        return Facts.model_validate(values)
    except (OSError, SafetensorError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{str(file)!r} is no generator of `reidsynth train-ir-gan` ({reason}): give a run of it, or its "
            f"{GENERATOR}"
        ) from error


def load_generator(file: Path) -> Generator:
    """Load a generator, ready to translate (in eval mode, without gradients).

    Raises:
        UserError: the file is damaged or does not fit what it says of itself.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from reidsynth.translator.generator import Generator

    facts = read_facts(file)
    try:
        generator = Generator(facts.channels, facts.downs)
        generator.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{str(file)!r} does not hold the generator that it names ({reason}): copy it again") from error
    return generator.eval().requires_grad_(False)


def save_generator(file: Path, state: dict[str, torch.Tensor], facts: Facts) -> None:
    """Write a generator's file; equal weights and facts give equal bytes."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    # One key only: safetensors writes several in an order of its own.
    save_file(tensors, file, metadata={_FACTS: json.dumps(facts.model_dump(mode="json"))})
