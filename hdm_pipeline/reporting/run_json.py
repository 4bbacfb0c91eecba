"""`run.json`: what a run did, kept up to date while it goes on.

What is told of the run as a whole comes first, then the scenes, each on a line of its own. An archive may hold a
million scenes: nothing is kept in memory of one that is finished, the ledger knows it; and who wants the head reads no
scene.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from heapq import merge
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from hdm_pipeline import __version__
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import LedgerError
from hdm_pipeline.output.deliveries import walk_noted
from hdm_pipeline.output.files import write_pieces
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    ProductsNotSent,
    ProductsSent,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    SceneStarted,
    WorkerDied,
)

_LIBRARIES = ("torch", "ray", "zarr", "numpy", "rasterio", "pydicom", "highdicom")
_LEAST_INTERVAL = 2.0
"""Seconds between two writes; longer where writing a large report takes long itself."""


SCHEMA = 1
"""Of `run.json`: raised when something is taken away, or means something else; not by what is added."""


class RunReport:
    """Collects events into the content of `run.json`.

    Args:
        path: of the file.
        name: of the pipeline.
        inputs: how each scene's input may be shown, by scene id.
        ledger: knows every scene that is finished; it is read whenever the file is written, in the driver's thread.
        done: ids of scenes that earlier runs finished.
        quarantined: ids of scenes that earlier runs quarantined.
        started: when the run began, in seconds since 1970; now without it.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        inputs: Mapping[str, str],
        ledger: Ledger,
        done: Collection[str] = (),
        quarantined: Collection[str] = (),
        *,
        started: float | None = None,
    ) -> None:
        self._path = path
        self._inputs = dict(inputs)
        self._name = name
        self._ledger = ledger
        self._since = ledger.sequence
        self._done_before, self._quarantined_before = done, quarantined
        self._before = Counter(done=len(done), quarantined=len(quarantined))
        self._once_more: set[str] = set()
        self._running: dict[str, dict[str, Any]] = {}
        self._ended: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._sent: dict[str, dict[str, Any]] = {}
        self._unsent: dict[str, list[dict[str, Any]]] = {}
        self._head: dict[str, Any] = {}
        self._started = time.time() if started is None else started
        self._clock = time.monotonic() - (time.time() - self._started)
        self._tiles = 0
        self._blocks_done = 0
        self._deaths = 0
        self._next_write = 0.0
        self.status = "running"

    def note(self, **facts: Any) -> None:
        """Add facts to the head of the report."""
        self._head |= facts

    def event(self, event: Event) -> None:
        """Take an event in; writes the file now and then."""
        match event:
            case SceneSplit():
                self._split(event)
            case SceneStarted():
                self._begin(event.scene)
                self._running[event.scene] = self._entry(event.scene, "running", event.facts(), this_run=True)
            case BlockInferred():
                self._tiles += event.tiles
                self._blocks_done += 1
            case SceneDone():
                self._end(event, "done")
            case SceneQuarantined():
                self._end(event, "quarantined")
            case ProductsSent() | ProductsNotSent():
                self._send(event)
            case WorkerDied():
                self._deaths += 1
        if time.monotonic() >= self._next_write:
            self.write()

    def _begin(self, scene: str) -> None:
        """What was known of a scene before is past: of its products, and of its place among those that were done."""
        self._sent.pop(scene, None)
        if scene not in self._once_more:
            for status, before in (("done", self._done_before), ("quarantined", self._quarantined_before)):
                if scene in before:
                    self._before[status] -= 1
                    self._once_more.add(scene)

    def _end(self, event: SceneDone | SceneQuarantined, status: str) -> None:
        self._begin(event.scene)
        self._running.pop(event.scene, None)
        self._ended[status] += 1
        for step, seconds in event.seconds.items():
            self._seconds[step] = self._seconds.get(step, 0.0) + seconds

    def _split(self, event: SceneSplit) -> None:
        """Know an entry of the archive by what it holds; an earlier run may have seen the same of it."""
        shown = self._inputs.pop(event.scene, event.scene)
        self._inputs |= {part: shown if part == event.scene else part for part in event.parts}
        skipped = self._head.setdefault("skipped", [])
        known = {one["reason"] for one in skipped if one["input"] == event.scene} if event.left_out else set()
        skipped += [{"input": event.scene, "reason": reason} for reason in event.left_out if reason not in known]

    def _send(self, event: ProductsSent | ProductsNotSent) -> None:
        """Note with a scene what a peer has of it; scenes that vanished from the archive are in the head only."""
        facts = {name: value for name, value in event.facts().items() if name != "to"}
        sent = {"complete": isinstance(event, ProductsSent), **facts}
        self._sent.setdefault(event.scene, {})[event.to] = sent
        if isinstance(event, ProductsNotSent):
            what = f"{', '.join(event.products)} not sent to {event.to}: {event.what}"
            warning = SceneWarning("not_sent", what, event.remedy, suspect=False)
            self._unsent.setdefault(event.scene, []).append(warning.as_dict())

    def write(self) -> None:
        """Write the file now.

        Raises:
            OutputError: it cannot be written.
            LedgerError: the ledger is damaged. A run that failed by that tells of itself, and of no scene.
        """
        start, self._next_write = time.monotonic(), math.inf  # a signal may tell of something while it is written
        try:
            write_pieces(self._path, self._pieces(self.scenes()))
        except LedgerError:
            if self.status != "failed":
                raise
            write_pieces(self._path, self._pieces(()))
        self._next_write = time.monotonic() + max(_LEAST_INTERVAL, 20 * (time.monotonic() - start))

    def _pieces(self, scenes: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[bytes]:
        head = json.dumps(self.head(), indent=1, allow_nan=False)
        yield (head.removesuffix("\n}") + "," + _SCENES).encode()
        lead = "\n"
        for scene, entry in scenes:
            yield f"{lead}  {json.dumps(scene)}: {json.dumps(entry, allow_nan=False)}".encode()
            lead = ",\n"
        yield b"\n }\n}\n"

    def scenes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every scene that this run or an earlier one came to, as (id, facts), by id.

        Raises:
            LedgerError: the ledger is damaged.
        """
        ended = self._finished()
        running = ((scene, self._as_it_stands(entry)) for scene, entry in sorted(self._running.items()))
        return merge(ended, running, key=lambda found: found[0])

    def _finished(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The scenes that the ledger knows, with what peers have of their present products."""
        noted = groupby(walk_noted(self._ledger.path), key=attrgetter("scene"))
        scene, notes = next(noted, (None, iter(())))
        for record in self._ledger.walk():
            while scene is not None and scene < record.id:
                scene, notes = next(noted, (None, iter(())))
            if not self._is_ours(record):
                continue
            entry = self._remembered(record)
            before = notes if scene == record.id and self._is_as_before(record) else ()
            sent = {
                one.peer: {"complete": one.complete, "products": list(one.products), **one.told}
                for one in before
                if one.product_key == record.product_key
            }
            if sent := sent | self._sent.get(record.id, {}):
                entry["sent"] = sent
            yield record.id, self._with_warnings(entry, record.id)

    def _is_as_before(self, record: SceneRecord) -> bool:
        """Whether a scene is what an earlier run made of it: of products that are made anew peers have nothing."""
        before = self._done_before if record.status == "done" else self._quarantined_before
        return record.id in before and record.id not in self._once_more

    def _with_warnings(self, entry: dict[str, Any], scene: str) -> dict[str, Any]:
        """With what could not be sent in this run, which comes last."""
        if scene in self._unsent:
            entry["warnings"] = [*entry.get("warnings", ()), *self._unsent[scene]]
        return entry

    def _is_ours(self, record: SceneRecord) -> bool:
        """Whether a scene ended under what the pipeline is now: in this run, or in one before it."""
        if record.id in self._running or record.id not in self._inputs or record.status not in ("done", "quarantined"):
            return False
        before = self._done_before if record.status == "done" else self._quarantined_before
        return record.updated > self._since or record.id in before

    def _remembered(self, record: SceneRecord) -> dict[str, Any]:
        this_run = record.updated > self._since
        facts = record.info if this_run or record.error is None else {}  # what was set aside then may be gone
        if record.error is not None:
            facts = {**facts, "error": record.error}
        return self._entry(record.id, record.status, facts, this_run=this_run)

    def _entry(self, scene: str, status: str, data: Mapping[str, Any], *, this_run: bool) -> dict[str, Any]:
        # Who is to get it is a note of the ledger for itself.
        facts = {name: value for name, value in data.items() if name != "send"}
        found = {"status": status, "this_run": this_run, "input": self._inputs.get(scene, ""), **facts}
        return found

    def _as_it_stands(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A scene that a run had begun when it ended waits for the next one."""
        return entry if self.status == "running" else entry | {"status": "waiting"}

    def head(self) -> dict[str, Any]:
        """The report as it stands, less the scenes."""
        elapsed = time.monotonic() - self._clock
        rate = self._tiles / elapsed if elapsed > 0 else 0.0
        finished, begun = self._ended.total(), len(self._running)
        known = self._before.total() + finished + begun
        runs = self.status == "running"
        waiting = len(self._inputs) - known + (0 if runs else begun)
        eta = elapsed / finished * (begun + waiting) if finished and runs else None
        return {
            "schema": SCHEMA,
            "pipeline": self._name,
            "status": self.status,
            "started": utc(self._started),
            "seconds": round(elapsed, 3),
            **self._head,
            "totals": {
                "scenes": len(self._inputs),
                "done": self._before["done"] + self._ended["done"],
                "done_before": self._before["done"],
                "running": begun if runs else 0,
                "quarantined": self._before["quarantined"] + self._ended["quarantined"],
                "waiting": waiting,
                "tiles": self._tiles,
                "blocks": self._blocks_done,
                "tiles_per_second": round(rate, 3),
                "seconds_left": None if eta is None else round(eta, 1),
                "seconds_by_stage": {step: round(seconds, 3) for step, seconds in self._seconds.items()},
                "workers_died": self._deaths,
            },
            "versions": versions(),
        }


_SCENES = '\n "scenes": {'
"""How the scenes begin: what stands before is the head."""

_PIECE = 1 << 16


def read_head(path: Path) -> dict[str, Any]:
    """What a `run.json` tells of the run as a whole. Scenes are not read: it takes the same time for any number.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no `run.json`.
    """
    text, end = "", -1
    with path.open(encoding="utf-8") as file:
        while end < 0 and (more := file.read(_PIECE)):
            looked_at = max(0, len(text) - len(_SCENES))
            text += more
            end = text.find(_SCENES, looked_at)
    # Up to release 0.1 something stood behind the scenes.
    found = json.loads(text) if end < 0 else json.loads(text[:end].rstrip(",") + "}")
    if isinstance(found, dict) and "versions" not in found:
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("no object")
    return {name: value for name, value in found.items() if name != "scenes"}


def read_scenes(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The scenes of a `run.json` of this release as (id, facts), by id, one after another.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no `run.json`.
    """
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.rstrip("\n") == _SCENES.strip("\n"):
                break
        for line in file:
            if line.startswith("  "):
                yield from json.loads("{" + line.strip().rstrip(",") + "}").items()


@cache
def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that pixels depend on."""
    found = {"hdm_pipeline": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def utc(seconds: float) -> str:
    """A time since 1970 as reports write it: to the second, sorted as text as in time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
