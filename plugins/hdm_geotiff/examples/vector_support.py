"""Examples whose labels are drawn: polygons, lines and points of a vector file, over an image or a part of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import ProjError

from hdm_geotiff.examples.cuts import MOST, SIDE, WHOLE, asked_for, where_drawn
from hdm_geotiff.examples.drawing import TARGET, Canvas, Drawing, drawing_of, shapes_of
from hdm_geotiff.examples.example_image import image_ref
from hdm_geotiff.examples.outside import outside
from hdm_geotiff.examples.parts import Part, labelled_parts
from hdm_geotiff.examples.support import MAX_PIXELS
from hdm_geotiff.examples.vector_file import VectorFile
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.scenes.opening import open_source
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_geotiff.scenes.source import RasterSource
from hdm_pipeline.contracts import (
    IGNORE,
    LabeledImage,
    SceneWarning,
    SupportRequest,
    VectorLabels,
)
from hdm_pipeline.errors import SceneError, SupportError, counted
from hdm_pipeline.grid import Window

_NOUNS = {"target": "the class", "background": "`background`", "ignore": "`ignore`", "extent": "`extent`"}


@dataclass(frozen=True, eq=False)
class _Labels:
    """The labels of an image: (window, [y, x] of 1, 0 and 255), none of them unknown throughout; and warnings."""

    windows: tuple[Part, ...]
    warnings: tuple[SceneWarning, ...]


class DrawnLabels:
    """What `GeoTiffReader` does for drawn labels; see `VectorLabelReader`. A vector file is opened once,
    and again when it has changed.

    Args:
        options: of the reader.
    """

    def __init__(self, options: ReaderOptions) -> None:
        self._options = options
        self._files: dict[str, tuple[tuple[int, int, int], VectorFile]] = {}

    def check(self, request: SupportRequest) -> None:
        """See `VectorLabelReader.check_vector`."""
        labels = _vector(request)
        with _typed(request):
            file = self._file(request)
            for part, selection in labels.selections().items():
                file.crs(file.layer(selection), labels.crs)
                if not len(file.features(selection)) and not _may_select_nothing(file, part, labels):
                    raise _selects_nothing(file, part, labels)

    def identity(self, request: SupportRequest) -> str:
        """See `VectorLabelReader.vector_identity`: of the labels themselves, and where they lie in the image."""
        with _typed(request), _image(request, self._options) as image:
            found = _labels(image.grid, self._file(request), request)
        if not found.windows:
            return ""
        digest = hashlib.sha256()
        for window, label in found.windows:
            digest.update(f"{window.y},{window.x},{label.shape}".encode())
            digest.update(label.tobytes())
        return digest.hexdigest()

    def read(self, request: SupportRequest) -> list[LabeledImage]:
        """See `VectorLabelReader`; with all bands of the image.

        Raises:
            SupportError: unreadable, too large, without a place, or nothing is drawn in the image.
        """
        with _typed(request), _image(request, self._options) as image:
            labels = _labels(image.grid, self._file(request), request)
            found = labelled_parts(image, labels.windows, request, labels.warnings)
        if labels.windows and not found:
            raise SupportError(
                "everything that is drawn lies where the image holds no data",
                where=f"{request.image} with {request.mask}",
                remedy="draw where the image holds data, or correct its nodata value",
            )
        return found

    def _file(self, request: SupportRequest) -> VectorFile:
        """The file of the labels, read anew where it is another one since: a person may be drawing there."""
        try:
            told = os.stat(request.mask)
            state = told.st_mtime_ns, told.st_size, told.st_ino
        except OSError:
            return VectorFile(request.mask)  # which says what is wrong with it
        if self._files.get(request.mask, (None,))[0] != state:
            self._files[request.mask] = state, VectorFile(request.mask)
        return self._files[request.mask][1]


def _vector(request: SupportRequest) -> VectorLabels:
    assert request.vector is not None
    return request.vector


@contextmanager
def _typed(request: SupportRequest) -> Iterator[None]:
    """Errors of scenes become errors of supports, and so do those of PROJ."""
    try:
        yield
    except SceneError as error:
        raise SupportError(error.what, where=error.where, remedy=error.remedy) from error
    except ProjError as error:
        raise SupportError(
            f"labels and image cannot be brought together: {str(error).splitlines()[0]}",
            where=f"{request.image} with {request.mask}",
            remedy="check the coordinate reference systems of both (gdalinfo IMAGE, ogrinfo -so -al LABELS)",
        ) from error


@contextmanager
def _image(request: SupportRequest, options: ReaderOptions) -> Iterator[RasterSource]:
    """The image of a request, opened as a scene is, and known to have a place."""
    with open_source(image_ref(request.image, options), options, None, instead="choose another example") as source:
        if not source.grid.placed_in_crs:
            raise SupportError(
                "labels cannot be placed on an image without coordinates",
                where=f"{request.image} with {request.mask}",
                remedy="give the image its CRS and place (gdal_edit.py -a_srs EPSG:... -a_ullr ...), or give a mask",
            )
        yield source


def _labels(image: Grid, file: VectorFile, request: SupportRequest) -> _Labels:
    """Draw what lies in the image, and cut the image where something is drawn."""
    labels, where = _vector(request), f"{request.image} with {request.mask}"
    assert image.crs is not None  # `_image` looked
    grid = Canvas(image.height, image.width, image.transform, CRS.from_wkt(image.crs.to_wkt()))
    drawing, warnings = _draw(file, labels, grid, alone=not (labels.optional or request.shared))
    if not len(drawing.target) + len(drawing.background) + len(drawing.extent):
        if labels.optional:
            return _Labels((), ())
        raise _nothing_here(file, labels, grid, where)
    if labels.window is not None:
        windows, left_out = [asked_for(labels.window, grid, where)], 0
    elif grid.height * grid.width <= WHOLE:
        windows, left_out = [Window(z=0, y=0, x=0, height=grid.height, width=grid.width)], 0
    else:
        windows, left_out = where_drawn(drawing, grid)
    if left_out:
        warnings.append(_left_out(left_out))
    found = [(window, _label(drawing, window, where)) for window in windows]
    found = [(window, label) for window, label in found if (label != IGNORE).any()]
    if not found and not labels.optional:
        part = "window" if labels.window is not None else "image"
        raise SupportError(
            f"nothing is drawn within the {part}", where=where, remedy=f"draw in the {part}, or name another one"
        )
    shown = any((label == TARGET).any() for _, label in found)
    if found and not shown and not _may_select_nothing(file, "target", labels):
        what = "nothing of the class is drawn in it: it shows background only"
        warnings.append(SceneWarning("only_background", what, "check `where`, if it should show the class", False))
    return _Labels(tuple(found), tuple(warnings))


def _draw(file: VectorFile, labels: VectorLabels, grid: Canvas, *, alone: bool) -> tuple[Drawing, list[SceneWarning]]:
    """What is drawn in the image, in its pixels, and what is strange about it.

    Args:
        file: the features.
        labels: what they mean.
        grid: the image's.
        alone: the file serves no other image.
    """
    parts, warnings = {}, []
    wide = labels.width or 0.0
    margin = 2 + (wide / min(grid.metres) if wide and labels.width_unit == "m" else wide)
    for part, selection in labels.selections().items():
        crs, strange = file.crs(file.layer(selection), labels.crs)
        if strange:
            warnings.append(SceneWarning("labels_crs", strange, "correct the file, or leave out `crs`"))
        near = file.features(selection, grid.box_in(crs, margin))
        parts[part] = shapes_of(near, crs, grid, labels)
        if part == "target" and alone:
            everywhere = file.count(selection) or 0  # nothing is said of a layer that is too large to be read for it
            warnings += outside(everywhere - len(near), everywhere, "features")
        if part == "extent" and parts[part][0] and not len(parts[part][0].polygons):
            remedy = "draw the area in which everything is labelled as a polygon"
            raise SupportError("`extent` selects no polygon", where=file.path, remedy=remedy)
    drawing = drawing_of(parts, labels)
    if drawing.repaired:
        is_, was = ("is", "was") if drawing.repaired == 1 else ("are", "were")
        why = "an edge crosses another, or parts overlap"
        what = f"{counted(drawing.repaired, 'feature')} of the labels {is_} not valid ({why}) and {was} repaired"
        warnings.append(SceneWarning("labels_repaired", what, "look at them in a GIS (QGIS: Check Validity)"))
    return drawing, list(dict.fromkeys(warnings))


def _label(drawing: Drawing, window: Window, where: str) -> npt.NDArray[np.uint8]:
    if window.height * window.width > MAX_PIXELS:
        what = f"a window of {window.height} x {window.width} pixels is too large for an example"
        remedy = f"name a smaller one ({MAX_PIXELS / 2**20:.0f} Mpx at most), or leave out `window`"
        raise SupportError(what, where=where, remedy=remedy)
    return drawing.label(window.height, window.width, Affine.translation(window.x, window.y))


def _left_out(count: int) -> SceneWarning:
    what = f"the image is large: of the parts in which something is drawn {MOST} are examples, and {count} are left out"
    remedy = f"that is enough for most; for others name a `window` of up to {SIDE} x {SIDE} pixels in an example each"
    return SceneWarning("labels_left_out", what, remedy, suspect=False)


def _may_select_nothing(file: VectorFile, part: str, labels: VectorLabels) -> bool:
    """Whether it is no mistake that a part selects nothing: the file knows its filter, and background is named."""
    return part == "target" and labels.background is not None and file.expects(labels.target)


def _selects_nothing(file: VectorFile, part: str, labels: VectorLabels) -> SupportError:
    """No feature in the whole file is selected."""
    selection = labels.selections()[part]
    layer = file.layer(selection)
    if selection.where is None:
        return SupportError(
            f"the layer {layer!r} has no features", where=file.path, remedy="draw some, or name another layer"
        )
    return SupportError(
        f"no feature is selected as {_NOUNS[part]} by {selection.where!r}",
        where=file.path,
        remedy=f"{file.attributes(layer)}; upper and lower case count",
    )


def _nothing_here(file: VectorFile, labels: VectorLabels, grid: Canvas, where: str) -> SupportError:
    """Nothing of the class or the background lies in the image: because nothing is selected, or it lies elsewhere."""
    selection = labels.target
    crs, _ = file.crs(file.layer(selection), labels.crs)
    everywhere = file.features(selection)
    if not len(everywhere) and _may_select_nothing(file, "target", labels):
        remedy = "draw some of the class or of the background in the image"
        return SupportError("nothing is drawn in the image", where=where, remedy=remedy)
    if not len(everywhere):
        return _selects_nothing(file, "target", labels)
    shapes, _ = shapes_of(everywhere, crs, grid, labels)
    corner = tuple(round(value) for value in grid.transform * (grid.width / 2, grid.height / 2))
    drawn = "nowhere in its coordinates"
    if len(shapes):
        left, top, right, bottom = shapely.total_bounds(shapes.all)
        x, y = grid.transform * ((left + right) / 2, (top + bottom) / 2)
        drawn = f"around {x:.7g}, {y:.7g}"
    return SupportError(
        f"none of the {len(everywhere)} features of the class lies in the image: they lie {drawn}, in the image's "
        f"coordinates, and the middle of the image is at {corner[0]:.7g}, {corner[1]:.7g}",
        where=where,
        remedy=f"check both CRS (the labels are taken to be in {crs.name}), or name the image that they were drawn on",
    )
