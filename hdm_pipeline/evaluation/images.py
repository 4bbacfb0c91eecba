"""Reads the images and masks of an episode list: GeoTIFF, PNG, JPEG, NumPy and DICOM, told apart by their content.

Everything arrives as float32 [channels, y, x] in the file's own units (scale and offset, or the DICOM rescale to
Hounsfield units, applied) with a validity mask. `ValueRange` then brings the examples and the query of one task to
0..1 by one and the same rule, so that a value means the same thing in all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import IGNORE
from hdm_pipeline.errors import HdmError, TrainingError

MAX_CHANNELS = 3
MAX_PIXELS = 400_000_000
_FORMATS = "GeoTIFF, PNG, JPEG, NumPy (.npy, .npz) or DICOM"
_LOW_PERCENTILE, _HIGH_PERCENTILE = 0.5, 99.5
_SAMPLED_PIXELS = 200_000


@dataclass(frozen=True, eq=False)
class EpisodeImage:
    """One image of an episode.

    Attributes:
        pixels: [C, y, x] float32 in the file's units, 1 <= C <= 3, finite (0 where invalid).
        valid: [y, x] bool, False where the file says there is no data (nodata, NaN, transparent, padding).
        eight_bit: whether the file stored uint8 samples, whose natural range is 0..255.
    """

    pixels: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    eight_bit: bool


@dataclass(frozen=True)
class ValueRange:
    """What becomes 0 and what becomes 1, one pair for each channel (or one pair for all)."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, image: EpisodeImage) -> npt.NDArray[np.float32]:
        """[C, y, x] float32, clipped to 0..1; invalid pixels are 0."""
        low = np.asarray(self.low, dtype=np.float32).reshape(-1, 1, 1)
        high = np.asarray(self.high, dtype=np.float32).reshape(-1, 1, 1)
        scaled = np.clip((image.pixels - low) / (high - low), 0.0, 1.0).astype(np.float32)
        scaled[:, ~image.valid] = 0.0
        return scaled


def automatic_range(supports: Sequence[EpisodeImage]) -> ValueRange:
    """The range shared by the examples and the query of a task that names none.

    0..255 where every example is stored as uint8; otherwise the 0.5 and 99.5 percentiles of each channel over the
    valid pixels of all examples. The query has no say, so that the rule does not change from tile to tile.

    Raises:
        TrainingError: the examples differ in their number of channels, or none has a valid pixel.
    """
    channels = {image.pixels.shape[0] for image in supports}
    if len(channels) != 1:
        raise TrainingError(
            f"the examples of one task differ in their number of channels: {sorted(channels)}",
            remedy='give the same channels of each image, by "bands" in the list',
        )
    if all(image.eight_bit for image in supports):
        return ValueRange((0.0,), (255.0,))
    values = [_sample(image) for image in supports]
    pooled = np.concatenate(values, axis=1)
    if pooled.shape[1] == 0:
        raise TrainingError("no example of the task has a valid pixel", remedy="check the nodata value of the images")
    low = np.percentile(pooled, _LOW_PERCENTILE, axis=1)
    high = np.percentile(pooled, _HIGH_PERCENTILE, axis=1)
    flat = high - low <= 1e-6 * np.maximum(np.abs(low), 1.0)
    high = np.where(flat, np.maximum(pooled.max(axis=1), low + 1.0), high)
    return ValueRange(tuple(map(float, low)), tuple(map(float, high)))


