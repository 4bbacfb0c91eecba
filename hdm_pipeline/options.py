"""Limits of one run, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdm_pipeline.arguments import whole_argument
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ConfigError

PREPARING_THREAD = "hdm-prepare"
"""Name of the thread that prepares the examples: the command line looks whether it still computes when it ends."""


@dataclass(frozen=True)
class RunOptions:
    """How one run differs from what the pipeline file says.

    Attributes:
        limit: most scenes to work on.
        time_budget: seconds after which no new work is started.
        retry_quarantined: try scenes again that were quarantined under the same key.
        wait: wait for another run on the same output to end, instead of refusing.
        rebuild_ledger: rename a damaged ledger and start an empty one; all scenes are then done again.
        mosaic: write rasters of all scenes too, one for each class, not only a mosaic that refers to their masks.
        delivery: the input is one delivery of many: scenes of the output directory that it lacks are not missing.
    """

    limit: int | None = None
    time_budget: float | None = None
    retry_quarantined: bool = False
    wait: bool = False
    rebuild_ledger: bool = False
    mosaic: bool = False
    delivery: bool = False

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing.

        Raises:
            ConfigError: `limit` is no whole number, or `time_budget` no number of seconds.
        """
        if self.limit is not None:
            whole_argument(self.limit, 0, "the limit", "RunOptions")
        budget = self.time_budget
        if budget is not None and not (isinstance(budget, int | float) and budget >= 0):
            what = f"the time budget is {budget!r}"
            raise ConfigError(what, where="RunOptions", remedy="give seconds, 0 or more")


@dataclass(frozen=True)
class SendSummary:
    """What a run sent to one peer of `output.send`.

    Attributes:
        to: its address.
        products: that it is to get.
        sent: scenes of which it lacked something and now lacks nothing.
        files: files that this run sent.
        not_sent: `what` and `remedy` of each scene of which it still lacks something, by scene id.
        waiting: scenes that were not tried, because the run was to stop.
        refused: scenes of `not_sent` that the peer will not take as they are: trying again would not help.
    """

    to: str
    products: tuple[str, ...]
    sent: int
    files: int
    not_sent: Mapping[str, Mapping[str, str]]
    waiting: int = 0
    refused: frozenset[str] = frozenset()

    def as_dict(self) -> dict[str, Any]:
        """As `run.json` carries it."""
        return {
            "to": self.to,
            "products": list(self.products),
            "sent": self.sent,
            "files": self.files,
            "not_sent": {scene: dict(error) for scene, error in sorted(self.not_sent.items())},
            "waiting": self.waiting,
        }


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Attributes:
        done: scenes published by this run.
        done_before: scenes that were there already.
        quarantined: error of each scene that is quarantined, by scene id.
        left: scenes not reached (interrupted, out of time, or over the limit).
        report: path of `run.json`.
        warnings: what was noticed of scenes that this run published, by scene id.
        sends: what was sent, by peer of `output.send`.
        remarks: what else is to be told of the archive: what was left out, and that there is nothing now.
    """

    done: tuple[str, ...]
    done_before: int
    quarantined: Mapping[str, Mapping[str, Any]]
    left: int
    report: Path
    warnings: Mapping[str, tuple[SceneWarning, ...]] = field(default_factory=dict)
    sends: tuple[SendSummary, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all is well, 3 some scenes are quarantined, 4 a peer lacks products (and scenes may be quarantined)."""
        if any(peer.not_sent for peer in self.sends):
            return 4
        return 3 if self.quarantined else 0
