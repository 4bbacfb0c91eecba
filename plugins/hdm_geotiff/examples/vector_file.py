"""Vector files with labels: which layers and attributes they have, and the features that a filter selects.

GeoPackage, GeoJSON, FlatGeobuf and Shapefile are read by GDAL (pyogrio), GeoParquet by pyarrow, which comes with the
extra ``geo``. What a file is must agree with what its name says: a virtual dataset of GDAL called ``a.json`` could name
any other file. Nothing here knows of images.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj import CRS
from pyproj.exceptions import CRSError

from hdm_geotiff.examples.geometries import Bounds, Geometries
from hdm_geotiff.examples.json_crs import links_crs
from hdm_geotiff.files.named_crs import FARTHEST
from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_pipeline.contracts import Selection
from hdm_pipeline.errors import SupportError

_GEOPACKAGE = "GeoPackage"
_JSON = "GeoJSON"
_PARQUET = "GeoParquet"
_FORMATS: Mapping[str, tuple[str, bytes]] = {
    ".gpkg": (_GEOPACKAGE, b"SQLite format 3\x00"),
    ".geojson": (_JSON, b"{"),
    ".json": (_JSON, b"{"),
    ".fgb": ("FlatGeobuf", b"fgb\x03"),
    ".shp": ("Shapefile", b"\x00\x00\x27\x0a"),
    ".parquet": (_PARQUET, b"PAR1"),
    ".geoparquet": (_PARQUET, b"PAR1"),
}
"""By suffix: the format, and the bytes that its files begin with."""

_ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, ValueError, RuntimeError, OSError)
_MOST_NAMED = 8
_MOST_KEPT = 100_000
"""Features up to which a layer is read once and kept; of a larger one only what lies near an image is read."""

_PIPELINE = b"gdal_streamed_alg"
"""In a JSON file that GDAL takes for a list of commands, which may name any other file."""

_QUOTED_NAME = re.compile(r'"((?:[^"]|"")+)"')
_QUOTED_TEXT = re.compile(r"'(?:[^']|'')*'")
_BARE_NAME = re.compile(r"\b[^\W\d]\w*\b(?!\s*\()")
_SQL_WORD = re.compile(
    "and|or|not|in|is|null|i?like|between|escape|cast|as|true|false|glob|case|when|then|else|end|collate|nocase|fid|ogc_fid|"
    "character|integer|float|numeric|text|real|date|time|timestamp|bigint|smallint",
    re.IGNORECASE,
)
EXPECTED = "HDM_EXPECTED"
"""Metadata of a layer: a JSON list of the filters of its classes, which are no typing mistakes if nothing is drawn."""

_SAVE_AS = "save it as GeoPackage (in QGIS: Export > Save Features As), or: ogr2ogr labels.gpkg FILE"


class VectorFile:
    """A vector file, checked so far that its layers are known. What was read once is kept.

    Args:
        path: of the file.

    Raises:
        SupportError: it is not there, of no known format, or cannot be read; or holds no layer with geometries.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.format = _format_of(path)
        self._infos: dict[str, dict[str, Any]] = {}
        self._kept: dict[tuple[str, str | None], Geometries] = {}
        self._source: str | bytes = _parquet(path) if self.format == _PARQUET else os.path.abspath(path)
        with self._reading("the file cannot be read", f"check it with `ogrinfo`, or {_SAVE_AS}"):
            found = pyogrio.list_layers(self._source)
        self.layers = tuple(str(name) for name, geometry in found if geometry is not None)
        if not self.layers:
            raise SupportError("the file has no layer with geometries", where=path, remedy="give a layer of polygons")
        if self.format == _GEOPACKAGE and self._info(self.layers[0])["driver"] != "GPKG":
            raise SupportError("the file is not GeoPackage, as its name says", where=path, remedy=_SAVE_AS)

    def layer(self, selection: Selection) -> str:
        """The layer that is meant.

        Raises:
            SupportError: there is none of that name, or none is named and there are several.
        """
        there = ", ".join(self.layers)
        if selection.layer is None and len(self.layers) > 1:
            what = f"the file has {len(self.layers)} layers, and none is named"
            raise SupportError(what, where=self.path, remedy=f"say which, as in `layer: {self.layers[0]}`: {there}")
        if selection.layer is not None and self.format == _PARQUET:
            raise SupportError("a GeoParquet file has no layers", where=self.path, remedy="leave out `layer`")
        if selection.layer is not None and selection.layer not in self.layers:
            raise SupportError(
                f"there is no layer {selection.layer!r}", where=self.path, remedy=f"`layer` is one of: {there}"
            )
        return selection.layer or self.layers[0]

    def crs(self, layer: str, given: str | None) -> tuple[CRS, str]:
        """The CRS of a layer, and what is strange about it (or an empty text).

        Args:
            layer: its name.
            given: what the pipeline file says; it wins.

        Raises:
            SupportError: nobody says it, it is unknown, or the coordinates cannot be in it.
        """
        info = self._info(layer)
        named = _crs(info["crs"], self.path, "the file's CRS") if info["crs"] else None
        crs = _crs(given, self.path, "`crs`") if given is not None else named
        if crs is None:
            beside = " (a Shapefile has it in a .prj beside it)" if self.format == "Shapefile" else ""
            raise SupportError(
                f"the file says no coordinate reference system{beside}",
                where=self.path,
                remedy="name it in the pipeline file, as in `crs: EPSG:32633`; or store it in the file",
            )
        if crs.is_geographic and (place := _off_the_globe(info["total_bounds"])):
            default = self.format == _JSON and given is None
            said = "GeoJSON without a `crs` is in longitude and latitude" if default else f"they are in {crs.name}"
            raise SupportError(
                f"its coordinates are no degrees, as {place[0]:.12g}, {place[1]:.12g} shows, but {said}",
                where=self.path,
                remedy="name the CRS in the pipeline file, as in `crs: EPSG:32633`",
            )
        # GeoJSON that names no CRS is said to be in longitude and latitude: that was nobody's choice.
        if given is not None and named is not None and self.format != _JSON and not _same(crs, named):
            return crs, f"the file says that it is in {named.name}; `crs: {given}` is taken instead"
        return crs, ""

    def features(self, selection: Selection, box: Bounds | None = None) -> Geometries:
        """The geometries that are selected.

        Args:
            selection: layer and filter.
            box: only those that reach into it, in the CRS of the file.

        Raises:
            SupportError: layer or attribute do not exist, the filter is none, or the geometries cannot be read.
        """
        layer = self.layer(selection)
        if self._info(layer)["features"] > _MOST_KEPT and box is not None:
            return self._read(layer, selection.where, box)
        key = layer, selection.where
        if key not in self._kept:
            self._kept[key] = self._read(layer, selection.where, None)
        found = self._kept[key]
        if box is None:
            return found
        left, bottom, right, top = shapely.bounds(found).T
        near = (left <= box[2]) & (right >= box[0]) & (bottom <= box[3]) & (top >= box[1])
        return np.asarray(found[near], dtype=object)

    def count(self, selection: Selection) -> int | None:
        """How many features are selected; None where the layer is too large to be read for that."""
        large = self._info(self.layer(selection))["features"] > _MOST_KEPT
        return None if large else len(self.features(selection))

    def expects(self, selection: Selection) -> bool:
        """Whether the file names a filter itself (`EXPECTED`): that it selects nothing is no mistake then."""
        told = (self._info(self.layer(selection)).get("layer_metadata") or {}).get(EXPECTED, "[]")
        try:
            filters = json.loads(told)
        except ValueError:
            return False
        return isinstance(filters, list) and selection.where in filters

    def _read(self, layer: str, where: str | None, box: Bounds | None) -> Geometries:
        self._check_names(layer, where)
        remedy = f"check the file with `ogrinfo -al`, or {_SAVE_AS}"
        with self._filtering(layer, where), self._reading("the features cannot be read", remedy):
            # FlatGeobuf finds nothing by attributes that are not read.
            columns: list[str] | None = [] if where is None else None
            _, _, stored, _ = pyogrio.raw.read(
                self._source, layer=layer, where=where, bbox=box, columns=columns, force_2d=True
            )
        if stored is None:
            return np.empty(0, dtype=object)
        with self._reading("a geometry of the file cannot be read", "repair it in a GIS (QGIS: Fix Geometries)"):
            found = shapely.from_wkb(stored, on_invalid="fix")
        if lost := sum(one is not None for one in stored[shapely.is_missing(found)]):
            what = f"{lost} of the {len(stored)} features of {layer!r} are of a kind that is not read"
            remedy = (
                "TIN, triangles and the like: make polygons of them (ogr2ogr -nlt CONVERT_TO_LINEAR -nlt MULTIPOLYGON)"
            )
            raise SupportError(what, where=self.path, remedy=f"{remedy}, or leave them out by `where`")
        found = np.asarray(found[~(shapely.is_missing(found) | shapely.is_empty(found))], dtype=object)
        self._check_places(found, layer)
        return found

    def _check_places(self, found: Geometries, layer: str) -> None:
        """Refuse features that lie on no map: nothing can be computed of them, and some cover all that there is."""
        bounds = shapely.bounds(found)
        wrong = bounds[~(np.abs(bounds) <= FARTHEST).all(axis=1)]
        if len(wrong):
            place = ", ".join(f"{value:g}" for value in wrong[0])
            what = f"{len(wrong)} of the {len(found)} features of {layer!r} lie on no map: at {place}"
            remedy = "correct or remove them in a GIS, or leave them out by `where`"
            raise SupportError(what, where=self.path, remedy=remedy)

    def attributes(self, layer: str) -> str:
        """The attributes of a layer with some of their values, for messages."""
        names = [str(name) for name in self._info(layer)["fields"]]
        if not names:
            return "the layer has no attributes"
        with self._reading("the attributes cannot be read", "check the file with `ogrinfo -al`"):
            meta, _, _, values = pyogrio.raw.read(
                self._source, layer=layer, read_geometry=False, max_features=10_000, datetime_as_string=True
            )
        told = []
        for name, column in zip(meta["fields"], values, strict=True):
            held = list(dict.fromkeys(str(value) for value in column.tolist()))
            more = ", ..." if len(held) > _MOST_NAMED else ""
            told.append(f"{name} ({', '.join(value[:24] for value in held[:_MOST_NAMED])}{more})")
        return "the layer has the attributes " + ", ".join(told[:_MOST_NAMED])

    def columns(self, layer: str) -> tuple[int, dict[str, list[Any]]]:
        """The number of features of a layer, and its attributes of text and whole numbers with all their values.

        Raises:
            SupportError: they cannot be read.
        """
        with self._reading("the attributes cannot be read", "check the file with `ogrinfo -al`"):
            meta, _, _, values = pyogrio.raw.read(self._source, layer=layer, read_geometry=False)
        named = zip(meta["fields"], values, strict=True)
        return int(self._info(layer)["features"]), {str(n): c.tolist() for n, c in named if c.dtype.kind in "OiuU"}

    def _check_names(self, layer: str, where: str | None) -> None:
        """SQLite takes a name in double quotes that is no column for a text, and then finds nothing."""
        columns = {str(name).casefold() for name in self._info(layer)["fields"]} | {"fid", "ogc_fid"}
        names = _QUOTED_NAME.findall(_QUOTED_TEXT.sub("''", where or ""))
        missing = [name for name in names if name.casefold() not in columns]
        if missing:
            remedy = f"{self.attributes(layer)}; text stands in single quotes: class = 'flood'"
            raise SupportError(f"there is no attribute {missing[0]!r}", where=self.path, remedy=remedy)

    @contextmanager
    def _filtering(self, layer: str, where: str | None) -> Iterator[None]:
        """Failures to read are those of the filter, where there is one; what GDAL says of them is of little help."""
        try:
            yield
        except SupportError as error:
            if where is None:
                raise
            bare = _QUOTED_NAME.sub("", _QUOTED_TEXT.sub("", where))
            known = {str(name).casefold() for name in self._info(layer)["fields"]}
            words = [name for name in _BARE_NAME.findall(bare) if not _SQL_WORD.fullmatch(name)]
            missing = [name for name in words if name.casefold() not in known]
            what = f"there is no attribute {missing[0]!r}" if missing else "the filter cannot be used"
            remedy = f"{self.attributes(layer)}; text stands in single quotes: class = 'flood'"
            remedy = f"compare by a single =, not by ==; {remedy}" if "==" in bare else remedy
            cause = str(error.__cause__)
            if not missing and not cause.startswith(("Failed to prepare SQL", "Invalid SQL query")):
                what += f" ({cause})"
            raise SupportError(f"{what}: {where}", where=self.path, remedy=remedy) from error

    def _info(self, layer: str) -> dict[str, Any]:
        if layer not in self._infos:
            with self._reading("the layer cannot be read", f"check the file with `ogrinfo`, or {_SAVE_AS}"):
                self._infos[layer] = pyogrio.read_info(
                    self._source, layer=layer, force_total_bounds=True, force_feature_count=True
                )
        return self._infos[layer]

    @contextmanager
    def _reading(self, what: str, remedy: str) -> Iterator[None]:
        """Failures of GDAL and GEOS become `SupportError`; remarks of theirs about a file are not for users."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (*_ERRORS, shapely.errors.ShapelyError) as error:
            lines = str(error).strip().splitlines()
            cause = lines[0] if lines else type(error).__name__
            raise SupportError(f"{what} ({cause})", where=self.path, remedy=remedy) from error


def _format_of(path: str) -> str:
    """The format of a file by its name and its first bytes.

    Raises:
        SupportError: it is of none that is read, not there, or not what its name says.
    """
    if is_remote(path) or is_virtual(path):
        raise SupportError("labels are read from local files only", where=path, remedy="copy the file here")
    suffix = PurePath(path).suffix.lower()
    if suffix not in _FORMATS:
        formats = "GeoPackage, GeoJSON, FlatGeobuf, Shapefile and GeoParquet"
        raise SupportError(
            f"labels are read from {formats}, not from {suffix or 'a file without suffix'}", where=path, remedy=_SAVE_AS
        )
    if any(character in os.path.abspath(path) for character in "!;"):
        raise SupportError("a path of labels holds ! or ;", where=path, remedy="rename the file or its folder")
    name, start = _FORMATS[suffix]
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
        linked = name == _JSON and head != b"" and links_crs(path)
    except OSError as error:
        remedy = "check the path and its permissions"
        raise SupportError(f"the labels cannot be read: {error.strerror}", where=path, remedy=remedy) from error
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(start.lstrip()) or _PIPELINE in head:
        raise SupportError(f"the file is not {name}, as its name says", where=path, remedy=_SAVE_AS)
    if linked:
        # GDAL would fetch it, and the network is for scenes only.
        remedy = 'give it by name, as in "crs": {"type": "name", "properties": {"name": "EPSG:32633"}}'
        raise SupportError("the file's `crs` is a link, and links are not followed", where=path, remedy=remedy)
    return name


def _crs(text: str, where: str, what: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        remedy = "name it by its code, as in `crs: EPSG:32633`"
        raise SupportError(f"{what} is not known: {text[:80]}", where=where, remedy=remedy) from error


def _same(one: CRS, other: CRS) -> bool:
    return bool(one.equals(other, ignore_axis_order=True))


def _off_the_globe(bounds: Bounds | None) -> tuple[float, float] | None:
    """A corner of the bounds that cannot be longitude and latitude in degrees."""
    if bounds is None or not np.isfinite(bounds).all():
        return None
    left, bottom, right, top = bounds
    wrong = [(x, y) for x, y in ((left, bottom), (right, top)) if abs(x) > 540 or abs(y) > 90.001]
    return wrong[0] if wrong else None


def _parquet(path: str) -> bytes:
    """A GeoParquet file as FlatGeobuf, which GDAL reads."""
    from hdm_geotiff.examples.geoparquet import as_flatgeobuf

    return as_flatgeobuf(path)
