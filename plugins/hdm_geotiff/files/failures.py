"""Why a product could not be written, as an error that says what to do: GDAL seldom tells."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from hdm_geotiff.files.environment import cause_of
from hdm_pipeline.errors import DiskFullError, OutputError, WriteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def what_stops_writing(folder: Path, needed: int) -> OSError | None:
    """What the operating system has against writing there, if anything. Ask while unfinished files still fill the disk.

    GDAL removes some of its files when it fails, so that there may be room again for a little: less room than `needed`
    bytes counts as a full disk too.
    """
    try:
        with Path(folder, "probe").open("wb") as target:
            target.write(bytes(2**20))
            target.flush()
            os.fsync(target.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return error
    return OSError(errno.ENOSPC, f"{free / 2**20:.0f} MiB are free") if free < needed else None


def write_error(error: BaseException, path: Path, found: OSError | None) -> OutputError | WriteError:
    """The typed error for a failure; `found` is what the operating system said, where it was asked."""
    text = cause_of(error) if found is None else f"{found.strerror} ({cause_of(error)})"
    number = None if found is None else found.errno
    if number in _FULL:
        remedy = "free some space or choose another output directory, then run again: finished scenes are kept"
        return DiskFullError(f"the disk is full: {text}", where=str(path.parent), remedy=remedy)
    if number in _FORBIDDEN:
        remedy = "give this user permission to write there, or choose another output directory"
        return OutputError(f"the output directory is not writable: {text}", where=str(path.parent), remedy=remedy)
    remedy = "run again; if it stays, check the file system"
    return WriteError(f"the product cannot be written: {text}", where=str(path), remedy=remedy)


def labels_error(error: BaseException, folder: Path, found: OSError | None) -> OutputError:
    """The typed error for labels that could not be saved; see `write_error`."""
    text = cause_of(error) if found is None else f"{found.strerror} ({cause_of(error)})"
    number = None if found is None else found.errno
    kept = "what was saved before is whole"
    if number in _FULL:
        return DiskFullError(
            f"labels are not saved, the disk is full: {text}", where=str(folder), remedy=f"free some space; {kept}"
        )
    if number in _FORBIDDEN:
        remedy = f"give this user permission to write there, or name another folder for labels; {kept}"
        return OutputError(
            f"labels are not saved, the folder is not writable: {text}", where=str(folder), remedy=remedy
        )
    remedy = f"check the folder and its file system; {kept}"
    return OutputError(f"labels are not saved: {text}", where=str(folder), remedy=remedy)
