"""Counters of a run for Prometheus: a textfile for cron jobs, and the numbers that Ray's own endpoint serves.

The textfile is `OUT/.hdm/metrics.prom`; point node_exporter's textfile collector at it, or link it there.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hdm_pipeline.output.files import output_errors
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    ProductsNotSent,
    ProductsSent,
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
    "deliveries": "scenes sent to a peer, or not, by status",
}

Sample = tuple[str, str]
"""(metric without prefix, label value); the label is `step` or `status`, or empty."""

LABELS = {"blocks": "step", "stage_seconds": "step", "scenes": "status", "deliveries": "status"}


def increments(event: Event) -> dict[Sample, float]:
    """What an event adds to the counters; what adds nothing is left out, as Ray's counters refuse it."""
    match event:
        case StepDone():
            added: dict[Sample, float] = {("blocks", event.step): 1, ("stage_seconds", event.step): event.seconds}
            if isinstance(event, BlockInferred):
                added["tiles", ""] = event.tiles
            return {sample: value for sample, value in added.items() if value > 0}
        case SceneDone() | SceneQuarantined():
            return {("scenes", event.kind.removeprefix("scene_")): 1}
        case ProductsSent() | ProductsNotSent():
            return {("deliveries", event.kind.removeprefix("products_")): 1}
        case WorkerDied():
            return {("worker_deaths", ""): 1}
        case _:
            return {}


class MetricsFile(Collector):
    """Counts events and writes the textfile now and then, and when the run ends.

    Args:
        path: the textfile; its name ends in ``.prom``, or node_exporter does not read it.
        pipeline: name of the pipeline, the value of the label `pipeline`.
    """

    def __init__(self, path: Path, pipeline: str) -> None:
        self._path = path
        self._pipeline = pipeline
        self._counts: defaultdict[Sample, float] = defaultdict(float)
        self._blocks = 0
        self._next = 0.0
        self._failed = False
        # A registry of its own: the library's global one would add facts about the Python process.
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def event(self, event: Event) -> None:
        """Take an event in.

        Raises:
            OutputError: the textfile cannot be written.
        """
        for sample, value in increments(event).items():
            self._counts[sample] += value
        if isinstance(event, SceneStarted):
            self._blocks += event.blocks - event.blocks_done
        if isinstance(event, RunEnded):
            self._failed = event.status == "failed"
        if isinstance(event, RunEnded) or time.monotonic() >= self._next:
            with output_errors(self._path):
                write_to_textfile(str(self._path), self._registry)
            self._next = time.monotonic() + _INTERVAL

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now; called by the registry.

        They are made anew each time, because the library's own counters would add a `_created` time to each.
        """
        for metric, help_text in HELP.items():
            label = LABELS.get(metric)
            family = CounterMetricFamily(f"hdm_{metric}", help_text, labels=["pipeline", *([label] if label else [])])
            samples = {value: count for (name, value), count in self._counts.items() if name == metric}
            if label is None:
                samples.setdefault("", 0.0)
            for value, count in sorted(samples.items()):
                family.add_metric([self._pipeline, *([value] if label else [])], count)
            yield family
        queue = GaugeMetricFamily(
            "hdm_queue_blocks", "blocks of started scenes that wait for the model", labels=["pipeline"]
        )
        queue.add_metric([self._pipeline], max(self._blocks - self._counts["blocks", "infer"], 0))
        yield queue
        failed = GaugeMetricFamily("hdm_failed", "1 if the last run failed as a whole, else 0", labels=["pipeline"])
        failed.add_metric([self._pipeline], float(self._failed))
        yield failed
