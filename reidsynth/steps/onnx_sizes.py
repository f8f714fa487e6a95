"""Lets an ONNX network take other heights and widths than the square it was exported for.

An export states its input as 1x3x320x320, and ONNX Runtime takes nothing else, though a network of convolutions could.
Here the statement is taken out of the file: height and width of input and output are left open, and what the exporter
noted about the sizes in between is dropped. PyTorch's exporter freezes the sizes that maps are brought to as well
(`interpolate(x, size=y.shape[2:])`, everywhere in U2-Net); these become the scales that they amount to on the square.
Whether the network really takes another canvas only a run can tell (`takes`), since other nodes hold sizes too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import GraphProto, ModelProto, NodeProto

_OTHERWISE = {"axes", "keep_aspect_ratio_policy"}
"""Attributes of Resize that give its sizes another meaning."""

_LARGEST = 256 << 20
"""Bytes of a file, at most: a second copy of it is in memory for a while, and what is larger is a transformer."""

_NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory")


def freed(path: Path, given: str, size: tuple[int, int]) -> Iterator[bytes]:
    """A model with open height and width; of its outputs the first is left.

    Args:
        path: ONNX file.
        given: name of its input.
        size: width and height that it states.

    Yields:
        The model with its nodes as they are, then, where some resize to frozen sizes, with scales in their place.
        Nothing where the file is too large for this, has weights in other files, which would be looked for from
        the working folder, or holds no such input of four dimensions.
    """
    if path.stat().st_size > _LARGEST:
        return
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper
    from onnx.external_data_helper import uses_external_data

    try:
        model = _read(path)
    except DecodeError:  # ONNX Runtime reads its own format too
        return
    if any(uses_external_data(weights) for weights in model.graph.initializer) or not _opened(model.graph, given):
        return
    yield model.SerializeToString()
    scales = _scales(path, given, size)
    for node in model.graph.node:
        if node.op_type == "Resize" and node.output[0] in scales:
            name = f"{node.output[0]}/scales"
            model.graph.initializer.append(numpy_helper.from_array(scales[node.output[0]], name))
            node.input[2:] = [name]
    if scales:
        yield model.SerializeToString()


def _read(path: Path) -> ModelProto:
    import onnx

    return onnx.load(path, format="protobuf", load_external_data=False)  # whatever the name of the file


def _opened(graph: GraphProto, given: str) -> bool:
    """Leave height and width of input and first output open; False where they have none."""
    del graph.output[1:], graph.value_info[:]
    values = [value for value in graph.input if value.name == given] + list(graph.output)
    shapes = [value.type.tensor_type.shape.dim for value in values]
    if len(shapes) != 2 or len(shapes[0]) != 4 or len(shapes[1]) not in (0, 4):
        return False
    for shape in shapes:
        for dimension in shape[2:]:
            dimension.Clear()
    return True


def _scales(path: Path, given: str, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Output of a Resize to frozen sizes -> the scales that these amount to on the square, four each."""
    model = _read(path)
    frozen = [(node.input[0], node.output[0]) for node in model.graph.node if _is_sized(node)]
    shapes = _shapes(model, [name for pair in frozen for name in pair], given, size)
    found = {}
    for (_, output), before, after in zip(frozen, shapes[::2], shapes[1::2], strict=False):
        scales = (after / before).astype(np.float32)
        if len(scales) == 4 and np.array_equal(np.floor(before * scales), after):
            found[output] = scales
    return found


def _shapes(model: ModelProto, names: list[str], given: str, size: tuple[int, int]) -> list[np.ndarray]:
    """Shapes of the maps of these names when the square comes in; [] where they can't be had."""
    import onnxruntime
    from onnx import helper

    del model.graph.output[:]
    for number, name in enumerate(names):
        model.graph.node.append(helper.make_node("Shape", [name], [f"shape {number}"]))
        model.graph.output.add(name=f"shape {number}")
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level, quiet.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
        found: list[np.ndarray] = session.run(None, {given: _blank(session, size)}) if names else []
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no public class
        raise_want_of_memory(error)
        return []
    return found


def _is_sized(node: NodeProto) -> bool:
    """Whether a Resize is told a size; a scale may stand in its place."""
    told = node.op_type == "Resize" and len(node.input) == 4 and node.input[3] != ""
    return told and not _OTHERWISE & {attribute.name for attribute in node.attribute}


def _blank(session: Any, canvas: tuple[int, int]) -> np.ndarray:  # noqa: ANN401 - ONNX Runtime ships no types
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    return np.zeros((1, 3, canvas[1], canvas[0]), kind)


def takes(session: Any, canvas: tuple[int, int]) -> bool:  # noqa: ANN401 - ONNX Runtime ships no types
    """Whether a network answers to a canvas in that canvas's shape. It runs once, on zeros.

    Args:
        session: ONNX Runtime session with open height and width.
        canvas: width and height.

    Returns:
        False where it raises, as nodes with frozen sizes do, or answers in another shape; the same for every run of
        the same file, whatever else is wrong: want of memory is raised.
    """
    import onnxruntime

    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4  # a network that can't is no error
    try:
        answer = session.run(None, {session.get_inputs()[0].name: _blank(session, canvas)}, quiet)[0]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no public class
        raise_want_of_memory(error)
        return False
    found = np.shape(answer)
    return len(found) == 4 and min(found) > 0 and found[2] * canvas[0] == found[3] * canvas[1]


def raise_want_of_memory(error: Exception) -> None:
    """Raise the error if memory was short: a mask must not follow from how much another program takes."""
    if any(sign in str(error).lower() for sign in _NO_MEMORY):
        raise error
