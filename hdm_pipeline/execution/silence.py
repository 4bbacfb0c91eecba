"""When another machine has fallen silent: after some scenes without an answer the others are not asked for.

A PACS that hangs takes calls and answers none. Each scene would wait for several timeouts, thousands of them for days.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hdm_pipeline.errors import NoAnswerError

SCENES = 3
"""Scenes in a row without an answer, each after all its attempts."""

SECONDS = 60.0
"""Least time without any answer: a PACS that is started again is waited for."""


class Silence:
    """Counts scenes without an answer; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scenes = 0
        self._since = 0.0
        self._last: NoAnswerError | None = None

    @contextmanager
    def asking(self, scene: str) -> Iterator[None]:
        """Within: a scene is asked for.

        Raises:
            NoAnswerError: so many were without an answer that this one is not asked for.
        """
        start = time.monotonic()
        self._check(scene, start)
        try:
            yield
        except NoAnswerError as error:
            with self._lock:
                self._since = min(self._since, start) if self._scenes else start
                self._scenes += 1
                self._last = error
            raise
        except BaseException:
            self._heard()  # what came was wrong, but it came
            raise
        self._heard()

    def _heard(self) -> None:
        with self._lock:
            self._scenes = 0

    def _check(self, scene: str, now: float) -> None:
        with self._lock:
            if self._last is None or self._scenes < SCENES or now - self._since < SECONDS:
                return
            raise NoAnswerError(
                f"not asked for: there was no answer for {self._scenes} scenes in a row ({self._last.what})",
                where=f"scene {scene}",
                remedy=f"{self._last.remedy}; the next run asks again",
            )
