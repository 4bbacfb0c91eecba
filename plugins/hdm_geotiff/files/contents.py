"""What a file is that is no raster of ours, whatever its name says: for errors that help."""

from __future__ import annotations

import os
import stat

from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_pipeline.errors import ReadError

_CONVERT = "convert it: gdal_translate -of COG IN OUT.tif"
_SUBDATASET = f"name one of its rasters (gdalinfo lists them) and {_CONVERT}"

_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "HDF5 or netCDF", _SUBDATASET),
    (b"CDF", "netCDF", _SUBDATASET),
    (b"\x0e\x03\x13\x01", "HDF4", _SUBDATASET),
    (b"GRIB", "GRIB", _SUBDATASET),
    (b"EHFA_HEADER_TAG", "Erdas Imagine", _CONVERT),
    (b"\x89PNG", "PNG", _CONVERT),
    (b"\xff\xd8\xff", "JPEG", _CONVERT),
    (b"GIF8", "GIF", _CONVERT),
    (b"PK\x03\x04", "a zip file", "unpack it, or call it .zip"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it"),
    (b"BZh", "compressed with bzip2", "unpack it"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it"),
    (b"7z\xbc\xaf", "an archive of 7-Zip", "unpack it"),
    (b"Rar!", "an archive of RAR", "unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch what it points to: git lfs pull"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error")
_NAMED = {".img": "Erdas Imagine", ".nc": "netCDF", ".hdf": "HDF", ".h5": "HDF5", ".ecw": "ECW", ".sid": "MrSID"}
_LONGEST = 64


def check_kind(path: str) -> None:
    """Refuse what is no file to be read: to open a pipe that nobody writes to waits for ever.

    Raises:
        ReadError: it is a pipe, a socket or a device.
    """
    if is_remote(path) or is_virtual(path):
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # opening it says why
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        remedy = "leave it out of the archive, or copy what it gives into a file"
        raise ReadError("it is no file but a pipe, a socket or a device", where=path, remedy=remedy)


def what_it_is(path: str) -> str:
    """What a local file is that GDAL does not open, and what to do about it; empty where nothing tells.

    Args:
        path: of a file that is there; read are its first bytes.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_LONGEST)
    except OSError:
        return ""
    if not start:
        return "the file is empty"
    for signature, name, remedy in _SIGNATURES:
        if start.startswith(signature):
            return f"by its content the file is {name}, and only GeoTIFF and JPEG 2000 are opened: {remedy}"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_PAGES):
        return "by its content the file is a page of the web or a server's message, no image: open it in a text editor"
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _NAMED:
        return f"by its name the file is {_NAMED[suffix]}, and only GeoTIFF and JPEG 2000 are opened: {_CONVERT}"
    return ""
