"""What a page shows of a scene: its pixels as the network sees them, and the mask of the last run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import Range
from hdm_pipeline.contracts import NODATA, PixelSource, SceneRef, SceneSource
from hdm_pipeline.errors import ConfigError, HdmError, PluginError, ReadError, StoreError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.pictures.color import as_colors
from hdm_pipeline.pixels.scaling import scale_pixels
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.session.opened import OpenScenes, require_inside
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.store.scene import ScoreStore

Size = tuple[int, int]
"""(rows, columns)."""

_STRIP_PIXELS = 1 << 22
"""Pixels of a mask that are read at once where a smaller picture of it is made."""

_SMALL_SIDE = 2048
"""Longest side of a whole mask that is kept: to make it of a large scene takes a second."""

_SMALL_MASKS = 32
"""Such masks that are kept."""

_UNREADABLE = 10_000
"""Scenes of which it is remembered that their mask is read from its scores."""

_MASK_PRODUCT = "mask"


class Pictures:
    """Pictures of the scenes of an archive. May be used by several threads.

    Args:
        scenes: the archive.
        opened: scenes that are open.
    """

    def __init__(self, scenes: Scenes, opened: OpenScenes) -> None:
        self._scenes = scenes
        self._opened = opened
        self._lock = threading.Lock()
        self._small: OrderedDict[tuple[SceneRef, str, int, float], npt.NDArray[np.uint8] | None] = OrderedDict()
        self._unreadable: OrderedDict[tuple[SceneRef, float], None] = OrderedDict()

    def picture(
        self, scene: str, window: Window, size: Size, ranges: Sequence[Range] | None = None
    ) -> npt.NDArray[np.uint8]:
        """A part of a scene in colors, with the pipeline's bands and scaling.

        One band is gray and two are (a, b, mean of both), as the network sees them; of more than three the first three
        are shown, while the network sees a projection of all of them that the examples decide.

        Args:
            scene: its id.
            window: within one slice of the scene.
            size: (rows, columns) of the picture, at most those of the window.
            ranges: other (low, high) that become black and white: one for all bands, or one a band.

        Returns:
            [*size, 4] uint8: red, green, blue, and how opaque: 255, or 0 where the scene holds no data.

        Raises:
            ConfigError: the window or the size lies outside the scene, or a range is empty.
            HdmError: as `OpenScenes.look`.
        """
        look = self._opened.look(scene)
        _check(look.header.shape[1:], window, size)
        chosen = _checked_ranges(ranges, len(look.bands.bands)) or look.ranges
        with self._opened.source(scene) as source:
            pixels, valid = source.read_reduced(window, look.bands.indices, size)
        pixels, valid = look.bands.apply(pixels, valid)
        found = np.empty((*size, 4), dtype=np.uint8)
        found[..., :3] = as_colors(scale_pixels(pixels, chosen))
        found[..., 3] = np.where(valid, np.uint8(255), np.uint8(0))
        found[~valid] = 0
        return found

    def thumbnail(self, scene: str, side: int = 256) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """A whole slice of a scene, and the mask of the last run there.

        Of a volume it is the slice with most of the classes, or the middle one where that is not known.

        Args:
            scene: its id.
            side: longest side of the picture, at least 1; it is never larger than the slice.

        Returns:
            [height, width, 4] uint8 as of `picture`, and [height, width] uint8 as of `result`, or None.

        Raises:
            HdmError: as `picture` and `result`.
        """
        _, depth, height, width = self._opened.look(scene).header.shape
        record = self._scenes.record(scene)
        window = Window.whole(_telling_slice(record, depth), (height, width))
        size = _fitting((height, width), side)
        found = self.picture(scene, window, size), self.result(scene, window, size)
        self._scenes.troubles.forget(self._scenes.ref(scene))
        return found

    def result(self, scene: str, window: Window, size: Size) -> npt.NDArray[np.uint8] | None:
        """The mask that the last run published, thinned out.

        It is read from the product `mask` where the reader of the archive can read that (a GeoTIFF), else from the
        scores that are kept, at the pipeline's present threshold and before calibration. With neither (a DICOM SEG and
        `output.keep: nothing`) there is none.

        Args:
            scene: its id.
            window: within one slice of the scene.
            size: (rows, columns) of the result, at most those of the window.

        Returns:
            [*size] uint8: 0 background, 1.. the classes, 255 nodata; None where there is no mask.

        Raises:
            ConfigError: the window or the size lies outside the scene.
            ReadError: the scene cannot be read.
        """
        header = self._scenes.header(scene)
        shape = header.shape[1:]
        _check(shape, window, size)
        record = self._scenes.record(scene)
        if record is None or record.status != "done":
            return None
        small = _fitting(shape[1:], _SMALL_SIDE)
        if shape[0] > 1 or size[0] * shape[1] > small[0] * window.height:
            return self._thinned(header.ref, record, shape, window, size)
        whole = self._small_mask(header.ref, record, shape, small)
        return None if whole is None else _cut(whole, shape[1:], window, size)

    def _small_mask(
        self, ref: SceneRef, record: SceneRecord, shape: tuple[int, ...], small: Size
    ) -> npt.NDArray[np.uint8] | None:
        """The whole mask of a raster, reduced: what tiles of coarse levels are cut from."""
        key = ref, record.product_key, record.updated, self._scenes.config.output.threshold
        with self._lock:
            if key in self._small:
                self._small.move_to_end(key)
                return self._small[key]
        whole = Window.whole(0, (shape[1], shape[2]))
        found = self._thinned(ref, record, shape, whole, small)
        with self._lock:
            self._small[key] = found
            while len(self._small) > _SMALL_MASKS:
                self._small.popitem(last=False)
        return found

    def _thinned(
        self, ref: SceneRef, record: SceneRecord, shape: tuple[int, ...], window: Window, size: Size
    ) -> npt.NDArray[np.uint8] | None:
        if (ref, record.updated) not in self._unreadable:
            try:
                with self._product(record, shape) as product:
                    return thinned(product, window, size)
            except (PluginError, ReadError, UnsupportedSceneError):
                with self._lock:
                    self._unreadable[ref, record.updated] = None
                    while len(self._unreadable) > _UNREADABLE:
                        self._unreadable.popitem(last=False)
            except HdmError:
                pass  # a passing failure
        store = stored_scores(self._scenes.workspace, record)
        if store is None or store.grid.size != shape:
            return None
        try:
            return thinned(store.mask_source(self._scenes.config.output.threshold), window, size)
        except StoreError:
            return None  # a run does the scene anew and has just removed them

    @contextmanager
    def _product(self, record: SceneRecord, shape: tuple[int, ...]) -> Iterator[PixelSource]:
        """The published mask, opened by the reader of the archive without the options of its scenes.

        Raises:
            HdmError: there is none, or the reader cannot read it.
        """
        name = self._scenes.config.input.reader
        paths = (record.info.get("products") or {}).get(_MASK_PRODUCT)
        if not paths:
            raise ReadError("the run published no mask", where=f"scene {record.id}", remedy="add the product mask")
        file = str(self._scenes.workspace.root / paths[0])
        with make_reader(name, {}).open(SceneRef(record.id, file, name, str(record.updated))) as source:
            if source.header.shape != (1, *shape):
                raise ReadError("the mask is not of this size", where=f"scene {record.id}", remedy="run again")
            yield _LabelsOf(source)


class _LabelsOf:
    """The published mask of an open product (a `contracts.PixelSource`)."""

    def __init__(self, source: SceneSource) -> None:
        self.shape = source.header.shape
        self._source = source

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[1, height, width] uint8."""
        pixels, valid = self._source.read(window, (0,))
        found = np.full(pixels.shape, NODATA, dtype=np.uint8)
        found[0][valid] = pixels[0][valid]
        return found


