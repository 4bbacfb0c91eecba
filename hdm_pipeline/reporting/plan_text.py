"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hdm_pipeline.planning.plan import Plan

_SHOWN = 20


def plan_text(plan: Plan, quality: Mapping[str, Sequence[Mapping[str, Any]]] | None) -> str:
    """The plan as lines of text; `quality` is what checking the supports gave, by class."""
    about = "about " if plan.sampled else ""
    time = "unknown before the first run here" if plan.seconds is None else f"about {duration(plan.seconds)}"
    lines = [
        f"scenes    {plan.scenes_total} in the archive, {plan.scenes_done} done, {len(plan.refused)} cannot be read",
        f"tiles     {about}{plan.tiles}",
        f"blocks    {about}{plan.blocks}",
        f"to stage  {about}{human_bytes(plan.stage_bytes)}",
        f"memory    at most {human_bytes(plan.peak_memory)} a process",
        f"time      {time}",
    ]
    if plan.sampled:
        lines.append(f"(estimated from {len(plan.scenes)} headers)")
    lines += [f"  {s.id}: {' x '.join(map(str, s.shape))}, {s.tiles} tiles" for s in plan.scenes[:_SHOWN]]
    if len(plan.scenes) > _SHOWN:
        lines.append(f"  ... and {len(plan.scenes) - _SHOWN} more")
    lines += [f"  {s.id}: {warning}" for s in plan.scenes[:_SHOWN] for warning in s.warnings]
    lines += [f"cannot be read: {scene}: {reason}" for scene, reason in plan.refused[:_SHOWN]]
    if plan.skipped:
        lines.append(f"left out: {len(plan.skipped)} files, e.g. {plan.skipped[0][0]}: {plan.skipped[0][1]}")
    for name, examples in (quality or {}).items():
        lines.append(f"support of {name}")
        for example in examples:
            iou = example["leave_one_out_iou"]
            lines.append(f"  {example['name']}: IoU {'-' if iou is None else f'{iou:.2f}'}  {example['note']}".rstrip())
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


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
