"""A local cluster of several nodes, and who may be killed in it."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

from ray.cluster_utils import Cluster

_STORE = 100 << 20
KINDS = ("ModelActor", "StepActor", "node", "driver")
_WEIGHTS = (4, 3, 1, 2)


class Victims:
    """A head node and workers; a context manager. Only processes of this cluster are ever killed.

    Args:
        rng: chooses whom to kill.
        workers: nodes other than the head, which is spared: with it the cluster's memory would go.
    """

    def __init__(self, rng: random.Random, workers: int = 2) -> None:
        self._rng = rng
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": _STORE})
        self._workers: list[Any] = []
        for _ in range(workers):
            self._add()

    def __enter__(self) -> Victims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """Of the cluster."""
        return str(self._cluster.address)

    def kill_one(self, driver: int) -> str | None:
        """Kill a process at random; returns its kind, or None if the chosen kind has no process now.

        Args:
            driver: process id of the run.
        """
        (kind,) = self._rng.choices(KINDS, _WEIGHTS)
        if kind == "node":
            node = self._rng.choice(self._workers)
            os.kill(_raylet(node), signal.SIGKILL)
            self._workers.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)  # what the raylet left behind
            self._add()
            return kind
        found = [driver] if kind == "driver" else self._actors(kind)
        if not found:
            return None
        os.kill(self._rng.choice(found), signal.SIGKILL)
        return kind

    def _add(self) -> None:
        self._workers.append(self._cluster.add_node(num_cpus=1, object_store_memory=_STORE))

    def _actors(self, kind: str) -> list[int]:
        """Processes of actors of a class whose parent is one of our raylets."""
        raylets = {_raylet(node) for node in (self._cluster.head_node, *self._workers)}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, IndexError):  # it ended meanwhile
                    continue
                if command.startswith(f"ray::{kind}".encode()) and parent in raylets:
                    found.append(int(entry.name))
        return sorted(found)


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
