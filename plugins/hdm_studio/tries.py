"""Trying windows: one after the other, of each page only the newest, and the last results kept for their pictures."""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable

from hdm_pipeline.grid import Window
from hdm_pipeline.session.values import Try, TryEndedError
from hdm_studio.errors import ConflictError, NotThereError

KEPT_BYTES = 256 << 20
"""Results that are kept; the oldest go first, but never the newest."""


class Tries:
    """May be used by several threads.

    Args:
        compute: `Session.try_window`, with its `stopped` as the last argument.
    """

    def __init__(self, compute: Callable[[str, Window, bool, Callable[[], bool]], Try]) -> None:
        self._compute = compute
        self._changed = threading.Condition()
        self._asked: Counter[str] = Counter()
        self._busy = False
        self._kept: OrderedDict[str, Try] = OrderedDict()

    def make(self, page: str, scene: str, window: Window, *, uncertainty: bool) -> tuple[str, Try]:
        """Try a window; gives the number under which its pictures are found, and the result.

        Args:
            page: who asks. A page looks at one window at a time: what it asked for before is not worth computing.
            scene: id.
            window: within the scene.
            uncertainty: also tell where the network is not sure.

        Raises:
            ConflictError: the same page has asked for something newer.
            HdmError: it cannot be tried.
        """
        with self._changed:
            self._asked[page] += 1
            turn = self._asked[page]
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy or self._asked[page] != turn)
            self._still_asked(page, turn)
            self._busy = True
        try:
            found = self._compute(scene, window, uncertainty, lambda: self._asked[page] != turn)
        except TryEndedError as error:
            raise _outdated() from error
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        with self._changed:
            self._still_asked(page, turn)
            return self._keep(found), found

    def get(self, number: str) -> Try:
        """A result by its number.

        Raises:
            NotThereError: it was too long ago, or never.
        """
        with self._changed:
            if number not in self._kept:
                raise NotThereError("this try is not kept any more", where=number, remedy="try the window again")
            return self._kept[number]

    def _still_asked(self, page: str, turn: int) -> None:
        if self._asked[page] != turn:
            raise _outdated()

    def _keep(self, found: Try) -> str:
        number = secrets.token_hex(8)
        self._kept[number] = found
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return number


def _outdated() -> ConflictError:
    return ConflictError("a newer window was asked for", where="try", remedy="wait for the newer one")


def _size(one: Try) -> int:
    return one.scores.nbytes + one.mask.nbytes + (0 if one.uncertainty is None else one.uncertainty.nbytes)
