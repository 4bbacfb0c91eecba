"""GeoParquet files, which the GDAL of pyogrio's wheels does not read: by pyarrow, of the extra ``geo``."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import pyogrio
from pyproj import CRS

from hdm_pipeline.errors import SupportError

_DEFAULT_CRS = "OGC:CRS84"
_WRITE_AGAIN = "write it again with geopandas (to_parquet) or ogr2ogr, or save it as GeoPackage"


def as_flatgeobuf(path: str) -> bytes:
    """The features of a GeoParquet file with their plain attributes.

    Raises:
        SupportError: pyarrow is not installed, or the file cannot be read or is no GeoParquet.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SupportError(
            "GeoParquet is read by pyarrow, which is not installed",
            where=path,
            remedy="pip install 'hdm-pipeline[parquet]', or save the labels as GeoPackage",
        ) from error
    try:
        file = pq.ParquetFile(path)
        column, crs = _geometry(path, file.schema_arrow.metadata or {})
        plain = [field.name for field in file.schema_arrow if field.name == column or not _nested(pa, field.type)]
        table = file.read(columns=plain)
        for index, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):
                table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
        target = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyogrio.write_arrow(
                table.replace_schema_metadata(None),
                target,
                driver="FlatGeobuf",
                geometry_name=column,
                geometry_type="Unknown",
                crs=crs,
                SPATIAL_INDEX="NO",
            )
    except SupportError:
        raise
    except Exception as error:  # pyarrow and GDAL raise of many kinds for a damaged file
        what = f"the GeoParquet file cannot be read: {error}"
        raise SupportError(what, where=path, remedy=_WRITE_AGAIN) from error
    return target.getvalue()


def _geometry(path: str, metadata: dict[bytes, bytes]) -> tuple[str, str | None]:
    """The column of geometries, and its CRS; None where the file says that it is unknown."""
    if b"geo" not in metadata:
        raise SupportError("the Parquet file has no geometries (no GeoParquet)", where=path, remedy=_WRITE_AGAIN)
    geo: dict[str, Any] = json.loads(metadata[b"geo"])
    column = str(geo["primary_column"])
    described: dict[str, Any] = geo["columns"][column]
    if described["encoding"] != "WKB":
        what = f"the geometries are encoded as {described['encoding']}, not as WKB"
        raise SupportError(what, where=path, remedy=_WRITE_AGAIN)
    crs = described.get("crs", _DEFAULT_CRS)
    # As text it goes through PROJ first: GDAL would open a file or an address of that name.
    if crs is None:
        return column, None
    return column, CRS.from_user_input(crs).to_wkt() if isinstance(crs, str) else json.dumps(crs)


def _nested(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_null(kind))
