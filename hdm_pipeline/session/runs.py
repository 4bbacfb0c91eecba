"""What a session tells of a run: the types that `Session.follow` leads to."""

from __future__ import annotations

from hdm_pipeline.reporting.follow import RunFollower, RunState

__all__ = ["RunFollower", "RunState"]
