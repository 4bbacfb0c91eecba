"""What a listener has and what became of it, read from its inbox; works while it runs and while it does not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.listening.inbox import hashed, tree_bytes
from hdm_pipeline.listening.listener import settings
from hdm_pipeline.listening.memory import Memory
from hdm_pipeline.listening.snapshot import snapshot
from hdm_pipeline.pipeline import Pipeline

_SHOWN = 20


def listener_status(pipeline: Pipeline) -> dict[str, Any]:
    """Deliveries by what became of them, and those that somebody should look at.

    Raises:
        ConfigError: the pipeline does not listen, or no listener has ever run.
        OutputError: the queue cannot be read.
    """
    asked, root = settings(pipeline)
    queue = root / "queue.sqlite"
    if not queue.is_file():
        raise ConfigError("no listener has run here", where=str(root), remedy="start one: listen PIPELINE")
    filed = [Path(one.path) for one in os.scandir(root / "deliveries")]
    folders = {one.name: one for one in filed}
    if asked.folder is not None and Path(asked.folder).is_dir():
        folders |= {hashed(one.name): Path(one.path) for one in os.scandir(asked.folder) if one.is_dir()}
    with Memory(queue, readonly=True) as memory:
        counts, troubled = memory.counts(), memory.troubled()
        waiting = sum(
            (row := memory.get(name)) is None or row.signature != _signature(folders[name]) for name in folders
        )
    return {
        "inbox": str(root),
        "running": _is_held(root / "listen.lock"),
        "bytes": sum(tree_bytes(one) for one in filed),
        "max_bytes": asked.max_inbox_bytes,
        "waiting": waiting,
        "deliveries": counts,
        "troubled": [
            {"delivery": row.id, "outcome": row.outcome, "scenes": row.scenes, **(row.error or {})} for row in troubled
        ],
    }


def listener_text(found: dict[str, Any]) -> str:
    """The status as lines of text."""
    ended = ", ".join(f"{count} {outcome}" for outcome, count in found["deliveries"].items()) or "none yet"
    lines = [
        f"listener  {'running' if found['running'] else 'not running'}",
        f"inbox     {found['inbox']}: {found['bytes']} of at most {found['max_bytes']} bytes",
        f"waiting   {found['waiting']} (arriving, complete or being worked on)",
        f"ended     {ended}",
    ]
    for one in found["troubled"][:_SHOWN]:
        lines.append(f"{one['outcome']} {one['delivery']}: {one.get('type', '')}")
        lines.append(f"  remedy: {one.get('remedy', '')}")
    if len(found["troubled"]) > _SHOWN:
        lines.append(f"  ... and {len(found['troubled']) - _SHOWN} more; --json lists all")
    return "\n".join(lines)


def _signature(folder: Path) -> str:
    try:
        return snapshot(folder).signature
    except OSError:
        return ""


def _is_held(lock: Path) -> bool:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
