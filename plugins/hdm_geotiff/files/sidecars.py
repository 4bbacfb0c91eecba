"""What tells a raster from its earlier self: size and time of its file, and of every other file that GDAL reads for it.

Such files are found by name, because listing opens nothing: ``a.tif`` may have ``a.tif.aux.xml`` (statistics, nodata,
coordinates), ``a.tif.msk``, ``a.tif.ovr``, ``a.tfw`` and its kin (coordinates), ``a.tab``, ``a.rpb``, ``a_rpc.txt`` and
others. GDAL looks for them in upper and lower case. A VRT is followed to its sources.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from hdm_geotiff.files.containers import MISSING, stamp
from hdm_geotiff.files.uris import is_remote

_AFTER_NAME = (".aux.xml", ".msk", ".ovr", ".msk.ovr", ".ovr.msk", ".xml", ".aux", ".vat.dbf", ".msk.aux.xml")
_AFTER_STEM = (
    *(".tfw", ".tifw", ".tiffw", ".tfwx", ".wld", ".tab", ".prj", ".pgw", ".pngw", ".j2w", ".jp2w"),
    *(".rpb", ".rpc", ".imd", ".til", ".att", ".eph", ".geo", ".pvl", ".xml", ".aux", ".ovr", ".rrd"),
    *("_rpc.txt", "_rpc.xml", ".rpc.txt", "_metadata.txt", "_metadata.xml", ".txt.rpc"),
)
_MAX_VRT_BYTES = 64 * 2**20
_MAX_VRT_DEPTH = 8
_SOURCE = re.compile(r"<Source(?:Filename|Dataset)\b([^>]*)>([^<]+)</Source(?:Filename|Dataset)>")
_RELATIVE = re.compile(r"relativeToVRT\s*=\s*[\"']1[\"']")


class Siblings:
    """The files of one folder that may belong to a raster in it; listed once.

    Args:
        folder: path of the folder; empty for the current one.
        names: names of its files, where they are known already.
    """

    def __init__(self, folder: str, names: list[str] | None = None) -> None:
        self._folder = folder
        self._names = names

    @cached_property
    def _owned(self) -> dict[str, list[str]]:
        """Names of files by the name or the stem, in lower case, of the raster that they belong to."""
        names = self._names
        if names is None:
            try:
                names = os.listdir(self._folder or ".")
            except OSError:
                names = []
        owned: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            lower = name.lower()
            if lower.endswith((".tif", ".tiff")):
                continue
            for suffix in _AFTER_NAME:
                if lower.endswith(suffix):
                    owned["name:" + lower[: -len(suffix)]].append(name)
            for suffix in _AFTER_STEM:
                if lower.endswith(suffix):
                    owned["stem:" + lower[: -len(suffix)]].append(name)
        return owned

    @property
    def has_some(self) -> bool:
        """Whether a file may belong to a raster, whatever that is called."""
        return bool(self._owned)

    def of(self, name: str) -> list[str]:
        """Names of the files that belong to a raster, sorted."""
        if not self._owned:
            return []
        lower = name.lower()
        stem = os.path.splitext(lower)[0]
        found = {*self._owned.get("name:" + lower, ()), *self._owned.get("stem:" + stem, ())} - {name}
        return sorted(found)


def with_siblings(name: str, identity: str, siblings: Siblings, identities: Mapping[str, str]) -> str:
    """The identity of an object of a store with those of the objects beside it that GDAL reads for it.

    Args:
        name: of the object, without its folder.
        identity: of the object itself.
        siblings: of its folder.
        identities: of all objects of that folder, by name.
    """
    return joined(identity, [(other, identities[other]) for other in siblings.of(name)])


def joined(own: str, others: Iterable[tuple[str, str]]) -> str:
    """One identity of something's own and those, with their names, of all that belongs to it."""
    others = list(others)
    if not others:
        return own
    return f"{own}+{hashlib.sha256(repr(sorted(others)).encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


class Identities:
    """Identities of files; each folder is listed once."""

    def __init__(self) -> None:
        self._siblings: dict[str, Siblings] = {}

    def in_folder(self, folder: str, names: list[str]) -> Callable[[str], str]:
        """`of` for the files of one folder, whose names are known, so that it is not listed again."""
        siblings = self._siblings[folder] = Siblings(folder, names)
        alone = not siblings.has_some and not any(map(_is_vrt, names))
        return stamp if alone else self.of  # most rasters are alone, and there may be a million

    def of(self, path: str) -> str:
        """The identity of a raster with all that GDAL reads for it; `MISSING` if it is not there."""
        folder, name = os.path.split(path)
        own = stamp(path)
        if own == MISSING or not (self._beside(folder).of(name) or _is_vrt(name)):
            return own
        return joined(own, list(self._others(path, 0)))

    def _beside(self, folder: str) -> Siblings:
        if folder not in self._siblings:
            self._siblings[folder] = Siblings(folder)
        return self._siblings[folder]

    def _others(self, path: str, depth: int) -> Iterator[tuple[str, str]]:
        folder, name = os.path.split(path)
        for other in self._beside(folder).of(name):
            yield other, stamp(os.path.join(folder, other))
        if _is_vrt(name) and depth < _MAX_VRT_DEPTH:
            for source in _vrt_sources(path):
                yield source, stamp(source)
                yield from self._others(source, depth + 1)


def _is_vrt(name: str) -> bool:
    return name.lower().endswith(".vrt")


def _vrt_sources(path: str) -> list[str]:
    """The local files that a VRT names, as paths; empty where it cannot be read, which its header will tell."""
    try:
        if os.path.getsize(path) > _MAX_VRT_BYTES:
            return []
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return []
    folder = os.path.dirname(path)
    found = []
    for attributes, name in _SOURCE.findall(text):
        source = html.unescape(name).strip()
        if not is_remote(source):
            found.append(os.path.join(folder, source) if _RELATIVE.search(attributes) else source)
    return list(dict.fromkeys(found))
