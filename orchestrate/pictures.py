"""Pictures for people: a contact sheet of a data set, photographs with what the endpoint said about them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageFont

_GAP = 8
_SHEET_TILE = 112
_SHEET_LABEL = 180
_SHEET_MOST_CLASSES = 400  # a JPEG has at most 65,535 rows
_CARD_WIDTH = 320
_BAR = 22
_INK, _PAPER, _BLUE = (32, 33, 36), (255, 255, 255), (66, 133, 244)


def contact_sheet(rows: Mapping[str, Sequence[Path]], target: Path) -> None:
    """One row a class: its name and some photographs."""
    from PIL import Image, ImageDraw

    shown = dict(list(rows.items())[:_SHEET_MOST_CLASSES])
    most = max(len(photos) for photos in shown.values())
    step = _SHEET_TILE + _GAP
    sheet = Image.new("RGB", (_SHEET_LABEL + most * step, len(shown) * step + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (label, photos) in enumerate(shown.items()):
        top = _GAP + row * step
        name = _fit(label, _SHEET_LABEL - 2 * _GAP, 14)
        draw.text((_GAP, top + _SHEET_TILE // 2), name, _INK, _font(14), anchor="lm")
        for column, path in enumerate(photos):
            photo = _within(path.read_bytes(), _SHEET_TILE, _SHEET_TILE)
            left = _SHEET_LABEL + column * step + (_SHEET_TILE - photo.width) // 2
            sheet.paste(photo, (left, top + (_SHEET_TILE - photo.height) // 2))
    sheet.save(target, quality=88)


def annotate(photos: Sequence[tuple[bytes, Sequence[tuple[str, float]]]], target: Path) -> None:
    """Each photograph with its (label, probability) list as bars; several stand in a grid."""
    from PIL import Image

    cards = [_card(data, predictions) for data, predictions in photos]
    columns = min(len(cards), max(1, math.ceil(math.sqrt(len(cards) * 1.5))))
    height = max(card.height for card in cards)
    rows = math.ceil(len(cards) / columns)
    sheet = Image.new("RGB", (_GAP + columns * (_CARD_WIDTH + _GAP), _GAP + rows * (height + _GAP)), (238, 240, 243))
    for i, card in enumerate(cards):
        sheet.paste(card, (_GAP + i % columns * (_CARD_WIDTH + _GAP), _GAP + i // columns * (height + _GAP)))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.convert("RGB").save(target)


def _card(data: bytes, predictions: Sequence[tuple[str, float]]) -> Image.Image:
    from PIL import Image, ImageDraw

    photo = _within(data, _CARD_WIDTH, _CARD_WIDTH)
    card = Image.new("RGB", (_CARD_WIDTH, _CARD_WIDTH + len(predictions) * _BAR + _GAP), _PAPER)
    card.paste(photo, ((_CARD_WIDTH - photo.width) // 2, (_CARD_WIDTH - photo.height) // 2))
    draw = ImageDraw.Draw(card)
    for i, (label, probability) in enumerate(predictions):
        top = _CARD_WIDTH + _GAP // 2 + i * _BAR
        colour = _BLUE if i == 0 else (176, 196, 222)
        draw.rectangle((0, top, max(1, round(probability * _CARD_WIDTH)), top + _BAR - 4), fill=colour)
        draw.text((_GAP, top + _BAR // 2 - 2), _fit(label, _CARD_WIDTH - 80, 14), _INK, _font(14), anchor="lm")
        draw.text((_CARD_WIDTH - _GAP, top + _BAR // 2 - 2), f"{probability:.1%}", _INK, _font(14), anchor="rm")
    return card


def _within(data: bytes, width: int, height: int) -> Image.Image:
    """The photograph upright (as its EXIF orientation says), scaled to fit the box."""
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (width, height))
    return ImageOps.contain(ImageOps.exif_transpose(image).convert("RGB"), (width, height))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fit(text: str, width: int, size: int) -> str:
    """The text, shortened to so many pixels."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
