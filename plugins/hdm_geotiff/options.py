"""What a pipeline file may say about reading GeoTIFF: the reader's name and its options."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hdm_geotiff.dates import compiled
from hdm_geotiff.values import ByScene, ValueOptions
from hdm_pipeline.errors import ConfigError

READER = "geotiff"
"""The reader's name: `input.reader` of a pipeline file, and `SceneRef.reader`."""

_VALUES = ("nodata", "scale_factor", "offset")


@dataclass(frozen=True)
class ReaderOptions:
    """Options of `GeoTiffReader`.

    Attributes:
        recursive: look into subfolders of a folder too, and into zip and tar archives.
        ids: how scenes are called: ``name`` (the file's name without suffix) or ``path`` (with its folders, joined
            by ``__``), for archives that repeat names.
        date: how the date stands in the scenes' names, such as ``s1_%Y%m%d`` (`hdm_geotiff.dates`).
        aoi: GeoJSON file with polygons; pixels whose centre lies outside are invalid.
        bands: patterns of the files that hold one band each, by name of the band; see `hdm_geotiff.archive.assembly`.
        scene: regular expression whose group, or whole match, in a file's path below the archive tells the scene that
            the file is a band of; by default what the stars of its pattern match.
        resolution: side of a pixel, in units of the CRS, to which bands in files of their own are resampled; by default
            that of the finest band that is asked for.
        resampling: ``bilinear`` or ``nearest``.
        mosaic: ``date``: scenes of one day that touch or overlap become one, see `hdm_geotiff.scenes.joined_scenes`.
        values: `nodata`, `scale_factor` and `offset`, for all scenes or by glob.
        allow_vrt: open virtual rasters, which may name any other file.
        allow_network: open ``s3://`` and ``https://`` URIs.
        max_pixels: largest scene, in pixels of one band.
        max_block_bytes: largest block (tile or strip) of a file once decoded: what GDAL must hold to read one pixel.
        asked: the pipeline's `input.bands`, which the pipeline fills in: of a scene of several files only these are
            opened. Empty: all.
    """

    recursive: bool = False
    ids: str = "name"
    date: str | None = None
    aoi: str | None = None
    bands: tuple[tuple[str, str], ...] = ()
    scene: str | None = None
    resolution: float | None = None
    resampling: str = "bilinear"
    mosaic: str | None = None
    values: ValueOptions = field(default_factory=ValueOptions)
    allow_vrt: bool = False
    allow_network: bool = False
    max_pixels: int = 40_000_000_000
    max_block_bytes: int = 256 * 2**20
    asked: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> ReaderOptions:
        """Check options.

        Raises:
            ConfigError: an option is unknown or of the wrong type.
        """
        known = {one.name: one for one in fields(cls)}
        names = [name for name in known if name not in ("values", "asked", "aoi")] + list(_VALUES)
        checked: dict[str, Any] = {}
        values: dict[str, ByScene] = {}
        for name, value in dict(options or {}).items():
            where = f"geotiff reader option {name}"
            if name == "asked":
                checked[name] = tuple(str(one) for one in value)
            elif name == "select":
                remedy = "leave rasters out by `input.exclude`, by their names"
                raise ConfigError("series of DICOM are chosen by it, rasters are not", where=where, remedy=remedy)
            elif name != "aoi" and name not in names:
                raise ConfigError("there is no such reader option", where=where, remedy=f"one of: {', '.join(names)}")
            elif name in _VALUES:
                values[name] = ByScene.parse(name, value, where)
            elif name in _CHECKS:
                checked[name] = _CHECKS[name](value, where)
            else:
                checked[name] = _typed(value, type(known[name].default), where)
        return cls(**checked, values=ValueOptions(**values))


def _typed(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        raise ConfigError(f"{value!r} is not of type {kind.__name__}", where=where, remedy=f"give a {kind.__name__}")
    if type(value) is int and value < 1:
        raise ConfigError(f"{value} is too small", where=where, remedy="give a number of at least 1")
    return value


def _aoi(value: Any, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value) or hasattr(value, "__fspath__"):
        return None if value is None else str(value)
    raise ConfigError(f"{value!r} is no path", where=where, remedy="the path of a GeoJSON file")


def _date(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{value!r} is no text", where=where, remedy="such as 's1_%Y%m%d'")
    compiled(value)
    return value


def _choice(*choices: str) -> Callable[[Any, str], str]:
    def check(value: Any, where: str) -> str:
        if value not in choices:
            raise ConfigError(f"{value!r} is none of the choices", where=where, remedy=" or ".join(choices))
        return str(value)

    return check


def _bands(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not value:
        remedy = 'name each band and the pattern of its files: {B04: "*_B04.jp2", B08: "*_B08.jp2"}'
        raise ConfigError(f"{value!r} is no mapping of names to patterns", where=where, remedy=remedy)
    found: dict[str, tuple[str, str]] = {}
    for name, pattern in value.items():
        if not isinstance(pattern, str) or not pattern.strip("*/ "):
            remedy = "give a glob that only files of this band match, e.g. *_B04.tif"
            what = f"{pattern!r} is not a pattern that tells the files of band {name} from others"
            raise ConfigError(what, where=where, remedy=remedy)
        if pattern.count("{scene}") > 1:
            raise ConfigError(f"{pattern!r} names the scene twice", where=where, remedy="write {scene} once")
        if found.setdefault(str(name).casefold(), (str(name), pattern)) != (str(name), pattern):
            raise ConfigError(f"two bands are called {name!r}", where=where, remedy="give each a name of its own")
        if same := next((other for other, known in found.values() if known == pattern and other != str(name)), None):
            what = f"the bands {same} and {name} have the same pattern, {pattern!r}"
            raise ConfigError(what, where=where, remedy="give each band the pattern of its own files")
    return tuple(found.values())


def _scene(value: Any, where: str) -> str | None:
    if value is None:
        return None
    remedy = "give a regular expression whose group is the scene in a file's path, e.g. '(T[0-9A-Z]+_[0-9]+)_'"
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        raise ConfigError(f"{value!r} is no regular expression: {error}", where=where, remedy=remedy) from error
    return str(value)


def _mosaic(value: Any, where: str) -> str | None:
    if value not in (None, "date"):
        raise ConfigError(f"{value!r} is no way to join scenes", where=where, remedy="date, or leave the option out")
    return None if value is None else "date"


def _resolution(value: Any, where: str) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        remedy = "give the side of a pixel in units of the CRS, e.g. 10"
        raise ConfigError(f"{value!r} is no resolution", where=where, remedy=remedy)
    return float(value)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "aoi": _aoi,
    "date": _date,
    "ids": _choice("name", "path"),
    "resampling": _choice("bilinear", "nearest"),
    "bands": _bands,
    "scene": _scene,
    "resolution": _resolution,
    "mosaic": _mosaic,
}
