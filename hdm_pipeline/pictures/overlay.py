"""A mask drawn over a picture: the area let through, its outline in full color."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from hdm_pipeline.pictures.color import Picture

_QUALITIES = (70, 45, 25, 8)


def outlined(picture: Picture, mask: npt.NDArray[np.uint8], colors: Mapping[int, tuple[int, int, int]]) -> Picture:
    """The picture [y, x, 3] with each class of a mask [y, x] tinted, and outlined in a lighter color.

    Args:
        picture: what lies below.
        mask: 0 background, 1..C classes, 255 nodata.
        colors: (red, green, blue) by class; others are not drawn.
    """
    result = picture.copy()
    for value, color in colors.items():
        inside = mask == value
        if inside.any():
            below = result[inside].astype(np.uint16)
            result[inside] = (3 * below + np.array(color, np.uint16)) // 4
            result[inside & ~_eroded(inside)] = [(2 * part + 255) // 3 for part in color]  # to be seen on dark water
    return result


def _eroded(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Without the pixels that have a neighbor outside; beyond the picture's edge all is inside."""
    kept = inside.copy()
    kept[1:] &= inside[:-1]
    kept[:-1] &= inside[1:]
    kept[:, 1:] &= inside[:, :-1]
    kept[:, :-1] &= inside[:, 1:]
    return kept


def shrunk(picture: Picture, side: int) -> Picture:
    """A picture [y, x, 3] whose longer side is at most `side`, averaged; the same if it is."""
    height, width = picture.shape[:2]
    if max(height, width) <= side:
        return picture
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def webp(picture: Picture, most: int) -> bytes:
    """A picture [y, x, 3] as WebP of at most `most` bytes, unless the lowest quality needs more."""
    found = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="WEBP", quality=quality, method=2)
        found = file.getvalue()
        if len(found) <= most:
            break
    return found
