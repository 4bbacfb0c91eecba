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
from tests.integration.conftest import Undisturbed, Workbench, published, steps_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def actor_pids(name: str) -> list[int]:
    """Processes of actors of a class, of the cluster that this process started: its descendants."""
    parents, actors = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command, status = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
        except OSError:  # it has just ended
            continue
        parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
        if command.startswith(f"ray::{name}".encode()):
            actors.append(int(entry.name))
    return [actor for actor in actors if os.getpid() in _ancestors(actor, parents)]


def _ancestors(process: int, parents: dict[int, int]) -> list[int]:
    found = [process]
    while (parent := parents.get(found[-1], 0)) > 0:
        found.append(parent)
    return found


@pytest.mark.parametrize(
    ("name", "step"), [("ModelActor", "infer"), pytest.param("StepActor", "stage", marks=pytest.mark.long)]
)
def test_a_killed_actor_is_replaced(
    bench: Workbench, undisturbed: Undisturbed, cluster: None, name: str, step: str
) -> None:
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

    summary = Pipeline.from_yaml(file).run(on_event)
    assert summary.exit_code == 0
    assert deaths
    assert all(death.step == step for death in deaths if name == "ModelActor")
    assert published(bench.root / "killed") == undisturbed.files
    assert steps_of(bench.root / "killed") == undisturbed.steps


@pytest.mark.long
def test_a_lost_node_is_survived(bench: Workbench, undisturbed: Undisturbed, no_cluster: None) -> None:
    file = bench.pipeline("lost_node", execution={"executor": "ray", "actors": 2, "threads": 1})
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    workers = [nodes.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
    done = 0

    def on_event(event: Event) -> None:
        nonlocal done
        if isinstance(event, BlockInferred):
            done += 1
            if done == 2:
                nodes.remove_node(workers[0], allow_graceful=False)

    ray.init(address=nodes.address, log_to_driver=False)
    try:
        summary = Pipeline.from_yaml(file).run(on_event)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert summary.exit_code == 0
    assert published(bench.root / "lost_node") == undisturbed.files
