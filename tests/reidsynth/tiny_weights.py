"""Randomly initialised weights under their real file names, and ONNX files written by hand."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from tiny_pipelines import controlnet_pipeline, instruct_pipeline

RED = ((6.0, -6.0, 0.0), -2.0)
"""Weights and bias of a network that takes what is red for a person."""


def field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def value(name: bytes, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d.encode())) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def tensor(name: bytes, array: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, 1) + field(8, name) + field(9, array.astype("<f4").tobytes())


def onnx(
    path: Path,
    *,
    weights: tuple[float, float, float] = RED[0],
    bias: float = RED[1],
    batch: int | str = "n",
    side: int = 320,
    sigmoid: bool = True,
) -> Path:
    """A 1x1 convolution and a sigmoid as an ONNX file; one probability for each pixel, from its colour alone."""
    last = b"raw" if sigmoid else b"y"
    nodes = [field(1, b"x") + field(1, b"w") + field(1, b"b") + field(2, last) + field(4, b"Conv")]
    if sigmoid:
        nodes.append(field(1, b"raw") + field(2, b"y") + field(4, b"Sigmoid"))
    graph = b"".join(field(1, node) for node in nodes) + field(2, b"g")
    graph += field(5, tensor(b"w", np.array(weights).reshape(1, 3, 1, 1)))
    graph += field(5, tensor(b"b", np.array([bias])))
    graph += field(11, value(b"x", (batch, 3, side, side))) + field(12, value(b"y", (batch, 1, side, side)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return path


def context(
    path: Path, *, batch: int | str = 1, side: int | str = 320, frozen: int | None = None, held: bool = False
) -> Path:
    """A network that looks 80 pixels around each pixel, at half its size, as ONNX; its second output is no mask.

    Args:
        path: file to write.
        batch: that it states.
        side: of the square that it states.
        frozen: side that it brings its answer to, whatever came in; None doubles what is there.
        held: whether it adds a map of its square's size, as transformers add positions.
    """
    rng = np.random.default_rng(0)
    floats = {"kernel": rng.normal(0, 0.5, (1, 3, 3, 3)), "bias": np.array([0.1]), "twice": np.array([1, 1, 2, 2])}
    floats["place"] = np.linspace(-1, 1, 320 * 320).reshape(1, 1, 320, 320) if held else np.array([-0.1])
    tensors = [tensor(name.encode(), array) for name, array in floats.items()]
    sizes = np.array([1, 1, frozen or 0, frozen or 0])
    tensors.append(field(1, 4) + field(2, 7) + field(8, b"sizes") + field(9, sizes.astype("<i8").tobytes()))
    pool = [attribute("kernel_shape", 2, 2), attribute("strides", 2, 2)]
    around = [attribute("kernel_shape", 3, 3), attribute("dilations", 40, 40), attribute("pads", 40, 40, 40, 40)]
    nodes = [
        node("AveragePool", ["x"], "half", *pool),
        node("Conv", ["half", "kernel", "bias"], "seen", *around),
        node("Resize", ["seen", "", "twice"] if frozen is None else ["seen", "", "", "sizes"], "grown"),
        node("Add", ["grown", "place"], "raw"),
        node("Sigmoid", ["raw"], "y"),
    ]
    graph = b"".join(field(1, each) for each in nodes) + field(2, b"g") + b"".join(field(5, each) for each in tensors)
    half = side // 2 if isinstance(side, int) else "half"
    shapes = [(11, b"x", (batch, 3, side, side)), (12, b"y", (batch, 1, frozen or side, frozen or side))]
    shapes += [(12, b"seen", (batch, 1, half, half)), (13, b"half", (batch, 3, half, half))]
    graph += b"".join(field(number, value(name, shape)) for number, name, shape in shapes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return path


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    body = b"".join(field(1, one.encode()) for one in inputs) + field(2, output.encode()) + field(4, kind.encode())
    return body + b"".join(field(5, each) for each in attributes)


def attribute(name: str, *values: int) -> bytes:
    """An attribute that holds a list of integers."""
    return field(1, name.encode()) + b"".join(field(8, each) for each in values) + field(20, 7)


def attribute_network(path: Path) -> Path:
    """An attribute network: the redder the photograph, the surer all eight attributes; points on chest and knees."""
    nodes = [field(1, b"x") + field(2, b"mean") + field(4, b"GlobalAveragePool")]
    tensors, outputs = [], b""
    heads = {
        b"output": (np.tile([-0.1, -0.1, 0.2], (8, 1)), np.full(8, -5.0)),
        b"output1": (np.zeros((2, 3)), np.array([0.0, -0.62])),
        b"output2": (np.zeros((2, 3)), np.array([0.0, 0.62])),
    }
    for name, (kernel, bias) in heads.items():
        raw, w, b = name + b"-raw", name + b"-w", name + b"-b"
        nodes.append(field(1, b"mean") + field(1, w) + field(1, b) + field(2, raw) + field(4, b"Conv"))
        nodes.append(field(1, raw) + field(2, name) + field(4, b"Sigmoid"))
        tensors += [tensor(w, kernel.reshape(-1, 3, 1, 1)), tensor(b, bias)]
        outputs += field(12, value(name, ("n", len(bias), 1, 1)))
    graph = b"".join(field(1, node) for node in nodes) + field(2, b"g")
    graph += b"".join(field(5, tensor) for tensor in tensors)
    graph += field(11, value(b"x", ("n", 3, 160, 80))) + outputs
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return path


@lru_cache(maxsize=1)
def annotators(folder: Path) -> Path:
    """A folder with every file of controlnet_aux that the sketch steps use."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux.hed import ControlNetHED_Apache2
        from controlnet_aux.lineart import Generator
        from controlnet_aux.pidi.model import pidinet
        from controlnet_aux.teed.ted import TED
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(Generator(3, 1, 3).state_dict(), folder / "sk_model.pth")
    torch.save(Generator(3, 1, 3).state_dict(), folder / "sk_model2.pth")
    torch.save(ControlNetHED_Apache2().state_dict(), folder / "ControlNetHED.pth")
    torch.save(TED().state_dict(), folder / "5_model.pth")
    saved = {f"module.{name}": value for name, value in pidinet().state_dict().items()}
    torch.save({"state_dict": saved}, folder / "table5_pidinet.pth")
    return folder


