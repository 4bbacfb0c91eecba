"""Whether the lock of a run still is its own, asked where it lies by whoever writes for the run, on any node.

The driver learns from its sign of life that another run has taken over; that comes every few seconds, and a step that
publishes may write many files meanwhile. So it asks for itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.output.files import output_errors
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import Lock, lost_lock, read_lock

FRESH = 1.0
"""Seconds for which it need not be asked again whether the output still is this run's; not before a manifest."""


@dataclass(frozen=True)
class Fence:
    """Stands before what is written for a run; picklable.

    Attributes:
        workspace: of the run; None where no lock is held, and nothing is asked.
        mark: what the run's lock says and no other one does.
    """

    workspace: Workspace | None = None
    mark: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: Workspace, lock: Lock) -> Self:
        """That of a run which holds this lock."""
        return cls(workspace, lock.mark)

    def require(self) -> float:
        """Refuse to write where the lock is another run's, or gone.

        Returns:
            When it was asked, in seconds of `time.monotonic`.

        Raises:
            LostLockError: it is.
            OutputError: it cannot be asked.
        """
        asked = time.monotonic()
        if self.workspace is None:
            return asked
        bucket = self.workspace.bucket
        # As patient as the write that follows: a store that is away for a minute ends no run.
        place = self.workspace.lock if bucket is None else bucket / OUTPUT_MARKER
        with output_errors(self.workspace.lock):
            found = read_lock(place)
        if found is None or not self.mark.items() <= found[0].items():
            raise lost_lock(self.workspace.shown, gone=found is None)
        return asked
