"""Writing files so that they appear whole or not at all, and errors of the disk with their remedies."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT}


TRASH = ".trash-"
"""How the names of folders begin that are being removed; a killed run leaves some."""

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into an `OutputError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what, remedy = "the disk is full", "free space or choose another output.directory; then run again"
        elif error.errno in _DENIED:
            what, remedy = "the output is not writable", "choose another output.directory, or change its permissions"
        else:
            what, remedy = f"cannot write: {error.strerror or error}", "check the path and the disk; then run again"
        raise OutputError(what, where=str(path), remedy=remedy) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON by atomic rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with output_errors(path):
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)


def remove_tree(folder: Path) -> None:
    """Remove a folder if it is there: renamed first, so that a crash leaves no half of it in its place."""
    aside = folder.with_name(f"{TRASH}{folder.name}-{os.getpid()}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)
