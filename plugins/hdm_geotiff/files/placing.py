"""Small text files, put into place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from hdm_geotiff.files.failures import write_error


def put(path: Path, text: str) -> None:
    """Write a file and rename it into place; one that is there already with the same text is left alone.

    The unfinished file is called by this process, so that another one that writes beside it cannot take it away.

    Args:
        path: where it appears, in an existing folder.
        text: with newlines as they shall be.

    Raises:
        OutputError: the folder is not writable, or the disk is full.
        WriteError: any other failure.
    """
    content = text.encode("utf-8")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.is_file() and path.read_bytes() == content:
            return
        try:
            part.write_bytes(content)
            os.replace(part, path)
        except OSError:
            if part.parent.is_dir():
                part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise write_error(error, path, error) from error
