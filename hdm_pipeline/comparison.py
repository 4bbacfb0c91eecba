"""Two output directories against each other: what was gained, lost and stable between two dates of one place.

The core knows no file formats: it tells the writer plug-in of the product what lies in both directories
(`contracts.ArchiveWriter.compare`), and writes down what that found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import OUTPUT_MARKER, RunCatalog
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.execution.catalogs import run_catalog
from hdm_pipeline.output.files import output_errors, write_json
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.plugin.registry import make_writer

PRODUCT = "mask"
REPORT = "change.json"


def compare_outputs(before: Path, after: Path, to: Path | None = None) -> dict[str, Any]:
    """Compare the masks of two runs over one place.

    Args:
        before: output directory of the earlier date.
        after: output directory of the later date.
        to: folder for rasters of what changed, and for `change.json`; made if it is not there. None to write nothing.

    Returns:
        See `ArchiveWriter.compare`; also ``before`` and ``after``, the directories.

    Raises:
        ConfigError: a directory is of no run, `to` is one of them, or nothing lies on each other.
        ReadError: a mask cannot be read.
        OutputError: `to` cannot be written.
    """
    runs = [_run_of(folder) for folder in (before, after)]
    if to is not None:
        to = to.absolute()
        if to.resolve() in [run.root.resolve() for run in runs]:
            remedy = "give another folder: its rasters would lie among the products"
            raise ConfigError("changes cannot be written into an output directory", where=str(to), remedy=remedy)
        with output_errors(to):
            # With the marker no reader takes these rasters for scenes.
            (to / OUTPUT_MARKER).mkdir(parents=True, exist_ok=True)
    writer = make_writer(PRODUCT, {})
    found = {"before": str(runs[0].root), "after": str(runs[1].root), **writer.compare(runs[0], runs[1], to)}
    if to is not None:
        write_json(to / REPORT, found)
    return found


def _run_of(folder: Path) -> RunCatalog:
    workspace = Workspace(folder.absolute())
    ledger = Ledger.open_readonly(workspace.ledger)
    if ledger is None:
        remedy = "give the output directory of a pipeline"
        raise ConfigError("no run has written here", where=str(folder), remedy=remedy)
    with ledger:
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
