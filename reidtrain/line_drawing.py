"""Sketches drawn in training: the Lineart network, frozen, on whole batches where the model runs.

AIO (CVPR 2024) makes the sketches of its first stage like this. The network is that of C. Chan, F. Durand and P. Isola,
"Learning to generate line drawings that convey geometry and semantics" (CVPR 2022), as controlnet_aux ships it: 4.29 M
parameters, RGB from 0 to 1 in, black on white from 0 to 1 out, InstanceNorm without running statistics, so that a batch
changes no sample. It reads photographs before normalisation and augmentation; its drawings are augmented as a stored
sketch would be, with draws that the data set made, and then normalised for the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from reidtrain.batch import Batch
from reidtrain.errors import UserError
from reidtrain.transforms import Changes, erase

WEIGHTS = "sk_model.pth"
MULTIPLE = 4  # the network halves its input's sides twice


def load_lineart(path: str | Path) -> nn.Module:
    """Load the network.

    Args:
        path: the weights (`sk_model.pth` of lllyasviel/Annotators), or the folder that holds them.

    Returns:
        The network, frozen, in eval mode, on the CPU.

    Raises:
        UserError: when the file is missing, or does not hold this network.
    """
    from controlnet_aux.lineart import Generator

    file = Path(path).expanduser()
    file = file / WEIGHTS if file.is_dir() else file
    if not file.is_file():
        raise UserError(
            f"the weights of online-lineart, {file}, do not exist: download {WEIGHTS} of lllyasviel/Annotators and set "
            f"data.lineart=/path/to/{WEIGHTS}, or name stored sketches alone in data.tables.sketch"
        )
    network = cast(nn.Module, Generator(3, 1, 3))
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        raise UserError(
            f"{file} does not hold the Lineart network ({type(error).__name__}): set data.lineart to {WEIGHTS} of "
            "lllyasviel/Annotators"
        ) from error
    return network.requires_grad_(False).eval()


class LineDrawer(nn.Module):
    """Draws what is yet to be drawn in a batch.

    Args:
        network: (N, 3, H, W) from 0 to 1 -> (N, 1, H, W), black on white, sides multiples of 4.
        mean: of the backbone's normalisation.
        std: of the backbone's normalisation.
        most: images that pass the network at once.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], *, most: int = 32) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Batch:
        """Draw the sketches of a batch.

        Args:
            batch: on the network's device.

        Returns:
            The batch with all sketches drawn, augmented and normalised; the input stays as it is.
        """
        rows = [row for row, changes in enumerate(batch.undrawn or ()) if changes is not None]
        if not rows:
            return batch
        images = batch.images["sketch"]
        drawings = torch.cat([self._draw(images[run]) for run in _runs(rows, self.most)])
        finished = [
            self._finish(drawing, cast("tuple[Changes, ...]", batch.undrawn)[row])
            for row, drawing in zip(rows, drawings, strict=True)
        ]
        sketches = images.index_put((torch.tensor(rows, device=images.device),), torch.stack(finished).to(images.dtype))
        return replace(batch, images={**batch.images, "sketch": sketches}, undrawn=None)

    def _draw(self, photos: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) photographs to (N, H, W) drawings of the same size."""
        height, width = photos.shape[-2:]
        padded = F.pad(photos, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        drawn: torch.Tensor = self.network(padded)[:, 0, :height, :width]
        return drawn.float().clamp(0, 1)

    def _finish(self, drawing: torch.Tensor, changes: Changes) -> torch.Tensor:
        """Augment and normalise one drawing: (H, W) to (3, H, W)."""
        if changes.flip:
            drawing = drawing.flip(-1)
        if changes.corner is not None:
            height, width = drawing.shape
            top, left = changes.corner
            mode = "replicate" if changes.fill == "edge" else "constant"
            drawing = F.pad(drawing[None, None], (changes.pad,) * 4, mode=mode)[0, 0, top : top + height, left:]
            drawing = drawing[:, :width]
        normalised = (drawing.expand(3, -1, -1) - self.get_buffer("mean")) / self.get_buffer("std")
        return erase(normalised, changes)


def _runs(rows: Sequence[int], most: int) -> list[list[int]]:
    return [list(rows[start : start + most]) for start in range(0, len(rows), most)]
