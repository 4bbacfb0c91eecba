"""Letting the examples choose anew how they are used, and judge each other, while nobody draws."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hdm_pipeline.errors import HdmError
from hdm_pipeline.grid import Window

QUIET = 2.0
"""Seconds without a stroke or a try after which a person is taken to look, not to draw."""


class Settling:
    """Settles in a thread of its own, some time after the last change or try. May be used by several threads.

    Args:
        settle: `Session.settle`: whether it came to its end.
        quiet: seconds without a change.
    """

    def __init__(self, settle: Callable[[], bool], quiet: float = QUIET) -> None:
        self._settle, self._quiet = settle, quiet
        self._changed = threading.Condition()
        self._changes = 0
        self._settled = 0
        self._busy = 0
        self._drawing = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hdm-studio-settle", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether nothing has changed since it was settled, and nothing is about to."""
        with self._changed:
            return self._settled == self._changes and not self._drawing

    def wait(self) -> None:
        """Something was tried: what is to be settled waits until it is quiet again. The first time all is to be."""
        with self._changed:
            self._busy += 1
            self._changes = max(1, self._changes)
            self._changed.notify_all()

    def drawn(self, draw: Callable[[], Window | None]) -> Window | None:
        """Draw: meanwhile, and once something has changed, what was settled does not hold.

        Whoever draws is not to be slowed down: it is settled again when nobody does.

        Args:
            draw: changes what is labelled, and says where; None where nothing changed.

        Returns:
            What `draw` does.
        """
        with self._changed:
            self._drawing += 1
        window = None
        try:
            window = draw()
        finally:
            with self._changed:
                self._drawing -= 1
                self._changes += window is not None
                self._changed.notify_all()
        return window

    def close(self) -> None:
        """Begin no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (change := self._next()) is not None:
            try:
                ended = self._settle()
            except HdmError:  # whoever tries next is told
                ended = True
            with self._changed:
                if ended:
                    self._settled = change

    def _next(self) -> int | None:
        """The change that is settled next, once it is quiet; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._settled != self._changes)
            while not self._closed:
                now = self._changes, self._busy
                if not self._changed.wait_for(
                    lambda: self._closed or (self._changes, self._busy) != now,  # noqa: B023
                    self._quiet,
                ):
                    return self._changes
            return None
