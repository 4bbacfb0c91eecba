"""Writes `report.html`, and `report~pages/page_0002.html` and on where there are many scenes."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from hdm_pipeline import __version__
from hdm_pipeline.errors import HdmError, counted
from hdm_pipeline.output.files import output_errors, write_bytes
from hdm_pipeline.output.layout import PAGES, Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.output.manifest import bring_pictures
from hdm_pipeline.output.meant import no_run
from hdm_pipeline.reporting.html import kept
from hdm_pipeline.reporting.html.cards import Cards
from hdm_pipeline.reporting.html.examples import UNKNOWN_COLOR, interval_note, shown_examples
from hdm_pipeline.reporting.html.places import footprints
from hdm_pipeline.reporting.html.plots import bars, over_time
from hdm_pipeline.reporting.html.scenes import MOST_QUARANTINED, Overview, overview
from hdm_pipeline.reporting.html.words import amount, listed
from hdm_pipeline.reporting.plan_text import duration
from hdm_pipeline.reporting.run_json import read_head, utc

_ALL_ON_ONE = 120
_ON_FIRST = 60
_ON_EACH = 250
"""Scenes on one page: so many all stand on the first; of more, some do, and the others follow on further pages."""

MOST_SCENES = 10_000
"""Scenes that have a place on the pages, the largest first; so many take less than 30 MB."""

_IN_TABLE = 300

_NO_ERROR = {"type": "", "what": "", "where": "", "remedy": ""}

_COLOR = re.compile(r"#[0-9a-f]{6}")

_STATES = {
    "done": "The run is finished",
    "stopped": "The run was stopped before all was done: run again to go on",
    "failed": "The run failed",
    "running": "The run is still going on",
    "killed": "The run was killed: run again to go on",
    "": "What became of the run is unknown: there is no run.json",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """A page: its file, and the scenes on it as numbers in the order of `Overview.order`."""

    path: Path
    numbers: range


def write_report(workspace: Workspace, *, state: str = "") -> Path:
    """Write the pages of an output directory from what lies there, also while a run goes on.

    Pictures were made when the scenes were published; a page that would be as it is stays untouched.

    Args:
        workspace: the output directory.
        state: of the run, by the run itself; else it is found out.

    Returns:
        Path of `report.html`.

    Raises:
        ConfigError: no run has written there.
        OutputError: a page cannot be written.
        LedgerError: the ledger is damaged.
    """
    if not workspace.private.is_dir():
        raise no_run(workspace.shown)
    run = _run_json(workspace)
    settings, examples = kept.settings(workspace), kept.examples(workspace)
    private = bool(settings.get("private", True))  # what an older version wrote may be anything
    classes = settings.get("classes") or []
    environment = _environment()
    with Ledger.open_readonly_or_empty(workspace.ledger) as ledger:
        found = overview(ledger, [one["name"] for one in classes], private=private)
        parts = _parts(workspace, min(len(found.order), MOST_SCENES))
        pixels = bool(settings.get("pixels"))
        if pixels and workspace.bucket is not None:
            on_pages = [found.order[number] for part in parts for number in part.numbers]
            bring_pictures(workspace, [one for scene in on_pages if (one := ledger.scene(scene))])
        cards = Cards(workspace, ledger, found, private=private, pixels=pixels)
        shared = _shared(
            found,
            parts,
            classes,
            str(settings.get("name") or run.get("pipeline") or workspace.shown.rpartition("/")[2]),
        )
        template = environment.get_template("page.html")
        for number, part in enumerate(parts[1:], start=2):
            page = {"number": number, "cards": cards.of(part.numbers), "first": part.numbers.start, "up": "../"}
            _write(part.path, template.render(**shared, **page))
        first = {
            **_head(workspace, run, state),
            **_summed_up(found, parts),
            **_scenes(cards, found, parts[0], pixels=pixels),
            "examples": shown_examples(workspace, examples, shared["classes"]),
            "settings": settings.get("settings") or [],
            "interval_note": interval_note(examples) if _has_intervals(found) else "",
            "hashes": examples.get("hashes") or {},
            "private": private,
            "pixels": pixels,
            "next": _next(workspace, run),
        }
        _write(workspace.page, environment.get_template("report.html").render(**shared, **first))
    _drop_pages(workspace, parts)
    return workspace.page


def bring_up_to_date(workspace: Workspace, state: str) -> None:
    """At the end of a run: write the pages, if its pipeline asks for them. That they cannot be written fails no run."""
    if not kept.settings(workspace).get("html"):
        return
    try:
        write_report(workspace, state=state)
    except (HdmError, OSError, TemplateError, LookupError, TypeError, ValueError) as error:
        # The last four: what an earlier version, or a person, left below `.hdm` is not as it should be.
        log.warning("report.html could not be written: %s", error)


def _run_json(workspace: Workspace) -> dict[str, Any]:
    try:
        return read_head(workspace.report)  # the ledger knows the scenes
    except (OSError, ValueError):
        return {}


@cache
def _environment() -> Environment:
    """Kept: a listener writes the report after each study, and compiling the templates takes longer than that."""
    found = Environment(
        loader=PackageLoader("hdm_pipeline.reporting.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["counted"] = counted
    found.filters["duration"] = duration
    found.filters["listed"] = listed
    return found


def _parts(workspace: Workspace, scenes: int) -> list[_Part]:
    """The pages that so many scenes need; the first is always there."""
    on_first = scenes if scenes <= _ALL_ON_ONE else _ON_FIRST
    parts = [_Part(workspace.page, range(on_first))]
    for start in range(on_first, scenes, _ON_EACH):
        file = workspace.pages / f"page_{len(parts) + 1:04d}.html"
        parts.append(_Part(file, range(start, min(start + _ON_EACH, scenes))))
    return parts


def _head(workspace: Workspace, run: Mapping[str, Any], state: str) -> dict[str, Any]:
    """What the last run says of itself."""
    state = state or run_state(str(run.get("status", "")), holder(workspace.lock_place))
    totals = {"scenes": None, "waiting": 0, "tiles": 0, "tiles_per_second": 0.0, **(run.get("totals") or {})}
    error = {**_NO_ERROR, **run["error"]} if run.get("error") else {}
    if state == "failed" and error.get("type") == KeyboardInterrupt.__name__:  # a person stopped it at once
        state, error = "stopped", {}
    return {
        "state": state,
        "state_text": _STATES.get(state, state),
        "error": error,
        "quiet": run.get("warnings") or [],
        "started": run.get("started") or "",
        "seconds": run.get("seconds"),
        "made": utc(time.time()) if state == "running" else "",
        "totals": totals,
        "stages": totals.get("seconds_by_stage") or {},
        "versions": run.get("versions") or {},
        "skipped": run.get("skipped") or [],
    }


def _summed_up(found: Overview, parts: Sequence[_Part]) -> dict[str, Any]:
    """Sums over the scenes, plots and the map; places of scenes as links."""
    links: dict[str, str] = {}
    order = found.order
    for part, prefix in zip(parts, ("", *[f"{PAGES}/"] * len(parts)), strict=False):
        file = "" if part is parts[0] else prefix + part.path.name
        links |= {order[number]: f"{file}#s{number}" for number in part.numbers}
    sums = [sum(one.values[index] for one in found.done) for index in range(len(found.classes))]
    return {
        "found": found,
        "sums": sums,
        "links": links,
        "left_out": max(0, len(order) - MOST_SCENES),
        "warnings": sorted(found.warnings.values(), key=lambda one: (not one.suspect, -one.count, one.kind)),
        "bars": bars(found),
        "time": over_time(found),
        "map": footprints(found),
    }


def _has_intervals(found: Overview) -> bool:
    return any(bounds is not None for one in found.done for bounds in one.bounds)


def _shared(found: Overview, parts: Sequence[_Part], classes: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """What all pages show."""
    return {
        "name": name,
        "classes": _colors(found.classes, classes),
        "kind": found.kind,
        "total": len(found.order),
        "pages": [
            {"number": n, "file": part.path.name, "place": f"{PAGES}/{part.path.name}"}
            for n, part in enumerate(parts, start=1)
        ],
        "amount": amount,
        "version": __version__,
    }


def _scenes(cards: Cards, found: Overview, part: _Part, *, pixels: bool) -> dict[str, Any]:
    """The scenes on the first page, and those in its lists."""
    shown = list(cards.of(part.numbers))
    return {
        "number": 1,
        "up": "",
        "cards": shown,
        "unpictured": sum(one.status == "done" and not one.picture for one in shown) if pixels else 0,
        "quarantined": list(cards.of_ids(found.quarantined[:MOST_QUARANTINED])),
        "table": list(cards.of(range(len(found.done)), pictures=False)) if len(found.done) <= _IN_TABLE else [],
    }


def _colors(names: Sequence[str], classes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    by_name = {str(one.get("name")): str(one.get("color")) for one in classes}
    known = {name: color for name, color in by_name.items() if _COLOR.fullmatch(color)}
    return [{"name": name, "color": known.get(name, UNKNOWN_COLOR)} for name in names]


def _next(workspace: Workspace, run: Mapping[str, Any]) -> list[dict[str, str]]:
    """What to open next: (file, what it is) of what lies there."""
    gathered = [f for of in (run.get("mosaics") or {}).values() for f in of.get("files", ())]
    about = {f: what for of in (run.get("mosaics") or {}).values() for f, what in (of.get("about") or {}).items()}
    described = [f for files in (run.get("catalogs") or {}).values() for f in files]
    told = {".vrt": "the masks of all scenes as one raster: open it in QGIS", ".tif": "a raster of all scenes"}
    files = [(f, about.get(f, told[suffix])) for f in sorted(gathered) if (suffix := Path(f).suffix) in told]
    files += [(f, "STAC: what there is, for catalogs and for programs") for f in described]
    files.append(("run.json", "everything on this page, for programs"))
    return [{"file": f, "what": what} for f, what in files if (workspace.root / f).is_file()]


def _write(path: Path, text: str) -> None:
    """Write a page by atomic rename, unless it is there as it is to be."""
    content = text.encode()
    with output_errors(path):
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _drop_pages(workspace: Workspace, parts: Sequence[_Part]) -> None:
    """Remove pages that are one too many since there are fewer scenes."""
    with output_errors(workspace.pages):
        if workspace.pages.is_dir():
            wanted = {part.path.name for part in parts}
            for file in workspace.pages.glob("page_*.html"):
                if file.name not in wanted:
                    file.unlink()
            if not any(workspace.pages.iterdir()):
                workspace.pages.rmdir()
