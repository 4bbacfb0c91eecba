"""The contract between the driver, which decides what runs next, and the executors, which decide where."""

from __future__ import annotations

from typing import Protocol

from hdm_pipeline.errors import HdmError, SceneError, out_of_memory
from hdm_pipeline.execution.messages import Outcome, RunContext, Task
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.support.bundle import ModelBundle


class Executor(Protocol):
    """Runs tasks somewhere. Used by one thread."""

    name: str

    @property
    def model_free(self) -> int:
        """How many more `infer` tasks may be submitted now without idle queueing; none before `equip`."""
        ...

    @property
    def cpu_free(self) -> int:
        """How many more of the other tasks may be submitted now."""
        ...

    @property
    def model_slots(self) -> int:
        """How many `infer` tasks run at once when all is well."""
        ...

    def start(self) -> None:
        """Wait until what was begun when it was made (a cluster) is there; what is asked before may be a guess.

        Raises:
            ExecutionError: it never will be.
        """
        ...

    def equip(self, context: RunContext, bundle: ModelBundle) -> None:
        """Hand over what was not known when workers were started: before, no `infer` task may be submitted.

        Args:
            context: of the run, complete; what is published is published with it.
            bundle: what the model needs.
        """
        ...

    def submit(self, task: Task) -> None:
        """Queue a task; never blocks for long."""
        ...

    def next(self, timeout: float | None = None) -> Outcome | None:
        """Wait for one of the submitted tasks to end.

        Args:
            timeout: seconds after which None is given back, so that the caller can look after other things. What is
                computed in the calling thread is not cut short.
        """
        ...

    def observe(self, event: Event) -> None:
        """Take note of an event, to count it where the executor's cluster keeps its metrics."""
        ...

    def close(self) -> None:
        """Let go of workers and whatever was started for them; tasks in flight are abandoned."""
        ...


def as_hdm_error(error: Exception, task: Task) -> HdmError:
    """Any exception of a step as an error that a user can act on."""
    if isinstance(error, HdmError):
        return error
    where = f"scene {task.scene}, step {task.step}" + (f", block {task.block}" if task.block >= 0 else "")
    return out_of_memory(error, where) or SceneError(
        f"{type(error).__name__}: {error}",
        where=where,
        remedy="the log under .hdm/logs has the traceback; when the cause is gone, run with --retry-quarantined",
    )
