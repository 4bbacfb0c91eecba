"""Files that a raster makes GDAL open besides: none may name what the user did not ask for.

GDAL opens by any of its drivers what lies beside a raster as ``.ovr`` or ``.msk``, and what the metadata of any raster
name as its overviews, be it a description of a web service or an address. Its settings keep its file systems from the
network, not those drivers. So here is looked at what they would be given.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from hdm_geotiff.files.containers import Container, container_of, state_of, text_of
from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_pipeline.errors import ArchiveError, UnsupportedSceneError

_BESIDE = (".ovr", ".OVR", ".msk", ".MSK")
_DEPTH = 3
"""How far sidecars of sidecars are followed: ``a.tif.msk.ovr``."""

_OVERVIEWS = (("OVERVIEWS", "OVERVIEW_FILE"), ("ProxyOverviewRequest", "FILENAME"))
"""Domain and key of metadata by which any raster may name a file of overviews."""

_DESCRIPTION = ("<", "{")
_ENOUGH = 4096

_REMOTE = re.compile(r"://|/vsi(?!(?:zip|tar|gzip|subfile|sparse)/)")
_TEXT = re.compile(r"<!\[CDATA\[(.*?)\]\]>|>([^<]*)(?=<)|=\s*\"([^\"]*)\"|=\s*'([^']*)'", re.DOTALL)
_UNREAD = re.compile(
    r"<MDI\s+key\s*=\s*[\"'](?![XY]_DATASET)[^<]*</MDI>|<SRS\b[^<]*</SRS>|\sxmlns(?::\w+)?\s*=\s*[\"'][^\"']*[\"']"
)
"""Texts of a VRT that GDAL opens nothing by, which may hold addresses."""

_OFF = "set the reader option allow_network: true if you trust the file, or copy here what it names"


def check_sidecars(uri: str) -> None:
    """Refuse a raster beside which an ``.ovr`` or ``.msk`` is no raster, but a description that GDAL would follow.

    Raises:
        UnsupportedSceneError: one is, or its metadata name a file of overviews.
    """
    if is_remote(uri) and container_of(uri) is None:
        return
    for path in (*_sidecars(uri, _DEPTH), f"{os.path.splitext(uri)[0]}.ovr"):
        if not _is_there(path):
            continue
        if _start(path).lstrip("\ufeff \t\r\n").startswith(_DESCRIPTION):
            what = f"a file beside it ({os.path.basename(path)}) is no raster but a text that may name any other file"
            raise UnsupportedSceneError(what, where=uri, remedy="remove that file, or make it anew: gdaladdo -ro FILE")
        with suppress(RasterioError), rasterio.open(path, driver="GTiff", sharing=False) as dataset:
            check_overviews(dataset, uri)


def check_overviews(dataset: DatasetReader, uri: str) -> None:
    """Refuse a raster whose metadata name a file of overviews.

    Args:
        dataset: just opened; GDAL looks for overviews only when it is asked for anything that needs them.
        uri: of the scene, for the message.

    Raises:
        UnsupportedSceneError: they do.
    """
    for domain, key in _OVERVIEWS:
        named = dataset.tags(ns=domain).get(key)
        if named is None:
            continue
        what = f"its metadata make GDAL open another file as its overviews: {named[:80]}"
        remedy = f"remove {key} of the domain {domain} from the file or its .aux.xml, and make overviews by gdaladdo"
        raise UnsupportedSceneError(what, where=uri, remedy=remedy)


def check_vrt(uri: str) -> None:
    """Refuse a VRT, where the network is switched off, that names anything on a network, or a file that may.

    Raises:
        UnsupportedSceneError: it does.
    """
    with suppress(OSError, ValueError):  # opening it says why
        if found := _named_by(uri, state_of(uri), _DEPTH * 2):
            what = f"the virtual raster names what lies on a network, which is switched off: {found[:80]}"
            raise UnsupportedSceneError(what, where=uri, remedy=_OFF)


def _sidecars(uri: str, depth: int) -> Iterator[str]:
    for suffix in _BESIDE:
        yield uri + suffix
        if depth > 1 and _is_there(uri + suffix):
            yield from _sidecars(uri + suffix, depth - 1)


def _is_there(path: str) -> bool:
    if container := container_of(path):
        return container.inner in _members(container.path, state_of(container.path))
    return os.path.isfile(path)


@lru_cache(maxsize=8)  # a scene is opened for every step, and its archive would be listed each time
def _members(path: str, _state: str) -> frozenset[str]:
    try:
        return frozenset(Container(path).contents())
    except ArchiveError:
        return frozenset()


def _start(path: str) -> str:
    with suppress(OSError, ValueError, LookupError):
        return text_of(path, _ENOUGH)
    return ""


@lru_cache(maxsize=4096)
def _named_by(path: str, _state: str, depth: int) -> str:
    """What a VRT names that may lie on a network; empty where nothing does."""
    return _dangerous(text_of(path), os.path.dirname(path), depth)


def _dangerous(text: str, folder: str, depth: int) -> str:
    for found in _TEXT.findall(_UNREAD.sub("", text)):
        named = html.unescape(next((one for one in found if one.strip()), "")).strip()
        if not named:
            continue
        if _REMOTE.search(named):
            return named
        if named.startswith("<"):
            if "<VRTDataset" not in named or depth == 0 or _dangerous(named, folder, depth - 1):
                return named
        elif named.startswith("{"):
            return named
        elif len(named) < _ENOUGH and depth and (inner := _of_file(named, folder, depth)):
            return inner
    return ""


def _of_file(named: str, folder: str, depth: int) -> str:
    """The same of a file, if there is one of that name; a VRT may name others."""
    for path in dict.fromkeys((os.path.join(folder, named), named)):
        if is_virtual(path) or not os.path.isfile(path):
            continue
        start = _start(path).lstrip("\ufeff \t\r\n")
        if "<VRTDataset" in start:
            if inner := _named_by(path, state_of(path), depth - 1):
                return inner
        elif start.startswith(_DESCRIPTION):
            return f"{named} (a description of what lies elsewhere)"
        elif _makes_gdal_follow(path):
            return f"{named} (by its overviews or its mask)"
    return ""


def _makes_gdal_follow(path: str) -> bool:
    try:
        check_sidecars(path)
        with suppress(RasterioError), rasterio.open(path, driver="GTiff", sharing=False) as dataset:
            check_overviews(dataset, path)
    except UnsupportedSceneError:
        return True
    return False
