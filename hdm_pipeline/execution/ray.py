"""The same steps on a Ray cluster: actors that hold the model, and actors without one for the rest.

Pixels never cross the object store: workers read and write zarr in the shared output directory. The model bundle is
put once and held by the driver for the whole run. Actors are never restarted by Ray (an actor killed by a poison tile
would be retried for ever); the driver is told of the death and this executor puts a fresh actor in its place.

Staging, stitching and writing run in actors too, not in Ray tasks: Ray ends idle task workers beyond one a core after a
second, and starting one again costs more than most steps (docs/decisions/ray-step-actors.md).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import ray.exceptions
from ray.util.metrics import Counter

from hdm_pipeline.errors import ExecutionError, HdmError
from hdm_pipeline.execution.actors import ModelActor, Slot, StepActor
from hdm_pipeline.execution.background_cluster import BackgroundCluster
from hdm_pipeline.execution.cluster import Shares
from hdm_pipeline.execution.executor import as_hdm_error
from hdm_pipeline.execution.messages import (
    Died,
    Failed,
    Finished,
    InferTask,
    Lost,
    Outcome,
    Result,
    RunContext,
    Task,
)
from hdm_pipeline.execution.nodes import on_node, require_seen, several_nodes
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.reporting.prometheus import HELP, LABELS, increments
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.support.shipping import upload_weights

log = logging.getLogger(__name__)

_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.TaskCancelledError,
    ray.exceptions.LocalRayletDiedError,
)
_MAX_RESTARTS_IN_A_ROW = 8
_MOST_DOUBLINGS = 3
"""Times that the patience with a starting actor doubles, once for each that was lost before it."""


class RayExecutor:
    """Runs tasks on a Ray cluster, which may be on its way still: there is room for tasks once it is up.

    Args:
        context: of the run, as far as it is known.
        cluster: closed by the caller, after this.
    """

    name = "ray"

    def __init__(self, context: RunContext, cluster: BackgroundCluster) -> None:
        self._config = context.config.execution
        self._cluster = cluster
        self._known = context
        self._shares: Shares | None = None
        self._context: Any = None
        self._several = False
        self._bundle: Any = None
        self._fruitless = 0
        self._ended: deque[Outcome] = deque()
        self._waiting: deque[InferTask] = deque()
        self._counters: dict[str, Counter] = {}
        self._early: list[Event] = []
        self._steps: list[Slot] = []
        self._models: list[Slot] = []

    @property
    def model_slots(self) -> int:
        """Actors that hold the model; 1 while the cluster is not up."""
        return 1 if self._shares is None else self._shares.actors

    @property
    def model_free(self) -> int:
        """Free places in the actors' queues."""
        if self._bundle is None:
            return 0
        given = len(self._waiting) + sum(len(slot.tasks) for slot in self._models)
        return self.model_slots * self._config.blocks_in_flight - given

    @property
    def cpu_free(self) -> int:
        """Free places for staging, stitching and writing; none while the cluster is not up."""
        if self._shares is None:
            if not self._cluster.settled:
                return 0
            self.start()
        shares = self._joined
        # As long as the examples are prepared, nobody waits for what is staged: another actor would cost a second of
        # the processors that prepare them.
        most = shares.steps if self._bundle is not None else max(1, shares.steps // 2)
        return most - sum(len(slot.tasks) for slot in self._steps)

    @property
    def _joined(self) -> Shares:
        """The shares of a cluster that is up."""
        if self._shares is None:
            raise RuntimeError("asked for an actor before the cluster was up")
        return self._shares

    def start(self) -> None:
        """Wait for the cluster, and let the model actors load their libraries.

        Raises:
            ExecutionError: Ray cannot be reached or started.
            ConfigError: a node of it does not see what lies on a disk.
        """
        if self._shares is not None:
            return
        self._shares = self._cluster.shares()
        self._several = several_nodes()
        if self._several:
            require_seen(self._known)
        self._context = ray.put(self._known)
        self._counters = {
            name: Counter(f"hdm_{name}", description=text, tag_keys=(LABELS[name],) if name in LABELS else ())
            for name, text in HELP.items()
        }
        for event in self._early:
            self.observe(event)
        self._early = []
        self._models = [self._start_model() for _ in range(self._shares.actors)]

    def equip(self, context: RunContext, bundle: ModelBundle) -> None:
        """Let the model actors load their model."""
        self.start()
        self._context = ray.put(context)
        bucket = context.workspace.bucket
        uploaded = {} if bucket is None or self._joined.alone else upload_weights(bucket, bundle.weights)
        self._bundle = ray.put(replace(bundle, threads=self._joined.threads, uploaded=uploaded))
        bundle.release()  # the actors load their own; this process computes nothing any more
        for slot in self._models:
            self._load(slot)
        for slot in self._steps:
            slot.handle.equip.remote(self._context)

    def submit(self, task: Task) -> None:
        """Hand a block to the model actor with the shortest queue, any other step to an idle actor."""
        if isinstance(task, InferTask):
            self._waiting.append(task)
            self._give_blocks()
            return
        idle = next((slot for slot in self._steps if not slot.tasks), None)
        if idle is None:
            # As many as were ever needed at once: a laptop's run needs one or two.
            idle = self._start_step()
            self._steps.append(idle)
        idle.give(task)

    def next(self, timeout: float | None = None) -> Outcome | None:
        """Wait for a task to end, an actor to die, or a step to take longer than `step_timeout`."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            patience = 1.0 if until is None else min(1.0, until - time.monotonic())
            if patience <= 0:
                return None
            holders = {reference: slot for slot in (*self._models, *self._steps) for reference, _ in slot.tasks}
            holders |= {slot.up: slot for slot in self._models if not slot.started and slot.up is not None}
            ready, _ = ray.wait(list(holders), num_returns=1, timeout=patience, fetch_local=True)
            for reference in ready:
                if reference == holders[reference].up:
                    self._start_ended(holders[reference])
                else:
                    self._settle(reference, holders[reference])
            self._give_blocks()
            self._kill_hung()
        return self._ended.popleft()

    def observe(self, event: Event) -> None:
        """Add to the counters that Ray's own Prometheus endpoint serves; once there is one."""
        if self._shares is None:
            self._early.append(event)
            return
        for (name, label), value in increments(event).items():
            tags = {LABELS[name]: label} if name in LABELS else {}
            self._counters[name].inc(value, tags)

    def close(self) -> None:
        """Kill the actors."""
        for slot in (*self._models, *self._steps):
            ray.kill(slot.handle)
        self._models, self._steps = [], []

    def _start_model(self) -> Slot:
        shares = self._joined
        actor = ray.remote(ModelActor).options(
            num_cpus=0 if shares.gpus else shares.threads,
            num_gpus=shares.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        slot = Slot(actor.remote(), holds_model=True, up=None)
        slot.handle.warm.remote()
        if self._bundle is not None:
            self._load(slot)
        return slot

    def _load(self, slot: Slot) -> None:
        slot.up, slot.since = slot.handle.ready.remote(self._context, self._bundle), time.monotonic()

    def _start_step(self) -> Slot:
        actor = ray.remote(StepActor).options(
            num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        handle: Any = actor.remote(self._context)
        return Slot(handle, holds_model=False, up=handle.ready.remote(), since=time.monotonic())

    def _start_ended(self, slot: Slot) -> None:
        """An actor has come up, or will not. Our own errors end the run: a fresh actor would raise them again."""
        try:
            slot.look()
        except ray.exceptions.RayTaskError as error:
            cause = _plain(error)
            if isinstance(cause, HdmError):
                raise cause from error
            ray.kill(slot.handle)  # it lives on without a model
            self._died(slot, _first_line(cause))
        except ray.exceptions.RayError as error:
            self._died(slot, _first_line(error))

    def _give_blocks(self) -> None:
        """Hand waiting blocks to the actors that are up, the shortest queue first."""
        while self._waiting:
            room = [s for s in self._models if s.started and len(s.tasks) < self._config.blocks_in_flight]
            if not room:
                return
            min(room, key=lambda slot: len(slot.tasks)).give(self._waiting.popleft())

    def _settle(self, reference: Any, slot: Slot) -> None:
        try:
            result: Result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            task = slot.take(reference)
            log.info("step failed\n%s", error, extra={"scene": task.scene, "block": task.block, "step": task.step})
            failure = as_hdm_error(_plain(error), task)
            with suppress(ray.exceptions.RayError):
                slot.look()
            self._ended.append(Failed(task, on_node(failure, slot.node) if self._several and slot.node else failure))
        except _DEATHS as error:
            self._died(slot, _first_line(error))
            return
        else:
            self._ended.append(Finished(slot.take(reference), result))
        if slot.holds_model:
            self._fruitless = 0

    def _died(self, slot: Slot, reason: str) -> None:
        """Report a death: the oldest task of an actor that was up is the suspect, the others were never started."""
        with suppress(ray.exceptions.RayError):
            slot.look()  # a step's actor gets its first task before it is known to be up
        suspect = slot.started
        for position, (_, task) in enumerate(slot.tasks):
            self._ended.append(Died(task, reason) if suspect and position == 0 else Lost(task))
        if slot.holds_model or not suspect:
            self._fruitless += 1
        if self._fruitless > _MAX_RESTARTS_IN_A_ROW:
            raise ExecutionError(
                f"actors died {self._fruitless} times in a row without finishing a block; last: {reason}",
                where="Ray",
                remedy="check memory (lower execution.actors, batch_size or tiling.size) and the worker logs of Ray; "
                "on a busy machine raise execution.step_timeout",
            )
        if slot.holds_model:
            self._models[self._models.index(slot)] = self._start_model()
        else:
            self._steps.remove(slot)
            self._drop_idle_steps()

    def _drop_idle_steps(self) -> None:
        """What killed one (a lost node) may have killed others; a step given to those would look like a killer."""
        for slot in [slot for slot in self._steps if not slot.tasks]:
            ray.kill(slot.handle)
            self._steps.remove(slot)

    def _kill_hung(self) -> None:
        nobody_up = self._bundle is not None and not any(slot.started for slot in self._models)
        for slot in (*self._models, *self._steps):
            if not slot.tasks and not (nobody_up and slot.holds_model):
                continue
            with suppress(ray.exceptions.RayError):
                slot.look()
            limit = self._config.step_timeout
            if not slot.started:
                # What comes up slowly (a busy machine, a slow disk) would come up no faster in a fresh process.
                limit *= 2 ** min(self._fruitless, _MOST_DOUBLINGS)
            if time.monotonic() - slot.since > limit:
                ray.kill(slot.handle)
                self._died(slot, f"hung for more than {limit:g} s")


def _first_line(error: Exception) -> str:
    """Type and first line of an error's text; Ray's texts have many."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _plain(error: ray.exceptions.RayTaskError) -> Exception:
    """The step's own exception out of Ray's wrapper."""
    if isinstance(error.cause, Exception):
        return error.cause
    return ExecutionError(str(error), remedy="look at Ray's logs, and run again")
