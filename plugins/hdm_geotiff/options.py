"""What a pipeline file may say about reading GeoTIFF: the reader's name and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hdm_geotiff.dates import compiled
from hdm_pipeline.errors import ConfigError

READER = "geotiff"
"""The reader's name: `input.reader` of a pipeline file, and `SceneRef.reader`."""


@dataclass(frozen=True)
class ReaderOptions:
    """Options of `GeoTiffReader`.

    Attributes:
        recursive: look into subfolders of a folder too.
        ids: how scenes are called: ``name`` (the file's name without suffix) or ``path`` (with its folders, joined
            by ``__``), for archives that repeat names.
        date: how the date stands in the scenes' names, such as ``s1_%Y%m%d`` (`hdm_geotiff.dates`).
        aoi: GeoJSON file with polygons; pixels whose centre lies outside are invalid.
        allow_vrt: open virtual rasters, which may name any other file.
        allow_network: open ``s3://`` and ``https://`` URIs.
        max_pixels: largest scene, in pixels of one band.
        max_block_bytes: largest block (tile or strip) of a file once decoded: what GDAL must hold to read one pixel.
    """

    recursive: bool = False
    ids: str = "name"
    date: str | None = None
    aoi: str | None = None
    allow_vrt: bool = False
    allow_network: bool = False
    max_pixels: int = 40_000_000_000
    max_block_bytes: int = 256 * 2**20

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> ReaderOptions:
        """Check options.

        Raises:
            ConfigError: an option is unknown or of the wrong type.
        """
        given = dict(options or {})
        known = {field.name: field for field in fields(cls)}
        for name, value in given.items():
            where = f"geotiff reader option {name}"
            if name not in known:
                raise ConfigError("there is no such reader option", where=where, remedy=f"one of: {', '.join(known)}")
            given[name] = _checked(name, value, type(known[name].default), where)
        return cls(**given)


def _checked(name: str, value: Any, kind: type, where: str) -> Any:
    if name == "date" and value is not None:
        if not isinstance(value, str):
            raise ConfigError(f"{value!r} is no text", where=where, remedy="such as 's1_%Y%m%d'")
        compiled(value)
        return value
    if name == "date":
        return None
    if name == "aoi":
        if value is None or (isinstance(value, str) and value) or hasattr(value, "__fspath__"):
            return None if value is None else str(value)
        raise ConfigError(f"{value!r} is no path", where=where, remedy="the path of a GeoJSON file")
    if name == "ids" and value not in ("name", "path"):
        raise ConfigError(f"{value!r} is not a way to name scenes", where=where, remedy="name or path")
    if type(value) is not kind:
        raise ConfigError(f"{value!r} is not of type {kind.__name__}", where=where, remedy=f"give a {kind.__name__}")
    if isinstance(value, int) and kind is int and value < 1:
        raise ConfigError(f"{value} is too small", where=where, remedy="give a number of at least 1")
    return value
