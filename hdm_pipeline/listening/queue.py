"""Which delivery is next, and what becomes of it: the inbox and the watched folder held against the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import OutputError
from hdm_pipeline.listening.inbox import FileInbox, Waiting
from hdm_pipeline.listening.memory import Memory, Outcome, Row
from hdm_pipeline.listening.runner import Result
from hdm_pipeline.listening.snapshot import Snapshot, snapshot
from hdm_pipeline.listening.watched import WatchedFolder

MAX_CRASHES = 3
"""Runs of one delivery that crash before it is left alone."""

_FIRST_WAIT, _LONGEST_WAIT = 2.0, 600.0
_FINAL: tuple[Outcome, ...] = ("done", "refused", "quarantined", "empty")

_UNREADABLE = {"type": "OutputError", "remedy": "its files cannot be read: check listen.inbox and its disk"}

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
        retry: it was asked for, so that quarantined scenes are tried again, too.
    """

    id: str
    uris: tuple[str, ...]
    seen: Snapshot
    version: int | None
    short: frozenset[str] = frozenset()
    retry: bool = False


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
        """The delivery that has been complete for longest; None if there is none.

        Raises:
            OutputError: it is not known what became of deliveries.
        """
        return next(self._complete(), None)

    def ended(self, due: Due, result: Result, seconds: float) -> None:
        """Take in how a run ended.

        Raises:
            OutputError: the outcome cannot be remembered; nothing is changed then.
        """
        if result.outcome in ("trouble", "stopped", "crashed"):
            attempts = self._attempts[due.id] = self._attempts.get(due.id, 0) + (result.outcome != "stopped")
            if result.outcome == "trouble":
                self._inbox.make_room()
            if result.outcome != "crashed" or attempts < MAX_CRASHES:
                self._put_off(due.id, attempts, result)
                return
            result = replace(result, outcome="failed")
        outcome: Any = "held" if due.short and result.outcome in _FINAL else result.outcome
        row = self._memory.get(due.id)
        counted = {part: count for part, count in due.seen.parts.items() if part not in due.short}
        parts = {**(row.parts if row else {}), **(counted if result.outcome in _FINAL else {})}
        now = time.time()
        self._memory.put(Row(due.id, due.seen.signature, outcome, result.scenes, result.error, parts, seconds, now))
        # Only now, for the memory may have failed: the listener then comes back with the same result.
        self._attempts.pop(due.id, None)
        self._not_before.pop(due.id, None)
        self._settle(due.id, due.version if due.version is not None else due.seen.signature, outcome, now)
        self._tell(outcome, delivery=due.id, scenes=result.scenes, error=result.error, seconds=round(seconds, 1))

    def _put_off(self, delivery: str, attempts: int, result: Result) -> None:
        wait = min(_FIRST_WAIT * 2 ** min(attempts, 16), _LONGEST_WAIT)
        self._not_before[delivery] = time.monotonic() + wait
        self._tell("retry", delivery=delivery, outcome=result.outcome, error=result.error, seconds=round(wait))

    def fulfil(self, busy: str | None) -> None:
        """Do what somebody asked for by `listen --again` and `--drop`.

        Args:
            busy: delivery that is being worked on: it comes later.

        Raises:
            OutputError: something cannot be done now; the rest is.
        """
        failed: OutputError | None = None
        for delivery, wish in self._memory.wishes().items():
            try:
                if delivery == busy or not (self._drop(delivery) if wish == "drop" else self._again(delivery)):
                    continue
                self._memory.fulfilled(delivery, wish)
            except OutputError as error:  # the others go on
                failed = error
                continue
            self._attempts.pop(delivery, None)
            self._not_before.pop(delivery, None)
            self._tell(wish, delivery=delivery)
        if failed is not None:
            raise failed

    def _again(self, delivery: str) -> bool:
        """Let a delivery be due as it is, even if files of it are missing."""
        row = self._memory.get(delivery)
        if row is not None:
            self._memory.put(replace(row, signature="", parts={} if row.outcome == "held" else row.parts))
        self._judged.pop(delivery, None)
        self._finished.pop(delivery, None)
        return True

    def _drop(self, delivery: str) -> bool:
        """Remove a delivery from the inbox, unless some of it still comes; one in the watched folder is left alone."""
        filed = next((one for one in self._inbox.waiting() if one.id == delivery), None)
        if filed is not None and not self._inbox.remove(delivery, filed.version):
            return False
        row = self._memory.get(delivery)
        if row is not None:
            # What is sent once more counts, but which files were worked on before stays known: others are held again.
            seen = None if self._watched is None else self._watched.seen(delivery)
            signature = "" if seen is None else seen.signature
            self._memory.put(replace(row, outcome="dropped", error=None, signature=signature, finished=time.time()))
        return True

    def tidy(self, keep: float) -> None:
        """Remove what was worked on from the inbox, `keep` seconds after its end; forget what is gone.

        Raises:
            OutputError: something cannot be removed; the rest is.
        """
        there = {one.id for one in self._inbox.waiting()} | (self._watched.ids if self._watched else set())
        known: dict[str, Any]
        for known in (self._judged, self._attempts, self._not_before):
            for delivery in known.keys() - there:
                del known[delivery]
        failed: OutputError | None = None
        for delivery, (version, finished) in list(self._finished.items()):
            try:
                gone = not self._inbox.has(delivery, version)  # removed to make room, or changed
                if gone or (time.time() - finished >= keep and self._inbox.remove(delivery, version)):
                    del self._finished[delivery]
            except OutputError as error:
                failed = error
        if failed is not None:
            raise failed

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
            except OSError:  # a disk or permissions of this one: the others go on
                attempts = self._attempts[one.id] = self._attempts.get(one.id, 0) + 1
                self._put_off(one.id, attempts, Result("trouble", error=_UNREADABLE))
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
            error = {
                "type": "files are missing",
                "remedy": "they were worked on and removed: send the delivery again, or see `listen --again`",
            }
            self._memory.put(replace(row, signature=seen.signature, outcome="held", error=error, finished=time.time()))
            self._settle(delivery, mark, "held", 0.0)
            self._tell("held", delivery=delivery, error=error)
            return None
        uris = (str(path),) if not short else tuple(str(path / part) for part in whole)
        return Due(delivery, uris, seen, version, short, retry=row is not None and not row.signature)

    def _settle(self, delivery: str, mark: int | str, outcome: str, finished: float) -> None:
        self._judged[delivery] = mark
        if isinstance(mark, int) and outcome in _FINAL:
            self._finished[delivery] = (mark, finished)
            self._inbox.spare(delivery, mark)


def _short(now: Mapping[str, int], before: Mapping[str, int]) -> frozenset[str]:
    """Parts that hold fewer files than were worked on before: the others were removed from the inbox since."""
    return frozenset(part for part, count in now.items() if count < before.get(part, 0))
