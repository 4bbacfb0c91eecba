"""The files of a folder that are to be de-identified: all that a run over the same folder reads, and more.

Links and zip archives are followed as a run follows them. Hidden files and products of earlier runs, which a run passes
over, are taken too: nothing may be missing because of what it is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hdm_dicom.files.zipped import ZipRefusedError, is_zip, member_paths

NOT_DICOM, CIRCLE = "files that are not DICOM", "links to folders that they lie in"
_PACKED = "archives that are not read in place: unpack them"
_REFUSED = "zip archives that cannot be read"
_UNREADABLE = "folders that cannot be read"
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")

LeaveOut = Callable[[str, str], None]
"""Told of a path that is left out, and why."""


def files_of(source: Path, target: Path, leave_out: LeaveOut) -> Iterator[str]:
    """All files, in one order on every machine; each real folder once.

    Args:
        source: folder or file.
        target: folder that is written, which a link may lead to.
        leave_out: told of what is not among them.
    """
    if source.is_file():
        yield from _within(str(source), leave_out)
        return
    seen = {os.path.realpath(target)}
    waiting = [str(source)]

    def unreadable(error: OSError) -> None:
        leave_out(str(error.filename), _UNREADABLE)

    while waiting:
        for parent, folders, names in os.walk(waiting.pop(0), onerror=unreadable):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            links = sorted(name for name in folders if os.path.islink(os.path.join(parent, name)))
            folders[:] = sorted(set(folders) - set(links))
            waiting += _leading_elsewhere(parent, links, leave_out)
            for name in sorted(names):
                yield from _within(os.path.join(parent, name), leave_out)


def _leading_elsewhere(parent: str, links: list[str], leave_out: LeaveOut) -> Iterator[str]:
    for link in (os.path.join(parent, name) for name in links):
        leads_to = Path(os.path.realpath(link))
        if leads_to in (here := Path(os.path.realpath(parent)), *here.parents):
            leave_out(link, CIRCLE)
        else:
            yield link


def _within(path: str, leave_out: LeaveOut) -> Iterator[str]:
    """The file, or those within the archive that it is."""
    if not os.path.isfile(path):
        leave_out(path, NOT_DICOM)  # a pipe would be waited for
    elif path.lower().endswith(_SUFFIXES):
        leave_out(path, _PACKED)
    elif is_zip(path):
        try:
            yield from member_paths(path)
        except ZipRefusedError:
            leave_out(path, _REFUSED)
    else:
        yield path
