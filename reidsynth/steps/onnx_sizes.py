"""Lets an ONNX network take other heights and widths than the square it was exported for.

An export states its input as 1x3x320x320, and ONNX Runtime takes nothing else, though a network of convolutions could.
Here the statement is taken out of the file: height and width of input and output are left open, and what the exporter
noted about the sizes in between is dropped. Whether the network really takes another canvas only a run can tell
(`takes`), since sizes may be frozen in its nodes as well.

ONNX files are protocol buffers. The few messages on the way to a dimension are described to `protobuf`, which ONNX
Runtime brings along; it keeps every field that it was not told of. The `onnx` package would do the same with 30 MB of
its own.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

Layout = dict[str, dict[str, tuple[int, str]]]
"""Message -> field -> its number and its kind: another message, `string`, `bytes` or `int64`, and `*` if repeated."""

_LAYOUT: Layout = {
    "Model": {"graph": (7, "Graph")},
    "Graph": {"input": (11, "Value*"), "output": (12, "Value*"), "value_info": (13, "Value*")},
    "Value": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "Tensor")},
    "Tensor": {"shape": (2, "Shape")},
    "Shape": {"dim": (1, "Dimension*")},
    "Dimension": {},
}
"""The part of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that leads to a dimension."""

_LARGEST = 256 << 20
"""Bytes of a file, at most: a second copy of it is in memory for a while, and what is larger is a transformer."""

_NO_MEMORY = ("failed to allocate", "bad_alloc", "bad allocation", "out of memory")


def messages(layout: Mapping[str, Mapping[str, tuple[int, str]]]) -> dict[str, Any]:
    """Classes that read and write protocol buffers of a layout; fields that it does not name are kept.

    Args:
        layout: see `Layout`.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="sizes.proto", package="sizes", syntax="proto2")
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int64": field.TYPE_INT64}
    for name, fields in layout.items():
        message = file.message_type.add(name=name)
        for called, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = message.field.add(name=called, number=number, label=label)
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, f".sizes.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"sizes.{name}") for name in layout}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


def freed(path: Path, given: str) -> bytes | None:
    """A model with open height and width; of its outputs the first is left.

    Args:
        path: ONNX file.
        given: name of its input.

    Returns:
        The model, or None where the file is too large for this, or holds no such input of four dimensions.
    """
    from google.protobuf.message import DecodeError

    if path.stat().st_size > _LARGEST:
        return None
    try:
        model = _model_class().FromString(path.read_bytes())
    except DecodeError:  # ONNX Runtime reads its own format too
        return None
    graph = model.graph
    del graph.output[1:], graph.value_info[:]
    opened = [value for value in graph.input if value.name == given] + list(graph.output)
    sizes = [value.type.tensor_type.shape.dim for value in opened]
    if len(sizes) != 2 or len(sizes[0]) != 4 or len(sizes[1]) not in (0, 4):
        return None
    for dimensions in sizes:
        for dimension in dimensions[2:]:
            dimension.Clear()
    found: bytes = model.SerializeToString()
    return found


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

    width, height = canvas
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4  # a network that can't is no error
    given = session.get_inputs()[0]
    kind = np.float16 if given.type == "tensor(float16)" else np.float32
    try:
        answer = session.run(None, {given.name: np.zeros((1, 3, height, width), kind)}, quiet)[0]
    except Exception as error:  # ONNX Runtime's errors share no public class
        if any(sign in str(error).lower() for sign in _NO_MEMORY):
            raise
        return False
    found = np.shape(answer)
    return len(found) == 4 and min(found) > 0 and found[2] * width == found[3] * height


@lru_cache(maxsize=1)
def _model_class() -> Any:  # noqa: ANN401 - a class made from a layout
    return messages(_LAYOUT)["Model"]
