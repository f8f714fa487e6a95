"""Randomly initialised weights under their real file names, and small ONNX networks."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tiny_pipelines import controlnet_pipeline, instruct_pipeline

RED = ((6.0, -6.0, 0.0), -2.0)
"""Weights and bias of a network that takes what is red for a person."""

OPSET, IR = 13, 8
"""Versions of operators and file that the oldest supported ONNX Runtime reads; `onnx` would write its newest."""

Shapes = dict[str, tuple[int | str, ...]]


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    """Weights: integers as they are, other numbers in single precision."""
    return numpy_helper.from_array(array if array.dtype.kind == "i" else array.astype(np.float32), name)


def values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]


def save_network(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    given: Shapes,
    answers: Shapes,
    between: Shapes | None = None,
) -> Path:
    """Write nodes and weights as an ONNX file that states the shapes of its inputs, its outputs and maps in between."""
    tensors = [tensor(name, array) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values(given), values(answers), tensors, value_info=values(between or {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)]), path)
    return path


def colour_network(
    path: Path,
    *,
    weights: tuple[float, float, float] = RED[0],
    bias: float = RED[1],
    batch: int | str = "n",
    side: int = 320,
    sigmoid: bool = True,
) -> Path:
    """A 1x1 convolution and a sigmoid as an ONNX file; one probability for each pixel, from its colour alone."""
    nodes = [node("Conv", ["x", "w", "b"], "raw" if sigmoid else "y")]
    if sigmoid:
        nodes.append(node("Sigmoid", ["raw"], "y"))
    tensors = {"w": np.array(weights, float).reshape(1, 3, 1, 1), "b": np.array([bias])}
    return save_network(path, nodes, tensors, {"x": (batch, 3, side, side)}, {"y": (batch, 1, side, side)})


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
    kernel = np.random.default_rng(0).normal(0, 0.5, (1, 3, 3, 3))
    tensors = {"kernel": kernel, "bias": np.array([0.1]), "twice": np.array([1.0, 1.0, 2.0, 2.0])}
    tensors["place"] = np.linspace(-1, 1, 320 * 320).reshape(1, 1, 320, 320) if held else np.array([-0.1])
    tensors["sizes"] = np.array([1, 1, frozen or 0, frozen or 0])
    nodes = [
        node("AveragePool", ["x"], "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["half", "kernel", "bias"], "seen", kernel_shape=[3, 3], dilations=[40, 40], pads=[40] * 4),
        node("Resize", ["seen", "", "twice"] if frozen is None else ["seen", "", "", "sizes"], "grown"),
        node("Add", ["grown", "place"], "raw"),
        node("Sigmoid", ["raw"], "y"),
    ]
    half = side // 2 if isinstance(side, int) else "half"
    answers = {"y": (batch, 1, frozen or side, frozen or side), "seen": (batch, 1, half, half)}
    return save_network(path, nodes, tensors, {"x": (batch, 3, side, side)}, answers, {"half": (batch, 3, half, half)})


def attribute_network(path: Path) -> Path:
    """An attribute network: the redder the photograph, the surer all eight attributes; points on chest and knees."""
    nodes, tensors, outputs = [node("GlobalAveragePool", ["x"], "mean")], {}, {}
    heads = {
        "output": (np.tile([-0.1, -0.1, 0.2], (8, 1)), np.full(8, -5.0)),
        "output1": (np.zeros((2, 3)), np.array([0.0, -0.62])),
        "output2": (np.zeros((2, 3)), np.array([0.0, 0.62])),
    }
    for name, (kernel, bias) in heads.items():
        raw, w, b = f"{name}-raw", f"{name}-w", f"{name}-b"
        nodes += [node("Conv", ["mean", w, b], raw), node("Sigmoid", [raw], name)]
        tensors |= {w: kernel.reshape(-1, 3, 1, 1), b: bias}
        outputs[name] = ("n", len(bias), 1, 1)
    return save_network(path, nodes, tensors, {"x": ("n", 3, 160, 80)}, outputs)


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
        return {"model": "u2net_custom", "file": str(colour_network(folder / "red.onnx"))}
    if step == "build-sketch" and method in ("lineart", "lineart-coarse", "teed", "pidinet", "hed"):
        return {"model": str(annotators(folder))}
    if (step, method) == ("build-sketch", "diffusion"):
        return {"model": str(controlnet_pipeline(folder / "controlnet")), "steps": 2, "drawn_at": 32}
    if (step, method) == ("build-ir", "diffusion"):
        return {"model": str(instruct_pipeline(folder / "instruct")), "steps": 2, "drawn_at": 32}
    if method == "gan":
        return {"model": str(generator(folder / step, step.removeprefix("build-")))}
    return {}
