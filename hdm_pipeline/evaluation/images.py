"""Reads the images and masks of an episode list; their content, not their name, tells the format.

GeoTIFF and DICOM come through the reader plug-ins: an episode's pixels and their validity are those that a pipeline
would see. Pictures and NumPy arrays are decoded by `evaluation.pictures`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    IGNORE,
    Labels,
    Pixels,
    RasterGeometry,
    Reader,
    SceneRef,
    SceneSource,
    SceneWarning,
    Validity,
)
from hdm_pipeline.errors import ArchiveError, SceneError, TrainingError, broken_link, listed_values
from hdm_pipeline.evaluation.pictures import (
    MAX_PIXELS,
    check_size,
    read_array,
    read_picture,
    read_picture_labels,
)
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.registry import make_reader

UNNAMED_CHANNELS = 3
"""Channels that are used of an image of more, where the list does not name them."""

_FORMATS = "GeoTIFF, PNG, JPEG, NumPy (.npy, .npz) or DICOM"

_ONE_SLICE = "save the slice that you mean as PNG or NumPy (.npy)"

Kind = Literal["GeoTIFF", "DICOM", "picture", "NumPy"]

_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    # The image is read whole, so one block of it may be as large as the image.
    "GeoTIFF": ("geotiff", {"max_block_bytes": 16 * MAX_PIXELS}),
    # One slice is named on purpose, whatever it was derived from.
    "DICOM": ("dicom", {"include_derived": True}),
}
_COLORS = 3


@dataclass(frozen=True, eq=False)
class EpisodeImage:
    """One image of an episode.

    Attributes:
        pixels: [C, y, x] float32 in the file's units (scale and offset applied, DICOM in Hounsfield units),
            1 <= C <= 32, finite (0 where invalid).
        valid: [y, x] bool, False where the file says there is no data (nodata, NaN, transparent, padding).
        eight_bit: whether the samples are uint8 as stored, whose natural range is 0..255.
        place: where it lies; None where its format does not say.
    """

    pixels: Pixels
    valid: Validity
    eight_bit: bool
    place: RasterGeometry | None = None


@dataclass(frozen=True, eq=False)
class EpisodeMask:
    """One mask of an episode.

    Attributes:
        labels: [y, x] uint8, 1 foreground, 0 background, 255 ignored (a GeoTIFF's nodata and NaN too).
        place: where it lies; None where its format does not say.
        warnings: what is strange about it.
    """

    labels: Labels
    place: RasterGeometry | None = None
    warnings: tuple[SceneWarning, ...] = ()


def read_image(path: Path, bands: Sequence[int] | None = None) -> EpisodeImage:
    """Read an image of any size and type.

    Args:
        path: the file.
        bands: one-based channels to use; None for all, or the first three of more.

    Raises:
        TrainingError: the file is missing, damaged, of no known format, complex, too large, or lacks a channel.
    """
    kind = _kind_of(path)
    if kind in _READERS:
        return _read_scene(path, kind, bands)
    if kind == "picture":
        stored, valid = read_picture(path)
    else:
        stored = read_array(path)
        valid = np.ones(stored.shape[1:], bool)
    pixels = stored[_chosen(len(stored), bands, path)].astype(np.float32)
    valid = valid & np.isfinite(pixels).all(axis=0)
    pixels[:, ~valid] = 0.0
    return EpisodeImage(pixels, valid, stored.dtype == np.uint8)


def read_mask(path: Path, ignore: Sequence[int] = ()) -> EpisodeMask:
    """Read a mask.

    Args:
        path: the file.
        ignore: values that count nowhere, as in a pipeline file: the class stays the class.

    Raises:
        TrainingError: the file is missing, damaged, not a single-channel image, or holds other values.
    """
    kind, place = _kind_of(path), None
    if kind in _READERS:
        label, place = _read_scene_labels(path, kind)
    else:
        stored = read_picture_labels(path) if kind == "picture" else read_array(path)
        if not (stored == stored[:1]).all():
            raise TrainingError(
                f"mask has {len(stored)} different channels", where=str(path), remedy="give one channel of labels"
            )
        label = stored[0]
    unknown = np.isnan(label) | (np.isin(label, _as_stored(ignore, label.dtype)) & (label != 1))
    plain = np.where(unknown, float(IGNORE), label)
    strange = [value for value in np.unique(plain) if value not in (0, 1, IGNORE)]
    if strange:
        shown = listed_values(strange, 6)
        raise TrainingError(
            f"mask holds values other than 1 (foreground), 0 (background) and 255 (ignored): {shown}",
            where=str(path),
            remedy="write the class as 1, everything else as 0, and what should not count as 255; or name the values "
            'that should not count: "ignore": [-1] in the list, --ignore of `adapt`',
        )
    return EpisodeMask(plain.astype(np.uint8), place, _doubts(label))


def _as_stored(values: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Values as labels of a type hold them: floats are rounded alike."""
    known = np.array([value for value in values if abs(value) <= 2**64], dtype=np.float64)
    return known.astype(dtype) if dtype.kind == "f" else known


def _doubts(stored: npt.NDArray[Any]) -> tuple[SceneWarning, ...]:
    """A mask of 255 without any 1 is told as by the readers of a run: 255 was most likely meant as the class."""
    if not (stored == IGNORE).any() or (stored == 1).any():
        return ()
    held = "0, 255" if (stored == 0).any() else "255"
    what = f"the mask has no pixel of the class (value 1); it holds {held}: it shows no target, and 255 counts nowhere"
    return (SceneWarning("only_background", what, "if 255 should mean the class, write it as 1", suspect=False),)


def _kind_of(path: Path) -> Kind:
    if not path.is_file():
        what = f"file is {link}" if (link := broken_link(path)) else "file does not exist"
        raise TrainingError(what, where=str(path), remedy="paths are relative to the episode list")
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:6] == b"\x93NUMPY" or head[:4] == b"PK\x03\x04":
        return "NumPy"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "GeoTIFF"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff" or head[:2] in (b"BM", b"GI", b"RI"):
        return "picture"
    if head[:2] in (b"P5", b"P6"):
        return "picture"
    # DICOM written without the preamble still starts with a group 0x0002 or 0x0008 element.
    if head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00"):
        return "DICOM"
    if path.name.lower().endswith((".nii", ".nii.gz")):
        raise TrainingError("a NIfTI volume is no image of an episode", where=str(path), remedy=_ONE_SLICE)
    raise TrainingError("the format of the file is not known", where=str(path), remedy=f"give {_FORMATS}")


