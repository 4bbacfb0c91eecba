"""A plan, and numbers, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hdm_pipeline.errors import counted
from hdm_pipeline.planning.archive import CHOSEN
from hdm_pipeline.planning.forecast import Forecast, PlannedSend

_SHOWN = 20
_UNKNOWN = "unknown until the series are fetched"


def plan_text(found: Forecast, quality: Mapping[str, Sequence[Mapping[str, Any]]] | None) -> str:
    """The plan and its cost as lines of text; `quality` is what checking the supports gave, by class."""
    about = "about " if found.sampled else ""
    lines = [
        f"scenes    {found.scenes_total} in the archive, {found.scenes_done} done, "
        f"{len(found.refused)} quarantined or not readable",
        f"tiles     {_UNKNOWN if found.unknown else f'{about}{found.tiles}'}",
        f"blocks    {_UNKNOWN if found.unknown else f'{about}{found.blocks}'}",
        f"to stage  {_UNKNOWN if found.unknown else f'{about}{human_bytes(found.stage_bytes)}'}",
        f"memory    at most {human_bytes(found.peak_memory)} a process",
        f"time      {_time(found)}",
    ]
    lines += [_send(peer) for peer in found.sends]
    lines += _remote(found)
    if found.sampled:
        lines.append(f"(estimated from {counted(len(found.scenes), 'header')})")
    lines += [f"  {s.id}: {' x '.join(map(str, s.shape))}, {counted(s.tiles, 'tile')}" for s in found.scenes[:_SHOWN]]
    if len(found.scenes) > _SHOWN:
        lines.append(f"  ... and {len(found.scenes) - _SHOWN} more")
    lines += [f"  {s.id}: {warning}" for s in found.scenes[:_SHOWN] for warning in s.warnings]
    lines += [f"quarantined or not readable: {scene}: {reason}" for scene, reason in found.refused[:_SHOWN]]
    lines += _left_out(found.skipped)
    lines += [f"nothing there now: {text}" for text in found.plan.archive.quiet]
    for name, examples in (quality or {}).items():
        lines.append(f"support of {name}")
        for example in examples:
            iou = example["leave_one_out_iou"]
            lines.append(f"  {example['name']}: IoU {'-' if iou is None else f'{iou:.2f}'}  {example['note']}".rstrip())
    return "\n".join(lines)


def _remote(found: Forecast) -> list[str]:
    """What is to be fetched."""
    scenes = [ref for ref in found.plan.scenes if ref.remote]
    lines = [f"to fetch  {len(scenes)} series; their size is known then"] if scenes else []
    lines += [f"  {ref.id}: {ref.about}" if ref.about else f"  {ref.id}" for ref in scenes[:_SHOWN]]
    return lines + ([f"  ... and {len(scenes) - _SHOWN} more"] if len(scenes) > _SHOWN else [])


def _send(peer: PlannedSend) -> str:
    """Who gets what of how many scenes."""
    waiting = f"{counted(peer.owed, 'scene')} done and not sent yet" if peer.owed else ""
    coming = f"{counted(peer.to_come, 'scene')} once done" if peer.to_come else ""
    told = ", ".join(text for text in (waiting, coming) if text) or "nothing is waiting"
    return f"send      {', '.join(peer.products)} to {peer.to}: {told}"


def _left_out(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """What is left out, by reason; what `input.select` leaves out is listed to the last."""
    by_reason: dict[str, list[str]] = {}
    for uri, reason in skipped:
        by_reason.setdefault(reason, []).append(uri)
    lines = []
    for reason, names in by_reason.items():
        shown = names if reason.startswith(CHOSEN) else names[:_SHOWN]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"left out: {', '.join(shown)}{more}: {reason}")
    return lines


def _time(found: Forecast) -> str:
    """How long inference takes, or why nobody knows."""
    if found.unknown:
        return _UNKNOWN
    if not found.tiles:
        return "none: there is no tile to infer"
    if found.seconds is not None:
        return f"about {duration(found.seconds)} for the tiles, once the examples are prepared"
    return "unknown until a run here infers tiles"


def human_bytes(count: float) -> str:
    """1536 -> 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """5400 -> 1 h 30 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
