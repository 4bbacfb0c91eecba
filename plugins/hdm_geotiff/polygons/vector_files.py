"""Files of polygons, written batch by batch: GeoPackage and FlatGeobuf through GDAL (pyogrio), GeoParquet by pyarrow.

A FlatGeobuf cannot be appended to, so its batches go into a GeoPackage first, and GDAL copies that in a stream.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import pyproj
from pyogrio.errors import DataLayerError, DataSourceError

LAYER = "polygons"
GEOMETRY = "geom"
MOST_POLYGONS = 10_000
MOST_BYTES = 4 * 2**20

VECTOR_ERRORS = (DataSourceError, DataLayerError)
"""What pyogrio raises where GDAL fails."""

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]


class PolygonFile(Protocol):
    """A file that takes batches of polygons."""

    def write(self, shapes: npt.NDArray[np.object_], columns: Columns) -> None:
        """Append polygons: their WKB [n], and values [n] by column; NaN and NaT are null."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def give_up(self) -> None:
        """Let go of a file that will not be finished; does nothing to one that is."""
        ...


class GeoPackage:
    """A GeoPackage with one layer.

    Args:
        path: of the file.
        crs_wkt: of the coordinates.
        facts: texts about the file as a whole.
        index: whether it gets a spatial index.
        layer: name of the layer.
    """

    suffix: ClassVar[str] = "gpkg"

    def __init__(
        self, path: Path, crs_wkt: str | None, facts: Mapping[str, str], *, index: bool = True, layer: str = LAYER
    ) -> None:
        self._path, self._crs, self._facts, self._index = path, crs_wkt, dict(facts), index
        self._layer = layer
        self._begun = False

    def write(self, shapes: npt.NDArray[np.object_], columns: Columns) -> None:
        """See `PolygonFile.write`."""
        new: dict[str, Any] = {} if self._begun else {"layer_metadata": self._facts}
        if not self._begun:
            new["dataset_options"] = {"VERSION": "1.2"}  # of GeoPackage: GDAL 3.6 warns of a newer one
            new["layer_options"] = {"SPATIAL_INDEX": "YES" if self._index else "NO", "GEOMETRY_NAME": GEOMETRY}
        with _calm():
            pyogrio.raw.write(
                str(self._path),
                shapes,
                list(columns.values()),
                np.array(list(columns), dtype=object),
                layer=self._layer,
                driver="GPKG",
                geometry_type="Polygon",
                crs=self._crs,
                append=self._begun,
                **new,
            )
        self._begun = True

    def close(self) -> None:
        """See `PolygonFile.close`."""

    def give_up(self) -> None:
        """See `PolygonFile.give_up`."""


class FlatGeobuf:
    """A FlatGeobuf; see `GeoPackage` for the arguments."""

    suffix: ClassVar[str] = "fgb"

    def __init__(self, path: Path, crs_wkt: str | None, facts: Mapping[str, str]) -> None:
        self._path, self._crs = path, crs_wkt
        self._staged = path.with_name("staged.gpkg")
        self._stage = GeoPackage(self._staged, crs_wkt, facts, index=False)

    def write(self, shapes: npt.NDArray[np.object_], columns: Columns) -> None:
        """See `PolygonFile.write`."""
        self._stage.write(shapes, columns)

    def close(self) -> None:
        """See `PolygonFile.close`."""
        with _calm(), pyogrio.raw.open_arrow(str(self._staged), layer=LAYER, batch_size=MOST_POLYGONS) as (_, stream):
            pyogrio.raw.write_arrow(
                stream,
                str(self._path),
                layer=LAYER,
                driver="FlatGeobuf",
                geometry_name=GEOMETRY,
                geometry_type="Polygon",
                crs=self._crs,
                layer_options={"TEMPORARY_DIR": str(self._path.parent)},
            )
        self._staged.unlink()

    def give_up(self) -> None:
        """See `PolygonFile.give_up`."""


class GeoParquet:
    """A GeoParquet 1.0 file; see `GeoPackage` for the arguments. Needs pyarrow."""

    suffix: ClassVar[str] = "parquet"

    def __init__(self, path: Path, crs_wkt: str | None, facts: Mapping[str, str]) -> None:
        self._path, self._crs, self._facts = path, crs_wkt, dict(facts)
        self._writer: Any = None

    def write(self, shapes: npt.NDArray[np.object_], columns: Columns) -> None:
        """See `PolygonFile.write`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
        table = pa.table({**arrays, GEOMETRY: pa.array(shapes, type=pa.binary())})
        if self._writer is None:
            schema = table.schema.with_metadata({"geo": json.dumps(self._geo()), **self._facts})
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        """See `PolygonFile.close`."""
        self._writer.close()

    def give_up(self) -> None:
        """See `PolygonFile.give_up`."""
        if self._writer is not None:
            with suppress(OSError):  # closing writes the index of the file, and the disk may be full
                self._writer.close()

    def _geo(self) -> dict[str, Any]:
        crs = None if self._crs is None else pyproj.CRS.from_wkt(self._crs).to_json_dict()
        column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": crs, "orientation": "counterclockwise"}
        return {"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


FORMATS: Mapping[str, type[GeoPackage] | type[FlatGeobuf] | type[GeoParquet]] = {
    kind.suffix: kind for kind in (GeoPackage, FlatGeobuf, GeoParquet)
}


class Batches:
    """Collects polygons for a file, so that it is written in few and even batches.

    Args:
        file: where they go.
        columns: no polygon: the columns and their types, for a file without any.
    """

    def __init__(self, file: PolygonFile, columns: Columns) -> None:
        self._file = file
        self._parts: list[tuple[npt.NDArray[np.object_], Columns]] = [(np.empty(0, dtype=object), columns)]
        self._count = self._bytes = 0
        self._written = False

    def add(self, shapes: npt.NDArray[np.object_], columns: Columns) -> None:
        """Take polygons; see `PolygonFile.write`."""
        self._parts.append((shapes, columns))
        self._count += shapes.size
        self._bytes += sum(map(len, shapes))
        if self._count >= MOST_POLYGONS or self._bytes >= MOST_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and finish the file."""
        if self._count or not self._written:
            self._flush()
        self._file.close()

    def give_up(self) -> None:
        """See `PolygonFile.give_up`."""
        self._file.give_up()

    def _flush(self) -> None:
        shapes = np.concatenate([part for part, _ in self._parts])
        columns = {name: np.concatenate([part[name] for _, part in self._parts]) for name in self._parts[0][1]}
        for start in range(0, max(shapes.size, 1), MOST_POLYGONS):
            rows = slice(start, start + MOST_POLYGONS)
            self._file.write(shapes[rows], {name: values[rows] for name, values in columns.items()})
        self._parts = [(shapes[:0], {name: values[:0] for name, values in columns.items()})]
        self._count = self._bytes = 0
        self._written = True


@contextmanager
def _calm() -> Iterator[None]:
    """GDAL's clock stands still, so that the same polygons give the same bytes; a missing CRS is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
        before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
