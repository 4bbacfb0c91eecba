"""Files within zip archives, read in place: a study that was sent as one file need not be unpacked.

A file within an archive is called ``PATH/study.zip!/folder/0001.dcm``. Nothing is written to disk, so no name within an
archive can lead anywhere; how much is taken into memory is bounded before anything is inflated.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from functools import lru_cache
from typing import BinaryIO

SEPARATOR = "!/"
_SUFFIX = ".zip"

MAX_MEMBER = 1 << 30
"""Largest file within an archive, in bytes: it is inflated into memory."""

_MAX_RATIO = 1100
"""Deflate makes nothing smaller than to a 1,032nd part: an archive that claims more overlaps itself, or lies."""

_MAX_MEMBERS = 1_000_000
_ENCRYPTED = 0x1

DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged archive raises."""


class ZipRefusedError(ValueError):
    """An archive, or a file within one, that is not read; the text says why, without any name."""


def is_zip(path: str) -> bool:
    """Whether a file is called like a zip archive."""
    return path.lower().endswith(_SUFFIX)


def split_member(path: str) -> tuple[str, str] | None:
    """The archive and the name within it that a path means; None for a plain path."""
    at = path.lower().find(_SUFFIX + SEPARATOR)
    if at < 0:
        return None
    archive = path[: at + len(_SUFFIX)]
    return (archive, path[at + len(_SUFFIX) + len(SEPARATOR) :]) if os.path.isfile(archive) else None


def member_paths(archive: str) -> list[str]:
    """Paths of all files within an archive, sorted; without those whose name, or folder, begins with a dot.

    Raises:
        ZipRefusedError: not a zip archive, damaged, or it claims to hold more than such a file can.
    """
    try:
        infos = [info for info in _opened(archive).infolist() if not info.is_dir() and not _hidden(info.filename)]
    except DAMAGED as error:
        raise ZipRefusedError(f"a zip archive that cannot be read ({type(error).__name__})") from None
    if sum(info.file_size for info in infos) > _MAX_RATIO * os.path.getsize(archive) or len(infos) > _MAX_MEMBERS:
        raise ZipRefusedError("a zip archive that claims to hold more than its size allows (a zip bomb)")
    return sorted(archive + SEPARATOR + info.filename for info in infos)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def member_size(path: str) -> tuple[int, str]:
    """Bytes of a file within an archive, and what changes with its content.

    Raises:
        ZipRefusedError: it is encrypted or too large. Others of `DAMAGED` where it is not there.
    """
    archive, name = _named(path)
    info = _opened(archive).getinfo(name)
    _check(info)
    return info.file_size, f"{info.file_size}-{info.CRC:08x}"


def open_member(path: str) -> BinaryIO:
    """A file within an archive as a stream that inflates as far as it is read. Raises as `member_size`."""
    archive, name = _named(path)
    opened = _opened(archive)
    _check(opened.getinfo(name))
    return opened.open(name)  # type: ignore[return-value]


def open_file(path: str) -> BinaryIO:
    """A file on disk, or one within an archive, inflated into memory.

    Raises:
        OSError: it cannot be read. ValueError: it is within an archive that is refused or damaged.
    """
    if split_member(path) is None:
        return open(path, "rb")
    try:
        return io.BytesIO(_inflated(path, member_size(path)[1]))
    except ZipRefusedError:
        raise
    except DAMAGED as error:
        raise ValueError(f"the archive is damaged ({type(error).__name__})") from None


@lru_cache(maxsize=1)
def _inflated(path: str, _stamp: str) -> bytes:
    """The last file that was read: the frames of one come one after the other."""
    with open_member(path) as file:
        return file.read(MAX_MEMBER)


def _named(path: str) -> tuple[str, str]:
    named = split_member(path)
    if named is None:
        raise FileNotFoundError("no such archive")
    return named


def _check(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise ZipRefusedError("encrypted within a zip archive: unpack it with its password")
    if info.file_size > MAX_MEMBER:
        raise ZipRefusedError(f"more than {MAX_MEMBER >> 20} MiB within a zip archive: unpack it")


def _opened(archive: str) -> zipfile.ZipFile:
    status = os.stat(archive)
    return _opened_as(archive, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened_as(archive: str, _size: int, _changed: int) -> zipfile.ZipFile:
    """Open archives, whose tables of contents are read once; several threads may read one."""
    return zipfile.ZipFile(archive)
