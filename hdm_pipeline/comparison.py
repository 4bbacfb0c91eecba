"""Two output directories against each other: what was gained, lost and stable between two dates of one place.

The core knows no file formats: it tells the writer plug-in of the product what lies in both directories
(`contracts.ArchiveWriter.compare`), and writes down what that found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import OUTPUT_MARKER, RunCatalog
from hdm_pipeline.errors import ConfigError, HdmError
from hdm_pipeline.execution.catalogs import files_of, run_catalog
from hdm_pipeline.output.files import output_errors, write_json
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.output.manifest import bring
from hdm_pipeline.output.meant import no_run, output_directory
from hdm_pipeline.output.mirror import for_reading
from hdm_pipeline.plugin.registry import make_writer
from hdm_pipeline.reporting.run_json import read_head

PRODUCT = "mask"
REPORT = "change.json"


def compare_outputs(
    before: str | os.PathLike[str], after: str | os.PathLike[str], to: Path | None = None
) -> dict[str, Any]:
    """Compare the masks of two runs over one place.

    Args:
        before: output directory of the earlier date, also in a bucket, or its pipeline file.
        after: the same of the later date.
        to: folder for rasters of what changed, and for `change.json`; made if it is not there. None to write nothing.

    Returns:
        See `ArchiveWriter.compare`; also ``before`` and ``after``, the directories.

    Raises:
        ConfigError: a directory is of no run, nothing lies on each other, or `to` lies in an output directory or holds
            files of others.
        ReadError: a mask cannot be read.
        OutputError: `to` cannot be written.
    """
    spaces = [for_reading(Workspace.of(output_directory(folder))) for folder in (before, after)]
    runs = [_run_of(workspace) for workspace in spaces]
    notices = [notice for workspace in spaces for notice in _unfinished(workspace)]
    if to is not None:
        to = to.absolute()
        with output_errors(to):
            _check_target(to)
            # With the marker no reader takes these rasters for scenes.
            (to / OUTPUT_MARKER).mkdir(parents=True, exist_ok=True)
    writer = make_writer(PRODUCT, {})
    with _addressed(spaces):
        changes = writer.compare(runs[0], runs[1], to)
    found = {"before": spaces[0].shown, "after": spaces[1].shown, **changes}
    found["notices"] = [*notices, *found.get("notices", ())]
    if to is not None:
        write_json(to / REPORT, found)
    return found


@contextmanager
def _addressed(spaces: Sequence[Workspace]) -> Iterator[None]:
    """Within: errors name an output in a bucket by its address, not by the folder that stands for it here."""
    try:
        yield
    except HdmError as error:
        where = error.where
        for workspace in spaces:
            where = where.replace(str(workspace.root), workspace.shown)
        raise type(error)(error.what, where=where, remedy=error.remedy) from error


def _check_target(to: Path) -> None:
    """Refuse to mark a folder as this program's that is none of its, or to write among products.

    Raises:
        ConfigError: it lies in an output directory, or holds files of others.
    """
    place = to.resolve()
    if any(Workspace(folder).ledger.is_file() for folder in (place, *place.parents)):
        remedy = "give another folder: its rasters would lie among the products"
        raise ConfigError("changes cannot be written into an output directory", where=str(to), remedy=remedy)
    if not to.is_dir() or (to / REPORT).is_file():
        return
    # An empty marker is all that a comparison leaves that found nothing in common.
    if [*to.iterdir()] not in ([], [to / OUTPUT_MARKER]):
        remedy = "give a new folder, or one of an earlier comparison: its rasters would no longer be found as scenes"
        raise ConfigError("the folder for changes holds other files", where=str(to), remedy=remedy)


def _unfinished(workspace: Workspace) -> list[str]:
    """What to say of a run that is not complete: nothing is known of where it did not get to."""
    try:
        told = str(read_head(workspace.report)["status"])
    except (OSError, ValueError, KeyError):
        told = "unknown"
    state = run_state(told, holder(workspace.lock_place))
    if state == "done":
        return []
    how = {
        "running": "a run is still writing there",
        "stopped": "its last run was stopped before all scenes were done",
        "killed": "its last run was killed before all scenes were done",
        "failed": "its last run failed",
    }.get(state, "its run.json does not say how the last run ended")
    return [f"{workspace.shown}: {how}: only scenes that are done are compared"]


def _run_of(workspace: Workspace) -> RunCatalog:
    ledger = Ledger.open_readonly(workspace.ledger)
    if ledger is None:
        raise no_run(workspace.shown)
    with ledger:
        bring(workspace, files_of(ledger, PRODUCT))
        return run_catalog("", workspace, ledger, PRODUCT)


def comparison_text(found: Mapping[str, Any]) -> str:
    """What changed as a table for people."""
    classes: Mapping[str, Mapping[str, Mapping[str, Any]]] = found["classes"]
    width = max(5, *(len(name) for name in classes))
    kinds = list(next(iter(classes.values())))
    lines = [f"{'class':{width}}  " + "  ".join(f"{kind:>18}" for kind in kinds)]
    for name, row in classes.items():
        lines.append(f"{name:{width}}  " + "  ".join(f"{_shown(row[kind]):>18}" for kind in kinds))
    lines += [f"notice: {notice}" for notice in found["notices"]]
    for side in ("before", "after"):
        if alone := found["unmatched"][side]:
            more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            lines.append(f"only {side}: {', '.join(alone[:5])}{more}")
    return "\n".join(lines)


def _shown(amount: Mapping[str, Any]) -> str:
    if amount["area_m2"] is None:
        return f"{amount['pixels']:,} px"
    square_metres = float(amount["area_m2"])
    return f"{square_metres / 1e6:,.3f} km2" if square_metres >= 1e5 else f"{square_metres:,.0f} m2"
