"""Writing files so that they appear whole or not at all, and errors of the disk with their remedies."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import DiskFullError, OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


TRASH = ".trash-"
"""How the names of folders begin that are being removed; a killed run leaves some."""

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What the operating system says of a path at which nothing is."""

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def output_errors(
    path: Path, *, setting: str = "output.directory", full: type[OutputError] = DiskFullError
) -> Iterator[None]:
    """Turn what the operating system says about writing into an `OutputError` with a remedy.

    Args:
        path: that is written to.
        setting: key of the pipeline file that chooses where it lies.
        full: kind of error for a disk without room.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what, remedy = "the disk is full", f"free space or choose another {setting}; then run again"
        elif error.errno in _DENIED:
            what, remedy = "the output is not writable", f"choose another {setting}, or change its permissions"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            what, remedy = "a file lies where a folder is to be", f"choose another {setting}, or move the file"
        else:
            # Not the error itself: it may name a file, and files may be called after a patient.
            said = error.strerror or type(error).__name__
            what, remedy = f"cannot write: {said}", "check the path and the disk; then run again"
        kind = full if error.errno in _FULL else OutputError
        raise kind(what, where=str(path), remedy=remedy) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON by atomic rename."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes, *, setting: str = "output.directory") -> None:
    """Write a file by atomic rename; `setting` is what chooses where it lies."""
    write_pieces(path, [content], setting=setting)


def write_pieces(path: Path, pieces: Iterable[bytes], *, setting: str = "output.directory") -> None:
    """Write a file that need not fit into memory, by atomic rename; `setting` is what chooses where it lies."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with output_errors(path, setting=setting):
        with temporary.open("wb") as file:
            file.writelines(pieces)
        os.replace(temporary, path)


def remove_tree(folder: Path) -> None:
    """Remove a folder if it is there: renamed first, so that a crash leaves no half of it in its place."""
    aside = folder.with_name(f"{TRASH}{folder.name}-{os.getpid()}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing; another one, or one that is gone, stays as it is."""
    with suppress(OSError):
        folder.rmdir()
