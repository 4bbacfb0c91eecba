"""The processes of a run on a Ray cluster, and what has been given to each.

One class holds the model, the other none: Ray makes actors of both, in processes of their own. A `Slot` is the
executor's side of one actor (`execution/ray.py`).
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray

from hdm_pipeline.execution.malloc import give_back
from hdm_pipeline.execution.messages import InferResult, InferTask, Result, RunContext, StepTask, Task
from hdm_pipeline.execution.nodes import here
from hdm_pipeline.execution.steps import run_step
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.waiting import wait_asleep

_STEP_NICENESS = 10
"""Steps are done long before they are needed; a thread of the model that they interrupt keeps the others waiting."""


class ModelActor:
    """A model actor's class body; `ray.remote` is applied when a cluster is there."""

    def warm(self) -> None:
        """Load the libraries: the examples may take a while still."""
        wait_asleep()  # a cluster that was joined has an environment of its own
        # Here, so that the actors without a model do not load torch.
        import hdm_pipeline.execution.model_worker  # noqa: F401

    def ready(self, context: RunContext, bundle: ModelBundle) -> str:
        """Load the model; gives the node it is on.

        Not in the constructor: of what that raises, Ray keeps no more than the text.
        """
        from hdm_pipeline.execution.model_worker import ModelWorker

        with bundle.brought(context.workspace):
            self._worker = ModelWorker(context, bundle)
        return here()

    def run(self, task: InferTask) -> InferResult:
        """Scores of one block of tiles."""
        result = self._worker.infer(task)
        give_back()
        return result


class StepActor:
    """Runs one step at a time, none of which needs the model."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        os.nice(_STEP_NICENESS)

    def ready(self) -> str:
        """Answered once the process is up, with the node it is on."""
        return here()

    def equip(self, context: RunContext) -> None:
        """The context is complete now. Tasks that were given before are done before."""
        self._context = context

    def run(self, task: StepTask) -> Result:
        """Stage, stitch or publish."""
        result = run_step(self._context, task)
        give_back()
        return result


@dataclass(eq=False)
class Slot:
    """One actor and the tasks given to it, oldest first.

    Attributes:
        handle: of the actor.
        holds_model: whether it infers.
        up: reference that its start resolves; None of a model actor that has not got its model yet.
        started: it came up, as `look` found. A model actor waits for a free place in the cluster, after the loss of a
            node perhaps for ever; blocks are only given to those that are up.
        tasks: reference and task.
        since: monotonic seconds at which it began what it does now: to start, or the oldest of its tasks.
        node: address of the node it is on, once it came up.
    """

    handle: Any
    holds_model: bool
    up: Any
    started: bool = False
    tasks: deque[tuple[Any, Task]] = field(default_factory=deque)
    since: float = 0.0
    node: str = ""

    def give(self, task: Task) -> None:
        """Queue a task in the actor."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append((self.handle.run.remote(task), task))

    def look(self) -> None:
        """Notice that the actor has come up: only now its oldest task begins.

        Raises:
            RayError: it never will.
        """
        if not self.started and self.up is not None and ray.wait([self.up], timeout=0)[0]:
            self.node = str(ray.get(self.up))
            self.started, self.since = True, time.monotonic()

    def take(self, reference: Any) -> Task:
        """Remove the task behind a reference."""
        task = next(t for r, t in self.tasks if r == reference)
        self.tasks = deque((r, t) for r, t in self.tasks if r != reference)
        self.since = time.monotonic()
        return task
