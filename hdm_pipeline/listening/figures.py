"""Figures of a listener for Prometheus: `OUT/.hdm/listener.prom`, for node_exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hdm_pipeline.listening.inbox import FileInbox
from hdm_pipeline.listening.memory import Memory
from hdm_pipeline.listening.queue import DeliveryQueue
from hdm_pipeline.output.files import output_errors


class _Figures(Collector):
    def __init__(self, pipeline: str, inbox: FileInbox, deliveries: DeliveryQueue, memory: Memory) -> None:
        self._pipeline, self._inbox, self._deliveries, self._memory = pipeline, inbox, deliveries, memory

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        counts = self._inbox.tallies()
        received = CounterMetricFamily("hdm_listener_received", "files filed since the start", labels=["pipeline"])
        received.add_metric([self._pipeline], counts.pop("received", 0))
        known = CounterMetricFamily(
            "hdm_listener_known", "files that were there already, since the start", labels=["pipeline"]
        )
        known.add_metric([self._pipeline], counts.pop("known already", 0))
        refused = CounterMetricFamily(
            "hdm_listener_refused", "files and connections not taken, since the start", labels=["pipeline", "reason"]
        )
        for reason, count in sorted(counts.items()):
            refused.add_metric([self._pipeline, reason.removeprefix("refused: ")], count)
        size = GaugeMetricFamily("hdm_listener_inbox_bytes", "bytes in the inbox", labels=["pipeline"])
        size.add_metric([self._pipeline], self._inbox.used)
        states = {"arriving": self._deliveries.arriving, "waiting": self._deliveries.waiting, **self._memory.counts()}
        deliveries = GaugeMetricFamily("hdm_listener_deliveries", "deliveries by state", labels=["pipeline", "state"])
        for state, count in states.items():
            deliveries.add_metric([self._pipeline, state], count)
        yield from (received, known, refused, size, deliveries)


def write_figures(path: Path, pipeline: str, inbox: FileInbox, deliveries: DeliveryQueue, memory: Memory) -> None:
    """Write the textfile.

    Raises:
        OutputError: it cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(pipeline, inbox, deliveries, memory))
    with output_errors(path):
        write_to_textfile(str(path), registry)
