"""The same steps on a Ray cluster: model actors, and tasks for the rest. Nothing else imports ray.

Pixels never cross the object store: workers read and write zarr in the shared output directory. The model bundle is
put once and held by the driver for the whole run. Actors are never restarted by Ray (an actor killed by a poison tile
would be retried for ever); the driver is told of the death and this executor puts a fresh actor in its place.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import ray
import ray.exceptions
from ray.util.metrics import Counter

from hdm_pipeline.config import Execution
from hdm_pipeline.errors import ExecutionError
from hdm_pipeline.execution.events import Event
from hdm_pipeline.execution.executor import as_hdm_error
from hdm_pipeline.execution.memory import give_back
from hdm_pipeline.execution.model_worker import ModelWorker
from hdm_pipeline.execution.steps import run_step
from hdm_pipeline.execution.work import ModelBundle, Outcome, RunContext, Task
from hdm_pipeline.metrics import HELP, LABELS, increments

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


class _Actor:
    """A model actor's class body; `ray.remote` is applied when a cluster is there."""

    def __init__(self, context: RunContext, bundle: ModelBundle) -> None:
        self._worker = ModelWorker(context, bundle)

    def ready(self) -> int:
        return os.getpid()

    def infer(self, task: Task) -> Any:
        result = self._worker.infer(task)
        give_back()
        return result


@dataclass(eq=False)
class _Slot:
    """One model actor and the tasks given to it, oldest first."""

    handle: Any
    tasks: deque[tuple[Any, Task]] = field(default_factory=deque)
    since: float = 0.0


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
        self._step = ray.remote(num_cpus=0, max_retries=0)(run_step)
        self._cpu_tasks: dict[Any, tuple[Task, float]] = {}
        self.restarts = 0
        self._fruitless = 0
        self._ended: deque[Outcome] = deque()
        self._counters = {
            name: Counter(f"hdm_{name}", description=text, tag_keys=(LABELS[name],) if name in LABELS else ())
            for name, text in HELP.items()
        }
        self._slots = [self._start_actor() for _ in range(self.model_slots)]

    @property
    def model_free(self) -> int:
        """Free places in the actors' queues."""
        return self.model_slots * self._config.blocks_in_flight - sum(len(slot.tasks) for slot in self._slots)

    @property
    def cpu_free(self) -> int:
        """Free places for staging, stitching and writing."""
        return self._cpu_slots - len(self._cpu_tasks)

    def submit(self, task: Task) -> None:
        """Hand a task to the actor with the shortest queue, or to any node."""
        if task.step != "infer":
            self._cpu_tasks[self._step.remote(self._context, task)] = (task, time.monotonic())
            return
        slot = min(self._slots, key=lambda s: len(s.tasks))
        if not slot.tasks:
            slot.since = time.monotonic()
        slot.tasks.append((slot.handle.infer.remote(task), task))

    def next(self) -> Outcome:
        """Wait for a task to end, an actor to die, or a step to take longer than `step_timeout`."""
        while not self._ended:
            references = [*self._cpu_tasks, *(reference for slot in self._slots for reference, _ in slot.tasks)]
            ready, _ = ray.wait(references, num_returns=1, timeout=1.0, fetch_local=True)
            for reference in ready:
                self._settle(reference)
            self._kill_hung()
        return self._ended.popleft()

    def observe(self, event: Event) -> None:
        """Add to the counters that Ray's own Prometheus endpoint serves."""
        for (name, label), value in increments(event).items():
            tags = {LABELS[name]: label} if name in LABELS else {}
            self._counters[name].inc(value, tags)

    def close(self) -> None:
        """Kill the actors; shut Ray down if this run started it."""
        for slot in self._slots:
            ray.kill(slot.handle)
        self._slots = []
        if self._owns_cluster:
            ray.shutdown()

    def _start_actor(self) -> _Slot:
        actor = ray.remote(_Actor).options(
            num_cpus=0 if self._gpus else self._threads, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
        )
        return _Slot(actor.remote(self._context, self._bundle), since=time.monotonic())

    def _settle(self, reference: Any) -> None:
        slot = next((s for s in self._slots if any(r is reference or r == reference for r, _ in s.tasks)), None)
        task = self._cpu_tasks.pop(reference)[0] if slot is None else next(t for r, t in slot.tasks if r == reference)
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            log.info("step failed\n%s", error, extra={"scene": task.scene, "block": task.block, "step": task.step})
            self._ended.append(Outcome(task, error=as_hdm_error(_plain(error), task)))
        except _DEATHS as error:
            self._died(slot, task, f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        else:
            self._ended.append(Outcome(task, value=value))
        if slot is not None:
            self._fruitless = 0
            slot.tasks = deque((r, t) for r, t in slot.tasks if r != reference)
            slot.since = time.monotonic()

    def _died(self, slot: _Slot | None, task: Task, reason: str) -> None:
        """Report a death: the oldest task of a dead actor is the suspect, the others were never started."""
        if slot is None:
            self._ended.append(Outcome(task, died=True, reason=reason))
            return
        self._fruitless += 1
        if self._fruitless > _MAX_RESTARTS_IN_A_ROW:
            raise ExecutionError(
                f"model actors died {self._fruitless} times in a row without finishing a block; last: {reason}",
                where="Ray",
                remedy="check memory (lower execution.actors, batch_size or tiling.size) and the worker logs of Ray",
            )
        for position, (_, queued) in enumerate(slot.tasks):
            self._ended.append(Outcome(queued, died=position == 0, lost=position > 0, reason=reason))
        self.restarts += 1
        self._slots[self._slots.index(slot)] = self._start_actor()

    def _kill_hung(self) -> None:
        now, limit = time.monotonic(), self._config.step_timeout
        for slot in list(self._slots):
            if slot.tasks and now - slot.since > limit:
                ray.kill(slot.handle)
                self._died(slot, slot.tasks[0][1], f"hung for more than {limit:g} s")
        for reference, (task, since) in list(self._cpu_tasks.items()):
            if now - since > limit:
                ray.cancel(reference, force=True)
                del self._cpu_tasks[reference]
                self._died(None, task, f"hung for more than {limit:g} s")


def _connect(config: Execution) -> None:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if config.address is not None:
        options["address"] = config.address
    else:
        # A plain ray.init() would attach to any cluster on the host.
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
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
