"""Which parts of an image are examples: the one that is asked for, all of it, or where something is drawn."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from hdm_geotiff.examples.drawing import TARGET, Canvas
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_pipeline.contracts import BACKGROUND, IGNORE, ImageWindow
from hdm_pipeline.errors import SupportError
from hdm_pipeline.grid import Window

WHOLE = 4 * 2**20
"""Pixels up to which an image is an example as a whole."""

SIDE = 1024
"""Longest side of a part that is cut around what is drawn."""

MOST = 8
"""Most parts that are cut out of one image."""

_MARGIN = 128
"""Pixels around what is drawn: what lies beside it tells the network something, too."""

_OVERVIEW = 2048
"""Longest side of the overview in which it is looked for what is drawn."""

_ENOUGH = 0.25


def asked_for(window: ImageWindow, grid: Canvas, where: str) -> Window:
    """The part of an image that the user names, as far as it lies in the image.

    Raises:
        SupportError: it lies outside, or its CRS is unknown.
    """
    if window.pixels is not None:
        x, y, width, height = window.pixels
        left, top, right, bottom = x, y, x + width, y + height
    else:
        left, top, right, bottom = _pixels_of(window, grid, where)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, grid.width), min(bottom, grid.height)
    if right <= left or bottom <= top:
        raise SupportError(
            f"the window lies outside of the image, which has {grid.height} rows and {grid.width} columns",
            where=where,
            remedy="`pixels` are [column, row, width, height]; `bounds` are [left, bottom, right, top] in the image's "
            "coordinates, or in the window's `crs`",
        )
    return Window(z=0, y=top, x=left, height=bottom - top, width=right - left)


def _pixels_of(window: ImageWindow, grid: Canvas, where: str) -> tuple[int, int, int, int]:
    assert window.bounds is not None
    left, bottom, right, top = window.bounds
    x, y = (side.ravel() for side in np.meshgrid(np.linspace(left, right, 21), np.linspace(bottom, top, 21)))
    if window.crs is not None:
        try:
            x, y = Transformer.from_crs(CRS.from_user_input(window.crs), grid.crs, always_xy=True).transform(x, y)
        except CRSError as error:
            remedy = "name it by its code, as in `crs: EPSG:4326`"
            raise SupportError(
                f"the CRS of the window is not known: {window.crs}", where=where, remedy=remedy
            ) from error
    columns, rows = ~grid.transform * (np.asarray(x), np.asarray(y))
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return 0, 0, 0, 0
    return round(columns.min()), round(rows.min()), round(columns.max()), round(rows.max())


class Drawn(Protocol):
    """What is drawn in an image: `Drawing`, or a mask."""

    @property
    def complete(self) -> bool:
        """Everything is drawn everywhere."""
        ...

    def label(self, height: int, width: int, placed: Affine, *, coarse: bool = False) -> npt.NDArray[np.uint8]:
        """See `Drawing.label`."""
        ...


def where_drawn(drawing: Drawn, grid: Canvas | Grid) -> tuple[list[Window], int]:
    """Parts of a large image in which something is drawn, none over another; and how many more there are.

    Parts are cells of a lattice around what is drawn, trimmed to it. If there are too many, those that show both the
    class and background come first.
    """
    step = max(1, math.ceil(max(grid.height, grid.width) / _OVERVIEW))
    rows, columns = math.ceil(grid.height / step), math.ceil(grid.width / step)
    overview = drawing.label(rows, columns, Affine.scale(step), coarse=True)
    places = np.nonzero(overview != IGNORE)
    if not len(places[0]):
        return [], 0
    top, left, bottom, right = _bounds(places, step, grid)
    cells: list[tuple[float, Window]] = []
    for y in range(top, bottom, SIDE):
        for x in range(left, right, SIDE):
            limits = y, x, min(y + SIDE, bottom), min(x + SIDE, right)
            found = _trimmed(overview, step, limits, grid)
            if found is not None:
                cells.append((_worth(overview, step, found, drawing), found))
    cells.sort(key=lambda cell: -cell[0])
    chosen = cells[:MOST]
    if not any(_shows(overview, step, window, BACKGROUND, drawing) for _, window in chosen):
        chosen[MOST - 1 :] = [c for c in cells if _shows(overview, step, c[1], BACKGROUND, drawing)][:1] or chosen[
            MOST - 1 :
        ]
    windows = sorted((window for _, window in chosen), key=lambda window: (window.y, window.x))
    return windows, len(cells) - len(windows)


def _bounds(
    places: tuple[npt.NDArray[np.intp], ...], step: int, grid: Canvas | Grid, first: tuple[int, int] = (0, 0)
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) in pixels of what was found in the overview, with a margin."""
    (y0, x0), (y1, x1) = ((int(side.min()) for side in places), (int(side.max()) + 1 for side in places))
    top, left = ((start + offset) * step - _MARGIN for start, offset in zip((y0, x0), first, strict=True))
    bottom, right = ((end + offset) * step + _MARGIN for end, offset in zip((y1, x1), first, strict=True))
    return max(0, top), max(0, left), min(grid.height, bottom), min(grid.width, right)


def _trimmed(
    overview: npt.NDArray[np.uint8], step: int, limits: tuple[int, int, int, int], grid: Canvas | Grid
) -> Window | None:
    """The part of a cell in which something is drawn, with its margin; None where nothing is."""
    rows, columns = slice(limits[0] // step, -(-limits[2] // step)), slice(limits[1] // step, -(-limits[3] // step))
    places = np.nonzero(overview[rows, columns] != IGNORE)
    if not len(places[0]):
        return None
    top, left, bottom, right = _bounds(places, step, grid, (rows.start, columns.start))
    top, left, bottom, right = max(top, limits[0]), max(left, limits[1]), min(bottom, limits[2]), min(right, limits[3])
    return Window(z=0, y=top, x=left, height=bottom - top, width=right - left)


def _part(overview: npt.NDArray[np.uint8], step: int, window: Window) -> npt.NDArray[np.uint8]:
    return overview[window.y // step : -(-window.bottom // step), window.x // step : -(-window.right // step)]


def _worth(overview: npt.NDArray[np.uint8], step: int, window: Window, drawing: Drawn) -> float:
    """How much a part tells: the class first, and then both in good shares."""
    part = _part(overview, step, window)
    target = float(np.mean(part == TARGET))
    background = float(np.mean(part != TARGET if drawing.complete else part == BACKGROUND))
    return (10.0 if target else 0.0) + min(target, _ENOUGH) + min(background, _ENOUGH)


def _shows(overview: npt.NDArray[np.uint8], step: int, window: Window, value: int, drawing: Drawn) -> bool:
    return drawing.complete or bool((_part(overview, step, window) == value).any())
