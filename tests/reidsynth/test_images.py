from __future__ import annotations

import io

import numpy as np
import pytest
from fixtures import crop, crop_mask
from PIL import Image, ImageFile

from reidsynth import images


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def smooth(height=40, width=24):
    """Survives JPEG nearly unchanged."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 5, x * 8, np.full_like(x, 90)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("array", [crop(), crop_mask()])
def test_png_is_lossless_and_reproducible(array):
    data = images.encode(array, "png")
    assert data == images.encode(array.copy(), "png")
    decoded = images.decode(data)
    assert decoded.shape == (64, 32, 3)
    assert np.array_equal(decoded if array.ndim == 3 else decoded[:, :, 0], array)


def test_jpeg_is_reproducible_and_near():
    data = images.encode(smooth(), "jpeg")
    assert data == images.encode(smooth(), "jpeg")
    assert np.abs(images.decode(data).astype(int) - smooth()).mean() < 2
    assert images.probe(data) == (24, 40, "jpeg")


def test_mask_round_trip():
    assert np.array_equal(images.decode_mask(images.encode(crop_mask())), crop_mask())


@pytest.mark.parametrize("array", [np.zeros((3, 3)), np.zeros((3, 3, 4), np.uint8), np.zeros(3, np.uint8)])
def test_encode_refuses_what_is_no_image(array):
    with pytest.raises(ValueError, match="expected uint8"):
        images.encode(array)


def test_encode_refuses_other_formats():
    with pytest.raises(ValueError, match="not one of png, jpeg"):
        images.encode(crop(), "gif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=exif, quality=95)
    shape = (24, 40, 3) if orientation >= 5 else (40, 24, 3)
    assert images.decode(data).shape == shape
    assert images.probe(data) == (shape[1], shape[0], "jpeg")


def test_cmyk_looks_like_its_rgb():
    data = encoded(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(images.decode(data).astype(int) - smooth()).mean() < 6


def test_sixteen_bits_are_scaled_not_clipped():
    grey = (np.arange(40 * 24).reshape(40, 24) * 60).astype(np.uint16)
    decoded = images.decode(encoded(Image.fromarray(grey)))
    assert np.array_equal(decoded[:, :, 1], ((grey.astype(np.int64) + 128) // 257).astype(np.uint8))
    assert decoded.max() > 200


def test_palette_grey_bilevel_and_transparency():
    image = Image.fromarray(smooth())
    assert images.decode(encoded(image.convert("P"))).shape == (40, 24, 3)
    assert images.decode(encoded(image.convert("1"))).shape == (40, 24, 3)
    assert images.decode(encoded(image.convert("L")))[:, :, 2].shape == (40, 24)
    layered = image.convert("RGBA")
    layered.putalpha(0)
    assert images.decode(encoded(layered)).min() == 255  # nothing but the white ground


def test_palette_transparency():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    assert images.decode(encoded(image, transparency=1)).min() == 255


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(data)[0, 0, 0] > 200
    assert images.probe(images.checked(data))[2] == "png"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_checked_passes_jpeg_and_png_untouched(format):
    data = encoded(Image.fromarray(crop()), format)
    assert images.checked(data) == data


def test_checked_turns_other_formats_into_png():
    data = encoded(Image.fromarray(crop()), "BMP")
    assert images.probe(images.checked(data)) == (32, 64, "png")
    assert np.array_equal(images.decode(images.checked(data)), crop())


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_errors_even_if_pillow_was_told_to_tolerate_them(format, share, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(Image.fromarray(crop()), format)
    for read in (images.decode, images.checked):
        with pytest.raises(images.UnreadableImage):
            read(data[: int(len(data) * share)])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty file"), (b"GIF? no", "not an image")])
def test_what_is_no_image(data, reason):
    with pytest.raises(images.UnreadableImage, match=reason):
        images.decode(data)


def test_flipped_bits_are_errors_or_images_never_crashes():
    data = bytearray(images.encode(crop()))
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(60):
        damaged = bytearray(data)
        damaged[int(rng.integers(8, len(data)))] ^= 1 << int(rng.integers(8))
        try:
            images.decode(bytes(damaged))
        except images.UnreadableImage as error:
            reasons.append(str(error))
    assert len(reasons) > 30
    assert max(map(len, reasons)) < 150


def test_enormous_images_are_refused_from_their_header():
    data = bytearray(encoded(Image.new("L", (8, 8))))
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = __import__("zlib").crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(images.UnreadableImage, match="megapixels"):
        images.probe(bytes(data))


def test_floating_point_pixels_are_refused():
    with pytest.raises(images.UnreadableImage, match="floating-point"):
        images.decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
