"""What can be read and written: GDAL's drivers, and the transfer syntaxes of DICOM. Loads libraries of C code."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok, problem, reason, warning
from hdm_pipeline.extras import install

_RASTERS = {"GTiff": "GeoTIFF", "COG": "cloud-optimized GeoTIFF", "JP2OpenJPEG": "JPEG 2000 (Sentinel-2)"}
_NEEDED = {"GTiff", "COG"}
_VECTORS = ("GPKG", "GeoJSON", "FlatGeobuf")

_SYNTAXES = (
    "RLELossless",
    "JPEGBaseline8Bit",
    "JPEGExtended12Bit",
    "JPEGLossless",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEGLSNearLossless",
    "JPEG2000Lossless",
    "JPEG2000",
    "HTJ2KLossless",
    "HTJ2KLosslessRPCL",
    "HTJ2K",
)
"""Compressed transfer syntaxes that pydicom knows, by their names in `pydicom.uid`."""


def raster_findings() -> Iterator[Finding]:
    """Drivers of GDAL for rasters (in rasterio) and vectors (in pyogrio), and pyarrow for GeoParquet."""
    try:
        import rasterio

        with rasterio.Env() as environment:
            drivers = environment.drivers()
    except Exception as error:  # noqa: BLE001 - a half-installed library may raise anything
        yield _absent("rasters", "rasterio", error, "GeoTIFF scenes need", "geo")
    else:
        yield _drivers(f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}", set(drivers))
    try:
        import pyogrio

        known = pyogrio.list_drivers()
    except Exception as error:  # noqa: BLE001 - as above
        yield _absent("vectors", "pyogrio", error, "drawn labels and polygons need", "geo")
        return
    absent = [name for name in _VECTORS if name not in known]
    told = f"pyogrio {pyogrio.__version__}: {', '.join(name for name in _VECTORS if name in known)}"
    if absent:
        yield problem(
            "vectors", f"{told}; not {', '.join(absent)}", "pip install --force-reinstall pyogrio (its wheel)"
        )
    else:
        parquet = "with" if importlib.util.find_spec("pyarrow") else "without pyarrow, so no"
        yield ok("vectors", f"{told}; {parquet} GeoParquet")


def _drivers(library: str, known: set[str]) -> Finding:
    absent = [name for name in _RASTERS if name not in known]
    told = f"{library}: {', '.join(name for name in _RASTERS if name in known)}"
    if not absent:
        return ok("rasters", told)
    told += "; not " + ", ".join(f"{name}, {_RASTERS[name]}" for name in absent)
    remedy = "pip install --force-reinstall rasterio (its wheel has them all)"
    return problem("rasters", told, remedy) if _NEEDED & set(absent) else warning("rasters", told, remedy)


def dicom_findings() -> Iterator[Finding]:
    """Transfer syntaxes whose pixels can be decoded, as pydicom's own table of decoders says."""
    try:
        from pydicom import __version__, uid
        from pydicom.pixels.decoders.base import get_decoder
    except Exception as error:  # noqa: BLE001 - a half-installed library may raise anything
        yield _absent("dicom", "pydicom", error, "DICOM series need", "dicom")
        return
    decoders = {uid.UID(getattr(uid, name)).name: get_decoder(getattr(uid, name)) for name in _SYNTAXES}
    absent = {name: decoder for name, decoder in decoders.items() if not decoder.is_available}
    told = (
        f"pydicom {__version__} decodes {len(decoders) - len(absent)} of {len(decoders)} compressed transfer syntaxes"
    )
    if not absent:
        yield ok("dicom", told)
        return
    yield warning("dicom", f"{told}; not {', '.join(absent)}", install("dicom"))


def _absent(subject: str, library: str, error: BaseException, who: str, extra: str) -> Finding:
    """A library that is not installed is no fault; one that is and cannot be loaded is."""
    if isinstance(error, ModuleNotFoundError) and error.name == library:
        return warning(subject, f"{library} is not installed; {who} it", install(extra))
    return problem(subject, f"{library} cannot be loaded: {reason(error)}", f"pip install --force-reinstall {library}")
