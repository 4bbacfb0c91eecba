"""A mask drawn over a gray or coloured slice, and the names of the classes in its corner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from hdm_pipeline.contracts import ClassInfo

Rgb = npt.NDArray[np.uint8]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

_LINE = 12
_MARGIN = 3
_NAME = 40
_CROSS = ndimage.generate_binary_structure(2, 1)
_WHITE = (255, 255, 255)


def picture(image: npt.NDArray[np.float32], window: tuple[float, float] | None) -> Rgb:
    """[rows, columns, 3] of a slice.

    Args:
        image: [bands, rows, columns]: one band of values, or three of colours 0..255; NaN where there is none.
        window: (low, high) that become black and white; None for colours.
    """
    if window is None:
        scaled = image
    else:
        low, high = window
        scaled = (image - low) * (255.0 / max(high - low, 1e-12))
    levels = np.clip(np.nan_to_num(scaled), 0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(levels, 0, -1), (*levels.shape[1:], 3)))


def draw(rgb: Rgb, mask: Bytes, classes: Sequence[ClassInfo], opacity: float) -> None:
    """Draw the classes of a mask [rows, columns] over a picture, in place: the area let through, the outline not."""
    for info in classes:
        inside = mask == info.value
        if not inside.any():
            continue
        color = np.array(info.color, dtype=np.float32)
        rgb[inside] = (rgb[inside] * (1 - opacity) + color * opacity).round().astype(np.uint8)
        rgb[inside & ~ndimage.binary_erosion(inside, _CROSS, border_value=1)] = info.color


class Legend:
    """The names of the classes, as they are written into each picture.

    Args:
        classes: what is named, each in its colour; a character that the built-in font lacks is a question mark.
    """

    def __init__(self, classes: Sequence[ClassInfo]) -> None:
        font = ImageFont.load_default_imagefont()
        lines = [("AI, not verified", _WHITE), *((info.name[:_NAME], info.color) for info in classes)]
        self._parts: list[tuple[int, Flags, tuple[int, int, int]]] = []
        for number, (text, color) in enumerate(lines):
            plain = text.encode("ascii", "replace").decode("ascii")
            width = int(np.ceil(font.getlength(plain))) + 1
            line = Image.new("1", (width, _LINE))
            ImageDraw.Draw(line).text((0, 0), plain, fill=1, font=font)
            self._parts.append((_MARGIN + number * _LINE, np.array(line, dtype=np.bool_), color))

    def write(self, rgb: Rgb) -> None:
        """Write the legend into a picture, in place, as far as there is room."""
        rows, columns = rgb.shape[:2]
        for top, letters, color in self._parts:
            area = rgb[top : top + _LINE, _MARGIN : min(_MARGIN + letters.shape[1], columns)]
            if area.shape[0] < _LINE or top + _LINE > rows:
                return
            # Black around the letters, so that they can be read over bone and table.
            shown = letters[:, : area.shape[1]]
            area[ndimage.binary_dilation(shown)] = 0
            area[shown] = color
