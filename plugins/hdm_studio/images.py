"""Arrays as PNG: pictures, labels and masks in the classes' colors, outlines, maps of scores."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from hdm_pipeline.contracts import BACKGROUND, NODATA

Colors = Mapping[int, tuple[int, int, int]]
"""(red, green, blue) by label value."""

Array = npt.NDArray[np.uint8]

DRAWN_BACKGROUND = (128, 128, 128)
"""Background that a person drew."""

# Dark blue over green to yellow: even steps of lightness, and safe for the color-blind (viridis, at five places).
_SCALE = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)


def png(picture: Array) -> bytes:
    """[y, x, 3] or [y, x, 4] colors as PNG; packed for speed, as it travels within one machine."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def labels_rgba(labels: Array, colors: Colors) -> Array:
    """[y, x, 4]: classes in their colors, drawn background gray, unknown transparent."""
    return _table({BACKGROUND: DRAWN_BACKGROUND, **colors})[labels]


def mask_rgba(mask: Array, colors: Colors) -> Array:
    """[y, x, 4]: classes in their colors; background and nodata are transparent."""
    return _table(colors)[mask]


def outline_rgba(mask: Array, colors: Colors) -> Array:
    """[y, x, 4]: the inner border of each class in its color, all else transparent."""
    found = mask_rgba(mask, colors)
    found[~_border(mask)] = 0
    return found


def outlined(picture: Array, mask: Array, colors: Colors) -> Array:
    """[y, x, 4]: a picture of that shape with the outlines of a mask of its size."""
    outline = outline_rgba(mask, colors)
    return np.where(outline[..., 3:] > 0, outline, picture)


def heat_rgba(values: Array, nodata: npt.NDArray[np.bool_]) -> Array:
    """[y, x, 4]: values 0..255 from dark blue to yellow; transparent where there is no data."""
    places = np.linspace(0, 255, len(_SCALE))
    table = np.stack([np.interp(np.arange(256), places, channel) for channel in _SCALE.T], axis=-1)
    found = np.concatenate([(table + 0.5).astype(np.uint8)[values], np.full((*values.shape, 1), 255, np.uint8)], -1)
    found[nodata] = 0
    return found


def _table(colors: Colors) -> Array:
    table = np.zeros((256, 4), np.uint8)
    for value, color in colors.items():
        table[value] = (*color, 255)
    table[NODATA] = 0
    return table


def _border(mask: Array) -> npt.NDArray[np.bool_]:
    """Where a neighbor above, below, left or right has another value; the picture's edge is no border."""
    border = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border
