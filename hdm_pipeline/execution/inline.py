"""Everything in this process: the model in the calling thread, the other steps in a second one."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from hdm_pipeline.execution.executor import as_hdm_error
from hdm_pipeline.execution.malloc import give_back
from hdm_pipeline.execution.messages import Failed, Finished, InferTask, Outcome, Result, RunContext, Task
from hdm_pipeline.execution.steps import run_step
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.support.bundle import ModelBundle

if TYPE_CHECKING:
    from hdm_pipeline.execution.model_worker import ModelWorker

_CPU_TASKS = 2
"""Staging, stitching and writing queued while the model computes; one runs, one waits."""

log = logging.getLogger(__name__)


class InlineExecutor:
    """Runs each task in this process. A step that crashes the interpreter takes the run with it; the ledger stays."""

    name = "inline"
    model_slots = 1

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._bundle: ModelBundle | None = None
        self._worker: ModelWorker | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hdm-step")
        self._futures: dict[Future[Result], Task] = {}
        self._model_tasks: deque[InferTask] = deque()

    @property
    def model_free(self) -> int:
        """One task computing, so one may wait."""
        return 0 if self._bundle is None else 1 - len(self._model_tasks)

    @property
    def cpu_free(self) -> int:
        """Room in the step thread's queue."""
        return _CPU_TASKS - len(self._futures)

    def start(self) -> None:
        """Nothing to wait for."""

    def equip(self, context: RunContext, bundle: ModelBundle) -> None:
        """Steps that are queued keep the context that they were given with; none of them publishes."""
        self._context, self._bundle = context, bundle

    def submit(self, task: Task) -> None:
        """Queue a task."""
        if isinstance(task, InferTask):
            self._model_tasks.append(task)
        else:
            self._futures[self._pool.submit(run_step, self._context, task)] = task

    def next(self, timeout: float | None = None) -> Outcome | None:
        """Report a finished step; with none finished, compute the next block, or wait for the step thread."""
        done = next((future for future in self._futures if future.done()), None)
        if done is None and self._model_tasks:
            return self._infer(self._model_tasks.popleft())
        if done is None:
            done = next(iter(wait(self._futures, timeout, return_when=FIRST_COMPLETED).done), None)
        if done is None:
            return None
        task = self._futures.pop(done)
        try:
            return Finished(task, done.result())
        except Exception as error:  # noqa: BLE001 (whatever a step raises is reported; the driver decides)
            return _failed(task, error)

    def observe(self, event: Event) -> None:
        """Nothing to count: there is no cluster."""

    def close(self) -> None:
        """Wait for the step that runs; drop the ones that wait."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _infer(self, task: InferTask) -> Outcome:
        try:
            result = self._model().infer(task)
            give_back()
            return Finished(task, result)
        except Exception as error:  # noqa: BLE001 (as above)
            return _failed(task, error)

    def _model(self) -> ModelWorker:
        if self._worker is None:
            if self._bundle is None:
                raise RuntimeError("a block was given out before the model was there")
            # Only a run that has work to do pays for loading torch.
            from hdm_pipeline.execution.model_worker import ModelWorker

            self._worker = ModelWorker(self._context, self._bundle)
        return self._worker


def _failed(task: Task, error: Exception) -> Failed:
    log.info("step failed", exc_info=error, extra={"scene": task.scene, "block": task.block, "step": task.step})
    return Failed(task, as_hdm_error(error, task))
