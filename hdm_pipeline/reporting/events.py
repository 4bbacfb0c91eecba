"""What a run tells while it goes on: to the progress bar, the log, `run.json` and the metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "run_started",
    "preparing",
    "support_checked",
    "scene_started",
    "step_done",
    "scene_done",
    "scene_quarantined",
    "worker_died",
    "stopping",
    "run_ended",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: what.
        scene: id of the scene; empty for events of the run.
        step: the step concerned, or empty.
        block: index of the block, or -1.
        data: JSON-able facts; no patient data, no secrets.
    """

    kind: Kind
    scene: str = ""
    step: str = ""
    block: int = -1
    data: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
