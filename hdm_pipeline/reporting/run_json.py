"""`run.json`: what a run did, kept up to date while it goes on."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hdm_pipeline import __version__
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.output.deliveries import Delivery
from hdm_pipeline.output.files import write_json
from hdm_pipeline.output.ledger import SceneRecord
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
        done: facts of scenes that earlier runs finished, by scene id.
        quarantined: errors of scenes that earlier runs quarantined, by scene id.
        started: when the run began, in seconds since 1970; now without it.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        inputs: Mapping[str, str],
        done: Mapping[str, Mapping[str, Any]],
        quarantined: Mapping[str, Mapping[str, Any]],
        *,
        started: float | None = None,
    ) -> None:
        self._path = path
        self._inputs = dict(inputs)
        self._name = name
        self._scenes: dict[str, dict[str, Any]] = {}
        for scene, facts in done.items():
            self._scenes[scene] = self._entry(scene, "done", facts, this_run=False)
        for scene, error in quarantined.items():
            self._scenes[scene] = self._entry(scene, "quarantined", {"error": error}, this_run=False)
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
                self._scenes[event.scene] = self._entry(event.scene, "running", event.facts())
            case BlockInferred():
                self._tiles += event.tiles
                self._blocks_done += 1
            case SceneDone():
                self._scenes[event.scene] = self._entry(event.scene, "done", event.facts())
            case SceneQuarantined():
                self._scenes[event.scene] = self._entry(event.scene, "quarantined", event.facts())
            case ProductsSent() | ProductsNotSent():
                self._sent(event)
            case WorkerDied():
                self._deaths += 1
        if time.monotonic() >= self._next_write:
            self.write()

    def _split(self, event: SceneSplit) -> None:
        """Know an entry of the archive by what it holds; an earlier run may have seen the same of it."""
        shown = self._inputs.pop(event.scene, event.scene)
        self._inputs |= {part: shown if part == event.scene else part for part in event.parts}
        known = self._head.get("skipped", [])
        skipped = [{"input": event.scene, "reason": reason} for reason in event.left_out]
        self._head["skipped"] = [*known, *(one for one in skipped if one not in known)]

    def sent_before(self, records: Iterable[SceneRecord], deliveries: Iterable[Delivery]) -> None:
        """Note with the scenes what peers have of their present products, by the ledger."""
        keys = {record.id: record.product_key for record in records}
        for one in deliveries:
            entry = self._scenes.get(one.scene)
            if entry is None or keys.get(one.scene) != one.product_key:
                continue
            answers = [receipt.answer for receipt in one.receipts.values()]
            told = dict(one.error) if one.error else {"what": answers[-1] if answers else ""}
            facts = {"complete": one.complete, "products": list(one.products), **told}
            entry["sent"] = {**entry.get("sent", {}), one.peer: facts}

    def _sent(self, event: ProductsSent | ProductsNotSent) -> None:
        """Note with a scene what a peer has of it; scenes that vanished from the archive are in the head only."""
        entry = self._scenes.get(event.scene)
        if entry is None:
            return
        facts = {name: value for name, value in event.facts().items() if name != "to"}
        entry["sent"] = {**entry.get("sent", {}), event.to: {"complete": isinstance(event, ProductsSent), **facts}}
        if isinstance(event, ProductsNotSent):
            what = f"{', '.join(event.products)} not sent to {event.to}: {event.what}"
            warning = SceneWarning("not_sent", what, event.remedy, suspect=False)
            entry["warnings"] = [*entry.get("warnings", ()), warning.as_dict()]

    def _entry(self, scene: str, status: str, data: Mapping[str, Any], *, this_run: bool = True) -> dict[str, Any]:
        # Who is to get it is a note of the ledger for itself.
        facts = {name: value for name, value in data.items() if name != "send"}
        return {"status": status, "this_run": this_run, "input": self._inputs.get(scene, ""), **facts}

    def _as_it_stands(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A scene that a run had begun when it ended waits for the next one."""
        begun = self.status != "running" and entry["status"] == "running"
        return entry | {"status": "waiting"} if begun else entry

    def write(self) -> None:
        """Write the file now."""
        start = time.monotonic()
        write_json(self._path, self.content())
        self._next_write = time.monotonic() + max(_LEAST_INTERVAL, 20 * (time.monotonic() - start))

    def content(self) -> dict[str, Any]:
        """The report as it stands."""
        elapsed = time.monotonic() - self._clock
        scenes = {scene: self._as_it_stands(entry) for scene, entry in sorted(self._scenes.items())}
        status = [entry["status"] for entry in scenes.values()]
        new = [entry for entry in self._scenes.values() if entry["this_run"]]
        seconds: dict[str, float] = {}
        for entry in new:
            for step, value in entry.get("seconds", {}).items():
                seconds[step] = round(seconds.get(step, 0.0) + value, 3)
        rate = self._tiles / elapsed if elapsed > 0 else 0.0
        finished = sum(entry["status"] in ("done", "quarantined") for entry in new)
        waiting = len(self._inputs) - len(self._scenes) + status.count("waiting")
        eta = elapsed / finished * (len(new) - finished + waiting) if finished and self.status == "running" else None
        return {
            "schema": SCHEMA,
            "pipeline": self._name,
            "status": self.status,
            "started": utc(self._started),
            "seconds": round(elapsed, 3),
            **self._head,
            "totals": {
                "scenes": len(self._inputs),
                "done": status.count("done"),
                "done_before": status.count("done") - sum(e["status"] == "done" for e in new),
                "running": status.count("running"),
                "quarantined": status.count("quarantined"),
                "waiting": waiting,
                "tiles": self._tiles,
                "blocks": self._blocks_done,
                "tiles_per_second": round(rate, 3),
                "seconds_left": None if eta is None else round(eta, 1),
                "seconds_by_stage": seconds,
                "workers_died": self._deaths,
            },
            "scenes": scenes,
            "versions": versions(),
        }


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
