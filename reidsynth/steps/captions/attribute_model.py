"""Attributes of a real photograph from a small network: an ONNX file in the form of Open Model Zoo's crossroad models.

Reference: Intel Open Model Zoo, "person-attributes-recognition-crossroad-0230". It takes BGR 0..255 at 160x80 and gives
eight probabilities and two points, on the upper and on the lower clothes, where a colour may be picked. What is told
of them: its makers measured F1 .91 for gender, .83 for long trousers and hair, .77 for backpacks, and .21 for long
sleeves, which are therefore left out; short trousers may be a skirt, so only long ones are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reidsynth.errors import UserError, reason

_SIZE = (160, 80)
_MALE, _BAG, _BACKPACK, _HAT, _, _TROUSERS, _LONG_HAIR, _JACKET = range(8)
_REACH = 0.05  # of the crop's width: half a side of the patch that a colour is picked from


@dataclass(frozen=True)
class AttributeModel:
    """An open network.

    Args:
        session: ONNX Runtime session.
    """

    session: Any

    def read(self, photo: np.ndarray, certainty: float) -> tuple[dict[str, str], dict[str, np.ndarray]]:
        """What the network is sure of.

        Args:
            photo: uint8 (H, W, 3) RGB.
            certainty: probability from which it counts as sure; it is as sure of the contrary below 1 - certainty.

        Returns:
            Fields of ATTRIBUTE_FIELDS with their values; and pixels (N, 3) around the two points, by the colour field
            that they tell.
        """
        import cv2

        small = cv2.resize(photo, (_SIZE[1], _SIZE[0]), interpolation=cv2.INTER_AREA)
        given = small[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        # One photograph at a time: rounding that differs with the batch could turn a value at the threshold.
        raw = self.session.run(None, {self.session.get_inputs()[0].name: given})
        probabilities, upper, lower = (np.asarray(output, np.float64).reshape(-1) for output in raw)
        patches = {"upper_colour": _patch(photo, upper), "lower_colour": _patch(photo, lower)}
        return _attributes(probabilities, certainty), patches


def _attributes(probabilities: np.ndarray, certainty: float) -> dict[str, str]:
    yes, no = probabilities >= certainty, probabilities <= 1.0 - certainty
    told = {
        "gender": "male" if yes[_MALE] else "female" if no[_MALE] else None,
        "hair_length": "long" if yes[_LONG_HAIR] else "short" if no[_LONG_HAIR] else None,
        "headwear": "hat" if yes[_HAT] else "none" if no[_HAT] else None,
        "upper_type": "jacket" if yes[_JACKET] else None,
        "lower_type": "trousers" if yes[_TROUSERS] else None,
        "bag": "backpack" if yes[_BACKPACK] else "bag" if yes[_BAG] else "none" if no[_BACKPACK] & no[_BAG] else None,
    }
    return {field: value for field, value in told.items() if value is not None}


def _patch(photo: np.ndarray, point: np.ndarray) -> np.ndarray:
    height, width = photo.shape[:2]
    x, y = (int(np.clip(share, 0.0, 1.0) * (side - 1)) for share, side in zip(point, (width, height), strict=True))
    reach = max(2, round(width * _REACH))
    patch: np.ndarray = photo[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return patch.reshape(-1, 3)


def open_network(file: str) -> AttributeModel:
    """Open the network.

    Args:
        file: path of the ONNX file.

    Raises:
        UserError: there is none, or it is of another form.
    """
    import onnxruntime

    path = find_network(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the runner's workers share the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(
            f"attribute_model={path.name!r} is no ONNX model ({reason(error)}): give another file"
        ) from error
    shapes = [tuple(output.shape[1:]) for output in session.get_outputs()]
    takes = tuple(session.get_inputs()[0].shape[1:])
    if takes != (3, *_SIZE) or [shape[0] for shape in shapes] != [8, 2, 2]:
        raise UserError(
            f"attribute_model={path.name!r} takes {takes} and gives {shapes}: it must take (3, 160, 80) and give eight "
            "attributes and two points, as person-attributes-recognition-crossroad-0230 does"
        )
    return AttributeModel(session)


def find_network(file: str) -> Path:
    """The model's file.

    Raises:
        UserError: there is none.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"attribute_model={file!r} does not exist: give the path of an ONNX file")
    return path