def read_image(path: Path, bands: Sequence[int] | None = None) -> EpisodeImage:
    """Read an image of any size and type.

    Args:
        path: the file; its content, not its name, tells the format.
        bands: one-based channels to use, at most three; None for all, or the first three of more.

    Raises:
        TrainingError: the file is missing, damaged, of no known format, complex, too large, or lacks a channel.
    """
    pixels, valid, eight_bit = _decode(path, _IMAGE_READERS)
    if np.iscomplexobj(pixels):
        raise TrainingError("image is complex", where=str(path), remedy="give magnitude or phase as real numbers")
    pixels = _select(pixels, bands, path)
    plain = pixels.astype(np.float32)
    finite = np.isfinite(plain).all(axis=0)
    valid = valid & finite
    plain[:, ~valid] = 0.0
    return EpisodeImage(plain, valid, eight_bit)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask: [y, x] uint8, 1 foreground, 0 background, 255 ignored (a GeoTIFF's nodata and NaN too).

    Raises:
        TrainingError: the file is missing, damaged, not a single-channel image, or holds other values.
    """
    labels, valid, _ = _decode(path, _MASK_READERS)
    if labels.shape[0] > 1 and not (labels == labels[:1]).all():
        raise TrainingError(
            f"mask has {labels.shape[0]} different channels", where=str(path), remedy="give one channel of labels"
        )
    label = labels[0].astype(np.float64)
    label = np.where(np.isnan(label) | ~valid, float(IGNORE), label)
    found = np.unique(label)
    strange = [value for value in found if value not in (0.0, 1.0, float(IGNORE))]
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:6]) + (", ..." if len(strange) > 6 else "")
        raise TrainingError(
            f"mask holds values other than 1 (foreground), 0 (background) and 255 (ignored): {shown}",
            where=str(path),
            remedy="write the class as 1, everything else as 0, and what should not count as 255",
        )
    return label.astype(np.uint8)


Decoded = tuple[npt.NDArray[Any], npt.NDArray[np.bool_], bool]


def _decode(path: Path, readers: dict[str, Callable[[Path], Decoded]]) -> Decoded:
    """[C, y, x] as stored, validity [y, x], and whether samples are uint8."""
    if not path.is_file():
        raise TrainingError("file does not exist", where=str(path), remedy="paths are relative to the episode list")
    kind = _sniff(path)
    if kind is None:
        raise TrainingError("file is of no format that is known here", where=str(path), remedy=f"give {_FORMATS}")
    try:
        pixels, valid, eight_bit = readers[kind](path)
    except HdmError:
        raise
    except Exception as error:  # decoders have their own error trees; all mean the same here
        raise TrainingError(
            f"{kind} file cannot be decoded: {error}", where=str(path), remedy="check that the file is complete"
        ) from error
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise TrainingError(f"{kind} file holds no image: shape {pixels.shape}", where=str(path), remedy=_FORMATS)
    return pixels, valid, eight_bit


def _sniff(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:6] == b"\x93NUMPY" or head[:4] == b"PK\x03\x04":
        return "NumPy"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff" or head[:2] in (b"BM", b"GI", b"RI"):
        return "picture"
    if head[:2] in (b"P5", b"P6"):
        return "picture"
    # DICOM written without the preamble still starts with a group 0x0002 or 0x0008 element.
    return "DICOM" if head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00") else None


def _read_tiff(path: Path) -> Decoded:
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as file:
            _check_size(file.height, file.width, path)
            opaque = [b for b in file.indexes if file.colorinterp[b - 1] != ColorInterp.alpha]
            pixels = file.read(opaque)
            valid = file.dataset_mask() > 0
            scales, offsets = np.array(file.scales), np.array(file.offsets)
            palette = file.colorinterp[0] == ColorInterp.palette and len(opaque) == 1
            if palette:
                pixels = _apply_palette(pixels[0], file.colormap(1))
    if not palette and ((scales != 1).any() or (offsets != 0).any()):
        picked = [b - 1 for b in opaque]
        pixels = pixels * scales[picked, None, None] + offsets[picked, None, None]
    return pixels, valid, pixels.dtype == np.uint8


def _apply_palette(indices: npt.NDArray[Any], colors: dict[int, tuple[int, int, int, int]]) -> npt.NDArray[np.uint8]:
    table = np.zeros((max(int(indices.max()), *colors) + 1, 3), dtype=np.uint8)
    for index, color in colors.items():
        table[index] = color[:3]
    return np.moveaxis(table[indices], -1, 0)


def _read_tiff_labels(path: Path) -> Decoded:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as file:
            _check_size(file.height, file.width, path)
            labels = file.read([1])
            # A declared nodata of 0 or 1 on a mask is a slip of the tool that wrote it, not a statement.
            ignored = file.nodata if file.nodata not in (0, 1) else None
    valid = np.ones(labels.shape[1:], bool) if ignored is None else labels[0] != ignored
    return labels, valid, False


def _read_picture(path: Path) -> Decoded:
    from PIL import Image

    with Image.open(path) as picture:
        _check_size(picture.height, picture.width, path)
        if picture.mode == "P" or (picture.mode == "L" and "transparency" in picture.info):
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")  # type: ignore[assignment]
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")  # type: ignore[assignment]
        elif picture.mode == "1":
            picture = picture.convert("L")  # type: ignore[assignment]
        mode, pixels = picture.mode, np.asarray(picture)
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    valid = np.ones(pixels.shape[1:], bool)
    if mode in ("RGBA", "LA", "PA"):
        pixels, valid = pixels[:-1], pixels[-1] > 0
    return pixels, valid, pixels.dtype == np.uint8


def _read_picture_labels(path: Path) -> Decoded:
    from PIL import Image

    with Image.open(path) as picture:
        _check_size(picture.height, picture.width, path)
        labels, mode = np.asarray(picture), picture.mode  # a palette picture keeps its indices: they are the labels
    labels = labels[None] if labels.ndim == 2 else np.moveaxis(labels, -1, 0)
    if mode in ("RGBA", "LA", "PA"):
        labels = labels[:-1]
    return labels, np.ones(labels.shape[1:], bool), False


def _read_numpy(path: Path) -> Decoded:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            if len(loaded.files) != 1:
                raise TrainingError(
                    f"archive holds {len(loaded.files)} arrays", where=str(path), remedy="keep one array in the file"
                )
            array = loaded[loaded.files[0]]
    else:
        array = loaded
    if array.dtype.kind not in "buifc":
        raise TrainingError(f"array of type {array.dtype} is no image", where=str(path), remedy="save numbers")
    planes = _channels_first(array, path)
    _check_size(planes.shape[1], planes.shape[2], path)
    return planes, np.ones(planes.shape[1:], bool), planes.dtype == np.uint8


def _channels_first(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """[C, y, x] of a 2-D array, or of a 3-D one whose shorter end axis is taken for the channels."""
    while array.ndim > 3 and 1 in array.shape:
        array = np.squeeze(array, axis=array.shape.index(1))
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        raise TrainingError(
            f"array of shape {array.shape} is no image", where=str(path), remedy="save [y, x], [C, y, x] or [y, x, C]"
        )
    return array if array.shape[0] <= array.shape[-1] else np.moveaxis(array, -1, 0)


def _read_dicom(path: Path) -> Decoded:
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut, convert_color_space

    dataset = pydicom.dcmread(path, force=True)
    if "PixelData" not in dataset:
        raise TrainingError("DICOM file holds no pixels", where=str(path), remedy="give an image object")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise TrainingError(
            f"DICOM file holds {frames} frames", where=str(path), remedy="save the slice that is meant as NumPy"
        )
    _check_size(int(dataset.Rows), int(dataset.Columns), path)
    stored = dataset.pixel_array
    color = str(dataset.PhotometricInterpretation)
    if stored.ndim == 3:
        if color.startswith("YBR"):
            stored = convert_color_space(stored, color, "RGB")
        planes = np.moveaxis(stored, -1, 0)
        return planes, np.ones(planes.shape[1:], bool), planes.dtype == np.uint8
    valid = np.ones(stored.shape, bool)
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        # PS3.3 C.7.5.1.1.2: with a limit, every stored value between the two is padding.
        limit = dataset.get("PixelPaddingRangeLimit", padding)
        valid = (stored < min(padding, limit)) | (stored > max(padding, limit))
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    if color == "MONOCHROME1":
        values = -values
    return values[None], valid, False


def _check_size(height: int, width: int, path: Path) -> None:
    if height * width > MAX_PIXELS:
        raise TrainingError(
            f"image of {width} x {height} pixels is too large for an episode",
            where=str(path),
            remedy=f"cut a part of at most {MAX_PIXELS:,} pixels; whole scenes are the business of `run`",
        )


def _select(pixels: npt.NDArray[Any], bands: Sequence[int] | None, path: Path) -> npt.NDArray[Any]:
    if bands is None:
        return pixels[:MAX_CHANNELS]
    missing = [band for band in bands if not 1 <= band <= pixels.shape[0]]
    if missing:
        raise TrainingError(
            f"image has {pixels.shape[0]} channels, not channel {missing[0]}",
            where=str(path),
            remedy='"bands" counts from 1',
        )
    return pixels[[band - 1 for band in bands]]


_IMAGE_READERS: dict[str, Callable[[Path], Decoded]] = {
    "TIFF": _read_tiff,
    "picture": _read_picture,
    "NumPy": _read_numpy,
    "DICOM": _read_dicom,
}
_MASK_READERS = _IMAGE_READERS | {"TIFF": _read_tiff_labels, "picture": _read_picture_labels}


def _sample(image: EpisodeImage) -> npt.NDArray[np.float32]:
    """[C, n] valid pixels, evenly spread, at most `_SAMPLED_PIXELS`."""
    values = image.pixels[:, image.valid]
    step = max(1, values.shape[1] // _SAMPLED_PIXELS)
    return values[:, ::step]
