"""Runs that fail: what is kept of the error, also where a run ends before it knows what there is to do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from hdm_pipeline.errors import (
    ArchiveError,
    HdmError,
    LostLockError,
    PeerError,
    PluginError,
    QuietArchiveError,
    out_of_memory,
)
from hdm_pipeline.output.bucket_lock import run_lock
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.mirror import Mirror
from hdm_pipeline.reporting.events import RunEnded
from hdm_pipeline.reporting.html.page import bring_up_to_date
from hdm_pipeline.reporting.log import JsonLines
from hdm_pipeline.reporting.prometheus import MetricsFile
from hdm_pipeline.reporting.run_json import RunReport, read_head, utc


def shown_error(error: BaseException, *, private: bool) -> dict[str, str]:
    """What is kept of an error that ended a run; of a private archive neither paths nor texts of plug-ins."""
    if isinstance(error, KeyboardInterrupt):
        return {"type": "KeyboardInterrupt", "what": "interrupted", "remedy": "run again to go on"}
    if not isinstance(error, HdmError):
        return lack.as_dict() if (lack := out_of_memory(error)) else {"type": type(error).__name__}
    found = error.as_dict()
    if isinstance(error, PeerError | QuietArchiveError):
        return found  # they name addresses of machines, and hashed ids
    if isinstance(error, ArchiveError):  # the path of an archive may name a patient
        return {name: found[name] for name in ("type", "what", "remedy")}
    return found if not private else {name: found[name] for name in ("type", "remedy")}


@contextmanager
def failure_noted(name: str, workspace: Workspace, owner: str, *, delivery: bool = False) -> Iterator[None]:
    """Within: a run. One that fails before it has a report of its own gets one, with a log and metrics.

    That memory is out becomes an `ExecutionError`.

    Args:
        name: of the pipeline.
        workspace: of the run. Where no run has ever worked, nothing is written.
        owner: how this process signs the lock.
        delivery: the run works on one delivery of many; that this holds no scene is no failure.
    """
    start = time.time()
    try:
        yield
    except BaseException as error:
        # What another run writes where it took over is not written over.
        if not (delivery and isinstance(error, ArchiveError)) and not isinstance(error, LostLockError):
            # What the run failed by counts, not that it cannot be noted: the disk is full, or another run works here.
            with contextlib.suppress(HdmError, OSError):
                _note(name, workspace, owner, error, start)
        if lack := out_of_memory(error):
            raise lack from error
        raise


def _note(name: str, workspace: Workspace, owner: str, error: BaseException, start: float) -> None:
    if not workspace.private.is_dir():
        return
    workspace.create()  # refuses links that lead out of it: nothing is written through one
    # Of a bucket the folder of this node may be an old one: it is brought up to date first, and copied afterwards.
    with run_lock(workspace, owner, wait=False) as lock, Mirror(workspace, lock):
        if not _told(workspace, start):
            _write(name, workspace, error, start)


def _told(workspace: Workspace, start: float) -> bool:
    """Whether the run has written its failure itself."""
    try:
        report = read_head(workspace.report)
    except (OSError, ValueError):
        return False
    return report.get("status") == "failed" and str(report.get("started", "")) >= utc(start)


def _write(name: str, workspace: Workspace, error: BaseException, start: float) -> None:
    shown = shown_error(error, private=isinstance(error, PluginError))
    with Ledger.open_readonly_or_empty(workspace.ledger) as ledger:
        scenes = {status: ledger.ids(status) for status in ledger.counts() if status != "vanished"}
        done, quarantined = (set(scenes.get(status, ())) for status in ("done", "quarantined"))
        inputs = dict.fromkeys(chain.from_iterable(scenes.values()), "")
        report = RunReport(workspace.report, name, inputs, ledger, done, quarantined, started=start)
        report.status = "failed"
        report.note(error=shown)
        report.write()
    bring_up_to_date(workspace, "failed")
    ended = RunEnded(status="failed")
    with JsonLines(workspace.logs / f"{time.strftime('%Y%m%dT%H%M%S', time.localtime(start))}.jsonl") as log:
        log.write({"level": "ERROR", "message": "the run failed before it knew what there is to do", "error": shown})
        log.event(ended)
    MetricsFile(workspace.metrics, name).event(ended)
