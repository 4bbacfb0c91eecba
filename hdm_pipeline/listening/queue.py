"""Which delivery is next, and what becomes of it: the inbox and the watched folder held against the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdm_pipeline.listening.inbox import FileInbox, Waiting
from hdm_pipeline.listening.memory import Memory, Outcome, Row
from hdm_pipeline.listening.runner import Result
from hdm_pipeline.listening.snapshot import Snapshot, snapshot
from hdm_pipeline.listening.watched import WatchedFolder

MAX_CRASHES = 3
"""Runs of one delivery that crash before it is left alone."""

_FIRST_WAIT, _LONGEST_WAIT = 2.0, 600.0
_FINAL: tuple[Outcome, ...] = ("done", "refused", "quarantined", "empty")

Tell = Callable[..., None]
"""Called with the kind of an event and its facts."""


@dataclass(frozen=True)
class Due:
    """A delivery that is complete and is to be worked on.

    Attributes:
        id: its hashed name.
        uris: the input of its run.
        seen: what it holds.
        version: of a delivery in the inbox; None in the watched folder.
        short: parts that are left out, because files of them are missing.
    """

    id: str
    uris: tuple[str, ...]
    seen: Snapshot
    version: int | None
    short: frozenset[str] = frozenset()


class DeliveryQueue:
    """Finds the next delivery; used by one thread.

    Args:
        inbox: what receivers take in.
        watched: the watched folder, if there is one.
        memory: outcomes.
        quiet: seconds without a change after which a delivery in the inbox is complete.
        tell: of what happens.
    """

    def __init__(
        self, inbox: FileInbox, watched: WatchedFolder | None, memory: Memory, quiet: float, tell: Tell
    ) -> None:
        self._inbox, self._watched, self._memory = inbox, watched, memory
        self._quiet = quiet
        self._tell = tell
        self._judged: dict[str, int | str] = {}
        self._finished: dict[str, tuple[int, float]] = {}
        self._attempts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def next(self) -> Due | None:
        """The delivery that has been complete for longest; None if there is none."""
        return next(self._complete(), None)

    def ended(self, due: Due, result: Result, seconds: float) -> None:
        """Take in how a run ended."""
        if result.outcome in ("trouble", "stopped", "crashed"):
            attempts = self._attempts[due.id] = self._attempts.get(due.id, 0) + (result.outcome != "stopped")
            if result.outcome != "crashed" or attempts < MAX_CRASHES:
                wait = min(_FIRST_WAIT * 2 ** min(attempts, 16), _LONGEST_WAIT)
                self._not_before[due.id] = time.monotonic() + wait
                self._tell("retry", delivery=due.id, outcome=result.outcome, error=result.error, seconds=round(wait))
                return
            result = replace(result, outcome="failed")
        self._attempts.pop(due.id, None)
        self._not_before.pop(due.id, None)
        outcome: Any = "held" if due.short and result.outcome in _FINAL else result.outcome
        row = self._memory.get(due.id)
        counted = {part: count for part, count in due.seen.parts.items() if part not in due.short}
        parts = {**(row.parts if row else {}), **(counted if result.outcome in _FINAL else {})}
        now = time.time()
        self._memory.put(Row(due.id, due.seen.signature, outcome, result.scenes, result.error, parts, seconds, now))
        self._settle(due.id, due.version if due.version is not None else due.seen.signature, outcome, now)
        self._tell(outcome, delivery=due.id, scenes=result.scenes, error=result.error, seconds=round(seconds, 1))

    def tidy(self, keep: float) -> None:
        """Remove what was worked on from the inbox, `keep` seconds after its end."""
        for delivery, (version, finished) in list(self._finished.items()):
            gone = not self._inbox.has(delivery, version)  # removed to make room, or changed
            if gone or (time.time() - finished >= keep and self._inbox.remove(delivery, version)):
                del self._finished[delivery]

    @property
    def arriving(self) -> int:
        """Number of deliveries that are not complete yet."""
        coming = sum(one.busy or one.quiet < self._quiet for one in self._inbox.waiting())
        return coming + (self._watched.arriving if self._watched else 0)

    @property
    def waiting(self) -> int:
        """Number of deliveries that are complete and not worked on yet."""
        settled = self._watched.settled() if self._watched else ()
        return sum(self._is_new(one) for one in self._inbox.waiting()) + sum(
            self._judged.get(one.id) != one.seen.signature for one in settled
        )

    def _is_new(self, one: Waiting) -> bool:
        return not one.busy and one.quiet >= self._quiet and self._judged.get(one.id) != one.version

    def _later(self, delivery: str) -> bool:
        """Whether a delivery was tried a moment ago, and is to wait."""
        return time.monotonic() < self._not_before.get(delivery, 0.0)

    def _complete(self) -> Iterator[Due]:
        for one in self._inbox.waiting():
            if not self._is_new(one) or self._later(one.id):
                continue
            try:
                seen = snapshot(one.path)
            except FileNotFoundError:  # removed meanwhile to make room
                continue
            due = self._judge(one.id, one.path, seen, one.version)
            if due is not None:
                yield due
        for settled in self._watched.settled() if self._watched else ():
            if self._judged.get(settled.id) != settled.seen.signature and not self._later(settled.id):
                due = self._judge(settled.id, settled.path, settled.seen, None)
                if due is not None:
                    yield due

    def _judge(self, delivery: str, path: Path, seen: Snapshot, version: int | None) -> Due | None:
        """What is to be done with a complete delivery, by its outcome so far."""
        row = self._memory.get(delivery)
        mark = seen.signature if version is None else version
        if not seen.parts or (row is not None and row.signature == seen.signature):
            if row is None:
                row = Row(delivery, seen.signature, "empty")
            self._settle(delivery, mark, row.outcome, row.finished)
            return None
        short = frozenset() if version is None or row is None else _short(seen.parts, row.parts)
        whole = sorted(seen.parts.keys() - short)
        if row is not None and not whole:
            error = {"type": "files are missing", "remedy": "they were worked on and removed: send the delivery again"}
            self._memory.put(replace(row, signature=seen.signature, outcome="held", error=error, finished=time.time()))
            self._settle(delivery, mark, "held", 0.0)
            self._tell("held", delivery=delivery, error=error)
            return None
        uris = (str(path),) if not short else tuple(str(path / part) for part in whole)
        return Due(delivery, uris, seen, version, short)

    def _settle(self, delivery: str, mark: int | str, outcome: str, finished: float) -> None:
        self._judged[delivery] = mark
        if isinstance(mark, int) and outcome in _FINAL:
            self._finished[delivery] = (mark, finished)
            self._inbox.spare(delivery, mark)


def _short(now: Mapping[str, int], before: Mapping[str, int]) -> frozenset[str]:
    """Parts that hold fewer files than were worked on before: the others were removed from the inbox since."""
    return frozenset(part for part, count in now.items() if count < before.get(part, 0))
