"""What is told of the archive at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hdm_pipeline.errors import counted
from hdm_pipeline.planning.archive import Archive

_SHOWN = 5
"""Reasons that are told; all stand in `run.json` and in `plan`."""


def remarks(archive: Archive, fetched: Iterable[str] = ()) -> tuple[str, ...]:
    """Lines: what is empty now, and how much was left out, for which reasons.

    Args:
        archive: as the run found it.
        fetched: reasons why things that were fetched in the run are no scenes.
    """
    lines = [f"nothing there now: {text}" for text in archive.quiet]
    reasons = Counter([*(skipped.reason for skipped in archive.skipped), *fetched])
    if reasons:
        shown = [f"{reason} ({count})" if count > 1 else reason for reason, count in reasons.most_common(_SHOWN)]
        more = f"; {len(reasons) - _SHOWN} more reasons" if len(reasons) > _SHOWN else ""
        total = counted(reasons.total(), "entry").replace("entrys", "entries")
        lines.append(f"left out, {total}: {'; '.join(shown)}{more} (run.json has all)")
    return tuple(lines)
