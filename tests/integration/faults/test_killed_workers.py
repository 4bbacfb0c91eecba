"""kill -9 of actors and loss of a node of a real cluster: the same bytes, nothing finished is repeated."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import BlockInferred, Event, StepDone, WorkerDied
from tests.integration.conftest import Workbench, published
from tests.integration.test_run import steps_of

pytestmark = pytest.mark.ray


def actor_pids(name: str) -> list[int]:
    """Processes of actors of a class, of clusters that this process started or joined."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(f"ray::{name}".encode()):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(("name", "step"), [("_ModelActor", "infer"), ("_StepActor", "stage")])
def test_a_killed_actor_is_replaced(bench: Workbench, name: str, step: str) -> None:
    Pipeline.from_yaml(bench.pipeline("undisturbed")).run()
    file = bench.pipeline("killed", execution={"executor": "ray", "actors": 1, "threads": 1})
    deaths: list[WorkerDied] = []
    done = 0

    def on_event(event: Event) -> None:
        nonlocal done
        if isinstance(event, WorkerDied):
            deaths.append(event)
        if isinstance(event, StepDone) and event.step == step:
            done += 1
            if done == 2:
                for pid in actor_pids(name):
                    os.kill(pid, signal.SIGKILL)

    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    try:
        summary = Pipeline.from_yaml(file).run(on_event)
    finally:
        ray.shutdown()
    assert summary.exit_code == 0
    assert deaths
    assert all(death.step == step for death in deaths if name == "_ModelActor")
    assert published(bench.root / "killed") == published(bench.root / "undisturbed")
    assert steps_of(bench.root / "killed") == steps_of(bench.root / "undisturbed")


def test_a_lost_node_is_survived(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline("undisturbed")).run()
    file = bench.pipeline("lost_node", execution={"executor": "ray", "actors": 2, "threads": 1})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    workers = [cluster.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
    done = 0

    def on_event(event: Event) -> None:
        nonlocal done
        if isinstance(event, BlockInferred):
            done += 1
            if done == 2:
                cluster.remove_node(workers[0], allow_graceful=False)

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        summary = Pipeline.from_yaml(file).run(on_event)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert summary.exit_code == 0
    assert published(bench.root / "lost_node") == published(bench.root / "undisturbed")
