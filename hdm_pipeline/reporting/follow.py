"""A run as others see it: its event log read while it is written, also that of a run that another process started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.reporting.run_json import read_head

Phase = Literal["starting", "examples", "scenes", "ended"]

_KILLED = {
    "type": "ExecutionError",
    "what": "the run was killed before it could end",
    "where": "",
    "remedy": "run again: it goes on from the last finished block",
}


@dataclass(frozen=True)
class RunState:
    """How far a run is, or how the last one ended.

    Attributes:
        state: ``idle`` where no run has written yet.
        phase: what it is at: finding out what there is to do, the examples, the scenes.
        owner: who runs it, host and process; empty if nobody does.
        total: scenes that it works on.
        done: of those.
        quarantined: of those.
        tiles_per_second: that the network has seen, since it saw the first; None before.
        seconds_left: None where nothing is known.
        error: what it failed by, as `HdmError.as_dict`; None without.
        doing: while it prepares the examples, the step as `PreparingStep.doing`; empty otherwise.
        steps: parts of that step that are done, and all; None where that is not known. Then `seconds_left` is its own.
    """

    state: Literal["idle", "running", "stopping", "done", "failed", "stopped"]
    phase: Phase = "ended"
    owner: str = ""
    total: int = 0
    done: int = 0
    quarantined: int = 0
    tiles_per_second: float | None = None
    seconds_left: float | None = None
    error: Mapping[str, str] | None = None
    doing: str = ""
    steps: tuple[int, int] | None = None


class RunFollower:
    """Follows whatever run works on an output directory. For one thread.

    Args:
        workspace: the output directory; nothing need be there.
        skip: pass over what the newest log holds now: the next run is waited for.
    """

    def __init__(self, workspace: Workspace, *, skip: bool = False) -> None:
        self._workspace = workspace
        self._log: Path | None = None
        self._offset = 0
        self._told = _Told()
        if skip and (newest := _newest(workspace.logs)) is not None:
            self._log, self._offset = newest, newest.stat().st_size

    def poll(self) -> list[dict[str, Any]]:
        """The records that were written since the last call, of the newest log; each is one event or log message."""
        newest = _newest(self._workspace.logs)
        if newest is not None and newest != self._log:
            self._log, self._offset, self._told = newest, 0, _Told()
        if self._log is None:
            return []
        records = self._read(self._log)
        for record in records:
            if record.get("event") == "run_started":  # a log may hold two runs that began in one second
                self._told = _Told()
            self._told.take(record)
        return records

    def state(self) -> RunState:
        """As of the last `poll`, and whether the run still lives, as of now."""
        owner = holder(self._workspace.lock_place)
        told = self._told
        how = run_state(told.status, owner)
        name = str((owner or {}).get("owner", ""))
        if how == "running":
            if told.status in ("running", "stopping"):
                return told.state("stopping" if told.status == "stopping" else "running", owner=name)
            return RunState("running", "starting", name)  # it has the lock, and writes no log before it has a plan
        if how in ("killed", "stopping"):  # it had no time to say how it ended
            return told.state("failed", error=_KILLED)
        if how == "failed":
            error = told.error or self._reported_error()
            if error.get("type") == "KeyboardInterrupt":
                return told.state("stopped")
            return told.state("failed", error=error)
        return told.state("stopped" if how == "stopped" else "done" if how == "done" else "idle")

    def _read(self, log: Path) -> list[dict[str, Any]]:
        """Whole lines after those that were read before."""
        try:
            with log.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [record for line in whole.splitlines() if (record := _record(line)) is not None]

    def _reported_error(self) -> Mapping[str, str]:
        try:
            error = read_head(self._workspace.report).get("error")
        except (OSError, ValueError):
            return {}
        return error if isinstance(error, dict) else {}


@dataclass
class _Told:
    """What the records of one log add up to. Those of an earlier version may lack what this one writes."""

    status: str = ""
    phase: Phase = "starting"
    total: int = 0
    done: int = 0
    quarantined: int = 0
    error: Mapping[str, str] | None = None
    tiles: int = 0
    first: float | None = None
    last: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)
    """Of each scene that is worked on: how much of it this run has inferred, 0..1."""
    preparing: Mapping[str, Any] = field(default_factory=dict)
    """The last step of preparing the examples."""
    blocks: dict[str, int] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any]) -> None:
        scene = record.get("scene", "")
        match record.get("event"):
            case "run_started":
                self.status, self.total = "running", record.get("scenes", 0)
            case "preparing":
                self.phase = "examples"
            case "preparing_step":
                self.preparing = record
            case "support_checked":
                self.phase, self.first = "scenes", record.get("time")
            case "scene_split":
                self.total += max(len(record.get("parts", ())) - 1, 0)
            case "scene_started":
                self.blocks[scene], self.shares[scene] = max(record.get("blocks", 1), 1), 0.0
            case "step_done" if record.get("step") == "infer":
                self.tiles += record.get("tiles", 0)
                self.last = record.get("time", self.last)
                self.shares[scene] = self.shares.get(scene, 0.0) + 1 / self.blocks.get(scene, 1)
            case "scene_done":
                self.done += 1
                self._left(scene, record)
            case "scene_quarantined":
                self.quarantined += 1
                self._left(scene, record)
            case "stopping":
                self.status = "stopping"
            case "run_ended":
                self.status, self.phase = record.get("status", ""), "ended"
        if isinstance(record.get("error"), dict) and "event" not in record:
            self.error = record["error"]

    def _left(self, scene: str, record: Mapping[str, Any]) -> None:
        self.shares.pop(scene, None)
        self.last = record.get("time", self.last)

    def state(self, state: Any, *, owner: str = "", error: Mapping[str, str] | None = None) -> RunState:
        elapsed = 0.0 if self.first is None else self.last - self.first
        share = self.done + self.quarantined + sum(min(one, 1.0) for one in self.shares.values())
        running = state in ("running", "stopping")
        left = elapsed / share * (self.total - share) if running and elapsed > 0 and share > 0 else None
        step = self.preparing if running and self.phase == "examples" else {}
        return RunState(
            state=state,
            phase=self.phase if running else "ended",
            owner=owner,
            total=self.total,
            done=self.done,
            quarantined=self.quarantined,
            tiles_per_second=self.tiles / elapsed if elapsed > 0 else None,
            seconds_left=step.get("seconds_left", left),
            error=error,
            doing=str(step.get("doing", "")),
            steps=(step["done"], step["total"]) if "done" in step and "total" in step else None,
        )


def _newest(folder: Path) -> Path | None:
    """The log that was begun last: their names are times."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".jsonl")]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return folder / max(names) if names else None


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # two processes in one log, or a disk that was full
        return None
    return record if isinstance(record, dict) else None
