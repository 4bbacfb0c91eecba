"""What windows of an archive look like: features of cells, computed once and kept."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.grid import Window
from hdm_pipeline.pixels.scaling import scale_pixels
from hdm_pipeline.planning.forecast import scene_grid
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.support.examples import SupportExample

if TYPE_CHECKING:
    from hdm_pipeline.model.segmenter import FewShotSegmenter

COARSER = 2.0
"""How many times smaller than for segmenting the network sees windows here: a quarter of the time."""

_MOST_BYTES = 96 << 20
"""Of features that are kept."""

_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)
"""Along slices, rows and columns: the additive sequence that fills three axes most evenly (M. Roberts, "The
unreasonable effectiveness of quasirandom sequences", 2018)."""


@dataclass(frozen=True, eq=False)
class CellLook:
    """What a window, or an example, looks like.

    Attributes:
        cells: [n, D] float16 features of its cells that hold data.
        places: [n, 2] row and column of each in the window's grid of cells.
        shape: rows and columns of that grid.
    """

    cells: npt.NDArray[np.float16]
    places: npt.NDArray[np.intp]
    shape: tuple[int, int]


class Looks:
    """Looks at windows and examples with the backbone of a network. May be used by several threads.

    Args:
        opened: the scenes.
        most_bytes: of features that are kept.
    """

    def __init__(self, opened: OpenScenes, most_bytes: int = _MOST_BYTES) -> None:
        self._opened = opened
        self._most = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, CellLook] = OrderedDict()
        self._bytes = 0

    def window(self, segmenter: FewShotSegmenter, scene: str, window: Window) -> CellLook:
        """What a window of a scene looks like.

        Raises:
            HdmError: as `OpenScenes.look`.
        """
        look = self._opened.look(scene)
        key = segmenter.weights_hash, segmenter.reduction, look.header.ref, look.bands.indices, look.ranges, window
        known = self._known(key)
        if known is not None:
            return known
        with self._opened.source(scene) as source:
            pixels, valid = look.bands.apply(*source.read(window, look.bands.indices))
        return self._keep(key, _look(segmenter, scale_pixels(pixels, look.ranges), valid))

    def example(self, segmenter: FewShotSegmenter, example: SupportExample) -> CellLook:
        """What an example looks like."""
        digest = hashlib.blake2b(np.ascontiguousarray(example.pixels).data, digest_size=16).digest()
        key = segmenter.weights_hash, segmenter.reduction, example.pixels.shape, digest
        known = self._known(key)
        if known is not None:
            return known
        valid: npt.NDArray[np.bool_] = np.asarray(np.isfinite(example.pixels).all(axis=0))
        return self._keep(key, _look(segmenter, example.pixels, valid))

    def _known(self, key: Hashable) -> CellLook | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, look: CellLook) -> CellLook:
        with self._lock:
            if key not in self._kept:
                self._bytes += look.cells.nbytes
            self._kept[key] = look
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].cells.nbytes
        return look


def spread_windows(config: PipelineConfig, header: SceneHeader, count: int) -> list[Window]:
    """Windows of a tile's size, spread over a scene, none twice; of a volume over its slices.

    Args:
        config: the pipeline: its tile size.
        header: of the scene.
        count: at most.
    """
    grid = scene_grid(config, header)
    axes = (grid.size[0], grid.rows, grid.columns)
    if count >= grid.tile_count:
        chosen = [(z, i, j) for z in range(axes[0]) for i in range(axes[1]) for j in range(axes[2])]
    else:
        steps = (np.arange(4 * count)[:, None] + 0.5) * np.array(_STEPS) % 1.0
        places = (steps * np.array(axes)).astype(int).tolist()
        chosen = sorted(list(dict.fromkeys((z, i, j) for z, i, j in places))[:count])
    return [grid.seen(z, i, j) for z, i, j in chosen]


def label_shares(look: CellLook, label: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """[2, n]: shares of target and of background in the cells of an example.

    Args:
        look: of the example.
        label: [y, x] uint8: 1 the class, 0 background, 255 unknown.
    """
    rows, columns = look.shape
    height, width = label.shape
    index = (np.arange(height) * rows // height)[:, None] * columns + (np.arange(width) * columns // width)[None]
    total = np.bincount(index.ravel(), minlength=rows * columns).clip(1)
    shares = [np.bincount(index[label == value], minlength=rows * columns) / total for value in (1, 0)]
    return np.stack(shares).astype(np.float32)[:, look.places[:, 0] * columns + look.places[:, 1]]


def _look(segmenter: FewShotSegmenter, pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> CellLook:
    from hdm_pipeline.model.cells import cell_features

    features, shares = cell_features(segmenter, pixels, valid, segmenter.reduction * COARSER)
    places = np.argwhere(shares >= 0.5)
    return CellLook(features[places[:, 0], places[:, 1]].astype(np.float16), places, shares.shape)


def together(looks: Sequence[CellLook]) -> npt.NDArray[np.float32]:
    """[n, D] the mean of the cells of each; each has one at least."""
    return np.stack([look.cells.astype(np.float32).mean(axis=0) for look in looks])
