"""Removes what finished scenes no longer need, in a thread of its own.

Removing a scene's shards takes as long as writing them, and longer on network file systems. The thread looks for work
now and then and is not woken: it would take the interpreter from the driver with every scene.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from hdm_pipeline.errors import LostLockError, ObjectStoreSilentError, OutputError
from hdm_pipeline.output.fence import FRESH, Fence
from hdm_pipeline.output.files import remove_if_empty
from hdm_pipeline.output.layout import FETCHED
from hdm_pipeline.store.zarr_array import Place, remove

_PAUSE = 0.1
"""Seconds between two looks for folders."""

log = logging.getLogger(__name__)


class Sweeper:
    """A context manager; at its end all that it was given is removed, unless a store does not answer.

    What cannot be removed costs disk and nothing else: it is told in the log. Once the run has lost its lock nothing is
    removed any more: who took it over may work on the same arrays.

    Args:
        fence: of the run; asked before a folder is removed, unless its last answer is fresh.
    """

    def __init__(self, fence: Fence | None = None) -> None:
        self._fence = fence or Fence()
        self._folders: deque[Place] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hdm-sweep")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def sweep(self, folder: Place) -> None:
        """Remove a folder, soon."""
        self._folders.append(folder)

    def _work(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(_PAUSE)
            asked = -math.inf
            while self._folders:
                try:
                    folder = self._folders.popleft()
                    if time.monotonic() - asked >= FRESH:
                        asked = self._fence.require()
                    _remove(folder)
                except LostLockError:
                    log.warning("the run has lost its output: %d folders stay", len(self._folders) + 1)
                    return
                except (OSError, OutputError) as error:
                    log.warning("a finished scene's folder cannot be removed: %s", error)
                    if isinstance(error, ObjectStoreSilentError) and self._ending.is_set():
                        log.warning("%d more folders are left", len(self._folders))  # each would be waited for as long
                        return
                except Exception:  # by a bug: the other folders are swept all the same
                    log.exception("a finished scene's folder cannot be removed")


def _remove(folder: Place) -> None:
    """Remove what a finished scene no longer needs."""
    remove(folder)
    if isinstance(folder, Path) and folder.name == FETCHED:  # of an entry that held no scene nothing stays
        remove_if_empty(folder.parent)
