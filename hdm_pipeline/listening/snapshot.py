"""What a delivery holds at one moment: its files by part, and a signature that changes whenever one of them does."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Snapshot:
    """The files of a delivery, without their names.

    Attributes:
        signature: hash of all paths, sizes and modification times.
        parts: number of files by part, which is the first folder below the delivery; "" for files that lie in it.
        size: bytes.
    """

    signature: str
    parts: Mapping[str, int]
    size: int

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(self.parts.values())


def snapshot(folder: Path) -> Snapshot:
    """Look at a delivery; what comes or goes meanwhile may be in it or not.

    Raises:
        OSError: the folder cannot be read.
    """
    found = sorted(_files(folder, ""))
    content = hashlib.sha256()
    parts: Counter[str] = Counter()
    for name, size, stamp in found:
        content.update(f"{name}\0{size}\0{stamp}\n".encode("utf-8", "surrogateescape"))
        parts[name.rpartition("/")[0].partition("/")[0]] += 1
    return Snapshot(content.hexdigest(), dict(parts), sum(size for _, size, _ in found))


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    """(path within the delivery, bytes, modification time in ns) of every regular file; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(folder / entry.name, f"{prefix}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield prefix + entry.name, status.st_size, status.st_mtime_ns
            except FileNotFoundError:  # renamed while we look: the next look sees it under its other name
                continue
