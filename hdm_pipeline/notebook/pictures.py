"""Whatever an image is given as, it is a `Picture`: numpy array, `xarray.DataArray`, or the path of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import Band, Pixels, RasterGeometry, Reader, SceneRef, SceneSource, SceneWarning, Validity
from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.grid import Window
from hdm_pipeline.pixels.sanity import noted, pixel_size
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.xarrays.installed import is_data_array, is_dataset


class Picture(Protocol):
    """An image, read by rows.

    Attributes:
        shape: (bands, y, x).
        bands: one entry per band.
        pixel_size: side of a pixel in metres; None where it is unknown.
    """

    shape: tuple[int, int, int]
    bands: tuple[Band, ...]
    pixel_size: float | None

    def read(self, top: int, bottom: int, bands: Sequence[int]) -> tuple[Pixels, Validity]:
        """Rows of some bands: pixels [bands, rows, x] float32, 0 where any is invalid, and validity [rows, x]."""
        ...

    def sample(self, count: int, bands: Sequence[int]) -> Pixels:
        """Valid pixels [bands, n] spread over the image, n at most about `count`."""
        ...


class ArrayPicture:
    """A numpy array [bands, y, x] of numbers; NaN and masked pixels are invalid."""

    pixel_size: float | None = None

    def __init__(self, array: Any, what: str) -> None:
        """Check it.

        Raises:
            ModelInputError: it is no image.
        """
        remedy = "give a numpy array [bands, y, x] of float32 in 0..1 (add an axis to a plain image), an "
        remedy += "xarray.DataArray, or a path"
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ModelInputError(f"{what} is {described(array)}", where="segment", remedy=remedy)
        if array.ndim != 3 or 0 in array.shape:
            raise ModelInputError(f"{what} has the shape {array.shape}", where="segment", remedy=remedy)
        self._array = array
        self.shape: tuple[int, int, int] = array.shape
        self.bands = (Band(),) * len(array)

    def read(self, top: int, bottom: int, bands: Sequence[int]) -> tuple[Pixels, Validity]:
        """See `Picture.read`."""
        part = self._array[list(bands), top:bottom]
        with np.errstate(over="ignore"):
            pixels = np.ma.getdata(part).astype(np.float32)
        valid: Validity = np.asarray(np.isfinite(pixels).all(axis=0))
        if isinstance(part, np.ma.MaskedArray):
            valid &= ~np.ma.getmaskarray(part).any(axis=0)
        return np.where(valid, pixels, np.float32(0)), valid

    def sample(self, count: int, bands: Sequence[int]) -> Pixels:
        """See `Picture.sample`."""
        step = max(1, round((self.shape[1] * self.shape[2] / count) ** 0.5))
        part = ArrayPicture(self._array[:, ::step, ::step], "a sample")
        pixels, valid = part.read(0, part.shape[1], bands)
        return pixels[:, valid]


class FilePicture:
    """An open scene of a reader plug-in; made by `file_picture`."""

    def __init__(self, source: SceneSource) -> None:
        """Take it if it is an image.

        Raises:
            ModelInputError: it is a volume.
        """
        header = source.header
        count, depth, height, width = header.shape
        if depth != 1 or not isinstance(header.geometry, RasterGeometry):
            remedy = "run a pipeline over it (hdm_pipeline.Pipeline), or give one slice as a numpy array"
            what = f"a volume of {depth} slices is no image"
            raise ModelInputError(what, where=header.ref.shown, remedy=remedy)
        self._source = source
        self.shape = (count, height, width)
        self.bands = header.bands
        self.pixel_size = pixel_size(source.row_areas())
        self.geometry: RasterGeometry = header.geometry
        self.warnings: tuple[SceneWarning, ...] = noted(header.warnings)
        self.name = header.ref.id

    def read(self, top: int, bottom: int, bands: Sequence[int]) -> tuple[Pixels, Validity]:
        """See `Picture.read`."""
        window = Window(z=0, y=top, x=0, height=bottom - top, width=self.shape[2])
        pixels, valid = self._source.read(window, bands)
        return np.where(valid, pixels, np.float32(0)), valid

    def sample(self, count: int, bands: Sequence[int]) -> Pixels:
        """See `Picture.sample`."""
        return self._source.sample(bands, count)


def is_path(value: Any) -> bool:
    """Whether a value names a file."""
    return isinstance(value, str | os.PathLike)


def reader_of(name: str, options: Mapping[str, Any] | None, bands: Sequence[int | str] = ()) -> Reader:
    """The reader plug-in that opens paths.

    Args:
        name: of the entry point.
        options: of the reader.
        bands: those that are asked for: of a scene of several files only these are opened, on the grid of the finest.

    Raises:
        ConfigError: there is none of that name, or an option is unknown.
    """
    return make_reader(name, options or {}, bands)


@contextmanager
def file_picture(path: Any, reader: Reader) -> Iterator[FilePicture]:
    """Open the one scene behind a path.

    Raises:
        ModelInputError: the path means no scene or several, or a volume.
        SceneError: the file cannot be read.
    """
    found = list(reader.discover(os.fspath(path)))
    scenes = [one for one in found if isinstance(one, SceneRef)]
    if len(scenes) != 1:
        reasons = "".join(f"; {one.uri}: {one.reason}" for one in found[:1] if not isinstance(one, SceneRef))
        what = f"the path means {len(scenes)} scenes, not one{reasons}"
        remedy = "give the path of one file; a pipeline (hdm_pipeline.Pipeline) does whole folders"
        raise ModelInputError(what, where=os.fspath(path), remedy=remedy)
    with reader.open(scenes[0]) as source:
        yield FilePicture(source)


@contextmanager
def picture_of(value: Any, what: str, reader: Reader) -> Iterator[Picture]:
    """An image as a `Picture`, for as long as the `with` block runs.

    Raises:
        ModelInputError: it is no image.
        SceneError: the file cannot be read.
        ConfigError: a library of the extra `xarray` is missing.
    """
    if is_path(value):
        with file_picture(value, reader) as picture:
            yield picture
    elif is_data_array(value):
        from hdm_pipeline.xarrays.image import DataArrayImage

        yield DataArrayImage(value, what)
    elif is_dataset(value):
        remedy = "make one array of it: dataset[['red', 'green', 'blue']].to_dataarray('band'), or dataset['name']"
        raise ModelInputError(f"{what} is an xarray.Dataset", where="segment", remedy=remedy)
    else:
        yield ArrayPicture(value, what)


def described(value: Any) -> str:
    """A value for messages."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def validity_of(valid: Any, picture: Picture) -> npt.NDArray[np.bool_] | None:
    """`segment`'s argument `valid`: [y, x].

    Raises:
        ModelInputError: it does not fit the image.
    """
    if valid is None:
        return None
    size = picture.shape[1:]
    found = valid
    if is_data_array(valid):
        dims: Sequence[Any] = getattr(picture, "y", None), getattr(picture, "x", None)
        found = valid.transpose(*dims).values if set(valid.dims) == set(dims) else valid.values
    if not isinstance(found, np.ndarray) or found.dtype != np.bool_ or found.shape != size:
        what = f"`valid` is {described(found)}, not bool {size}"
        raise ModelInputError(what, where="segment", remedy="give one bool a pixel: [y, x]")
    return found