def generator(folder: Path, target: str = "ir", spectrum: str | None = "nir", **facts: object) -> Path:
    """A checkpoint's folder with a random generator of infrared images or sketches, for 64x32."""
    import torch

    from reidsynth.policy import Policy
    from reidsynth.translator.generator import Generator
    from reidsynth.translator.weights import GENERATOR, Facts, save_generator

    told = {
        "target": target,
        "spectrum": spectrum if target == "ir" else None,
        "height": 64,
        "width": 32,
        "channels": 4,
        "downs": 4,
        "background": "keep",
        "data": ("drawn",),
        "pairs": 90,
        "held_out": 10,
        "terms": Policy("CC-BY-NC-4.0", default_release="gated").as_dict(),
        "epoch": 3,
        "step": 30,
        "scores": {"translator": {"psnr": 21.5, "ssim": 0.75}, "mean training image": {"psnr": 18.25, "ssim": 0.5}},
    }
    torch.manual_seed(0)
    network = Generator(4, 4)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.002, 0.02)  # of small activations: what comes out is no flat grey
    folder.mkdir(parents=True, exist_ok=True)
    save_generator(folder / GENERATOR, network.state_dict(), Facts(**{**told, **facts}))
    return folder


def parameters(step: str, method: str, folder: Path) -> dict[str, object]:
    """Parameters that let a registered method run on weights drawn below `folder`; {} where it needs none."""
    if method == "rembg":
        return {"model": "u2net_custom", "file": str(onnx(folder / "red.onnx"))}
    if step == "build-sketch" and method in ("lineart", "lineart-coarse", "teed", "pidinet", "hed"):
        return {"model": str(annotators(folder))}
    if (step, method) == ("build-sketch", "diffusion"):
        return {"model": str(controlnet_pipeline(folder / "controlnet")), "steps": 2, "drawn_at": 32}
    if (step, method) == ("build-ir", "diffusion"):
        return {"model": str(instruct_pipeline(folder / "instruct")), "steps": 2, "drawn_at": 32}
    if method == "gan":
        return {"model": str(generator(folder / step, step.removeprefix("build-")))}
    if method == "gan":
        return {"model": str(generator(folder / f"gan-{step}", step.removeprefix("build-")))}
    return {}
