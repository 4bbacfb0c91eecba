"""Pictures (PNG, JPEG and what else Pillow reads) and NumPy arrays: the formats of an episode list without a reader
plug-in, because no scene of an archive comes in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hdm_pipeline.errors import HdmError, TrainingError

MAX_PIXELS = 400_000_000
"""Largest image of an episode, in pixels of one channel."""

Decoded = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""Samples [C, y, x] as stored, and validity [y, x]."""

_WITH_ALPHA = ("RGBA", "LA", "PA")


def read_picture(path: Path) -> Decoded:
    """A picture's colors; a palette is looked up, and fully transparent pixels are invalid.

    Raises:
        TrainingError: it cannot be decoded, or is too large.
    """
    with _decoding("picture", path), Image.open(path) as picture:
        check_size(picture.height, picture.width, path)
        if picture.mode == "P" or (picture.mode == "L" and "transparency" in picture.info):
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")  # type: ignore[assignment]
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")  # type: ignore[assignment]
        elif picture.mode == "1":
            picture = picture.convert("L")  # type: ignore[assignment]
        mode, pixels = picture.mode, _channels_first(np.asarray(picture))
    if mode in _WITH_ALPHA:
        return pixels[:-1], pixels[-1] > 0
    return pixels, np.ones(pixels.shape[1:], bool)


def read_picture_labels(path: Path) -> npt.NDArray[Any]:
    """A picture's samples [C, y, x] without alpha; a palette picture keeps its indices, which are the labels.

    Raises:
        TrainingError: it cannot be decoded, or is too large.
    """
    with _decoding("picture", path), Image.open(path) as picture:
        check_size(picture.height, picture.width, path)
        mode, labels = picture.mode, _channels_first(np.asarray(picture))
    return labels[:-1] if mode in _WITH_ALPHA else labels


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array [C, y, x] of a ``.npy`` file, or of a ``.npz`` file that holds one.

    A 3-D array's shorter end axis is taken for the channels.

    Raises:
        TrainingError: it cannot be decoded, is too large, or holds no image.
    """
    with _decoding("NumPy", path):
        loaded = np.load(path, allow_pickle=False)
        array = _only_array(loaded, path) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    if array.dtype.kind not in "buif":
        what = "image is complex" if array.dtype.kind == "c" else f"array of type {array.dtype} is no image"
        raise TrainingError(what, where=str(path), remedy="save real numbers, such as magnitude or phase")
    while array.ndim > 3 and 1 in array.shape:
        array = np.squeeze(array, axis=array.shape.index(1))
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise TrainingError(
            f"array of shape {array.shape} is no image", where=str(path), remedy="save [y, x], [C, y, x] or [y, x, C]"
        )
    first = array.ndim == 3 and array.shape[0] <= array.shape[-1]
    planes = array if first else _channels_first(array)
    check_size(planes.shape[1], planes.shape[2], path)
    return planes


def check_size(height: int, width: int, path: Path) -> None:
    """Refuse an image that is no example but a scene.

    Raises:
        TrainingError: it has more than `MAX_PIXELS` pixels.
    """
    if height * width > MAX_PIXELS:
        raise TrainingError(
            f"image of {width} x {height} pixels is too large for an episode",
            where=str(path),
            remedy=f"cut a part of at most {MAX_PIXELS:,} pixels; use `run` for whole scenes",
        )


def _only_array(archive: np.lib.npyio.NpzFile, path: Path) -> npt.NDArray[Any]:
    with archive:
        if len(archive.files) != 1:
            raise TrainingError(
                f"archive holds {len(archive.files)} arrays", where=str(path), remedy="keep one array in the file"
            )
        return np.asarray(archive[archive.files[0]])


def _channels_first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[C, y, x] of [y, x] or [y, x, C]."""
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


@contextmanager
def _decoding(kind: str, path: Path) -> Iterator[None]:
    """Decoders have their own error trees; all mean the same here."""
    try:
        yield
    except HdmError:
        raise
    except Exception as error:
        raise TrainingError(
            f"{kind} file cannot be decoded: {error}", where=str(path), remedy="check that the file is complete"
        ) from error
