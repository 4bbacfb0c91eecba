"""A few scenes that are kept open, and what is to be known of each before its pixels are shown."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import Range
from hdm_pipeline.contracts import OverviewSource, Pixels, Reader, SceneHeader, SceneRef, Validity
from hdm_pipeline.errors import BandError, ConfigError, HdmError, SceneError, counted
from hdm_pipeline.grid import Window
from hdm_pipeline.pixels.bands import BandPlan, resolve
from hdm_pipeline.pixels.overview import reduced
from hdm_pipeline.pixels.scaling import SAMPLE_PIXELS, scene_ranges
from hdm_pipeline.session.scenes import Scenes, require_local

_MOST = 8
"""Scenes that are open and not in use."""

_IDLE_SECONDS = 60.0
"""After so long a scene that nobody uses is closed."""

_LOOKS = 1024
"""Scenes whose scaling is remembered."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneLook:
    """How the pixels of a scene become what the network sees.

    Attributes:
        header: of the scene.
        bands: which bands are read and what is computed from them.
        ranges: (low, high) of each computed band that become 0 and 1.
    """

    header: SceneHeader
    bands: BandPlan
    ranges: tuple[Range, ...]


class _OwnThread:
    """A source that lives in a thread of its own, where it is opened, read and closed: libraries tie what they open to
    a thread (GDAL its settings). Whoever asks waits for the answer."""

    def __init__(self, reader: Reader, ref: SceneRef) -> None:
        self._closing = ExitStack()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hdm-scene")
        try:
            self._source = self._thread.submit(self._closing.enter_context, reader.open(ref)).result()
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self.header = self._source.header

    def read(self, window: Window, bands: Sequence[int]) -> tuple[Pixels, Validity]:
        """See `SceneSource.read`."""
        return self._thread.submit(self._source.read, window, bands).result()

    def read_reduced(self, window: Window, bands: Sequence[int], size: tuple[int, int]) -> tuple[Pixels, Validity]:
        """`OverviewSource.read_reduced`, of any source."""
        return self._thread.submit(reduced, self._source, window, bands, size).result()

    def sample(self, bands: Sequence[int], max_pixels: int) -> Pixels:
        """See `SceneSource.sample`."""
        return self._thread.submit(self._source.sample, bands, max_pixels).result()

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """See `SceneSource.row_areas`."""
        return self._thread.submit(self._source.row_areas).result()

    def close(self) -> None:
        """Close it, and end the thread. A file that cannot be closed well is no use to anybody any more."""
        try:
            self._thread.submit(self._closing.close).result()
        except HdmError as error:
            log.warning("a scene cannot be closed: %s", error.what)
        finally:
            self._thread.shutdown(wait=False)


@dataclass(frozen=True)
class _Open:
    source: _OwnThread
    since: float


class OpenScenes:
    """A pool of open scenes. May be used by several threads; each open scene is with one of them at a time.

    Args:
        scenes: the archive.
        most: scenes that stay open when nobody uses them.
        idle_seconds: for how long.
    """

    def __init__(self, scenes: Scenes, most: int = _MOST, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._scenes = scenes
        self._most = most
        self._idle = idle_seconds
        self._lock = threading.Lock()
        self._free: list[tuple[SceneRef, _Open]] = []  # the one that waits longest is first
        self._timer: threading.Timer | None = None
        self._closed = False
        self._looks: OrderedDict[tuple[SceneRef, str], SceneLook] = OrderedDict()

    @contextmanager
    def source(self, scene: str) -> Iterator[OverviewSource]:
        """A scene, open for this caller alone.

        Raises:
            NoSuchSceneError: there is none of that id.
            ReadError: it cannot be opened: its file is gone, say.
            SceneError: it lies on another machine.
        """
        ref = self._scenes.ref(scene)
        try:
            opened = self._take(ref) or self._open(ref)
            try:
                yield opened.source
            except BaseException:
                opened.source.close()  # the file may be damaged or gone: whoever asks next opens it anew
                raise
        except SceneError as error:
            self._scenes.troubles.learn(ref, error)
            raise
        self._give_back(ref, opened)

    def look(self, scene: str) -> SceneLook:
        """How a scene's pixels become what the network sees: as the survey of a run finds it. Computed once a scene.

        Raises:
            HdmError: as `source`; `BandError` if the scene lacks a band, `UnsupportedSceneError` if its percentiles
                are not finite.
        """
        ref, config = self._scenes.ref(scene), self._scenes.config
        key = ref, repr((config.input.bands, config.input.scale))
        with self._lock:
            if (known := self._looks.get(key)) is not None:
                self._looks.move_to_end(key)
                return known
        scale = config.input.scale
        with self.source(scene) as source:
            try:
                plan = resolve(config.input.bands, source.header.bands)
            except BandError as error:
                where = f"scene {ref.shown}, band {error.where}"
                raise BandError(error.what, where=where, remedy=error.remedy) from error
            sample = source.sample(plan.indices, SAMPLE_PIXELS) if scale.percentiles else None
            found = SceneLook(source.header, plan, scene_ranges(scale, plan, sample, where=f"scene {ref.id}"))
        with self._lock:
            self._looks[key] = found
            while len(self._looks) > _LOOKS:
                self._looks.popitem(last=False)
        return found

    def close(self) -> None:
        """Close every scene that is not in use, and those in use when they come back."""
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
            free, self._free = self._free, []
        if timer is not None:
            timer.cancel()
        for _, opened in free:
            opened.source.close()

    def _open(self, ref: SceneRef) -> _Open:
        require_local(ref)
        return _Open(_OwnThread(self._scenes.reader, ref), time.monotonic())

    def _take(self, ref: SceneRef) -> _Open | None:
        with self._lock:
            for place in range(len(self._free) - 1, -1, -1):  # a file that has changed has another reference
                if self._free[place][0] == ref:
                    return self._free.pop(place)[1]
        return None

    def _give_back(self, ref: SceneRef, opened: _Open) -> None:
        with self._lock:
            self._free.append((ref, _Open(opened.source, time.monotonic())))
            spare = 0 if self._closed else self._most
            over = [self._free.pop(0)[1] for _ in range(len(self._free) - spare)]
            self._wake_later()
        for one in over:
            one.source.close()

    def _wake_later(self) -> None:
        """Set the timer to when the scene that waits longest is to be closed; called with the lock held."""
        if self._timer is None and self._free:
            wait = max(0.0, self._free[0][1].since + self._idle - time.monotonic())
            self._timer = threading.Timer(wait, self._close_idle)
            self._timer.daemon = True
            self._timer.start()

    def _close_idle(self) -> None:
        late = time.monotonic() - self._idle
        with self._lock:
            self._timer = None
            idle = [opened for _, opened in self._free if opened.since <= late]
            self._free = [one for one in self._free if one[1].since > late]
            self._wake_later()
        for opened in idle:
            opened.source.close()


def require_inside(shape: tuple[int, ...], window: Window) -> None:
    """Refuse a window that does not lie within a scene.

    Args:
        shape: slices, rows and columns of the scene.
        window: of it.

    Raises:
        ConfigError: it does not, or is empty.
    """
    depth, height, width = shape
    inside = 0 <= window.z < depth and min(window.y, window.x) >= 0 and min(window.height, window.width) >= 1
    if not inside or window.bottom > height or window.right > width:
        remedy = f"the scene has {counted(depth, 'slice')} of {height} rows and {width} columns"
        raise ConfigError("the window does not lie within the scene", where=str(window), remedy=remedy)
