"""What to label next, looked for in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from hdm_pipeline.errors import HdmError
from hdm_pipeline.session.values import Suggestion


class Suggestions:
    """One search at a time; the last one's result stays until the next is done. May be used by several threads.

    Args:
        look: `Session.suggest` with its `on_progress`.

    Attributes:
        state: of the search.
        progress: share of the archive that was looked at, 0..1.
        found: best first.
        error: why the last search failed; None without.
    """

    def __init__(self, look: Callable[[Callable[[float], None]], Sequence[Suggestion]]) -> None:
        self._look_at_all = look
        self._lock = threading.Lock()
        self.state: Literal["idle", "working", "done", "failed"] = "idle"
        self.progress = 0.0
        self.found: tuple[Suggestion, ...] = ()
        self.error: Mapping[str, str] | None = None

    def start(self) -> None:
        """Begin to look, unless that goes on already."""
        with self._lock:
            if self.state == "working":
                return
            self.state, self.progress, self.error = "working", 0.0, None
        # A daemon: the studio's end does not wait for it.
        threading.Thread(target=self._look, name="hdm-studio-suggest", daemon=True).start()

    def _look(self) -> None:
        try:
            self.found = tuple(self._look_at_all(self._heard))
        except HdmError as error:
            self.error, self.state = error.as_dict(), "failed"
        except BaseException:
            self.error = {"type": "InternalError", "what": "looking for what to label next failed; see the terminal"}
            self.state = "failed"
            raise
        else:
            self.progress, self.state = 1.0, "done"

    def _heard(self, share: float) -> None:
        self.progress = share
