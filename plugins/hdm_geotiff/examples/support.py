"""Labelled chips: an image and a mask (GeoTIFF or PNG), of the same size or both with coordinates.

A mask on another grid, or in another CRS, is warped onto the image's: each pixel of the image takes the label of the
mask's pixel in which its centre lies. A mask that leaves out more than a rim of the image is refused; on the rim the
label is unknown.

How the mask's values become labels, in this order: the request's `values` are the class (1); its `ignore` values are
unknown (255); so are pixels that the mask itself marks as nodata, except that a nodata value of 0 means background, for
many tools mark the empty part of a mask that way; everything else is background (0). If the request names `background`
values, only these are, and everything else is unknown; such a mask may show background only. If it does not, 255 in an
8-bit mask is unknown too, as in every mask of ours. Where the image holds no data the label is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.warp import reproject, transform
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.examples.example_image import image_ref
from hdm_geotiff.examples.large_masks import cut_mask
from hdm_geotiff.examples.mask_labels import held, known_of, label_of, read_label
from hdm_geotiff.examples.outside import pixels_outside
from hdm_geotiff.examples.parts import Part, labelled_parts
from hdm_geotiff.files.environment import open_dataset, reading
from hdm_geotiff.files.uris import check_uri
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.scenes.header import check_size
from hdm_geotiff.scenes.opening import open_source
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_geotiff.scenes.validity import MaskSources
from hdm_pipeline.contracts import IGNORE, LabeledImage, SceneWarning, SupportRequest
from hdm_pipeline.errors import SceneError, SupportError
from hdm_pipeline.grid import Window

MAX_PIXELS = 16 * 2**20
"""Largest example, in pixels: a chip, not a scene."""

_COVERED = 0.95
"""Least share of an image that its mask must cover: a mask of less was most likely made for another image."""

_EDGE = 21
"""Points along each side of an image by which its place on a mask is told."""

_SAME_GRID = 0.5
"""Pixels that image and mask may lie apart and still be on one grid: rounded coordinates, not a shift."""


def read_example(request: SupportRequest, options: ReaderOptions) -> list[LabeledImage]:
    """Read one labelled chip with all of its bands; or parts of a large image, if its mask names what is background.

    Raises:
        SupportError: unreadable, too large, sizes or places differ, no pixel of the class, or all is unknown.
    """
    try:
        check_uri(request.mask, allow_network=options.allow_network, allow_vrt=options.allow_vrt)
        doing, network = "read a support example", options.allow_network
        other = "choose another example (images are GeoTIFF, masks GeoTIFF or PNG)"
        with open_source(image_ref(request.image, options), options, None, instead=other) as source:
            image = source.grid
            with reading(request.mask, doing, allow_network=network, instead=other), open_dataset(request.mask) as mask:
                beyond: list[SceneWarning] = []
                if _check_pair(image, mask, request, options):
                    parts, found = cut_mask(mask, request), "background only"
                else:
                    label, found, beyond = _label(image, mask, request)
                    parts = [(Window.whole(0, image.shape), label)]
            warnings = _check_labels(parts, request, found)
            examples = labelled_parts(source, parts, request, (*warnings, *beyond))
    except SceneError as error:
        raise SupportError(error.what, where=error.where, remedy=error.remedy) from error
    shown = 1 if not warnings else 0
    if not any((example.label == shown).any() for example in examples):
        remedy = "choose a chip whose labelled part holds data, or correct its nodata value"
        where, what = f"{request.image} with {request.mask}", "the class lies" if shown else "all labels lie"
        raise SupportError(f"{what} only where the image holds no data", where=where, remedy=remedy)
    return examples


def _check_pair(image: Grid, mask: DatasetReader, request: SupportRequest, options: ReaderOptions) -> bool:
    """Whether the image must be cut: it is large, and its mask names what is background: the rest is unknown."""
    where = f"{request.image} with {request.mask}"
    check_size(mask, request.mask, options)
    large = image.height * image.width > MAX_PIXELS
    if large and not (request.background and image.shape == mask.shape and not _on_another_grid(image, mask)):
        what = f"a support example of {image.height} x {image.width} pixels is too large"
        remedy = f"cut a chip of at most {MAX_PIXELS / 2**20:.0f} Mpx: gdal_translate -srcwin x y 512 512"
        raise SupportError(what, where=request.image, remedy=remedy)
    if mask.count != 1:
        remedy = "give a mask of one band that holds class numbers"
        raise SupportError(f"the mask has {mask.count} bands", where=request.mask, remedy=remedy)
    if image.shape != mask.shape and not (image.placed_in_crs and Grid.of(mask).placed_in_crs):
        what = f"image and mask differ in size: {image.height} x {image.width} and {mask.height} x {mask.width}"
        remedy = "cut or resample the mask to the image's grid, or give both coordinates: then it is warped"
        raise SupportError(what, where=where, remedy=remedy)
    if image.placed_in_crs and image.crs == mask.crs and image.shape == mask.shape and _shift(image, mask) > 1:
        # A mask that was cut out on purpose has another size: this one was meant for the image, or for another one.
        what = f"image and mask are alike but lie {_shift(image, mask):.1f} pixels apart"
        raise SupportError(what, where=where, remedy="correct the coordinates of one of the two (gdal_edit.py -a_ullr)")
    return large


def _shift(image: Grid, mask: DatasetReader) -> float:
    """How many pixels two grids of one resolution lie apart; 0 where the resolutions differ."""
    own, other = tuple(image.transform)[:6], tuple(mask.transform)[:6]
    alike = all(abs(own[i] - other[i]) <= 1e-6 * abs(image.transform.a or image.transform.b) for i in (0, 1, 3, 4))
    return _offset(image, mask) if alike else 0.0


def _on_another_grid(image: Grid, mask: DatasetReader) -> bool:
    """Whether the mask must be warped. What has no coordinates is taken to lie on the image."""
    if not (image.placed_in_crs and Grid.of(mask).placed_in_crs):
        return False
    return image.shape != mask.shape or image.crs != mask.crs or _offset(image, mask) > _SAME_GRID


def _warped(
    image: Grid, mask: DatasetReader, known: MaskSources, request: SupportRequest
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], list[SceneWarning]]:
    """The mask's values [y, x] on the image's grid (0 outside of the mask), which of them it knows, and warnings.

    Raises:
        SupportError: the mask covers the image in no part, or not nearly all of it; or it is far finer than the image.
    """
    where = f"{request.image} with {request.mask}"
    elsewhere = "check the coordinate reference systems and coordinates of both: gdalinfo IMAGE, gdalinfo MASK"
    window = _window_under(image, mask)
    if window is None:
        raise SupportError("the mask lies elsewhere than the image", where=where, remedy=elsewhere)
    if window.width * window.height > 4 * MAX_PIXELS:
        what = f"the part of the mask under the image has {window.height} x {window.width} pixels, too many to warp"
        raise SupportError(what, where=where, remedy="resample the mask to the image's grid: gdalwarp -r near -te -ts")
    raw = mask.read([1], window=window)
    valid = known.valid(mask, raw, [0], window)
    values, kinds = raw[0], None
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:  # GDAL's warper knows none of 64 bits
        kinds, numbers = np.unique(values, return_inverse=True)
        values = numbers.reshape(values.shape).astype(np.int32)
    places = {
        "src_transform": mask.window_transform(window),
        "src_crs": mask.crs,
        "dst_transform": image.transform,
        "dst_crs": image.crs,
        "resampling": Resampling.nearest,
        "tolerance": 0.0,  # each pixel by itself: no interpolation between transformed positions
    }
    moved = np.zeros(image.shape, dtype=values.dtype)
    reproject(values, moved, **places)
    covered = np.zeros(image.shape, dtype=np.uint8)
    reproject(np.where(valid, np.uint8(2), np.uint8(1)), covered, **places)
    if not covered.any():
        raise SupportError("the mask lies elsewhere than the image", where=where, remedy=elsewhere)
    share = np.count_nonzero(covered) / covered.size
    if share < _COVERED:
        sizes = f"{image.height} x {image.width} and {mask.height} x {mask.width} pixels"
        what = f"the mask covers {share:.0%} of the image ({sizes})"
        remedy = (
            "give a mask of the whole image, with a value under `ignore` for what is not labelled; or cut the image"
        )
        raise SupportError(what, where=where, remedy=remedy)
    told = pixels_outside(image, mask, window, label_of(raw[0], valid, request) == 1, request)
    return (moved if kinds is None else kinds[moved]), covered == 2, told


def _window_under(image: Grid, mask: DatasetReader) -> RasterWindow | None:
    """The part of the mask that may lie under the image, with a margin; None where there is none."""
    columns, rows = np.meshgrid(np.linspace(0, image.width, _EDGE), np.linspace(0, image.height, _EDGE))
    a, b, c, d, e, f = tuple(image.transform)[:6]
    x, y = a * columns.ravel() + b * rows.ravel() + c, d * columns.ravel() + e * rows.ravel() + f
    if image.crs != mask.crs:
        x, y = transform(image.crs, mask.crs, x, y)
    across, down = ~mask.transform * (np.asarray(x), np.asarray(y))
    there = np.isfinite(across) & np.isfinite(down)
    if not there.any():
        return None
    left, top = (max(0, math.floor(side[there].min()) - 2) for side in (across, down))
    right, bottom = (
        min(limit, math.ceil(side[there].max()) + 2) for side, limit in ((across, mask.width), (down, mask.height))
    )
    return RasterWindow(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _offset(image: Grid, mask: DatasetReader) -> float:
    """Largest distance of corresponding corners, in pixels of the image."""
    inverse = ~image.transform
    worst = 0.0
    for row, column in ((0, 0), (0, mask.width), (mask.height, 0), (mask.height, mask.width)):
        x = mask.transform.a * column + mask.transform.b * row + mask.transform.c
        y = mask.transform.d * column + mask.transform.e * row + mask.transform.f
        across = inverse.a * x + inverse.b * y + inverse.c - column
        down = inverse.d * x + inverse.e * y + inverse.f - row
        worst = max(worst, abs(across), abs(down))
    return worst


def _label(
    image: Grid, mask: DatasetReader, request: SupportRequest
) -> tuple[npt.NDArray[np.uint8], str, list[SceneWarning]]:
    """The label on the image's grid, for messages the values that the mask holds, and what of it lies elsewhere."""
    if _on_another_grid(image, mask):
        values, valid, told = _warped(image, mask, known_of(mask), request)
        return label_of(values, valid, request), held(values), told
    label, values = read_label(mask, RasterWindow(0, 0, mask.width, mask.height), request)
    return label, held(values), []


def _check_labels(parts: Sequence[Part], request: SupportRequest, found: str) -> tuple[SceneWarning, ...]:
    """Refuse labels that say nothing, and a mask without the class unless it names background; what is strange."""
    wanted = ", ".join(map(str, request.values))
    if not any((label != IGNORE).any() for _, label in parts):
        remedy = "choose another example: this one says nothing about any pixel"
        raise SupportError("every pixel of the mask is unknown", where=request.mask, remedy=remedy)
    if not any((label == 1).any() for _, label in parts):
        what = f"the mask has no pixel of the class (value {wanted}); it holds {found}"
        if request.background:
            remedy = "check `value`, if it should show the class"
            return (SceneWarning("only_background", f"{what}: it shows background only", remedy, suspect=False),)
        remedy = "check the value of the class in the pipeline file, or choose an example that shows it"
        raise SupportError(what, where=request.mask, remedy=remedy)
    return ()
