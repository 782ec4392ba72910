from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from classifier import images
from classifier.decoding import decode
from classifier.images import MAX_PIXELS, BadImage, Pixels, Preprocessing, load, load_views, normalize

SMALL = Preprocessing(resize=48, crop=40)


def encoded(pixels: np.ndarray[Any, Any], format: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, format, **options)
    return stream.getvalue()


def quarters(width: int = 120, height: int = 120) -> Pixels:
    """Red, green over blue, white: tells orientation and channel order."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return pixels


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    at = ((3, 3), (3, -4), (-4, 3), (-4, -4))
    return [tuple(int(v > 127) for v in pixels[i]) for i in at]


UPRIGHT = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]


@pytest.mark.parametrize(("width", "height"), [(120, 120), (300, 90), (45, 200), (20, 20), (1600, 1200)])
def test_a_centred_square_whatever_the_shape(width: int, height: int) -> None:
    pixels = load(encoded(quarters(width, height)), SMALL)
    assert pixels.shape == (40, 40, 3)
    assert pixels.dtype == np.uint8
    assert corners(pixels) == UPRIGHT


def test_agrees_with_the_customary_two_steps() -> None:
    """Full decode, scale the shorter side, crop: within what DCT scaling and one instead of two steps may differ by."""
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).resize((640, 480)))
    data = encoded(smooth, "JPEG", quality=95)
    image = Image.open(io.BytesIO(data)).resize((64, 48), Image.Resampling.BILINEAR)
    expected = np.asarray(image.crop((12, 4, 52, 44)), dtype=int)
    assert np.abs(load(data, SMALL).astype(int) - expected).mean() < 3


def test_exif_orientation_is_obeyed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    stored = np.rot90(quarters())  # counter-clockwise
    assert corners(load(encoded(np.ascontiguousarray(stored), "JPEG", quality=95, exif=exif), SMALL)) == UPRIGHT


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_formats(format: str) -> None:
    assert corners(load(encoded(quarters(), format), SMALL)) == UPRIGHT


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA"])
def test_modes_become_rgb(mode: str) -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    assert load(encoded(white, "JPEG" if mode == "CMYK" else "PNG", mode), SMALL).min() > 250


def test_what_is_transparent_is_white() -> None:
    clear = np.zeros((60, 60, 4), np.uint8)
    assert load(encoded(clear), SMALL).min() == 255


def test_sixteen_bits_are_scaled() -> None:
    grey = np.full((60, 60), 257 * 100, np.uint16)
    assert np.unique(load(encoded(grey), SMALL)).tolist() == [100]


@pytest.mark.parametrize("data", [b"", b"hello", b"<html></html>", b"\xff\xd8\xff\xe0" + b"\0" * 50])
def test_no_image(data: bytes) -> None:
    with pytest.raises(BadImage):
        load(data, SMALL)


def test_truncated() -> None:
    data = encoded(quarters(), "JPEG")
    with pytest.raises(BadImage, match="damaged"):
        load(data[: len(data) // 2], SMALL)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    bomb = io.BytesIO()
    Image.new("1", (side, side)).save(bomb, "PNG")
    with pytest.raises(BadImage, match="80,000,000"):
        load(bomb.getvalue(), SMALL)


def test_augmentation_depends_on_the_generator_alone() -> None:
    data = encoded(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    first, same = (load_views(data, SMALL, [random.Random(1)])[0] for _ in range(2))
    assert (first == same).all()
    others = [load_views(data, SMALL, [random.Random(seed)])[0] for seed in range(8)]
    assert all(o.shape == (40, 40, 3) for o in others)
    assert len({o.numpy().tobytes() for o in others}) == 8


def test_normalize() -> None:
    batch = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    out = normalize(batch, SMALL)
    assert out.shape == (2, 3, 5, 7)
    assert out.is_contiguous(memory_format=torch.channels_last)
    expected = (float(batch[1, 2, 3, 0]) / 255 - SMALL.mean[0]) / SMALL.std[0]
    assert float(out[1, 0, 2, 3]) == pytest.approx(expected, abs=1e-5)


def test_preprocessing_survives_json() -> None:
    assert Preprocessing.from_dict(SMALL.to_dict()) == SMALL
    assert Preprocessing.for_size(224) == Preprocessing(256, 224)


@pytest.mark.parametrize("size", [(300, 200), (50, 70), (40, 40)])
def test_a_gpu_scales_as_the_cpu_does(size: tuple[int, int]) -> None:
    """The same views wherever they are cut: what differs is rounding. float32 is what a GPU computes in."""
    part = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    here, there = images._bilinear(part, 40), images._bilinear(part.float(), 40)
    assert here.dtype == there.dtype == torch.uint8 and here.shape == there.shape == (40, 40, 3)
    assert int((here.int() - there.int()).abs().max()) <= 1


def test_a_harmless_fault_of_a_jpeg_is_no_damage() -> None:
    """Bytes too many before its end: decoders warn of them and show the whole picture."""
    data = encoded(quarters(), "JPEG")
    assert corners(load(data[:-2] + bytes(2) + data[-2:], SMALL)) == UPRIGHT


def test_a_turned_photograph_is_decoded_at_the_size_that_is_needed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(quarters(1600, 1200)))
    small = decode(encoded(stored, "JPEG", quality=95, exif=exif), 150)
    assert small.shape == (150, 200, 3)
    assert corners(small) == UPRIGHT