def _read_scene(path: Path, kind: Kind, bands: Sequence[int] | None) -> EpisodeImage:
    """An image through its reader plug-in; alpha is validity and no channel, a palette stands for its colors."""
    with _opened(path, kind) as (source, window):
        described = source.header.bands
        measured = [index for index, band in enumerate(described) if band.role != "alpha"]
        if [described[index].role for index in measured] == ["palette"]:
            colors, _ = read_picture(path)
            _, valid = source.read(window, measured)
            pixels = np.where(valid, colors[_chosen(len(colors), bands, path)], 0).astype(np.float32)
            return EpisodeImage(pixels, valid, True, _place(source))
        pixels, valid = source.read(window, [measured[index] for index in _chosen(len(measured), bands, path)])
        # Stored as uint8, but a scale of the file may have made something else of it; a gray DICOM image is measured.
        eight_bit = source.header.dtype == "uint8" and (kind == "GeoTIFF" or len(described) == _COLORS)
        return EpisodeImage(pixels, valid, eight_bit and _are_bytes(pixels), _place(source))


def _are_bytes(pixels: Pixels) -> bool:
    return bool(((pixels >= 0) & (pixels <= 255) & (pixels % 1 == 0)).all())


def _read_scene_labels(path: Path, kind: Kind) -> tuple[npt.NDArray[np.float32], RasterGeometry | None]:
    """Labels of the first band, NaN where its reader says there is no data; and where it lies."""
    with _opened(path, kind) as (source, window):
        labels, valid = source.read(window, [0])
        nodata, place = source.header.bands[0].nodata, _place(source)
    # A declared nodata of 0 or 1 on a mask is a slip of the tool that wrote it, not a statement.
    empty = np.float32(nodata if nodata is not None and nodata in (0, 1) else np.nan)
    return np.where(valid, labels[0], empty), place


def _place(source: SceneSource) -> RasterGeometry | None:
    geometry = source.header.geometry
    return geometry if isinstance(geometry, RasterGeometry) else None


@contextmanager
def _opened(path: Path, kind: Kind) -> Iterator[tuple[SceneSource, Window]]:
    """The one slice that a file holds, opened by its reader plug-in, and the window of all of it."""
    reader = _reader(kind)
    try:
        found = list(reader.discover(str(path)))
        scenes = [scene for scene in found if isinstance(scene, SceneRef)]
        if len(scenes) != 1:
            reasons = [skipped.reason for skipped in found if not isinstance(skipped, SceneRef)]
            what = f"{len(scenes)} images" if scenes else "; ".join(reasons) or "no image"
            remedy = f"{_ONE_SLICE}; labels as a mask of the same size" if kind == "DICOM" else f"give {_FORMATS}"
            raise TrainingError(f"{kind} file cannot be used: {what}", where=str(path), remedy=remedy)
        with reader.open(scenes[0]) as source:
            _, depth, height, width = source.header.shape
            if depth != 1:
                raise TrainingError(f"{kind} file holds {depth} slices", where=str(path), remedy=_ONE_SLICE)
            check_size(height, width, path)
            yield source, Window.whole(0, (height, width))
    except (SceneError, ArchiveError) as error:
        raise TrainingError(
            f"{kind} file cannot be decoded: {error.what}", where=str(path), remedy=error.remedy
        ) from error


def geotiff_reader() -> Reader:
    """The reader of GeoTIFFs as episodes use it."""
    return _reader("GeoTIFF")


@cache
def _reader(kind: Kind) -> Reader:
    return make_reader(*_READERS[kind])


def _chosen(channels: int, bands: Sequence[int] | None, path: Path) -> list[int]:
    """Zero-based channels to use."""
    if bands is None:
        return list(range(min(channels, UNNAMED_CHANNELS)))
    missing = [band for band in bands if not 1 <= band <= channels]
    if missing:
        raise TrainingError(
            f"image has {channels} channels, not channel {missing[0]}",
            where=str(path),
            remedy='"bands" counts from 1',
        )
    return [band - 1 for band in bands]
