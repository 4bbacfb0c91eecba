"""What people ask of a listener from another process: to work on a delivery again, or to drop it."""

from __future__ import annotations

from collections.abc import Sequence

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.listening.memory import Memory, Wish
from hdm_pipeline.listening.status import folders_of, opened
from hdm_pipeline.pipeline import Pipeline


def wish_for(pipeline: Pipeline, wish: Wish, deliveries: Sequence[str]) -> None:
    """Note what is asked for. A listener that runs does it within seconds, another one at its next start.

    Args:
        pipeline: that the listener runs.
        wish: ``again``: work on it as it is, even if files of it are missing; ``drop``: remove it from the inbox, and
            from those that need attention. In the watched folder it stays, and is left alone until it changes.
        deliveries: hashed names, as `listener_status` has them.

    Raises:
        ConfigError: the pipeline does not listen, no listener has ever run, or there is no such delivery; nothing is
            noted then.
        OutputError: the queue cannot be written.
    """
    asked, root = opened(pipeline)
    filed, watched = folders_of(asked, root)
    with Memory(root / "queue.sqlite") as memory:
        for name in deliveries:
            if name in filed or (memory.get(name) is not None if wish == "drop" else name in watched):
                continue
            raise ConfigError(
                "no such delivery, or nothing of it is left",
                where=f"--{wish} {name}",
                remedy="`listen --status` names those that need attention; what is gone must be sent again",
            )
        for name in deliveries:
            memory.wish(name, wish)
