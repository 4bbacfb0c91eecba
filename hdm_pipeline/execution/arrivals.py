"""Scenes in the order of the plan, as they come: those of this machine at once, remote ones when they are fetched.

Remote scenes are fetched by threads of this process, a few ahead of the model: one machine talks to a PACS, which knows
its name and address, and all workers find the files in the shared output directory. What a killed run had fetched lies
there still, and is not fetched again.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from hdm_pipeline.contracts import Reader, SceneRef, Skipped
from hdm_pipeline.errors import FetchError, HdmError
from hdm_pipeline.execution.silence import Silence
from hdm_pipeline.output.files import TRASH, output_errors, remove_if_empty, remove_tree
from hdm_pipeline.output.layout import FETCHED, Workspace
from hdm_pipeline.planning.keys import PendingScene, SceneKeys

ATTEMPTS = 3
"""Times that a scene's files are asked for before it is quarantined."""

_FIRST_WAIT = 1.0
_THREADS = 4
_LOOK_AGAIN = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrived:
    """A planned scene is here.

    Attributes:
        planned: as the plan knows it.
        scenes: what is to be surveyed: usually the scene itself.
        parts: ids of the scenes that it turned out to hold, where that is not itself and nothing else; those that need
            no work are not among `scenes`. None where it is what it was planned as.
        left_out: what it holds beside scenes, with the reason.
        seconds: spent on fetching.
    """

    planned: PendingScene
    scenes: tuple[PendingScene, ...]
    parts: tuple[str, ...] | None = None
    left_out: tuple[Skipped, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class NotArrived:
    """A planned scene cannot be fetched."""

    planned: PendingScene
    error: HdmError


@dataclass(frozen=True)
class Fetching:
    """What fetching needs.

    Attributes:
        reader: of the archive, a `RemoteReader`.
        workspace: where files go.
        keys: of a scene that another turned out to hold.
        finished: ids of scenes that need no work, whatever holds them.
        ahead: remote scenes that may be fetched, or being fetched, before they are taken.
    """

    reader: Reader
    workspace: Workspace
    keys: Callable[[SceneRef], SceneKeys]
    finished: Collection[str] = ()
    ahead: int = 4


class Arrivals:
    """The scenes of a run, remote ones fetched ahead; used by one thread, and closed by who made it.

    Args:
        scenes: of the plan, in order.
        fetching: None where no scene is remote.
    """

    def __init__(self, scenes: Iterator[PendingScene], fetching: Fetching | None = None) -> None:
        self._scenes = scenes
        self._fetching = fetching
        self._ahead = fetching.ahead if fetching else 1
        self._queue: deque[tuple[PendingScene, Future[Arrived] | None]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = threading.Event()
        self._silence = Silence()

    def start(self) -> None:
        """Begin to fetch, before anybody takes a scene."""
        self._fill()

    def take(self) -> Arrived | NotArrived | None:
        """The next scene that is here; None if all that are left are on their way, or there is none."""
        self._fill()
        for index, (planned, future) in enumerate(self._queue):
            if future is None or future.done():
                del self._queue[index]
                self._fill()
                return Arrived(planned, (planned,)) if future is None else _outcome(planned, future)
        return None

    @property
    def fetching(self) -> bool:
        """Whether a scene is on its way."""
        return any(future is not None for _, future in self._queue)

    def wait(self) -> bool:
        """Wait a little for a scene to arrive; False where there is none to wait for."""
        self._fill()
        futures = [future for _, future in self._queue if future is not None]
        if len(futures) == len(self._queue) and futures:
            wait(futures, timeout=_LOOK_AGAIN, return_when=FIRST_COMPLETED)
        return bool(self._queue)

    def close(self) -> None:
        """Fetch no more; what is complete stays, and the next run goes on from there."""
        self._stopped.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self) -> None:
        while len(self._queue) < self._ahead and (planned := next(self._scenes, None)) is not None:
            self._queue.append((planned, self._start(planned) if planned.ref.remote else None))

    def _start(self, planned: PendingScene) -> Future[Arrived]:
        assert self._fetching is not None, "a remote scene, and nobody to fetch it"
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(self._ahead, _THREADS), thread_name_prefix="hdm-fetch")
        return self._pool.submit(_fetch, self._fetching, planned, self._stopped, self._silence)


def _outcome(planned: PendingScene, future: Future[Arrived]) -> Arrived | NotArrived:
    try:
        return future.result()
    except HdmError as error:
        return NotArrived(planned, error)
    except OSError as error:
        what = f"the scene cannot be fetched: {type(error).__name__}"
        remedy = "look at the disk of the output directory; the next run tries the scene again"
        return NotArrived(planned, FetchError(what, where=f"scene {planned.ref.shown}", remedy=remedy))


def _fetch(fetching: Fetching, planned: PendingScene, stopped: threading.Event, silence: Silence) -> Arrived:
    start = time.perf_counter()
    folder = fetching.workspace.fetched_folder(planned.ref.id)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # images of patients, as the archive gives them
    with silence.asking(planned.ref.id):
        found = _patiently(fetching.reader, planned.ref, folder, stopped)
    refs = [item for item in found if isinstance(item, SceneRef)]
    left_out = tuple(item for item in found if isinstance(item, Skipped))
    seconds = time.perf_counter() - start
    # Keys by what the listing says: the files' own times are those of this fetch.
    scenes = tuple(
        PendingScene(ref, planned.keys if ref.id == planned.ref.id else fetching.keys(part_of(planned.ref, ref.id)))
        for ref in refs
        if ref.id not in fetching.finished
    )
    if [ref.id for ref in refs] == [planned.ref.id] and not left_out:
        return Arrived(planned, scenes, seconds=seconds)
    return Arrived(planned, scenes, tuple(ref.id for ref in refs), left_out, seconds)


def _patiently(reader: Reader, ref: SceneRef, folder: Path, stopped: threading.Event) -> list[SceneRef | Skipped]:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found: list[SceneRef | Skipped] = reader.fetch(ref, folder, stopped.is_set)  # type: ignore[attr-defined]
            return found
        except FetchError as error:
            log.info("fetching failed: %s", error.what, extra={"scene": ref.id})
            if attempt == ATTEMPTS or stopped.wait(_FIRST_WAIT * 2 ** (attempt - 1)):
                raise
    raise AssertionError("no attempt at all")


def part_of(planned: SceneRef, part: str) -> SceneRef:
    """A scene that another turned out to hold, as its keys see it: as old as the whole."""
    return replace(planned, id=part)


def drop_leftovers(workspace: Workspace, wanted: Collection[str]) -> None:
    """Remove what earlier runs fetched of scenes that this one does not work on, and what they did not get to remove.

    Only who holds the lock of the output directory may.
    """
    for folder in workspace.work_folders():
        for trash in folder.glob(f"{TRASH}*"):
            shutil.rmtree(trash, ignore_errors=True)
        if folder.name not in wanted:
            remove_tree(folder / FETCHED)
            remove_if_empty(folder)
