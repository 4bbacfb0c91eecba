"""Folders on a disk of this node that stand for what lies in an object store; nothing in them is needed again."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "HDM_SCRATCH"
"""Environment variable that names the folder; each node of a cluster may have its own."""

_CELLS = "cells"
_WEIGHTS = "weights"


def scratch_root() -> Path:
    """The folder for all scratch of this user on this node; made where it is missing, and nobody else may look into it.

    Raises:
        OSError: it cannot be made, or is another user's.
    """
    base = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    folder = base / f"hdm_pipeline-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # in a folder that all may write to
        raise PermissionError(f"{folder} is a link, or belongs to another user")
    return folder


def mirror_of(address: str) -> Path:
    """The folder on this node that mirrors an output directory in an object store."""
    return scratch_root() / hashlib.sha256(address.encode()).hexdigest()[:16]


def weights_folder() -> Path:
    """The folder for weights that are brought to this node.

    Raises:
        OSError: as `scratch_root`.
    """
    return scratch_root() / _WEIGHTS


def cells_folder() -> Path:
    """A new, empty folder for cells that this process fetches; what processes that are gone left is removed.

    Containers and hosts that share the scratch number their processes alike: each looks after its own.
    """
    base = scratch_root() / _CELLS / _machine()
    base.mkdir(parents=True, exist_ok=True)
    for old in base.iterdir():
        with suppress(ValueError, OSError):
            if not Path(f"/proc/{int(old.name.partition('-')[0])}").exists() and Path("/proc/self").exists():
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))


def _machine() -> str:
    """What tells the processes of this host, and of this container on it, from others."""
    try:
        space = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        space = "0"
    return hashlib.sha256(f"{socket.gethostname()}:{space}".encode()).hexdigest()[:16]
