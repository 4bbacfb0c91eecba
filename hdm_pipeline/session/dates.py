"""When the scenes of an archive were taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hdm_pipeline.contracts import Reader, SceneHeader, SceneRef
from hdm_pipeline.errors import HdmError, SceneError
from hdm_pipeline.session.troubles import Troubles


class Dates:
    """When scenes were taken, as their headers say, which are read in a thread at leisure.

    Scenes of patients have no date here: it is personal data.

    Args:
        refs: the scenes as they are now.
        reader: of the archive.
        troubles: told of scenes whose header cannot be read.

    Attributes:
        known: by scene, ISO 8601; empty where nothing tells.
    """

    def __init__(self, refs: Callable[[], Sequence[SceneRef]], reader: Reader, troubles: Troubles) -> None:
        self.known: dict[SceneRef, str] = {}
        self._refs, self._reader, self._troubles = refs, reader, troubles
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def learn(self, header: SceneHeader) -> None:
        """Take the date from a header."""
        self.known[header.ref] = "" if header.ref.private else str(header.attributes.get("datetime", ""))

    def start(self) -> None:
        """Read the headers that were not read yet, unless that goes on already."""
        unread = [ref for ref in self._refs() if ref not in self.known and not (ref.private or ref.remote)]
        if unread and (self._thread is None or not self._thread.is_alive()):
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._read, args=(unread, self._ended), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._ended.set()

    def _read(self, unread: Sequence[SceneRef], ended: threading.Event) -> None:
        for ref in unread:
            start = time.monotonic()
            try:
                self.learn(self._reader.header(ref))
            except HdmError as error:  # whoever opens the scene is told
                self.known[ref] = ""
                if isinstance(error, SceneError):
                    self._troubles.learn(ref, error)
            if ended.wait(time.monotonic() - start):  # half of the time is left to those who wait for a picture
                return
