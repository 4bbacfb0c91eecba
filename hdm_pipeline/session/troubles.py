"""Which scenes could not be read when somebody looked at them, and why."""

from __future__ import annotations

import threading

from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import SceneError


class Troubles:
    """What was wrong with scenes when they were last read. May be used by several threads.

    A file that is replaced is another reference, and nothing is known of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[SceneRef, dict[str, str]] = {}  # not the errors: they would keep pixels

    def learn(self, ref: SceneRef, error: SceneError) -> None:
        """A scene cannot be read; one that was never to be read here, as it lies on another machine, is left out."""
        if not ref.remote:
            with self._lock:
                self._known[ref] = error.as_dict()

    def of(self, ref: SceneRef) -> dict[str, str] | None:
        """Why a scene cannot be read, as `HdmError.as_dict`; None while nothing is known to be wrong with it."""
        with self._lock:
            return self._known.get(ref)

    def forget(self, ref: SceneRef | None = None) -> None:
        """A scene can be read, all of it; or, of all scenes, look again."""
        with self._lock:
            if ref is None:
                self._known.clear()
            else:
                self._known.pop(ref, None)
