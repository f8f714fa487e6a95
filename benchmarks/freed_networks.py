"""Takes frozen sizes out of a network and gives it rembg's input, so that masks on several canvases can be compared.

For networks converted from TensorFlow Lite: they take (1, side, side, 3) in 0..1 and are of one size through and
through. Each Resize to a frozen size becomes one by the scale that it amounted to, each average over a frozen whole map
an average over any whole map, and what rembg's `u2net_custom` subtracts and divides by is undone first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reidsynth"))

from tiny_weights import node, tensor, values

NORMALISED = {"std": (0.229, 0.224, 0.225), "mean": (0.485, 0.456, 0.406)}


def freed_network(path: Path, out: Path, side: int) -> None:
    """Write a network of TensorFlow Lite's as one of `u2net_custom`'s that states a square of `side` pixels.

    Args:
        path: ONNX file.
        out: file to write.
        side: a multiple of 32.
    """
    model = onnx.load(path)
    graph = model.graph
    resized = [each for each in graph.node if each.op_type == "Resize"]
    sides = map_sides(path, [name for each in resized for name in (each.input[0], each.output[0])])
    for number, each in enumerate(resized):
        scale = sides[2 * number + 1] / sides[2 * number]
        name = f"scale{number}"
        graph.initializer.append(tensor(name, np.array([1.0, 1.0, scale, scale])))
        each.input[:] = [each.input[0], "", name]
    for each in graph.node:
        if each.op_type == "AveragePool":  # over the whole map, in these networks
            each.op_type = "GlobalAveragePool"
            del each.attribute[:]
    begun = next(each for each in graph.node if each.op_type == "Transpose")
    begun.op_type, begun.input[:] = "Add", ["scaled", "mean"]
    del begun.attribute[:]
    nodes = [node("Mul", ["x", "std"], "scaled"), *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        tensor(name, np.array(numbers).reshape(1, 3, 1, 1)) for name, numbers in NORMALISED.items()
    )
    graph.input.extend(values({"x": (1, 3, side, side)}))
    answer = graph.output[0].name
    del graph.output[:]
    graph.output.extend(values({answer: (1, 1, side, side)}))
    onnx.save(model, out)


def map_sides(path: Path, names: Sequence[str]) -> list[int]:
    """Width of the maps that a network computes, as it is."""
    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    quiet: Any = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet)
    given = session.get_inputs()[0]
    maps = session.run(list(names), {given.name: np.zeros(given.shape, np.float32)})
    return [each.shape[-1] for each in maps]
