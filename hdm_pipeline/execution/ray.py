"""The same steps on a Ray cluster: actors that hold the model, and actors without one for the rest. Nothing else
imports ray.

Pixels never cross the object store: workers read and write zarr in the shared output directory. The model bundle is
put once and held by the driver for the whole run. Actors are never restarted by Ray (an actor killed by a poison tile
would be retried for ever); the driver is told of the death and this executor puts a fresh actor in its place.

Staging, stitching and writing run in actors too, not in Ray tasks: Ray ends idle task workers beyond one a core after a
second, and starting one again costs more than most steps (docs/decisions/ray-step-actors.md).
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import ray
import ray.exceptions
from ray._private import ray_constants
from ray.util.metrics import Counter

from hdm_pipeline.config.schema import Execution
from hdm_pipeline.errors import ExecutionError
from hdm_pipeline.execution.executor import as_hdm_error
from hdm_pipeline.execution.malloc import give_back
from hdm_pipeline.execution.messages import Outcome, RunContext, Task
from hdm_pipeline.execution.steps import run_step
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.reporting.prometheus import HELP, LABELS, increments
from hdm_pipeline.support.bundle import ModelBundle

log = logging.getLogger(__name__)

_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.TaskCancelledError,
    ray.exceptions.LocalRayletDiedError,
)
_OBJECT_STORE = 256 << 20
"""Only the model bundle and receipts pass through the object store of a Ray that we start ourselves."""

_MAX_RESTARTS_IN_A_ROW = 8

_STEP_NICENESS = 10
"""Steps are done long before they are needed; a thread of the model that they interrupt keeps the others waiting."""


class _ModelActor:
    """A model actor's class body; `ray.remote` is applied when a cluster is there."""

    def __init__(self, context: RunContext, bundle: ModelBundle) -> None:
        # Here, so that the actors without a model do not load torch.
        from hdm_pipeline.execution.model_worker import ModelWorker

        self._worker = ModelWorker(context, bundle)

    def ready(self) -> None:
        """Answered once the model is loaded."""

    def run(self, task: Task) -> Any:
        result = self._worker.infer(task)
        give_back()
        return result


class _StepActor:
    """Runs one step at a time, none of which needs the model."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        os.nice(_STEP_NICENESS)

    def ready(self) -> None:
        """Answered once the process is up."""

    def run(self, task: Task) -> Any:
        result = run_step(self._context, task)
        give_back()
        return result


@dataclass(eq=False)
class _Slot:
    """One actor and the tasks given to it, oldest first.

    Attributes:
        handle: of the actor.
        holds_model: whether it infers.
        up: reference that its start resolves.
        started: it is known to be up. A model actor waits for a free place in the cluster, after the loss of a node
            perhaps for ever; blocks are given to those that are up.
        tasks: reference and task.
        since: monotonic seconds at which its oldest task became the oldest.
    """

    handle: Any
    holds_model: bool
    up: Any
    started: bool = False
    tasks: deque[tuple[Any, Task]] = field(default_factory=deque)
    since: float = 0.0

    def give(self, task: Task) -> None:
        """Queue a task in the actor."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append((self.handle.run.remote(task), task))

    def was_up(self) -> bool:
        """Whether the actor ever started; one that was placed on a dying node may not."""
        if not ray.wait([self.up], timeout=0)[0]:
            return False
        try:
            ray.get(self.up)
        except ray.exceptions.RayError:
            return False
        return True

    def take(self, reference: Any) -> Task:
        """Remove the task behind a reference."""
        task = next(t for r, t in self.tasks if r == reference)
        self.tasks = deque((r, t) for r, t in self.tasks if r != reference)
        self.since = time.monotonic()
        return task


