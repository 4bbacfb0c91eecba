"""The run of a session's pipeline, whoever started it: watched by its event log, and asked to stop."""

from __future__ import annotations

from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import interrupt_holder
from hdm_pipeline.reporting.follow import RunFollower, RunState

__all__ = ["RunFollower", "RunState", "interrupt_run"]


def interrupt_run(workspace: Workspace) -> bool:
    """Ask the run that works on an output directory to stop: once, after the blocks being worked on; twice, at once.

    Returns:
        Whether there was one.

    Raises:
        OutputError: it runs on another host, or belongs to another user.
    """
    return bool(interrupt_holder(workspace.lock))
