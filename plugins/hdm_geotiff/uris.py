"""Which URIs are remote, and which may be opened. Loads no GDAL, so that checking a pipeline file stays quick."""

from __future__ import annotations

import re
from pathlib import PurePath
from urllib.parse import urlsplit

from hdm_pipeline.errors import UnsupportedSceneError

NETWORK_SCHEMES = ("s3", "http", "https")
"""Remote URIs that can be opened where the user allows the network."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_remote(uri: str) -> bool:
    """Whether a URI names something that GDAL would fetch or unpack: a scheme, or one of its virtual file systems."""
    return bool(_SCHEME.match(uri)) or uri.startswith("/vsi")


def without_user(uri: str) -> str:
    """A URI without the user name and password that it may hold."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def check_uri(uri: str, *, allow_network: bool, allow_vrt: bool) -> None:
    """Refuse what the user has not asked for.

    Raises:
        UnsupportedSceneError: a remote URI without `allow_network`, another scheme, or a VRT without `allow_vrt`.
    """
    if is_remote(uri):
        scheme = urlsplit(uri).scheme.lower()
        if scheme not in NETWORK_SCHEMES:
            schemes = ", ".join(f"{name}://" for name in NETWORK_SCHEMES)
            raise UnsupportedSceneError(
                "not a path or a known URI", where=uri, remedy=f"use a path, or one of {schemes}"
            )
        if not allow_network:
            remedy = "set the reader option allow_network: true, or copy the file here"
            raise UnsupportedSceneError("network access is switched off", where=uri, remedy=remedy)
    if PurePath(uri).suffix.lower() == ".vrt" and not allow_vrt:
        remedy = "set the reader option allow_vrt: true if you trust the file: a VRT may name any other file"
        raise UnsupportedSceneError("virtual rasters (VRT) are switched off", where=uri, remedy=remedy)
