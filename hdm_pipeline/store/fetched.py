"""Cells out of an object store, on a disk of this node: each is fetched once a process as long as there is room.

A cell never changes under its address: whoever writes it again writes the same bytes. One that turns out to be damaged
is forgotten, so that it is fetched anew after it was written anew.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hdm_pipeline.objects.scratch import VARIABLE, cells_folder
from hdm_pipeline.output.files import output_errors, write_bytes

MOST_BYTES = 1 << 30
"""Of all cells that a process keeps on its disk, but for those that are being read."""


class FetchedCells:
    """The cells of one process, those that were used last; used by several threads.

    Args:
        most_bytes: that are kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self._in_use: Counter[Path] = Counter()
        self._lock, self._fetching = threading.Lock(), threading.Lock()
        self._root: Path | None = None

    def folder(self, address: str) -> Path:
        """The folder for the cells of an array.

        Raises:
            OutputError: it cannot be made.
        """
        with self._lock:
            if self._root is None:
                with output_errors(Path("scratch"), setting=VARIABLE):
                    self._root = cells_folder()
                atexit.register(shutil.rmtree, self._root, ignore_errors=True)
            folder = self._root / _relative(address)
        with output_errors(folder, setting=VARIABLE):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def using(self, files: Sequence[Path], fetch: Callable[[str], bytes | None]) -> Iterator[list[Path]]:
        """Within: the cells are here, and stay.

        Args:
            files: where they lie, or are to lie.
            fetch: their content by name; None for one that is not in the store.

        Yields:
            Those that are not in the store.
        """
        with self._lock:
            self._in_use.update(files)
        try:
            missing = []
            for file in files:
                if file.exists():
                    with self._lock:
                        if file in self._sizes:
                            self._sizes.move_to_end(file)
                    continue
                with self._fetching:  # two threads do not write one file at once
                    content = file.read_bytes() if file.exists() else fetch(file.name)
                    if content is None:
                        missing.append(file)
                        continue
                    write_bytes(file, content, setting=VARIABLE)
                self.add(file, len(content))
            yield missing
        finally:
            with self._lock:
                self._in_use.subtract(files)
                self._in_use += Counter()  # drops those that nobody uses

    def add(self, file: Path, size: int) -> None:
        """Keep a cell that lies here, and drop those that were not used for longest where it is too much."""
        with self._lock:
            self._sizes[file] = size
            self._sizes.move_to_end(file)
            total = sum(self._sizes.values())
            for old in [one for one in self._sizes if one != file and not self._in_use[one]]:
                if total <= self._most:
                    break
                total -= self._sizes.pop(old)
                old.unlink(missing_ok=True)

    def forget(self, files: Sequence[Path]) -> None:
        """Remove cells that are damaged."""
        with self._lock:
            self._forget(files)

    def forget_below(self, address: str) -> None:
        """Remove the cells of all arrays below an address, which are gone: what is gone must not be read on."""
        with self._lock:
            if self._root is not None:  # folders stay: an array that is open writes into its own
                self._forget(list((self._root / _relative(address)).rglob("c.*")))

    def _forget(self, files: Sequence[Path]) -> None:
        for file in files:
            self._sizes.pop(file, None)
            file.unlink(missing_ok=True)


def _relative(address: str) -> Path:
    """Folders within folders as in the store, under names that every disk takes."""
    return Path(*(hashlib.sha256(part.encode()).hexdigest()[:16] for part in address.split("/")))


FETCHED = FetchedCells()
"""Of this process."""
