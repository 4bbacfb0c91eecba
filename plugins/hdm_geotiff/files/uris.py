"""Which URIs are remote, and which may be opened. Loads no GDAL, so that checking a pipeline file stays quick."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from urllib.parse import urlsplit

from hdm_geotiff.files.containers import container_of
from hdm_pipeline.errors import UnsupportedSceneError

NETWORK_SCHEMES = ("s3", "http", "https")
"""Remote URIs that can be opened where the user allows the network."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


_WINDOWS = re.compile(r"(?:^|/)[A-Za-z]:\\|^[A-Za-z]:/(?!/)|^\\\\\w")

WINDOWS_REMEDY = "give the path as it is called on this machine, with forward slashes"


def is_remote(uri: str) -> bool:
    """Whether a URI is more than a path: it has a scheme."""
    return bool(_SCHEME.match(uri))


def is_windows_path(uri: str) -> bool:
    """Whether a path, or what was made absolute of it, begins as on Windows, and this is another system."""
    return os.name != "nt" and bool(_WINDOWS.search(uri))


def is_stac(uri: str) -> bool:
    """Whether a path, pattern or URL names STAC: a JSON file, or the search of an API."""
    path = urlsplit(uri).path if is_remote(uri) else uri
    return path.lower().endswith((".json", ".geojson")) or (is_remote(uri) and path.rstrip("/").endswith("/search"))


def is_virtual(uri: str) -> bool:
    """Whether a path is one of GDAL's virtual file systems (`/vsizip/`, `/vsicurl/`, ...), which fetch or unpack."""
    return uri.startswith("/vsi")


def unknown_address(uri: str) -> tuple[str, str]:
    """(what, remedy) of an address that is never opened, whatever the user allows."""
    schemes = ", ".join(f"{name}://" for name in NETWORK_SCHEMES)
    name = f"/{uri.split('/')[1]}/" if is_virtual(uri) else f"{urlsplit(uri).scheme}://"
    if any(kind in name for kind in ("zip", "tar", "7z", "rar")):
        remedy = "name a .zip or .tar file on disk, or a file in it: /vsizip/PATH.zip/a.tif; unpack others"
        return f"only archives on disk are opened, zip and tar ({name})", remedy
    if is_virtual(uri):
        return f"virtual paths of GDAL are not opened ({name})", f"use a path, or for the network one of {schemes}"
    return f"not a path or a known URI ({name})", f"use a path, or for the network one of {schemes}"


def without_user(uri: str) -> str:
    """A URI without the user name and password that it may hold."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def check_uri(uri: str, *, allow_network: bool, allow_vrt: bool) -> None:
    """Refuse what the user has not asked for.

    Raises:
        UnsupportedSceneError: a remote URI without `allow_network`, another scheme, a virtual path of GDAL, a VRT
            without `allow_vrt`, or a name that is no text.
    """
    if any("\ud800" <= character <= "\udfff" for character in uri):
        where = ascii(uri)[1:-1]
        raise UnsupportedSceneError("the name of the file is not text (UTF-8)", where=where, remedy="rename the file")
    if is_windows_path(uri) and not os.path.exists(uri):
        raise UnsupportedSceneError("the path is one of Windows, and this is not", where=uri, remedy=WINDOWS_REMEDY)
    if (is_remote(uri) or is_virtual(uri)) and container_of(uri) is None:
        if is_virtual(uri) or urlsplit(uri).scheme.lower() not in NETWORK_SCHEMES:
            what, remedy = unknown_address(uri)
            raise UnsupportedSceneError(what, where=uri, remedy=remedy)
        if not allow_network:
            remedy = "set the reader option allow_network: true, or copy the file here"
            raise UnsupportedSceneError("network access is switched off", where=uri, remedy=remedy)
    if PurePath(uri).suffix.lower() == ".vrt" and not allow_vrt:
        remedy = "set the reader option allow_vrt: true if you trust the file: a VRT may name any other file"
        raise UnsupportedSceneError("virtual rasters (VRT) are switched off", where=uri, remedy=remedy)
