"""Decodes strictly and encodes reproducibly.

A damaged file is an error with a short reason, never half an image. What cameras and export tools write (EXIF
rotation, CMYK, palettes, 16 bits, transparency, several frames) becomes the RGB picture that a viewer would show.
"""

from __future__ import annotations

import io
import warnings
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from reidsynth.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PIXELS = 64_000_000
"""No crop of a person is larger than 64 megapixels; beyond that a file is taken for a mistake or an attack."""

MAX_SIDE = 16_384
"""No photograph has a longer side; steps that work at the image's own size would run out of memory on strips."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""Extensions (lower-case) that a listing takes for images."""

_ORIENTATION = 0x0112
_TRANSPOSED = range(5, 9)
_TURNING = frozenset({"exif", "xmp"})  # where a JPEG tells its orientation
_KEPT_FORMATS = frozenset({"jpeg", "png"})


_PROVED: deque[tuple[bytes, np.ndarray]] = deque(maxlen=4)
"""Pixels that proved that bytes decode, until those bytes are decoded: a row is read and judged in one go."""


class UnreadableImage(ValueError):  # noqa: N818 - says what it is about, as FileNotFound would
    """The bytes are no image that can be shown; the message is a short reason for the row."""


def probe(data: bytes) -> tuple[int, int, str]:
    """Read the header only.

    Args:
        data: encoded image.

    Returns:
        Width and height as shown (after EXIF rotation), and the format in lower case, `jpeg` or `png` for example.

    Raises:
        UnreadableImage: no image, or one beyond MAX_PIXELS.
    """
    with _opened(data) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _TRANSPOSED:
            width, height = height, width
        return width, height, _format(image)


def decode(data: bytes) -> np.ndarray:
    """Decode strictly.

    Transparent pixels become white, 16-bit grey is scaled by 1/257, of several frames the first is taken.

    Args:
        data: encoded image.

    Returns:
        uint8 array (H, W, 3), RGB, upright.

    Raises:
        UnreadableImage: no image, truncated or damaged, or beyond MAX_PIXELS.
    """
    for number, (proved, pixels) in enumerate(_PROVED):
        if proved is data:
            del _PROVED[number]
            return pixels
    with _opened(data) as image:
        return _pixels(image)


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a mask; a foreground probability of 1 is 255.

    Returns:
        uint8 array (H, W).

    Raises:
        UnreadableImage: as `decode`.
    """
    return np.ascontiguousarray(decode(data)[:, :, 0])


def checked(data: bytes) -> bytes:
    """Prove that bytes decode; pass JPEG and PNG through untouched and turn other formats into PNG.

    Raises:
        UnreadableImage: as `decode`.
    """
    with _opened(data) as image:
        kind = _format(image)
        pixels = _pixels(image)
    kept = data if kind in _KEPT_FORMATS else encode(pixels, "png")
    _PROVED.append((kept, pixels))
    return kept


def cropped(pixels: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """Cut a box out of an image.

    Args:
        pixels: (H, W) or (H, W, 3).
        box: (left, top, right, bottom) in pixels; what lies outside the image is cut off.

    Raises:
        UnreadableImage: the whole box lies outside the image.
    """
    left, top, right, bottom = box
    part = pixels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not part.size:
        raise UnreadableImage(f"box {box} lies outside the image of {pixels.shape[1]}x{pixels.shape[0]} pixels")
    return part


def encode(array: np.ndarray, format: str = "png") -> bytes:
    """Encode; the same array gives the same bytes.

    Args:
        array: uint8, (H, W) or (H, W, 3) RGB.
        format: `png` (lossless) or `jpeg` (quality 95, colour not subsampled).

    Raises:
        ValueError: another shape, type or format; this is a mistake in a program, not in data.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"expected uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
    if format == "png":
        return _png(array)
    if format != "jpeg":
        raise ValueError(f"format {format!r} is not one of png, jpeg")
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(array))
    image.save(buffer, "JPEG", quality=95, subsampling=0, optimize=False)
    return buffer.getvalue()


def _png(array: np.ndarray) -> bytes:
    """Runs of equal filtered bytes, no search for matches: as small as Pillow makes them, in under half of its time."""
    import cv2

    pixels = array if array.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2BGR)
    runs = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return bytes(cv2.imencode(".png", np.ascontiguousarray(pixels), runs)[1].tobytes())


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open with every way in which Pillow reports damage turned into one error."""
    if not data:
        raise UnreadableImage("empty file")
    tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it; damage must not pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes (checked here) and odd EXIF
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if max(width, height) > MAX_SIDE:
                    raise UnreadableImage(f"{width}x{height} pixels: a side exceeds {MAX_SIDE:,}")
                if width * height > MAX_PIXELS:
                    raise UnreadableImage(f"{width}x{height} pixels exceed {MAX_PIXELS // 1_000_000} megapixels")
                yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not an image") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise almost anything on damaged bytes
        raise UnreadableImage(f"damaged image: {reason(error, 120)}") from None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def _format(image: Image.Image) -> str:
    name = (image.format or "").lower()
    return "jpeg" if name == "mpo" else name  # several JPEGs in one file; the first is what is shown


def _pixels(image: Image.Image) -> np.ndarray:
    image.load()
    turned = image.format != "JPEG" or not _TURNING.isdisjoint(image.info)
    upright = ImageOps.exif_transpose(image) if turned else image
    return np.ascontiguousarray(np.asarray(_as_rgb(upright)))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnreadableImage("grey values outside 16 bits")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no known range")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(ground, layers).convert("RGB")
    return image.convert("RGB")
