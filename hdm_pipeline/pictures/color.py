"""From pixels in 0..1 to colors, and labels laid over them."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]
"""[y, x, 3] colors, or [y, x] labels."""

TARGET = (255, 190, 40)
"""What the class is tinted with where it has no color of its own."""

IGNORED = (110, 110, 160)
"""What is unknown."""


def as_colors(image: npt.NDArray[np.float32]) -> Picture:
    """[y, x, 3] uint8 of an image [C, y, x] in 0..1; one channel is gray, two are (a, b, mean), more the first three.

    Pixels that are no number are black.
    """
    channels = {1: image.repeat(3, axis=0), 2: np.concatenate([image, image.mean(axis=0, keepdims=True)])}
    three = np.nan_to_num(channels[len(image)] if len(image) in channels else image[:3])
    picture: Picture = (np.clip(three, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(picture, 0, -1))


def tinted(
    picture: Picture,
    target: npt.NDArray[np.bool_],
    ignored: npt.NDArray[np.bool_] | None = None,
    color: tuple[int, int, int] = TARGET,
) -> Picture:
    """The picture [y, x, 3] with the target [y, x] tinted, and what is ignored greyed out."""
    result = picture.copy()
    result[target] = (result[target].astype(np.uint16) + np.array(color, np.uint16)) // 2
    if ignored is not None:
        result[ignored] = IGNORED
    return result


def png(picture: Picture) -> bytes:
    """A picture [y, x], [y, x, 3] or [y, x, 4] as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def size_of(content: bytes) -> tuple[int, int]:
    """(width, height) of a picture file, by its header."""
    with Image.open(io.BytesIO(content)) as picture:
        return picture.size
