"""A window as a run would segment it: on the scene's tile grid, with the run's staging and blending.

What is worth keeping is kept: the staged pixels of tiles, and what the network answered to them by bank, so that a
window that is looked at again, or the next one beside it, costs only what is new.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.pixels.scaling import decode_pixels, encode_pixels
from hdm_pipeline.planning.forecast import scene_grid
from hdm_pipeline.session.network import ClassFit, Stopped, require_wanted
from hdm_pipeline.session.opened import OpenScenes, SceneLook, require_inside
from hdm_pipeline.session.values import Try
from hdm_pipeline.stitch import labels, temper

if TYPE_CHECKING:
    from hdm_pipeline.model.fast.optimize import Answer

MOST_TILES = 20
"""Tiles of a try: of a larger window the middle is tried."""

_STAGED_BYTES = 96 << 20
_ANSWER_BYTES = 128 << 20

Array = npt.NDArray[np.generic]
A = TypeVar("A", bound=Array)
Tile = tuple[int, int, int]


class Tries:
    """Segments windows, one at a time (the network's thread).

    Args:
        opened: the scenes.
    """

    def __init__(self, opened: OpenScenes) -> None:
        self._opened = opened
        self._staged: _Kept[npt.NDArray[np.uint16]] = _Kept(_STAGED_BYTES)
        self._answers: _Kept[npt.NDArray[np.uint8]] = _Kept(_ANSWER_BYTES)

    def make(
        self,
        config: PipelineConfig,
        classes: Sequence[ClassInfo],
        fits: Sequence[ClassFit],
        scene: str,
        window: Window,
        *,
        uncertainty: bool,
        stopped: Stopped,
    ) -> tuple[Window, npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """What the network finds in a window.

        Args:
            config: the pipeline.
            classes: all classes; those without a fit are found nowhere.
            fits: what the examples make of the network, by class.
            scene: id.
            window: within one slice of the scene.
            uncertainty: also tell that.
            stopped: asked before each tile.

        Returns:
            The window that was computed, and of it scores [classes, height, width], mask and uncertainty as in `Try`.

        Raises:
            TryEndedError: `stopped` said so.
            HdmError: the scene cannot be read.
        """
        look = self._opened.look(scene)
        grid = scene_grid(config, look.header)
        window, tiles = chosen_tiles(grid, window)
        place = {one.name: index for index, one in enumerate(classes)}
        maps = 2 if uncertainty else 1
        blended = np.zeros((maps, len(classes), window.height, window.width), dtype=np.uint32)
        valid = np.zeros((window.height, window.width), dtype=np.bool_)
        for tile in tiles:
            require_wanted(stopped)
            staged = self._stage(scene, look, grid, tile)
            whole = grid.tile_window(*tile)
            shared = whole.shared_with(window)
            here, there = shared.rows_columns(whole), shared.rows_columns(window)
            known = grid.as_tile(tile, (staged[:1] != 0).view(np.uint8))[0]
            valid[there] |= known[here] != 0
            if not known.any():
                continue
            rows, columns = grid.weights(*tile[1:])
            weight = rows[here[0], None].astype(np.uint32) * columns[here[1]]
            for fit, answer in self._answer(look, grid, tile, staged, fits, doubt=uncertainty):
                blended[:, place[fit.name], *there] += grid.as_tile(tile, answer)[:, *here] * weight
        found = ((blended + 32768) >> 16).astype(np.uint8)
        scores = found[0]
        for fit in fits:
            scores[place[fit.name]] = temper(fit.temperature)[scores[place[fit.name]]]
        mask = labels(scores, valid, config.output.threshold)
        return window, scores, mask, found[1].max(axis=0) if uncertainty else None

    def _stage(self, scene: str, look: SceneLook, grid: TileGrid, tile: Tile) -> npt.NDArray[np.uint16]:
        """[bands, y, x] as a run stages it, of what the network sees for a tile: 0 where not valid."""

        def read() -> npt.NDArray[np.uint16]:
            with self._opened.source(scene) as source:
                pixels, valid = look.bands.apply(*source.read(grid.seen(*tile), look.bands.indices))
            return encode_pixels(pixels, valid, look.ranges)

        return self._staged.get(_tile_key(look, grid, tile), read)

    def _answer(
        self,
        look: SceneLook,
        grid: TileGrid,
        tile: Tile,
        staged: npt.NDArray[np.uint16],
        fits: Sequence[ClassFit],
        *,
        doubt: bool,
    ) -> Iterator[tuple[ClassFit, npt.NDArray[np.uint8]]]:
        """Of each class [1 or 2, y, x] of what was seen: scores, uncertainty. Classes of one reduction share a pass."""
        where = _tile_key(look, grid, tile)
        keys = {fit.name: (where, fit.bank.hash, fit.segmenter.reduction, doubt) for fit in fits}
        # What is known is taken first: to put what is missing may push it out.
        known = {fit.name: self._answers.known(keys[fit.name]) for fit in fits if keys[fit.name] in self._answers}
        missing = [fit for fit in fits if fit.name not in known]
        for segmenter in dict.fromkeys(fit.segmenter for fit in missing):
            of_one = [fit for fit in missing if fit.segmenter is segmenter]
            banks = [fit.bank for fit in of_one]
            pixels, valid = decode_pixels(staged)
            kind: Answer = "doubt" if doubt else "scores"
            found = segmenter.answer(kind, pixels[None], banks, valid=valid[None])[0]
            parts = found.reshape(-1, len(banks), *found.shape[-2:])
            for number, fit in enumerate(of_one):
                answer = parts[[0, 2], number] if doubt else parts[:1, number]
                self._answers.put(keys[fit.name], np.ascontiguousarray(answer))
                yield fit, answer
        for fit in fits:
            if fit.name in known:
                yield fit, known[fit.name]


def chosen_tiles(grid: TileGrid, window: Window) -> tuple[Window, list[Tile]]:
    """The tiles that a window needs; of one that needs more than `MOST_TILES` its middle, and the tiles of that.

    Raises:
        ConfigError: the window does not lie within the scene.
    """
    require_inside(grid.size, window)
    while True:
        rows = _tiles_along(window.y, window.bottom, grid, grid.rows)
        columns = _tiles_along(window.x, window.right, grid, grid.columns)
        if len(rows) * len(columns) <= MOST_TILES:
            return window, [(window.z, i, j) for i in rows for j in columns]
        # A tile's stride less along the side that has more of them, from both ends.
        across = len(columns) >= len(rows)
        less = min(grid.stride, (window.width if across else window.height) - 1)
        window = Window(
            z=window.z,
            y=window.y + (0 if across else less // 2),
            x=window.x + (less // 2 if across else 0),
            height=window.height - (0 if across else less),
            width=window.width - (less if across else 0),
        )


def _tiles_along(start: int, end: int, grid: TileGrid, count: int) -> range:
    """Numbers of the tiles along an axis that the pixels `start` to `end` lie in."""
    first = max(0, -(-(start - grid.tile + 1) // grid.stride))
    return range(min(first, count - 1), min(count, (end - 1) // grid.stride + 1))


def _tile_key(look: SceneLook, grid: TileGrid, tile: Tile) -> Hashable:
    return look.header.ref, repr((look.bands, look.ranges)), grid.tile, grid.overlap, tile


class _Kept(Generic[A]):
    """Arrays by key; what was not asked for longest goes when there are too many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._arrays: OrderedDict[Hashable, A] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._arrays

    def known(self, key: Hashable) -> A:
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def get(self, key: Hashable, make: Callable[[], A]) -> A:
        if key not in self._arrays:
            self.put(key, make())
        return self.known(key)

    def put(self, key: Hashable, array: A) -> None:
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self._most and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes


def as_try(
    scene: str,
    classes: Sequence[ClassInfo],
    found: tuple[Window, npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None],
    times: Sequence[float],
    revision: int,
) -> Try:
    """What `Tries.make` found, with what is counted of it.

    Args:
        scene: id.
        classes: in the order of the scores.
        found: of `Tries.make`.
        times: when it began, when the examples were encoded, and when it ended.
        revision: of the labels.
    """
    window, scores, mask, uncertainty = found
    counts = np.bincount(mask.ravel(), minlength=256)
    pixels = {one.name: int(counts[one.value]) for one in classes}
    begun, encoded, ended = times
    seconds = {"examples": round(encoded - begun, 3), "window": round(ended - encoded, 3)}
    return Try(scene, window, scores, mask, uncertainty, pixels, seconds, revision)
