from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import numpy.typing as npt
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


def gradient(width: int, height: int) -> Pixels:
    """Red tells how far to the right, green how far down."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)
    pixels[..., 1] = np.linspace(0, 255, height)[:, np.newaxis]
    return pixels


def seen_of(view: torch.Tensor) -> tuple[float, float, bool]:
    """Which shares of the width and the height of a `gradient` a view shows, and whether it is mirrored."""
    red, green = view[20, :, 0].numpy().astype(int), view[:, 20, 1].numpy().astype(int)
    # Its outermost pixels stand for a fortieth each.
    return abs(red[-1] - red[0]) / 255 * 40 / 39, (green[-1] - green[0]) / 255 * 40 / 39, bool(red[-1] < red[0])


def test_views_show_a_third_to_all_of_the_photograph_half_of_them_mirrored() -> None:
    """From where they are and how large: of 400 seeds."""
    views = load_views(encoded(gradient(200, 200)), SMALL, [random.Random(seed) for seed in range(400)])
    seen = [seen_of(view) for view in views]
    areas = [width * height for width, height, _ in seen]
    assert 0.33 < min(areas) < 0.38 and 0.88 < max(areas) < 1.02
    assert 0.5 < float(np.mean(areas)) < 0.7
    ratios = [width / height for width, height, _ in seen]
    assert 0.72 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.38
    assert 0.9 < float(np.exp(np.mean(np.log(ratios)))) < 1.1
    assert 160 < sum(mirrored for _, _, mirrored in seen) < 240
    # Every edge of the photograph is seen, and no view is always at one.
    reds, greens = views[:, 20, :, 0].float(), views[:, :, 20, 1].float()
    for values in (reds, greens):
        assert values.min() < 5 and values.max() > 250
        low, high = values.amin(1), values.amax(1)
        assert float((255 - high).max()) > 80 and float(low.max()) > 80


def test_no_view_leaves_the_photograph_whatever_its_shape() -> None:
    """Of a panorama no part has the wanted proportions: then it is the square in the middle."""
    for width, height in ((400, 30), (30, 400)):
        views = load_views(encoded(gradient(width, height)), SMALL, [random.Random(seed) for seed in range(4)])
        for view in views.float():
            assert abs(float(view[..., 0].mean()) - 127.5) < 3 and abs(float(view[..., 1].mean()) - 127.5) < 3
            along = view[20, :, 0] if width > height else view[:, 20, 1]
            assert 255 * 30 / 400 * 0.8 < float(along.max() - along.min()) < 255 * 30 / 400 * 1.2


def test_several_views_are_those_of_each_generator() -> None:
    data = encoded(gradient(120, 90))
    several = load_views(data, SMALL, [random.Random(1), random.Random(2)])
    assert several.shape == (2, 40, 40, 3) and several.dtype == torch.uint8
    for seed in (1, 2):
        assert torch.equal(several[seed - 1], load_views(data, SMALL, [random.Random(seed)])[0])


def test_views_are_cut_of_a_photograph_that_is_half_as_large_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that their smallest parts are hardly enlarged, and large photographs are not decoded in full."""
    asked: list[int] = []

    def large(data: bytes, shorter_side: int) -> npt.NDArray[np.uint8]:
        asked.append(shorter_side)
        return decode(data, 1000)

    monkeypatch.setattr(images, "decode", large)
    for resize in (48, 49):
        load_views(encoded(quarters()), Preprocessing(resize, 40), [random.Random(0)])
    assert asked == [72, 74]


def test_where_the_centred_square_is() -> None:
    assert images.central_box(100, 200, SMALL) == (58, 8, 83, 83)
    assert images.central_box(200, 101, SMALL) == (8, 58, 84, 84)
    assert images.central_box(1, 1, SMALL) == (0, 0, 1, 1)
    assert images.central_box(3, 1, Preprocessing(100, 20)) == (0, 1, 1, 1)


def test_what_gets_smaller_is_averaged() -> None:
    """And not sampled, which would show a pattern that is not there."""
    stripes = np.zeros((480, 480, 3), np.uint8)
    stripes[:, ::3] = 255
    seen = load(encoded(stripes), SMALL).astype(int)
    assert np.abs(seen - 85).max() < 12


@pytest.mark.parametrize("width", [7, 9])
def test_normalize(width: int) -> None:
    batch = torch.randint(0, 256, (2, 5, width, 3), dtype=torch.uint8)
    out = normalize(batch, SMALL)
    assert out.shape == (2, 3, 5, width) and out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SMALL.mean, SMALL.std))
    torch.testing.assert_close(out, (batch.permute(0, 3, 1, 2) / 255 - mean) / std, atol=1e-5, rtol=0)


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