class RayExecutor:
    """Runs tasks on a Ray cluster: the one at `execution.address`, or a local one that lives as long as the run."""

    name = "ray"

    def __init__(self, context: RunContext, bundle: ModelBundle) -> None:
        self._config = context.config.execution
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            _connect(self._config)
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cpus, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
        self._gpus = _gpus_per_actor(self._config, gpus)
        self.model_slots = _actor_count(self._config, cpus, gpus, self._gpus)
        self._threads = (
            self._config.threads if isinstance(self._config.threads, int) else max(1, cpus // self.model_slots)
        )
        self._cpu_slots = max(2, cpus)
        self._context = ray.put(context)
        self._bundle = ray.put(_with_threads(bundle, self._threads))
        bundle.loaded.clear()  # the actors load their own; this process computes nothing any more
        self._fruitless = 0
        self._ended: deque[Outcome] = deque()
        self._waiting: deque[Task] = deque()
        self._counters = {
            name: Counter(f"hdm_{name}", description=text, tag_keys=(LABELS[name],) if name in LABELS else ())
            for name, text in HELP.items()
        }
        self._models = [self._start_model() for _ in range(self.model_slots)]
        self._steps: list[_Slot] = []

    @property
    def model_free(self) -> int:
        """Free places in the actors' queues."""
        given = len(self._waiting) + sum(len(slot.tasks) for slot in self._models)
        return self.model_slots * self._config.blocks_in_flight - given

    @property
    def cpu_free(self) -> int:
        """Free places for staging, stitching and writing."""
        return self._cpu_slots - sum(len(slot.tasks) for slot in self._steps)

    def submit(self, task: Task) -> None:
        """Hand a block to the model actor with the shortest queue, any other step to an idle actor."""
        if task.step == "infer":
            self._waiting.append(task)
            self._give_blocks()
            return
        idle = next((slot for slot in self._steps if not slot.tasks), None)
        if idle is None:
            # As many as were ever needed at once: a laptop's run needs one or two.
            idle = self._start_step()
            self._steps.append(idle)
        idle.give(task)

    def next(self) -> Outcome:
        """Wait for a task to end, an actor to die, or a step to take longer than `step_timeout`."""
        while not self._ended:
            holders = {reference: slot for slot in (*self._models, *self._steps) for reference, _ in slot.tasks}
            holders |= {slot.up: slot for slot in self._models if not slot.started}
            ready, _ = ray.wait(list(holders), num_returns=1, timeout=1.0, fetch_local=True)
            for reference in ready:
                if reference == holders[reference].up:
                    self._started(holders[reference])
                else:
                    self._settle(reference, holders[reference])
            self._give_blocks()
            self._kill_hung()
        return self._ended.popleft()

    def observe(self, event: Event) -> None:
        """Add to the counters that Ray's own Prometheus endpoint serves."""
        for (name, label), value in increments(event).items():
            tags = {LABELS[name]: label} if name in LABELS else {}
            self._counters[name].inc(value, tags)

    def close(self) -> None:
        """Kill the actors; shut Ray down if this run started it."""
        for slot in (*self._models, *self._steps):
            ray.kill(slot.handle)
        self._models, self._steps = [], []
        if self._owns_cluster:
            ray.shutdown()

    def _start_model(self) -> _Slot:
        actor = ray.remote(_ModelActor).options(
            num_cpus=0 if self._gpus else self._threads, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
        )
        return _slot(actor.remote(self._context, self._bundle), holds_model=True)

    def _start_step(self) -> _Slot:
        actor = ray.remote(_StepActor).options(
            num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        return _slot(actor.remote(self._context), holds_model=False)

    def _started(self, slot: _Slot) -> None:
        try:
            ray.get(slot.up)
        except ray.exceptions.RayError as error:
            self._died(slot, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        else:
            slot.started = True

    def _give_blocks(self) -> None:
        """Hand waiting blocks to the actors that are up, the shortest queue first."""
        while self._waiting:
            room = [s for s in self._models if s.started and len(s.tasks) < self._config.blocks_in_flight]
            if not room:
                return
            min(room, key=lambda slot: len(slot.tasks)).give(self._waiting.popleft())

    def _settle(self, reference: Any, slot: _Slot) -> None:
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            task = slot.take(reference)
            log.info("step failed\n%s", error, extra={"scene": task.scene, "block": task.block, "step": task.step})
            self._ended.append(Outcome(task, error=as_hdm_error(_plain(error), task)))
        except _DEATHS as error:
            self._died(slot, f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        else:
            self._ended.append(Outcome(slot.take(reference), value=value))
        if slot.holds_model:
            self._fruitless = 0

    def _died(self, slot: _Slot, reason: str) -> None:
        """Report a death: the oldest task of an actor that was up is the suspect, the others were never started."""
        suspect = slot.was_up()
        for position, (_, queued) in enumerate(slot.tasks):
            died = suspect and position == 0
            self._ended.append(Outcome(queued, died=died, lost=not died, reason=reason))
        if slot.holds_model or not suspect:
            self._fruitless += 1
        if self._fruitless > _MAX_RESTARTS_IN_A_ROW:
            raise ExecutionError(
                f"actors died {self._fruitless} times in a row without finishing a block; last: {reason}",
                where="Ray",
                remedy="check memory (lower execution.actors, batch_size or tiling.size) and the worker logs of Ray",
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
        now, limit = time.monotonic(), self._config.step_timeout
        nobody_up = not any(slot.started for slot in self._models)
        for slot in (*self._models, *self._steps):
            busy = bool(slot.tasks) or (nobody_up and slot.holds_model)
            if busy and now - slot.since > limit:
                ray.kill(slot.handle)
                self._died(slot, f"hung for more than {limit:g} s")


def _slot(handle: Any, *, holds_model: bool) -> _Slot:
    return _Slot(handle, holds_model, up=handle.ready.remote(), since=time.monotonic())


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within: a Ray that is started binds all its ports to loopback, as it does by itself on macOS and Windows.

    Ray has no option for it: `ray.init` replaces 127.0.0.1 by an address that others reach. This switch is read from
    the environment when ray is imported, which may be before us; a test looks at the sockets.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(config: Execution) -> None:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if config.address is not None:
        options["address"] = config.address
    else:
        # A plain ray.init() would attach to any cluster on the host.
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        with _on_loopback() if config.address is None else nullcontext():
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ExecutionError(
            f"cannot reach or start Ray: {error}",
            where=config.address or "local",
            remedy="check execution.address and the cluster, or use --executor inline",
        ) from error


def _gpus_per_actor(config: Execution, gpus: float) -> float:
    if config.gpus_per_actor == "auto":
        return 1.0 if gpus >= 1 else 0.0
    if config.gpus_per_actor > gpus:
        raise ExecutionError(
            f"an actor asks for {config.gpus_per_actor:g} GPUs, the cluster has {gpus:g}",
            where="execution.gpus_per_actor",
            remedy="lower it, or join a cluster with GPUs",
        )
    return float(config.gpus_per_actor)


def _actor_count(config: Execution, cpus: int, gpus: float, gpus_per_actor: float) -> int:
    if config.actors != "auto":
        return config.actors
    if gpus_per_actor:
        return max(1, int(gpus / gpus_per_actor))
    # One actor with several threads would wait for its slowest thread; one per two cores leaves room for staging.
    return max(1, cpus // 2)


def _with_threads(bundle: ModelBundle, threads: int) -> ModelBundle:
    return replace(bundle, threads=threads)


def _plain(error: ray.exceptions.RayTaskError) -> Exception:
    """The step's own exception out of Ray's wrapper."""
    return error.cause if isinstance(error.cause, Exception) else ExecutionError(str(error))
