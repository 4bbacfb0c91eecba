"""Zip and tar archives on disk, read in place: their tables of contents by Python, their rasters by GDAL.

A file within one is called as GDAL calls it: ``/vsizip/PATH/archive.zip/folder/a.tif``, or ``/vsitar/...``.
"""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from dataclasses import dataclass

from hdm_pipeline.errors import ArchiveError, ReadError

_KINDS = {".zip": "/vsizip/", ".tar": "/vsitar/", ".tar.gz": "/vsitar/", ".tgz": "/vsitar/"}
_SUFFIXES = tuple(_KINDS)
_SCHEME = re.compile(r"(?:zip|tar)(?:\+file)?://", re.IGNORECASE)
MISSING = "missing"
"""The `stamp` of a file that is not there."""

MOST_TEXT = 16 * 2**20
"""Bytes of a metadata file, on disk, in an archive or on the network."""

_UNPACK = "unpack the archive, and name the folder"
_LINK = f"a link within the archive, which GDAL does not follow: {_UNPACK}"
_LONG_NAME = f"GDAL does not read its name in this archive (tar, format pax): {_UNPACK}, or make it anew with `tar`"
_ENCRYPTED = f"it is encrypted: {_UNPACK}"
_METHOD = f"it is compressed by a method that GDAL does not read (neither stored nor deflate): {_UNPACK}"

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 9)
"""Of zip, that GDAL reads; 9 is deflate64."""

_DAMAGED = (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Container:
    """An archive on disk, or a folder in it.

    Attributes:
        path: of the archive.
        inner: folder or file within it, with forward slashes; empty for all of it.
    """

    path: str
    inner: str = ""

    @property
    def uri(self) -> str:
        """As GDAL calls it."""
        return "/".join(part for part in (f"{_prefix(self.path)}{os.path.abspath(self.path)}", self.inner) if part)

    def names(self) -> list[str]:
        """Paths within the archive of all files that lie in `inner`, or are it, and that GDAL can read; sorted.

        Raises:
            ArchiveError: it cannot be read.
        """
        return [name for name, reason in self.contents().items() if not reason]

    def contents(self) -> dict[str, str]:
        """Paths within the archive of all files that lie in `inner`, or are it, sorted; and why GDAL cannot read one.

        Raises:
            ArchiveError: it cannot be read.
        """
        try:
            found = _zip_contents(self.path) if _prefix(self.path) == "/vsizip/" else _tar_contents(self.path)
        except _DAMAGED as error:
            remedy = "copy or download it again, or leave it out of the archive"
            raise ArchiveError(f"the archive cannot be read: {error}", where=self.path, remedy=remedy) from error
        below = f"{self.inner}/" if self.inner else ""
        return {name: found[name] for name in sorted(found) if name == self.inner or name.startswith(below)}


def is_container(path: str) -> bool:
    """Whether a path is called like an archive."""
    return path.lower().endswith(_SUFFIXES)


def container_of(uri: str) -> Container | None:
    """The archive that a virtual path (`/vsizip/`, `/vsitar/`, ``zip://a.zip!/b.tif``) names, with what lies within.

    None if it is no such path, or names something else than a local file: an archive on the network is not opened.
    """
    if scheme := _SCHEME.match(uri):
        path, _, inner = uri[scheme.end() :].partition("!")
        return Container(path, inner.strip("/")) if is_container(path) and _local(path) else None
    prefix = next((kind for kind in set(_KINDS.values()) if uri.startswith(kind)), None)
    if prefix is None or not _local(uri[len(prefix) :]):
        return None
    parts = uri[len(prefix) :].split("/")
    for end in range(1, len(parts) + 1):
        path = "/".join(parts[:end])
        if is_container(path) and _prefix(path) == prefix and not os.path.isdir(path):
            return Container(path, "/".join(parts[end:]).strip("/"))
    return None


def read_text(uri: str) -> str:
    """A small text file on disk or in an archive.

    Raises:
        ReadError: it cannot be read, or is too large to be one.
    """
    try:
        data = _read(container_of(uri), uri)
    except (*_DAMAGED, KeyError) as error:
        remedy = "copy or download the product again, or leave it out of the archive"
        raise ReadError(f"the metadata cannot be read: {error}", where=uri, remedy=remedy) from error
    return metadata_text(data, uri)


def metadata_text(data: bytes, uri: str) -> str:
    """Metadata as text, of at most a byte more than `MOST_TEXT` of them.

    Raises:
        ReadError: there are more: no metadata are so large.
    """
    if len(data) > MOST_TEXT:
        remedy = "leave the product out of the archive"
        raise ReadError("the metadata file is too large to be one", where=uri, remedy=remedy)
    return data.decode("utf-8", "replace")


def text_of(uri: str, most: int = MOST_TEXT) -> str:
    """The beginning of a file on disk or in an archive, as text.

    Args:
        uri: of the file.
        most: bytes that are read.

    Raises:
        OSError: it cannot be read; or LookupError.
    """
    try:
        return _read(container_of(uri), uri, most).decode("utf-8", "replace")
    except _DAMAGED as error:
        raise OSError(str(error)) from error


def state_of(path: str) -> str:
    """The `stamp` of a file, or of the archive that it lies in."""
    container = container_of(path)
    return stamp(path if container is None else container.path)


def stamp(path: str) -> str:
    """Size and time of a file; `MISSING` if it is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return MISSING
    return f"{status.st_size}-{status.st_mtime_ns}"


def _read(container: Container | None, uri: str, most: int = MOST_TEXT + 1) -> bytes:
    if container is None:
        with open(uri, "rb") as file:
            return file.read(most)
    if _prefix(container.path) == "/vsizip/":
        with zipfile.ZipFile(container.path) as archive:
            zipped = next((one for one in archive.infolist() if _plain(one.filename) == container.inner), None)
            with archive.open(container.inner if zipped is None else zipped) as member:
                return member.read(most)
    with tarfile.open(container.path) as tar:
        stored = next((one for one in tar if one.isfile() and _plain(one.name) == container.inner), None)
        extracted = None if stored is None else tar.extractfile(stored)
        if extracted is None:
            raise KeyError(container.inner)
        with extracted:
            return extracted.read(most)


def _zip_contents(path: str) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {_plain(info.filename): _against_zipped(info) for info in archive.infolist() if not info.is_dir()}


def _against_zipped(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return _ENCRYPTED
    return "" if info.compress_type in _METHODS else _METHOD


def _tar_contents(path: str) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {_plain(info.name): _against_tarred(info) for info in archive if not (info.isdir() or info.isdev())}


def _against_tarred(info: tarfile.TarInfo) -> str:
    if info.islnk() or info.issym():
        return _LINK
    return _LONG_NAME if "path" in info.pax_headers else ""


def _plain(name: str) -> str:
    """A name as GDAL has it: `tar -cf a.tar .` begins each with ``./``."""
    return name.removeprefix("./")


def _local(path: str) -> bool:
    return not path.startswith(("/vsi", "{")) and "://" not in path


def _suffix(path: str) -> str:
    lower = path.lower()
    return next((suffix for suffix in _KINDS if lower.endswith(suffix)), "")


def _prefix(path: str) -> str:
    return _KINDS[_suffix(path)]
