"""How far the preparation of the supports has come, for who waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

StepName = Literal["reading", "loading", "reduction", "adaptation", "encoding", "checking"]
"""What is done, in this order, some for each class: read the examples, load the network, choose how much smaller it
sees images, try to adapt it, encode the examples, and look for each of them by the others."""

_INTERVAL = 0.5
"""Least seconds between two tellings within a step: adapting takes hundreds of them, and each is a line of the log."""


@dataclass(frozen=True)
class StepState:
    """How far one step is.

    Attributes:
        doing: which.
        class_name: of which class; empty for steps of all classes.
        done: parts that are done.
        total: all parts; of adaptation as many as there can be, for it may end early.
        seconds_left: until this step ends, if the other parts take as long as those that are done; None before the
            first is.
    """

    doing: StepName
    class_name: str
    done: int
    total: int
    seconds_left: float | None


OnStep = Callable[[StepState], None]


class Steps:
    """Tells a caller of steps: the begin and the end of each, and now and then between."""

    def __init__(self, on_step: OnStep | None) -> None:
        self._on_step = on_step
        self._current: tuple[StepName, str, int] = ("reading", "", 0)
        self._start = self._told = 0.0

    def begin(self, step: StepName, total: int, class_name: str = "") -> None:
        """A step of `total` parts begins."""
        self._current = step, class_name, total
        self._start = time.monotonic()
        self._tell(0)

    def advance(self, done: int, total: int | None = None) -> None:
        """So many parts are done; `total` corrects what `begin` said."""
        step, class_name, known = self._current
        self._current = step, class_name, known if total is None else total
        if done >= self._current[2] or time.monotonic() - self._told >= _INTERVAL:
            self._tell(done)

    def _tell(self, done: int) -> None:
        if self._on_step is None:
            return
        self._told = time.monotonic()
        step, class_name, total = self._current
        left = (self._told - self._start) / done * (total - done) if done else None
        self._on_step(StepState(step, class_name, done, total, None if left is None else round(left, 1)))
