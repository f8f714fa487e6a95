"""What tells a drawing from a smudge, from noise, and from a photograph in grey.

By `benchmarks/gates.py`, drawings have an entropy of .66 to .95 and a likeness under .6 (99 of 100 rows), whole
photographs in grey, brighter, blurred or inverted one above .87, and those with an erased background above .58.
"""

from __future__ import annotations

import numpy as np

_CELLS = (8, 4)  # rows and columns: a person's height and width in parts
_INK = 200  # grey values below it are ink
_FLAT = 2.0  # standard deviation in grey values, below which there is nothing to follow
_FEWEST = 32  # pixels of ink; fewer correlate with anything


def ink_entropy(grey: np.ndarray) -> float:
    """How evenly the ink lies on the page: entropy of its shares in 8x4 cells, divided by the largest possible.

    Args:
        grey: (H, W), 0 black to 255 white.

    Returns:
        0 where all ink is in one cell (or there is none), 1 where every cell has as much as any other.
    """
    import cv2

    ink = 255.0 - grey.astype(np.float32)
    shares = cv2.resize(ink, _CELLS[::-1], interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
    total = float(shares.sum())
    if total <= 0.0:
        return 0.0
    shares = shares[shares > 0] / total
    return max(0.0, -float((shares * np.log(shares)).sum()) / float(np.log(_CELLS[0] * _CELLS[1])))


def likeness(grey: np.ndarray, photo: np.ndarray) -> float:
    """How much the ink's darkness follows the photograph's: correlation over the pixels of ink, of either sign.

    The darkness of a line says little about the brightness of what it outlines; that of a photograph in grey says
    everything, also where its background was erased.

    Args:
        grey: (H, W), 0 black to 255 white.
        photo: uint8 (H, W, 3).

    Returns:
        0..1; 0 where there is hardly any ink, or all of it is equally dark.
    """
    import cv2

    inked = np.flatnonzero(grey < _INK)
    if len(inked) < _FEWEST:
        return 0.0
    ours = grey.ravel()[inked].astype(np.float64)
    theirs = cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2GRAY).ravel()[inked].astype(np.float64)
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    squares = float(ours @ ours), float(theirs @ theirs)
    flat = min(squares) < _FLAT**2 * len(ours)
    return 0.0 if flat else abs(float(ours @ theirs)) / (squares[0] * squares[1]) ** 0.5
