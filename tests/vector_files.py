"""Small vector files made for one test."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyproj import CRS, Transformer

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}


def moved(geometries: Sequence[Any], source: str, target: str) -> list[Any]:
    """Geometries in another CRS."""
    turn = Transformer.from_crs(source, target, always_xy=True)
    return list(shapely.transform(np.array(geometries, dtype=object), turn.transform, interleaved=False))


def write_vector(
    path: Path,
    features: Sequence[tuple[Any, str]],
    *,
    crs: str | None = "EPSG:32633",
    source: str = "EPSG:32633",
    layer: str | None = None,
    append: bool = False,
) -> Path:
    """Write (geometry, class) pairs in the format of the suffix.

    Args:
        path: the file.
        features: geometries in `source`, and values of the attribute ``class``.
        crs: that they are written in; None writes none.
        source: CRS of the geometries.
        layer: name of the layer.
        append: add a layer to a file that is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = [shape for shape, _ in features]
    if crs is not None and crs != source:
        shapes = moved(shapes, source, crs)
    stored = shapely.to_wkb(np.array(shapes, dtype=object))
    classes = np.array([name for _, name in features], dtype=object)
    if path.suffix in (".parquet", ".geoparquet"):
        return _write_parquet(path, stored, classes, crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write(
            path,
            geometry=stored,
            field_data=[classes, np.arange(len(classes))],
            fields=["class", "number"],
            layer=layer,
            driver=DRIVERS[path.suffix],
            geometry_type="Polygon" if path.suffix == ".shp" else "Unknown",
            crs=crs,
            append=append,
        )
    return path


def _write_parquet(path: Path, stored: Any, classes: Any, crs: str | None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    described: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
    described["crs"] = None if crs is None else json.loads(CRS.from_user_input(crs).to_json())
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": described}}
    table = pa.table(
        {
            "class": pa.array(list(classes)).dictionary_encode(),
            "number": list(range(len(classes))),
            "bbox": [{"xmin": 0.0}] * len(classes),
            "geometry": pa.array(list(stored), pa.binary()),
        }
    )
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path
