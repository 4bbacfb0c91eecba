"""What an output directory holds, read from its ledger and report; works while a run goes on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hdm_pipeline.errors import counted
from hdm_pipeline.output.deliveries import read_unsettled
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.output.meant import no_run, output_directory
from hdm_pipeline.output.mirror import for_reading
from hdm_pipeline.reporting.plan_text import duration
from hdm_pipeline.reporting.run_json import SCHEMA, read_head
from hdm_pipeline.reporting.sends import Owed, not_sent_lines, undelivered

_SHOWN = 20
_HEAD = ("pipeline", "status", "error", "started", "seconds", "totals")


def output_status(folder: str | os.PathLike[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Scenes by status, the run that holds the lock, and the totals of the last report.

    Args:
        folder: the output directory, or its address in an object store: what was copied there last is told. Or its
            pipeline file.
        overrides: of the pipeline file, as in `read_pipeline_file`.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        ConfigError: no run has ever written there, and none is under way.
    """
    workspace = for_reading(Workspace.of(output_directory(folder, overrides)))
    owner = holder(workspace.lock_place)
    known = workspace.ledger.is_file()
    if not known and owner is None:  # else a first run is under way that has copied nothing to its bucket yet
        raise no_run(workspace.shown)
    ledger = Ledger.open_readonly_or_empty(workspace.ledger)
    report = _last_report(workspace)
    asked = [peer["to"] for peer in report["send"]] if "send" in report else None
    with ledger, ledger.unchanged():
        found = {
            "scenes": _counts(ledger.counts(), report, run_state(report.get("status", ""), owner)),
            "quarantined": _quarantined(ledger),
            "not_sent": _not_sent(ledger, asked) if asked != [] and known else {},
            "stale": workspace.stale(),
            "warnings": dict(Counter(ledger.suspicions()).most_common()),
            "vanished": [one.id for one in ledger.walk("vanished", info=False)],
        }
    return {
        "output": workspace.shown,
        "holder": owner,
        **found,
        "catalogs": [f"{workspace.shown}/{file}" for files in report.get("catalogs", {}).values() for file in files],
        "last_run": {key: report.get(key) for key in (*_HEAD, "warnings")},
    }


def quarantined_scenes(workspace: Workspace) -> dict[str, Any]:
    """Errors of the scenes of an output directory that are quarantined now, by scene id; none where no run ever was.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        LedgerError: the ledger is damaged.
    """
    with Ledger.open_readonly_or_empty(for_reading(workspace).ledger) as ledger:
        return _quarantined(ledger)


def quarantined_lines(errors: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """What is wrong with quarantined scenes and what to do, as lines of text; of many scenes the first."""
    lines = []
    for scene, error in list(errors.items())[:_SHOWN]:
        lines.append(f"quarantined {scene}: {(error or {}).get('what', '')}")
        lines.append(f"  remedy: {(error or {}).get('remedy', '')}")
    if len(errors) > _SHOWN:
        lines.append(f"  ... and {len(errors) - _SHOWN} more; all are in run.json")
    return lines


def _last_report(workspace: Workspace) -> dict[str, Any]:
    """What `run.json` tells of the last run; where it is none of ours, or damaged, that its status is not known."""
    try:
        found = read_head(workspace.report)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = {}
    known = found.get("schema") == SCHEMA and all(name in found for name in ("status", "started", "seconds", "totals"))
    return found if known else {"status": "unknown"}


def _quarantined(ledger: Ledger) -> dict[str, Any]:
    return {one.id: one.error for one in ledger.walk("quarantined", info=False)}


def _not_sent(ledger: Ledger, asked: Collection[str] | None) -> Owed:
    """What peers lack; only those scenes are read that may be among it."""
    scenes, deliveries = read_unsettled(ledger.path)
    return undelivered(filter(None, map(ledger.scene, scenes)), deliveries, asked)


def _counts(found: Mapping[str, int], report: Mapping[str, Any], state: str) -> dict[str, int]:
    """Scenes by status. What a run had begun when it ended waits, as does what it knew of and did not reach."""
    counts = dict(found)
    unknown = report.get("totals", {}).get("scenes", 0) - sum(found.values()) + found.get("vanished", 0)
    begun = 0 if state == "running" else counts.pop("running", 0)
    if (waiting := max(unknown, 0) + begun) > 0:
        counts["waiting"] = waiting
    return dict(sorted(counts.items()))


def status_text(found: dict[str, Any]) -> str:
    """The status as lines of text."""
    scenes = ", ".join(f"{count} {status}" for status, count in found["scenes"].items()) or "none yet"
    lines = [f"output    {found['output']}", f"scenes    {scenes}"]
    last = found["last_run"]
    if last["status"] == "unknown":
        lines.append("last run  unknown: its run.json is damaged, or of another program; the next run writes it anew")
    elif last["status"]:
        state = _state(last["status"], found["holder"])
        totals = dict(last["totals"])
        if not state.startswith("running"):
            totals |= {"running": 0, "waiting": totals["waiting"] + totals["running"]}
        lines.append(f"last run  {state}, started {last['started']}, {duration(last['seconds'])}")
        if last["error"]:
            lines.append(f"          {last['error']['type']}: {last['error'].get('what', 'see what the run printed')}")
            lines += [f"          {key}: {text}" for key in ("where", "remedy") if (text := last["error"].get(key))]
        lines += [f"          nothing there now: {text}" for text in last["warnings"] or ()]
        lines.append(
            f"          {totals['done']} of {counted(totals['scenes'], 'scene')} done, {totals['running']} running, "
            f"{totals['quarantined']} quarantined, {totals['waiting']} waiting"
        )
        lines.append(f"          {counted(totals['tiles'], 'tile')}, {totals['tiles_per_second']} tiles/s")
        if totals["seconds_left"] is not None and state.startswith("running"):
            lines.append(f"          about {duration(totals['seconds_left'])} left")
    elif found["holder"] is not None and run_state("running", found["holder"]) == "killed":
        lines.append("a first run was killed before it told anything; run again")
    elif found["holder"] is not None:
        lines.append(f"first run under way as {found['holder']['owner']}; it has told nothing yet")
    lines += [f"catalog   {path}" for path in found["catalogs"]]
    lines += quarantined_lines(found["quarantined"])
    lines += [line for peer, scenes in found["not_sent"].items() for line in not_sent_lines(peer, scenes)]
    if found["warnings"]:
        kinds = ", ".join(f"{kind} {counted(count, 'scene')}" for kind, count in found["warnings"].items())
        lines.append(f"warnings  {kinds}; run.json says what and what to do")
    if found["stale"]:
        names = ", ".join(found["stale"][:_SHOWN])
        lines.append(f"stale     products of an earlier input, or no longer asked for, are kept in .hdm/stale: {names}")
    if found["vanished"]:
        lines.append(f"no longer in the archive: {', '.join(found['vanished'][:_SHOWN])}")
    return "\n".join(lines)


def _state(status: str, holder: dict[str, Any] | None) -> str:
    """What a run's own report says, corrected where the run could not: it was killed."""
    if status == "stopped":
        return "stopped (run again to go on)"
    if status != "running":  # of the last run, even if another one begins
        return str(status)
    if holder is None or run_state(status, holder) == "killed":
        return "killed (run again to go on)"
    return f"running as {holder['owner']}"
