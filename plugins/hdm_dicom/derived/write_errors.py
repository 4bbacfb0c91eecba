"""What a failure to write means: a full disk ends the run, as every scene would fail on it; the rest is the scene's.

pydicom raises anew what went wrong while it wrote an element, without the number that says what it was: that is found
in the exception behind it.
"""

from __future__ import annotations

import errno
from pathlib import Path

from hdm_pipeline.errors import DiskFullError, OutputError, WriteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS,)


def write_error(error: OSError, what: str, path: Path, scene: str) -> OutputError | WriteError:
    """The typed error for what the operating system raised while a product was written.

    Args:
        error: as it was caught.
        what: is being written, e.g. "the segmentation".
        path: of the product.
        scene: its id.
    """
    number = error_number(error)
    if number in _FULL:
        remedy = "free space or choose another output.directory; then run again: finished scenes are kept"
        return DiskFullError("the disk is full", where=str(path.parent), remedy=remedy)
    if number in _READ_ONLY:
        remedy = "choose another output.directory, or make its file system writable"
        return OutputError("the output is not writable", where=str(path.parent), remedy=remedy)
    remedy = "run again; if it stays, check the disk and that the files of the series are still there"
    return WriteError(f"{what} cannot be written ({type(error).__name__})", where=scene, remedy=remedy)


def error_number(error: BaseException | None) -> int | None:
    """The number (`errno`) of the first exception in the chain that has one; None without."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
