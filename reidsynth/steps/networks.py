"""Runs torch networks for steps: one model in a worker, its device and precision, batches of equal size.

Results never depend on the batch: images are grouped by size, and the networks here treat the images of a batch apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

Threads = Annotated[int, Field(ge=1, le=1024)]

_CPU_PIXELS = 256 * 128  # larger batches leave the caches, and each image then costs up to a fifth more
_CUDA_PIXELS = 64 * 384 * 128


class Loads(Protocol):
    """A hashable step that loads a model."""

    def load(self) -> Any:  # noqa: ANN401 - models of several libraries
        """Load the model from its files."""
        ...


@lru_cache(maxsize=1)  # one model in a worker: the next step's takes its place
def loaded(step: Loads) -> Any:  # noqa: ANN401 - models of several libraries
    """The step's model, loaded once."""
    return step.load()


def torch_device(wanted: Device) -> torch.device:
    """The device to run on; workers of a pool are dealt out over the GPUs.

    Raises:
        UserError: CUDA is asked for where there is none.
    """
    from multiprocessing import current_process

    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for and torch finds none here: use device=cpu or device=auto")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    worker = (current_process()._identity or (1,))[-1] - 1
    return torch.device("cuda", worker % torch.cuda.device_count())


def torch_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """The type to compute in: `auto` is float32 on a CPU and mixed float16 on CUDA.

    Raises:
        UserError: the CPU lacks instructions for the type asked for.
    """
    import torch

    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if device.type == "cpu" and wanted == "float16":
        raise UserError("precision 'float16' needs CUDA: on a CPU use float32, or bfloat16 where it has that")
    if device.type == "cpu" and wanted == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise UserError("precision 'bfloat16' was asked for, which this CPU lacks: use precision=float32")
    found: torch.dtype = getattr(torch, wanted)
    return found


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Give torch a number of threads that the step states: some kernels sum in another order on more of them.

    What comes out must not depend on how many workers share the cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def inference(device: torch.device, dtype: torch.dtype, threads: int) -> Iterator[None]:
    """No gradients, mixed precision unless the type is float32, and so many threads on a CPU."""
    import torch

    with (
        cpu_threads(threads),
        torch.inference_mode(),
        torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
    ):
        yield


def in_batches(
    images: Sequence[np.ndarray], run: Callable[[np.ndarray], np.ndarray], *, pixels: int
) -> list[np.ndarray]:
    """Run a function over stacks of images of equal size.

    Args:
        images: arrays (H, W, ...); sizes may differ.
        run: takes a stack (N, H, W, ...) and gives one result for each image.
        pixels: of one stack, at most (one image is always taken).

    Returns:
        The results in the order of the images.
    """
    found: list[np.ndarray | None] = [None] * len(images)
    for shape in dict.fromkeys(image.shape for image in images):
        alike = [number for number, image in enumerate(images) if image.shape == shape]
        size = max(1, pixels // (shape[0] * shape[1]))
        for first in range(0, len(alike), size):
            part = alike[first : first + size]
            for number, result in zip(part, run(np.stack([images[n] for n in part])), strict=True):
                found[number] = result
    return [result for result in found if result is not None]


def stack_pixels(device: torch.device) -> int:
    """How many pixels one stack may hold on a device."""
    return _CUDA_PIXELS if device.type == "cuda" else _CPU_PIXELS


def as_tensor(stack: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, 3) as a float tensor (N, 3, H, W), values kept."""
    import torch

    return torch.from_numpy(stack).to(device, non_blocking=True).permute(0, 3, 1, 2).float()


def padded(image: np.ndarray, multiple: int) -> np.ndarray:
    """Grow an image to the right and below until its sides are multiples; the border is repeated."""
    import cv2

    height, width = image.shape[:2]
    if height % multiple == 0 and width % multiple == 0:
        return image
    grown: np.ndarray = cv2.copyMakeBorder(image, 0, -height % multiple, 0, -width % multiple, cv2.BORDER_REPLICATE)
    return grown
