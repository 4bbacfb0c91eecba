"""A folder that others copy deliveries into: each folder in it is one, complete once nothing in it changes any more.

Names are hashed before they go anywhere: people call such folders after patients.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.listening.inbox import hashed
from hdm_pipeline.listening.snapshot import Snapshot, snapshot

_SHARE = 20
"""A folder is looked at for at most one of so many seconds."""

_SETTLED_INTERVAL = 30.0
"""Least seconds between two looks at a folder that has not changed for long."""


@dataclass
class _Look:
    """The last look at a folder: what it found and when, since when that has been so, and when the next one is due."""

    seen: Snapshot
    since: float
    at: float
    next: float

    def settled(self, quiet: float) -> bool:
        """Whether nothing has changed for so long, at the last look: what has come since is not known."""
        return self.at - self.since >= quiet


@dataclass(frozen=True)
class Settled:
    """A folder that has not changed for the quiet time.

    Attributes:
        id: its hashed name.
        path: the folder.
        seen: what it holds.
    """

    id: str
    path: Path
    seen: Snapshot


def deliveries_in(folder: Path) -> tuple[set[str], int]:
    """Which folders in a watched folder are deliveries, and how many files lie loose beside them.

    Folders that may not be read yet are none, links and output directories neither.

    Raises:
        OSError: the watched folder cannot be read.
    """
    names, loose = set(), 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if not entry.is_dir(follow_symlinks=False):
                    loose += 1
                elif not (folder / entry.name / OUTPUT_MARKER).exists():  # else products go there
                    names.add(entry.name)
            except OSError:
                continue
    return names, loose


class WatchedFolder:
    """Finds folders that are complete.

    Args:
        folder: where others put them. Those that begin with a dot are passed over, so that a copy can be made under
            such a name and renamed.
        quiet: seconds for which no file may come, go, grow or get another time.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(self, folder: Path, quiet: float) -> None:
        if not folder.is_dir():
            raise ConfigError("no such folder", where=f"listen.folder: {folder}", remedy="make it, or correct the path")
        self._folder = folder
        self._quiet = quiet
        self._poll = min(quiet / 4, 5.0)
        self._looks: dict[str, _Look] = {}
        self.loose = 0

    def settled(self) -> list[Settled]:
        """All folders that are quiet now, the longest first. Those that hold no file are none."""
        self._look()
        quiet = [(look.since, name) for name, look in self._looks.items() if look.settled(self._quiet)]
        return [
            Settled(hashed(name), self._folder / name, self._looks[name].seen)
            for _, name in sorted(quiet)
            if self._looks[name].seen.files
        ]

    def seen(self, delivery: str) -> Snapshot | None:
        """What a folder holds, by its hashed name; None if there is no such folder, or it may not be read yet."""
        self._look()
        return next((look.seen for name, look in self._looks.items() if hashed(name) == delivery), None)

    @property
    def ids(self) -> set[str]:
        """Hashed names of all folders that are there."""
        return {hashed(name) for name in self._looks}

    @property
    def arriving(self) -> int:
        """Number of folders that still change."""
        return sum(not look.settled(self._quiet) for look in self._looks.values())

    def _look(self) -> None:
        try:
            names, self.loose = deliveries_in(self._folder)
        except OSError:  # a share that is away for a moment
            return
        for gone in self._looks.keys() - names:
            del self._looks[gone]
        for name in sorted(names):
            known = self._looks.get(name)
            if known is None or time.monotonic() >= known.next:
                self._look_at(name, known)

    def _look_at(self, name: str, known: _Look | None) -> None:
        start = time.monotonic()
        try:
            seen = snapshot(self._folder / name)
        except OSError:  # it is being renamed, or may not be read yet
            self._looks.pop(name, None)
            return
        now = time.monotonic()
        look = _Look(seen, known.since if known is not None and known.seen == seen else now, start, now)
        if look.settled(self._quiet):
            look.next += max(self._poll, min(_SETTLED_INTERVAL, self._quiet))
        else:
            look.next = min(now + self._poll, look.since + self._quiet)
        look.next = max(look.next, now + _SHARE * (now - start))
        self._looks[name] = look
