"""Warnings of a run as a person reads them at its end: one entry for each kind, however many scenes have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import counted

_SHOWN = 3
"""Scenes of a kind that are named; all stand in `run.json`."""


def warnings_text(scenes: Mapping[str, Sequence[SceneWarning]]) -> str:
    """Warnings by kind, those that may mean nonsense first; empty without any.

    Args:
        scenes: warnings by scene id.
    """
    by_kind: dict[str, dict[str, SceneWarning]] = {}
    for scene, warnings in sorted(scenes.items()):
        for warning in warnings:
            by_kind.setdefault(warning.kind, {}).setdefault(scene, warning)
    kinds = sorted(by_kind.items(), key=lambda item: (not _suspect(item[1]), -len(item[1]), item[0]))
    return "\n".join(line for kind, found in kinds for line in _lines(kind, found))


def _suspect(found: Mapping[str, SceneWarning]) -> bool:
    return any(warning.suspect for warning in found.values())


def _lines(kind: str, found: Mapping[str, SceneWarning]) -> list[str]:
    label = "warning" if _suspect(found) else "note"
    lines = [f"{label} ({kind}) of {counted(len(found), 'scene')}:"]
    lines += [f"  {scene}: {warning.what}" for scene, warning in list(found.items())[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"  ... and {len(found) - _SHOWN} more; all are in run.json")
    remedy = next((warning.remedy for warning in found.values() if warning.remedy), "")
    return lines + ([f"  remedy: {remedy}"] if remedy else [])
