"""Scenes of one date that touch or overlap as one scene, so that what lies across their border is seen whole.

With `mosaic: date`, discovery opens the header of each scene, and joins those of one day (`hdm_geotiff.dates`, but for
the date of the file), of one CRS, of one grid (pixels of one size that lie on each other) and of the same bands, as far
as they hang together.
Where scenes overlap, the first in the order of ids counts where it is valid. What joins nothing stays as it is.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from affine import Affine

from hdm_geotiff.dates import FILE_TAG
from hdm_geotiff.files.sidecars import joined
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.recipes.layers import STAC_ITEM
from hdm_geotiff.scenes.levels import Edges
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_geotiff.scenes.source import RasterSource
from hdm_geotiff.scenes.validity import Mask
from hdm_pipeline.contracts import RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.errors import SceneError, UnsupportedSceneError
from hdm_pipeline.grid import Window

MARK = '{"mosaic":'
"""How the recipe of a mosaic begins."""

_SAME = 0.01
"""Pixels by which grids may be shifted against each other and be one."""

_MOST_OPEN = 16
"""Scenes of a mosaic that are open at a time: a window meets few, and a mosaic of a country may have hundreds."""


class Opener(Protocol):
    """Opens a scene, as `hdm_geotiff.scenes.opening.open_source` does."""

    def __call__(self, ref: SceneRef, options: ReaderOptions, aoi: None) -> AbstractContextManager[RasterSource]:
        """Open a scene."""
        ...


@dataclass(frozen=True)
class _Part:
    """A scene, and where it lies in the mosaic: rows and columns."""

    ref: SceneRef
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class _Seen:
    """A scene whose header was read."""

    ref: SceneRef
    grid: Grid
    place: tuple[float, float]  # row and column of its corner on the grid that begins at the CRS's origin

    def touches(self, other: _Seen) -> bool:
        """Whether two scenes of one grid overlap or share a border or a corner."""
        (top, left), (row, column) = self.place, other.place
        apart = max(top, row) - min(top + self.grid.height, row + other.grid.height)
        aside = max(left, column) - min(left + self.grid.width, column + other.grid.width)
        return apart <= _SAME and aside <= _SAME


def join_by_date(refs: Sequence[SceneRef], options: ReaderOptions, opened: Opener) -> list[SceneRef]:
    """Join scenes of one day that hang together.

    Args:
        refs: all scenes of the archive.
        options: of the reader.
        opened: opens a scene.

    Returns:
        Mosaics, and the scenes that are in none: they have no date, are alone, or cannot be read.
    """
    days: defaultdict[tuple[Any, ...], list[_Seen]] = defaultdict(list)
    for ref in sorted(refs, key=lambda one: one.id):
        try:
            with opened(ref, options, None) as source:
                day = _day(source.header)
                grid, bands = source.grid, tuple(band.name for band in source.header.bands)
        except SceneError:
            continue  # it stays a scene, and the run says what is wrong with it
        if day and grid.crs is not None and grid.placed:
            seen = _Seen(ref, grid, _place(grid))
            days[day, grid.crs.to_wkt(), *_alike(seen), bands].append(seen)
    made: list[SceneRef] = []
    used: set[str] = set()
    for key, of_day in days.items():
        for cluster in _clusters(of_day):
            if len(cluster) > 1:
                made.append(_mosaic(cluster, f"{key[0]}_{cluster[0].ref.id}"))
                used |= {one.ref.id for one in cluster}
    return [*made, *(ref for ref in refs if ref.id not in used)]


@contextmanager
def open_mosaic(ref: SceneRef, options: ReaderOptions, opened: Opener) -> Iterator[RasterSource]:
    """Open a mosaic by its recipe; its scenes are opened when a window first meets them.

    Raises:
        ReadError: the first scene cannot be read.
        UnsupportedSceneError: it is too large.
    """
    parts = [
        _Part(SceneRef(**{**part["ref"], "members": tuple(part["ref"]["members"])}), *part["place"])
        for part in json.loads(ref.recipe)["mosaic"]
    ]
    with ExitStack() as stack:
        yield _MosaicSource(ref, parts, options, opened, stack)


class _MosaicSource(RasterSource):
    """A mosaic that is open."""

    def __init__(
        self, ref: SceneRef, parts: Sequence[_Part], options: ReaderOptions, opened: Opener, stack: ExitStack
    ) -> None:
        self._parts = parts
        self._options = options
        self._opener = opened
        self._open: OrderedDict[int, tuple[RasterSource, ExitStack]] = OrderedDict()  # the last used is the last
        stack.callback(self._close)
        first = self._source(0)
        shift = Affine.translation(-parts[0].left, -parts[0].top)
        height, width = (max(ends) for ends in zip(*((p.top + p.height, p.left + p.width) for p in parts), strict=True))
        grid = Grid(first.grid.crs, first.grid.transform * shift, height, width)
        if height * width > options.max_pixels:
            what = f"a mosaic of {len(parts)} scenes has {height} x {width} pixels, more than is accepted"
            remedy = f"raise the reader option max_pixels (now {options.max_pixels}), or leave out mosaic"
            raise UnsupportedSceneError(what, where=ref.uri, remedy=remedy)
        super().__init__(self._described(ref, first.header, grid), grid, allow_network=options.allow_network)

    def _described(self, ref: SceneRef, first: SceneHeader, grid: Grid) -> SceneHeader:
        listed = ", ".join(part.ref.id for part in self._parts[:4]) + (", ..." if len(self._parts) > 4 else "")
        ones = ("gcps", "gcps_crs_wkt", "rpcs", STAC_ITEM)
        kept = {name: value for name, value in first.attributes.items() if name not in ones}
        return replace(
            first,
            ref=ref,
            shape=(first.shape[0], 1, grid.height, grid.width),
            geometry=RasterGeometry(tuple(grid.transform)[:6], grid.crs.to_wkt() if grid.crs else None),
            warnings=(f"a mosaic of {len(self._parts)} scenes: {listed}", *first.warnings),
            attributes=kept,
        )

    def means(self, bands: Sequence[int], rows: Edges, columns: Edges) -> tuple[npt.NDArray[np.float32], Mask]:
        """See `RasterSource.means`; where scenes overlap, the first with a valid pixel in a cell makes it alone."""
        pixels = np.zeros((len(bands), len(rows) - 1, len(columns) - 1), dtype=np.float32)
        valid = np.zeros(pixels.shape[1:], dtype=np.bool_)
        for number, part in enumerate(self._parts):
            down, y = _within(rows - part.top, part.height)
            across, x = _within(columns - part.left, part.width)
            if not len(y) or not len(x) or valid[np.ix_(y, x)].all():
                continue
            made, known = self._source(number).means(bands, down, across)
            new = known & ~valid[np.ix_(y, x)]
            here = np.s_[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
            np.copyto(pixels[(slice(None), *here)], made, where=new)
            valid[here] |= new
        return pixels, valid

    def _source(self, number: int) -> RasterSource:
        """A scene, open until `_MOST_OPEN` others were used since; each failure names the scene's own file."""
        if number not in self._open:
            if len(self._open) == _MOST_OPEN:
                _, (_, oldest) = self._open.popitem(last=False)
                oldest.close()
            with ExitStack() as stack:
                source = stack.enter_context(self._opener(self._parts[number].ref, self._options, None))
                self._open[number] = source, stack.pop_all()
        self._open.move_to_end(number)
        return self._open[number][0]

    def _close(self) -> None:
        with ExitStack() as every:
            for _, one in self._open.values():
                every.push(one)
            self._open.clear()

    def _stored(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        pixels = np.zeros((len(bands), window.height, window.width), dtype=np.float32)
        valid = np.zeros(pixels.shape[1:], dtype=np.bool_)
        for number, part in enumerate(self._parts):
            top, left = max(window.y, part.top), max(window.x, part.left)
            bottom, right = min(window.bottom, part.top + part.height), min(window.right, part.left + part.width)
            if bottom <= top or right <= left:
                continue
            there = np.s_[top - window.y : bottom - window.y, left - window.x : right - window.x]
            if valid[there].all():
                continue
            own = Window(z=0, y=top - part.top, x=left - part.left, height=bottom - top, width=right - left)
            made, known = self._source(number).read(own, bands)
            new = known & ~valid[there]
            np.copyto(pixels[(slice(None), *there)], made, where=new)
            valid[there] |= new
        return pixels, valid


def _within(edges: Edges, size: int) -> tuple[Edges, npt.NDArray[np.int64]]:
    """Edges of the cells that lie on 0..size, at least in part and then cut; and the cells' numbers."""
    inside = np.flatnonzero((edges[1:] > 0) & (edges[:-1] < size))
    if not len(inside):
        return edges[:0], inside
    return np.clip(edges[inside[0] : inside[-1] + 2], 0, size), inside


def _day(header: SceneHeader) -> str:
    """The day a scene was taken, as its header has it; empty if nothing says so but the date of its file, which many
    programs leave there that made tiles of many days in one night."""
    told = header.attributes
    day = told.get("datetime") or told.get("start_datetime") or ""
    return "" if told.get("datetime_source") == FILE_TAG else str(day)[:10]


def _place(grid: Grid) -> tuple[float, float]:
    column, row = _linear(grid) @ (grid.transform.c, grid.transform.f)
    return float(row), float(column)


def _linear(grid: Grid) -> npt.NDArray[np.float64]:
    """From coordinates to pixels, without the shift."""
    a, b, _, d, e, _ = tuple(grid.transform)[:6]
    return np.linalg.inv(np.array([[a, b], [d, e]], dtype=np.float64))


def _alike(seen: _Seen) -> tuple[Any, ...]:
    """What is the same of scenes on one grid: size and direction of pixels, and how they lie between others'."""
    a, b, _, d, e, _ = tuple(seen.grid.transform)[:6]
    shifts = (round(part / _SAME) % round(1 / _SAME) for part in seen.place)
    return (*(float(f"{part:.9g}") for part in (a, b, d, e)), *shifts)


def _clusters(seen: Sequence[_Seen]) -> Iterator[list[_Seen]]:
    """Scenes that hang together, in the order of ids."""
    left = list(seen)
    while left:
        cluster, edge = [], [left.pop(0)]
        while edge:
            one = edge.pop()
            cluster.append(one)
            near = [other for other in left if one.touches(other)]
            left = [other for other in left if other not in near]
            edge += near
        yield sorted(cluster, key=lambda one: one.ref.id)


def _mosaic(cluster: Sequence[_Seen], scene_id: str) -> SceneRef:
    top, left = (min(one.place[axis] for one in cluster) for axis in (0, 1))
    parts = []
    for one in cluster:
        ref = {name: getattr(one.ref, name) for name in ("id", "uri", "reader", "identity", "members", "recipe")}
        place = [math.floor(one.place[0] - top + 0.5), math.floor(one.place[1] - left + 0.5), *one.grid.shape]
        parts.append({"ref": ref, "place": place})
    first = cluster[0].ref
    laid = [(one.ref.id, f"{one.ref.identity}{part['place']}") for one, part in zip(cluster, parts, strict=True)]
    identity = joined("mosaic", laid)
    members = tuple(member for one in cluster for member in (one.ref.members or (one.ref.uri,)))
    return SceneRef(scene_id, first.uri, first.reader, identity, members, recipe=MARK + json.dumps(parts) + "}")