def stored_scores(workspace: Workspace, record: SceneRecord) -> ScoreStore | None:
    """The scores that a run left of a scene, as the network gave them; None where it left none."""
    folder = workspace.score_folder(record.id, record.score_key)
    classes = len(record.info.get("pixels") or ())
    try:
        store = ScoreStore.open(folder)
        if classes and store.maps == 2 * classes:
            return ScoreStore.open(folder, uncertain=True)
    except StoreError:
        return None
    return store if store.maps == classes else None


def thinned(source: PixelSource, window: Window, size: Size) -> npt.NDArray[np.uint8]:
    """The first band of a window as a smaller image: of each cell the pixel in its middle, strip by strip.

    Args:
        source: labels: they cannot be averaged.
        window: within one slice.
        size: (rows, columns), at most those of the window.
    """
    rows, columns = middles(window.height, size[0]), middles(window.width, size[1])
    found = np.empty(size, dtype=np.uint8)
    step = max(1, _STRIP_PIXELS // window.width)
    start = 0
    while start < len(rows):
        top = int(rows[start])
        end = int(np.searchsorted(rows, top + step))
        bottom = int(rows[end - 1]) + 1
        strip = Window(z=window.z, y=window.y + top, x=window.x, height=bottom - top, width=window.width)
        found[start:end] = source.read(strip)[0][np.ix_(rows[start:end] - top, columns)]
        start = end
    return found


def middles(length: int, count: int) -> npt.NDArray[np.intp]:
    """The pixel in the middle of each of `count` equal parts of an axis of `length` pixels."""
    return ((2 * np.arange(count, dtype=np.intp) + 1) * length) // (2 * count)


def _cut(whole: npt.NDArray[np.uint8], shape: tuple[int, ...], window: Window, size: Size) -> npt.NDArray[np.uint8]:
    """A window, thinned out, of a whole slice of (rows, columns) `shape` that was thinned out already."""
    rows = (window.y + middles(window.height, size[0])) * whole.shape[0] // shape[0]
    columns = (window.x + middles(window.width, size[1])) * whole.shape[1] // shape[1]
    return whole[np.ix_(rows, columns)]


def _fitting(shape: tuple[int, ...], side: int) -> Size:
    """(rows, columns) of a slice made smaller until its longest side is `side` at most."""
    height, width = shape
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _telling_slice(record: SceneRecord | None, depth: int) -> int:
    """The slice with most of the classes, as far as the run measured it; the middle one otherwise."""
    areas = [] if record is None else list((record.info.get("slice_area_mm2") or {}).values())
    if not areas or any(len(one) != depth for one in areas):
        return depth // 2
    total = np.asarray(areas, dtype=np.float64).sum(axis=0)
    return int(total.argmax()) if total.any() else depth // 2


def _check(shape: tuple[int, ...], window: Window, size: Size) -> None:
    require_inside(shape, window)
    if not (1 <= size[0] <= window.height and 1 <= size[1] <= window.width):
        raise ConfigError(
            f"a picture of {size[0]} x {size[1]} pixels",
            where=str(window),
            remedy="ask for at least 1 x 1 pixels, and for no more than the window has",
        )


def _checked_ranges(ranges: Sequence[Range] | None, bands: int) -> Sequence[Range] | None:
    """Ranges that a person chose, one a band."""
    if ranges is None:
        return None
    if len(ranges) not in (1, bands) or not all(np.isfinite([low, high]).all() and low < high for low, high in ranges):
        raise ConfigError(
            "this is no range of values",
            where=str(list(ranges)),
            remedy=f"give low and high, low being less: once for all bands, or {bands} times, once a band",
        )
    return ranges
