"""Which errors of Python and of libraries are no bugs, and what a user is told of them."""

from __future__ import annotations

import errno
import os

from hdm_pipeline.errors import ConfigError, HdmError, out_of_memory


def typed(error: Exception) -> HdmError | None:
    """What a user is told of an error; None of a bug."""
    if isinstance(error, HdmError):
        return error
    if lack := out_of_memory(error):
        return lack
    if isinstance(error, ImportError):
        from hdm_pipeline.extras import of_import

        return of_import(error, "this command")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        where = f"{str(error.filename or '')[:80]}..."
        return ConfigError("a path, or a name in it, is too long", where=where, remedy="give a shorter one")
    if isinstance(error, FileNotFoundError) and error.filename is None and not _folder_is_there():
        remedy = "change to a folder that is there (cd), and give the command again"
        return ConfigError("the folder that the command was given in is gone", where="present folder", remedy=remedy)
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        what = f"the locale of this process writes names of files in {error.encoding}, which lacks a character of one"
        return ConfigError(what, where=str(error.object), remedy="set LC_ALL=C.UTF-8, or PYTHONUTF8=1")
    return None


def _folder_is_there() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
