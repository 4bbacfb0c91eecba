"""Where instances arrive: checked, under hashed names, complete or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hdm_dicom.files.attributes import PARSE_ERRORS, text
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.uids import digest, is_uid
from hdm_pipeline.errors import FetchError, OutputError, UnsupportedSceneError

_NAME = 32
_SUFFIX = ".dcm"
_PART = ".part"
_LOOK = "look at the series in the PACS: what it sends is not what it lists; the next run tries again"


class Inbox:
    """Instances of one series in a folder; may be filled by several threads.

    No name on disk comes from the PACS: files are named by hashes of their UIDs. What is not complete has a name that
    begins with a dot, and is removed when the folder is opened again.

    Args:
        folder: must exist. What earlier attempts left complete is kept.
        series: UID that every instance must have.
        most: bytes of all files together.
        where: the scene, for errors.
        stopped: once it says True, nothing more is taken.
    """

    def __init__(
        self, folder: Path, series: str, most: int, where: str, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._stopped = stopped
        self.folder, self._series, self._most, self._where = folder, series, most, where
        self._lock = threading.Lock()
        self._serial = 0
        self._bytes = 0
        self._have: set[str] = set()
        for path in folder.iterdir():
            if path.name.endswith(_PART) or not self._is_whole(path):
                path.unlink()
                continue
            self._have.add(path.name)
            self._bytes += path.stat().st_size

    def __len__(self) -> int:
        return len(self._have)

    def path(self, uid: str) -> Path:
        """Where an instance lies, or will."""
        return self.folder / _name(uid)

    def missing(self, uids: Iterable[str]) -> list[str]:
        """Those of some instances that have not arrived."""
        return [uid for uid in uids if _name(uid) not in self._have]

    def keep_only(self, uids: Iterable[str]) -> None:
        """Remove every instance but these."""
        kept = {_name(uid) for uid in uids}
        for name in self._have - kept:
            (self.folder / name).unlink()
        self._have &= kept

    def put(self, pieces: Iterable[bytes]) -> str:
        """Take one instance, a DICOM file in pieces; returns its UID.

        Raises:
            FetchError: it is no DICOM file, or not of this series.
            UnsupportedSceneError: the series is larger than allowed.
            OutputError: it cannot be written.
        """
        with self._lock:
            self._serial += 1
            part = self.folder / f".{self._serial}{_PART}"
        try:
            with self._disk():
                file = part.open("wb")
            with file:
                for piece in pieces:  # what the network raises here is not the disk's
                    self._count(len(piece))
                    with self._disk():
                        file.write(piece)
                with self._disk():
                    file.flush()
            uid = self._checked(part)
            with self._disk():
                os.replace(part, self.path(uid))
        finally:
            part.unlink(missing_ok=True)
        with self._lock:
            self._have.add(_name(uid))
        return uid

    @property
    def room(self) -> int:
        """Bytes that may still come."""
        return self._most - self._bytes

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"what is fetched cannot be written: {error.strerror}",
                where=str(self.folder),
                remedy="free space, or lower execution.fetch_ahead; then run again: what came is kept",
            ) from None

    def check_stopped(self) -> None:
        """Raise `FetchError` once we are to stop."""
        if self._stopped():
            raise FetchError("fetching was stopped", where=self._where, remedy="run again: what came is kept")

    def _count(self, more: int) -> None:
        self.check_stopped()
        with self._lock:
            self._bytes += more
            if self._bytes <= self._most:
                return
        raise self.too_large()

    def too_large(self) -> UnsupportedSceneError:
        """The error for a series with more bytes than allowed."""
        return UnsupportedSceneError(
            f"the series has more than {self._most} bytes",
            where=self._where,
            remedy="raise input.options.max_fetch_bytes if the PACS is to be trusted",
        )

    def _checked(self, path: Path) -> str:
        try:
            with self._disk():
                header = read_header(str(path), ("SOPInstanceUID", "SeriesInstanceUID"))
            uid, series = text(header, "SOPInstanceUID"), text(header, "SeriesInstanceUID")
        except PARSE_ERRORS:
            raise FetchError(
                "the PACS sends something that is no DICOM file", where=self._where, remedy=_LOOK
            ) from None
        if series != self._series:
            raise FetchError("the PACS sends an instance of another series", where=self._where, remedy=_LOOK)
        if not is_uid(uid):
            raise FetchError(
                "the PACS sends an instance whose SOPInstanceUID is no UID", where=self._where, remedy=_LOOK
            )
        return uid

    def _is_whole(self, path: Path) -> bool:
        """Whether a file was put here under its name; one that a power cut emptied is not."""
        try:
            return path.name == _name(self._checked(path))
        except FetchError:
            return False


def _name(uid: str) -> str:
    return digest(uid)[:_NAME] + _SUFFIX
