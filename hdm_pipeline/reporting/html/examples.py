"""The labelled examples on the page: pictures, and in words how well they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.reporting.html import kept
from hdm_pipeline.reporting.html.cards import inline
from hdm_pipeline.reporting.support_text import INTERVALS_OF_SPARSE, is_sparse, support_lines

_PANELS = {"image": "image", "label": "label", "found": "found by the others"}
UNKNOWN_COLOR = "#dc1e3c"
"""Of a class whose color nobody kept."""

_ALONE = "each half found by the other"


def shown_examples(
    workspace: Workspace, told: Mapping[str, Any], classes: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """What the page shows of the examples of each class; empty where no run has prepared any."""
    found = []
    colors = {one["name"]: one["color"] for one in classes}
    for name, report in (told.get("classes") or {}).items():
        qualities = report.get("examples") or []
        drawn = [one for one in told.get("pictures") or () if one.get("class") == name]
        alone = len(qualities) == 1
        found.append(
            {
                "name": name,
                "color": colors.get(name, UNKNOWN_COLOR),
                "sentences": [_sentence(line) for line in support_lines(name, report)],
                "warnings": report.get("warnings") or [],
                "rows": qualities,
                "pictures": [_pictures(workspace, one, qualities, alone=alone) for one in drawn],
                "more": len(qualities) - len(drawn) if drawn else 0,
            }
        )
    return found


def interval_note(told: Mapping[str, Any]) -> str:
    """What is to be said beside intervals of areas and volumes; empty where labels show enough."""
    classes = (told.get("classes") or {}).values()
    return INTERVALS_OF_SPARSE if any(is_sparse(one.get("examples") or []) for one in classes) else ""


def _pictures(
    workspace: Workspace, one: Mapping[str, Any], qualities: Sequence[Mapping[str, Any]], *, alone: bool
) -> dict[str, Any]:
    quality = next((q for q in qualities if q.get("name") == one.get("name")), {})
    panels = []
    for panel, title in _PANELS.items():
        content = kept.example_picture(workspace, int(one.get("number", -1)), panel)
        if content is not None:
            panels.append({"title": _ALONE if panel == "found" and alone else title, "picture": inline(content)})
    return {
        "name": one.get("name", ""),
        "iou": quality.get("leave_one_out_iou"),
        "note": quality.get("note", ""),
        "panels": panels,
    }


def _sentence(line: str) -> str:
    """A line of the terminal as a sentence."""
    line = line.strip()
    return f"{line[:1].upper()}{line[1:]}."
