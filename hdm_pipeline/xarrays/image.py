"""`xarray.DataArray`s as images and masks of `segment`, and results that look like them.

Axes are told by their names, never by their place. What rioxarray knows counts: CRS, coordinates, nodata value, scale
and offset, names and units of bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import IGNORE, Band, Pixels, Validity
from hdm_pipeline.errors import ModelInputError, counted
from hdm_pipeline.extras import require
from hdm_pipeline.xarrays.legend import PROBABILITY, mask_attributes, plain

if TYPE_CHECKING:
    import xarray

_Y = ("y", "latitude", "lat", "northing", "row", "rows")
_X = ("x", "longitude", "lon", "easting", "col", "column", "columns")
_TIME = ("time", "t", "date", "datetime", "valid_time", "month", "year")
_SAME_PLACE = 0.5
"""Pixels that a mask may lie off its image: rounded coordinates, not a shift."""

_MEASURED = 17
"""Rows in which a pixel's area is measured."""

_CELLS = 8
"""A sample is taken from so many windows across and down."""


class DataArrayImage:
    """An image that is an `xarray.DataArray`, perhaps one that dask computes: pixels are read when they are asked for.

    Attributes:
        array: with the axes (band, y, x), whatever they are called.
        shape: (bands, y, x).
        bands: names, units and nodata value.
        pixel_size: side of a pixel in metres; None where it is unknown.
    """

    def __init__(self, array: xarray.DataArray, what: str) -> None:
        """Find the axes.

        Args:
            array: dims x and y, and at most one for the bands, in any order.
            what: names the image in messages.

        Raises:
            ModelInputError: it has other axes, no pixels, or no numbers.
            ConfigError: rioxarray is not installed.
        """
        require("xarray", what)
        import rioxarray  # noqa: F401  (registers `.rio`)

        self.what = what
        self.y, self.x = _spatial(array, what)
        array = self.given = array.rio.set_spatial_dims(x_dim=self.x, y_dim=self.y)
        others = [str(dim) for dim in array.dims if dim not in (self.y, self.x)]
        if times := [dim for dim in others if _is_time(array, dim)]:
            remedy = f"segment one date at a time: array.isel({times[0]}=0), array.isel({times[0]}=1), ..."
            raise ModelInputError(f"{what} has a time axis, {times[0]!r}", where="segment", remedy=remedy)
        if len(others) > 1:
            named = ", ".join(map(repr, others))
            remedy = "choose one by isel(), so that x, y and at most one axis of bands are left"
            raise ModelInputError(f"{what} has the axes {named} besides x and y", where="segment", remedy=remedy)
        self.band = others[0] if others else None
        ordered = array if self.band else array.expand_dims("band")
        self.array = ordered.transpose(self.band or "band", self.y, self.x)
        if self.array.dtype.kind not in "fiu" or 0 in self.array.shape:
            told = f"{self.array.dtype} {dict(zip(self.array.dims, self.array.shape, strict=True))}"
            remedy = "give numbers, float or integer, and at least one pixel"
            raise ModelInputError(f"{what} is {told}", where="segment", remedy=remedy)
        bands, height, width = self.array.shape
        self.shape = bands, height, width
        self._nodata = _nodata(array)
        self._laws = _laws(array, self.shape[0])
        self.bands = _bands(array, self.band, self.shape[0], self._nodata)
        self.pixel_size = _pixel_size(self)

    def read(self, top: int, bottom: int, bands: Sequence[int]) -> tuple[Pixels, Validity]:
        """Rows `top` to `bottom`: pixels [bands, rows, x] with scale and offset applied, 0 where invalid; validity."""
        return self._load(bands, slice(top, bottom), slice(None))

    def sample(self, count: int, bands: Sequence[int]) -> Pixels:
        """Valid pixels [bands, n] of evenly spread windows, n at most `count`."""
        _, height, width = self.shape
        side = max(1, math.isqrt(count) // _CELLS)
        parts = []
        for rows in _spread(height, side):
            for columns in _spread(width, side):
                pixels, valid = self._load(bands, rows, columns)
                parts.append(pixels[:, valid])
        return np.concatenate(parts, axis=1)

    def _load(self, bands: Sequence[int], rows: slice, columns: slice) -> tuple[Pixels, Validity]:
        raw = np.asarray(self.array[list(bands), rows, columns].values)
        laws = [self._laws[band] for band in bands]
        with np.errstate(over="ignore", invalid="ignore"):
            if all(law == (1.0, 0.0) for law in laws):
                pixels = raw.astype(np.float32)
            else:
                scale, offset = (np.array(column)[:, None, None] for column in zip(*laws, strict=True))
                pixels = (raw.astype(np.float64) * scale + offset).astype(np.float32)
        valid: Validity = np.asarray(np.isfinite(pixels).all(axis=0))
        if self._nodata is not None:
            valid &= (raw != self._nodata).all(axis=0)
        pixels[:, ~valid] = 0.0
        return pixels, valid

    def labels(self, mask: Any, what: str) -> npt.NDArray[Any]:
        """The values [y, x] of this image's mask; 255 where the mask holds no data, but for a nodata value of 0.

        Raises:
            ModelInputError: its axes, its size or its place are other than the image's; or it holds fractions.
        """
        own = DataArrayImage(mask.astype(np.uint8) if mask.dtype.kind == "b" else mask, what)
        if own.shape[0] != 1:
            remedy = "give a mask of one band that holds class numbers"
            raise ModelInputError(f"{what} has {counted(own.shape[0], 'band')}", where="segment", remedy=remedy)
        self._same_grid(own, what)
        raw = np.asarray(own.array.values[0])
        known = np.isfinite(raw)
        if own._nodata not in (None, 0):
            known &= raw != own._nodata
        values = np.where(known, raw, IGNORE)
        whole = values.astype(np.int64)
        if (whole != values).any():
            raise ModelInputError(f"{what} holds fractions", where="segment", remedy="give class numbers: 0, 1, ...")
        return whole

    def _same_grid(self, mask: DataArrayImage, what: str) -> None:
        """Raise `ModelInputError` unless a mask lies on this image; what has no coordinates is taken to lie on it."""
        remedy = "warp it onto the image: mask.rio.reproject_match(image), or give paths: their masks are warped"
        if mask.shape[1:] != self.shape[1:]:
            told = f"{what} has {mask.shape[1]} x {mask.shape[2]} pixels, its image {self.shape[1]} x {self.shape[2]}"
            raise ModelInputError(told, where="segment", remedy=remedy)
        own, other = self.given.rio.crs, mask.given.rio.crs
        if own is not None and other is not None and own != other:
            told = f"{what} is in {_called(other)}, its image in {_called(own)}"
            raise ModelInputError(told, where="segment", remedy=remedy)
        for here, there in ((self.y, mask.y), (self.x, mask.x)):
            if here not in self.given.coords or there not in mask.given.coords:
                continue
            places = np.asarray(self.given.coords[here].values, dtype=float)
            others = np.asarray(mask.given.coords[there].values, dtype=float)
            if places.ndim == 1 and places.shape == others.shape and len(places) > 1:
                off = float(np.abs(others - places).max() / abs(places[1] - places[0]))
                if off > _SAME_PLACE:
                    told = f"{what} lies {off:.1f} pixels off its image along {here}"
                    raise ModelInputError(told, where="segment", remedy=remedy)

    def like(self, values: npt.NDArray[Any], name: str, attributes: dict[str, Any]) -> xarray.DataArray:
        """A result [y, x], or [class, y, x], with the image's coordinates and CRS."""
        import xarray

        flat = (self.y, self.x)
        kept = {key: coord for key, coord in self.given.coords.items() if set(coord.dims) <= set(flat)}
        if self.band:
            kept.pop(self.band, None)
        dims = flat if values.ndim == 2 else ("class", *flat)
        found = xarray.DataArray(values, coords=kept, dims=dims, name=name, attrs=plain(attributes))
        if self.given.rio.crs is not None:
            found.encoding["grid_mapping"] = self.given.rio.grid_mapping
        return found


def result(
    image: DataArrayImage,
    mask: npt.NDArray[np.uint8],
    probabilities: Pixels | None,
    names: Sequence[str],
    made: dict[str, Any],
) -> xarray.DataArray | xarray.Dataset:
    """What `segment` gives back for an image.

    Args:
        image: as it was given.
        mask: [y, x].
        probabilities: [classes, y, x] float32, or None where they were not asked for.
        names: of the classes.
        made: what made it, as attributes.

    Returns:
        The mask; with probabilities a dataset of ``mask`` (y, x) and ``probability`` (class, y, x).
    """
    import xarray

    found = image.like(mask, "mask", {**mask_attributes(names), **made})
    if probabilities is None:
        return found
    scores = image.like(probabilities, "probability", dict(PROBABILITY)).assign_coords({"class": list(names)})
    return xarray.Dataset({"mask": found, "probability": scores}, attrs=plain(made))


def placed(size: tuple[int, ...], transform: Sequence[float] | None, crs_wkt: str | None) -> DataArrayImage:
    """An image without pixels' values, to put results of a file on its grid."""
    import rioxarray  # noqa: F401
    import xarray
    from affine import Affine

    array = xarray.DataArray(np.broadcast_to(np.uint8(0), size), dims=("y", "x"))
    if transform is not None:
        a, b, c, d, e, f = transform
        if b == d == 0:
            rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
            array = array.assign_coords(y=f + e * rows, x=c + a * columns)
        array = array.rio.write_transform(Affine(a, b, c, d, e, f))
    if crs_wkt is not None:
        array = array.rio.write_crs(crs_wkt)
    return DataArrayImage(array, "the image")


def _spatial(array: xarray.DataArray, what: str) -> tuple[str, str]:
    """The names of the axes y and x."""
    from rioxarray.exceptions import MissingSpatialDimensionError

    try:
        return str(array.rio.y_dim), str(array.rio.x_dim)
    except MissingSpatialDimensionError as error:
        names = {str(dim).casefold(): str(dim) for dim in array.dims}
        found = [[names[name] for name in known if name in names] for known in (_Y, _X)]
        if all(found):
            return found[0][0], found[1][0]
        remedy = "name them: array.rename({...: 'y', ...: 'x'}), or array.rio.set_spatial_dims(...)"
        told = f"{what} has the axes {', '.join(map(repr, array.dims)) or '(none)'}: which are y and x is not known"
        raise ModelInputError(told, where="segment", remedy=remedy) from error


def _is_time(array: xarray.DataArray, dim: str) -> bool:
    dated = dim in array.coords and array.coords[dim].dtype.kind in "Mm"
    return dated or dim.casefold() in _TIME


def _nodata(array: xarray.DataArray) -> float | None:
    """The value that means no data, as stored; None without one, and for NaN, which is never valid."""
    value = array.rio.nodata
    return None if value is None or not np.isfinite(value) else float(value)


def _laws(array: xarray.DataArray, count: int) -> list[tuple[float, float]]:
    """Scale and offset of each band. They stand among the attributes only while they are still to be applied."""
    columns = []
    for plural, single, neutral in (("scales", "scale_factor", 1.0), ("offsets", "add_offset", 0.0)):
        given = np.atleast_1d(array.attrs.get(plural, array.attrs.get(single, neutral)))
        columns.append([float(v) for v in (given if len(given) == count else np.repeat(given[:1], count))])
    return list(zip(*columns, strict=True))


def _bands(array: xarray.DataArray, dim: str | None, count: int, nodata: float | None) -> tuple[Band, ...]:
    """What is known of the bands: names from text coordinates, else rioxarray's `long_name`; units."""
    names = _texts(array.attrs.get("long_name"), count)
    if dim is not None and dim in array.coords and array.coords[dim].dtype.kind in "OUST":
        names = [str(name) for name in array.coords[dim].values]
    units = _texts(array.attrs.get("units"), count)
    return tuple(Band(name.strip(), unit.strip(), nodata=nodata) for name, unit in zip(names, units, strict=True))


def _texts(value: Any, count: int) -> list[str]:
    """One text a band of an attribute that is one text, several, or none."""
    if isinstance(value, tuple | list | np.ndarray) and len(value) == count:
        return [str(one or "") for one in value]
    return [value if isinstance(value, str) and count == 1 else ""] * count


def _pixel_size(image: DataArrayImage) -> float | None:
    """Side in metres of a pixel of mean area, measured on the ellipsoid; None without CRS or coordinates."""
    from pyproj import CRS, Geod, Transformer
    from pyproj.exceptions import ProjError
    from rioxarray.exceptions import RioXarrayError

    crs = image.given.rio.crs
    if crs is None:
        return None
    _, height, width = image.shape
    try:
        a, b, c, d, e, f = tuple(image.given.rio.transform(recalc=True))[:6]
        if (a, b, c, d, e, f) == (1, 0, 0, 0, 1, 0):
            return None
        system = CRS.from_wkt(crs.to_wkt())
        if system.geodetic_crs is None or system.ellipsoid is None:
            return None
        middles = np.unique(np.linspace(0, height - 1, _MEASURED).astype(int))  # of the rows; along one they are alike
        columns, rows = np.array([0, 1, 1, 0]) + width // 2, np.array([0, 0, 1, 1]) + middles[:, None]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        longitude, latitude = Transformer.from_crs(system, system.geodetic_crs, always_xy=True).transform(x, y)
        earth = Geod(a=system.ellipsoid.semi_major_metre, b=system.ellipsoid.semi_minor_metre)
        sides = zip(longitude, latitude, strict=True)
        areas = np.array([abs(earth.polygon_area_perimeter(*corners)[0]) for corners in sides])
    except (ProjError, RioXarrayError, ValueError):
        return None
    areas = areas[np.isfinite(areas) & (areas > 0)]
    return math.sqrt(areas.mean()) if areas.size else None


def _called(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())[:60]


def _spread(length: int, side: int) -> list[slice]:
    """Windows of `side` along an axis, evenly spread; they touch or cover all of a short one."""
    if length <= side * _CELLS:
        return [slice(start, min(start + side, length)) for start in range(0, length, side)]
    return [slice(start, start + side) for start in np.linspace(0, length - side, _CELLS).round().astype(int)]
