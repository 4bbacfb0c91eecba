"""Folders of this node for what is brought from a bucket: states of an output for readers, weights for actors.

A folder is filled aside and renamed into place, and never changes its state afterwards. Whoever reads in it holds a
lock on it till he gives it back or his process ends; who comes later, for another state, removes those that nobody
holds: what killed processes left, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hdm_pipeline.output.files import output_errors, remove_tree

_USED = ".used"
_ASIDE = ".filling-"

_held: dict[Path, int] = {}
"""Open files by folder: closed, and so given back, when the process ends."""

_holding = threading.Lock()

_KEPT = 4
"""States of an output that one process holds: who reads in an earlier one has read it by now."""


def copy_for_reading(base: Path, state: bytes, fill: Callable[[Path], None], *, given_back: bool = False) -> Path:
    """A folder for one state of an output.

    Args:
        base: of all folders for this output.
        state: what tells states apart.
        fill: fills a new folder.
        given_back: whether the caller does that (`give_back`); else this process holds the few that came last.

    Raises:
        OutputError: the folder cannot be made; or what `fill` raises.
    """
    folder = base / hashlib.sha256(state).hexdigest()[:16]
    with output_errors(base), _holding:
        base.mkdir(parents=True, exist_ok=True)
        _sweep(base, folder)
        if folder not in _held:
            _held[folder] = _hold(folder)
        if not given_back:  # a monitor asks for hours
            for earlier in [one for one in _held if one.parent == base][:-_KEPT]:
                os.close(_held.pop(earlier))
    if not folder.is_dir():
        with output_errors(base):
            aside = Path(tempfile.mkdtemp(prefix=f"{_ASIDE}{folder.name}-", dir=base))
        try:
            fill(aside)
            with suppress(OSError):  # another process was first: its folder is the same
                os.rename(aside, folder)
        finally:
            remove_tree(aside)
    return folder


def give_back(folder: Path) -> None:
    """This process reads no more in a folder of `copy_for_reading`; the last one that does removes it."""
    with _holding:
        os.close(_held.pop(folder))
        _remove_unless_held(folder)


def _hold(folder: Path) -> int:
    """Say that this process reads in a folder."""
    path = folder.with_name(folder.name + _USED)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.fstat(file).st_ino == path.stat().st_ino:  # else it was removed before we had it
                return file
        os.close(file)


def _sweep(base: Path, but: Path) -> None:
    """Remove folders of other states that nobody reads in, and what killed processes left."""
    for path in base.glob(f"*{_USED}"):
        folder = path.with_name(path.name.removesuffix(_USED))
        if folder != but and folder not in _held:
            _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    path = folder.with_name(folder.name + _USED)
    with suppress(FileNotFoundError, BlockingIOError):
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in (folder, *folder.parent.glob(f"{_ASIDE}{folder.name}-*")):
                remove_tree(left)
            path.unlink()
        finally:
            os.close(file)
