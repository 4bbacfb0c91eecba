"""Counters of a run for Prometheus: a textfile for cron jobs, and the numbers that Ray's own endpoint serves.

The textfile is `OUT/.hdm/metrics.prom`; point node_exporter's textfile collector at it, or link it there.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

from hdm_pipeline.output.files import output_errors
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    RunEnded,
    SceneDone,
    SceneQuarantined,
    SceneStarted,
    StepDone,
    WorkerDied,
)

_INTERVAL = 10.0
"""Seconds between two writes of the textfile."""

HELP = {
    "tiles": "tiles inferred",
    "blocks": "blocks finished, by step",
    "stage_seconds": "worker seconds, by step",
    "scenes": "scenes ended, by status",
    "worker_deaths": "workers that died or hung",
}

Sample = tuple[str, str]
"""(metric without prefix, label value); the label is `step` or `status`, or empty."""

LABELS = {"blocks": "step", "stage_seconds": "step", "scenes": "status"}


def increments(event: Event) -> dict[Sample, float]:
    """What an event adds to the counters."""
    match event:
        case StepDone():
            added: dict[Sample, float] = {("blocks", event.step): 1, ("stage_seconds", event.step): event.seconds}
            if isinstance(event, BlockInferred):
                added["tiles", ""] = event.tiles
            return added
        case SceneDone() | SceneQuarantined():
            return {("scenes", event.kind.removeprefix("scene_")): 1}
        case WorkerDied():
            return {("worker_deaths", ""): 1}
        case _:
            return {}


class MetricsFile:
    """Counts events and writes the textfile now and then, and when the run ends."""

    def __init__(self, path: Path, pipeline: str) -> None:
        self._path = path
        self._pipeline = pipeline
        self._counts: defaultdict[Sample, float] = defaultdict(float)
        self._blocks = 0
        self._next = 0.0

    def event(self, event: Event) -> None:
        """Take an event in."""
        for sample, value in increments(event).items():
            self._counts[sample] += value
        if isinstance(event, SceneStarted):
            self._blocks += event.blocks - event.blocks_done
        if isinstance(event, RunEnded) or time.monotonic() >= self._next:
            self._write()
            self._next = time.monotonic() + _INTERVAL

    def text(self) -> str:
        """The file's content, in Prometheus' text format."""
        lines = []
        for metric, help_text in HELP.items():
            lines += [f"# HELP hdm_{metric}_total {help_text}", f"# TYPE hdm_{metric}_total counter"]
            samples = sorted((label, value) for (name, label), value in self._counts.items() if name == metric)
            for label, value in samples or ([] if metric in LABELS else [("", 0.0)]):
                labels = f'pipeline="{self._pipeline}"' + (f',{LABELS[metric]}="{label}"' if label else "")
                lines.append(f"hdm_{metric}_total{{{labels}}} {value:g}")
        waiting = self._blocks - self._counts["blocks", "infer"]
        lines += [
            "# HELP hdm_queue_blocks blocks of started scenes that wait for the model",
            "# TYPE hdm_queue_blocks gauge",
        ]
        lines.append(f'hdm_queue_blocks{{pipeline="{self._pipeline}"}} {max(waiting, 0):g}')
        return "\n".join(lines) + "\n"

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with output_errors(self._path):
            temporary.write_text(self.text(), encoding="utf-8")
            os.replace(temporary, self._path)
