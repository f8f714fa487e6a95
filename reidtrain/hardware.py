"""What the process asks of its machine: threads, number format, and an allocator that keeps what it has."""

from __future__ import annotations

import ctypes
import sys

import torch

from reidtrain.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


def keep_memory() -> bool:
    """Tell glibc's allocator to keep freed blocks instead of handing them back to the system.

    A training step on the CPU frees and asks again for the same large tensors; by default each goes through mmap, and
    the system clears every page again. Elsewhere than on glibc this does nothing.

    Returns:
        Whether the allocator took the advice.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def choose_device(wanted: str | torch.device | None) -> torch.device:
    """Resolve where a model runs.

    Args:
        wanted: `cpu`, `cuda`, `cuda:1`, ...; None takes a GPU where there is one.

    Raises:
        UserError: for a name that is no device, or a GPU that is not there.
    """
    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"device {wanted!r} is unknown: give cpu, cuda, or cuda:N") from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= gpus:
        there = f"cuda:0 to cuda:{gpus - 1}" if gpus else "cpu"
        raise UserError(f"device {wanted!r} is not there: give {there}")
    return device


def choose_precision(wanted: str) -> str:
    """Resolve a precision into one that accelerate knows.

    Args:
        wanted: `fp32`, `bf16`, `fp16`, or `auto`: bfloat16 where the GPU, or without one the CPU, multiplies it in
            hardware, else float32.

    Returns:
        `no`, `bf16` or `fp16`.

    Raises:
        UserError: for fp16 without a GPU.
    """
    if wanted == "auto":
        native = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bfloat16()
        wanted = "bf16" if native else "fp32"
    if wanted == "fp16" and not torch.cuda.is_available():
        raise UserError("train.precision is fp16, but there is no CUDA device: set it to auto, fp32 or bf16")
    return "no" if wanted == "fp32" else wanted


def _cpu_has_bfloat16() -> bool:
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)
