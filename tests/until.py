"""Waiting for what happens elsewhere: in another thread, another process, a server."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(seen: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it is seen; fail where that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)
