"""Why: a class activation map over the photograph, as a picture.

The map is Zhou et al.'s ("Learning Deep Features for Discriminative Localization", 2016). The colours are those of
matplotlib's inferno, at equal steps.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.images import Box, Pixels

_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
# How much of the photograph the strongest evidence hides, and how dark the part is that the network does not see.
_COVER = 0.7
_UNSEEN = 0.4
# Pixels of the longer side; a map has a few cells only.
_LONGEST = 1024


def png(photograph: Pixels, box: Box, activation: npt.NDArray[np.float32]) -> bytes:
    """A PNG of `photograph` (uint8 [h, w, 3]) with `activation` (float32 [rows, columns]) over its part `box`.

    Only evidence for the class is shown, the strongest in full; what lies outside `box`, which the network does not
    see, is darker.
    """
    left, top, width, height = box
    evidence = np.maximum(activation, 0)
    evidence = evidence / max(float(evidence.max()), 1e-12)
    seen = photograph[top : top + height, left : left + width].astype(np.float32)
    strength = np.asarray(Image.fromarray(evidence).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    levels = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(strength, levels, channel) for channel in np.transpose(_COLOURS)], axis=-1)
    cover = _COVER * strength[..., np.newaxis]
    drawn = photograph * _UNSEEN
    drawn[top : top + height, left : left + width] = seen * (1 - cover) + colour * cover
    picture = Image.fromarray(drawn.astype(np.uint8))
    picture.thumbnail((_LONGEST, _LONGEST))
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=3)
    return stream.getvalue()
