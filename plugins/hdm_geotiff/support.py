"""Labelled chips: an image and a mask (GeoTIFF or PNG) of the same size.

How the mask's values become labels, in this order: the request's `values` are the class (1); its `ignore` values are
unknown (255); so are pixels that the mask itself marks as nodata, except that a nodata value of 0 means background, for
many tools mark the empty part of a mask that way; everything else is background (0). If the request names `background`
values, only these are, and everything else is unknown. If it does not, 255 in an 8-bit mask is unknown too, as in every
mask of ours. Where the image holds no data the label is unknown.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.environment import open_dataset, reading
from hdm_geotiff.header import check_size, describe
from hdm_geotiff.options import READER, ReaderOptions
from hdm_geotiff.source import GeoTiffSource
from hdm_geotiff.uris import check_uri
from hdm_geotiff.validity import MaskSources
from hdm_pipeline.contracts import IGNORE, LabeledImage, SceneRef, SupportRequest
from hdm_pipeline.errors import SceneError, SupportError
from hdm_pipeline.grid import Window

MAX_PIXELS = 16 * 2**20
"""Largest example, in pixels: a chip, not a scene."""


def read_example(request: SupportRequest, options: ReaderOptions) -> LabeledImage:
    """Read one labelled chip with all of its bands.

    Raises:
        SupportError: unreadable, too large, sizes or places differ, no pixel of the class, or all is unknown.
    """
    try:
        for uri in (request.image, request.mask):
            check_uri(uri, allow_network=options.allow_network, allow_vrt=options.allow_vrt)
        doing = "read a support example"
        with reading(request.image, doing, allow_network=options.allow_network), open_dataset(request.image) as image:
            with reading(request.mask, doing, allow_network=options.allow_network), open_dataset(request.mask) as mask:
                _check_pair(image, mask, request, options)
                label, found = _label(mask, request)
            header = describe(image, SceneRef(request.image, request.image, READER, ""), options)
            source = GeoTiffSource(image, header, None, allow_network=options.allow_network)
            window = Window(z=0, y=0, x=0, height=image.height, width=image.width)
            pixels, valid = source.read(window, range(image.count))
    except SceneError as error:
        raise SupportError(error.what, where=error.where, remedy=error.remedy) from error
    _check_label(label, request, found)
    label[~valid] = IGNORE
    if not (label == 1).any():
        remedy = "choose a chip whose labelled part holds data, or correct its nodata value"
        where = f"{request.image} with {request.mask}"
        raise SupportError("the class lies only where the image holds no data", where=where, remedy=remedy)
    return LabeledImage(os.path.basename(request.image), pixels, valid, label, header.bands)


def _check_pair(image: DatasetReader, mask: DatasetReader, request: SupportRequest, options: ReaderOptions) -> None:
    where = f"{request.image} with {request.mask}"
    for dataset, uri in ((image, request.image), (mask, request.mask)):
        check_size(dataset, uri, options)
        if dataset.height * dataset.width > MAX_PIXELS:
            what = f"a support example of {dataset.height} x {dataset.width} pixels is too large"
            remedy = f"cut a chip of at most {MAX_PIXELS / 2**20:.0f} Mpx: gdal_translate -srcwin x y 512 512"
            raise SupportError(what, where=uri, remedy=remedy)
    if image.shape != mask.shape:
        what = f"image and mask differ in size: {image.height} x {image.width} and {mask.height} x {mask.width}"
        raise SupportError(what, where=where, remedy="cut or resample the mask to the image's grid")
    if mask.count != 1:
        remedy = "give a mask of one band that holds class numbers"
        raise SupportError(f"the mask has {mask.count} bands", where=request.mask, remedy=remedy)
    if image.crs and image.crs == mask.crs and _offset(image, mask) > 1:
        what = f"image and mask lie {_offset(image, mask):.1f} pixels apart"
        raise SupportError(what, where=where, remedy="cut or resample the mask to the image's grid")


def _offset(image: DatasetReader, mask: DatasetReader) -> float:
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


def _label(mask: DatasetReader, request: SupportRequest) -> tuple[npt.NDArray[np.uint8], str]:
    """The label, and for messages the values that the mask holds."""
    raw = mask.read([1])
    known = MaskSources.of(mask)
    if known.nodata[0] == 0:
        known = dataclasses.replace(known, nodata=(None,))
    valid = known.valid(mask, raw, [0], RasterWindow(0, 0, mask.width, mask.height))
    values: npt.NDArray[Any] = raw[0]
    chosen = np.isin(values, request.values)
    label = np.where(chosen, 1, 0).astype(np.uint8)
    unknown = np.isin(values, request.ignore) | ~valid
    if request.background:
        unknown |= ~np.isin(values, request.background)
    elif values.dtype == np.uint8:
        unknown |= values == IGNORE
    label[~chosen & unknown] = IGNORE
    held = np.unique(values)
    return label, ", ".join(f"{value:g}" for value in held[:8]) + (", ..." if held.size > 8 else "")


def _check_label(label: npt.NDArray[np.uint8], request: SupportRequest, found: str) -> None:
    wanted = ", ".join(map(str, request.values))
    if (label == IGNORE).all():
        remedy = "choose another example: this one says nothing about any pixel"
        raise SupportError("every pixel of the mask is unknown", where=request.mask, remedy=remedy)
    if not (label == 1).any():
        what = f"the mask has no pixel of the class (value {wanted}); it holds {found}"
        remedy = "check the value of the class in the pipeline file, or choose an example that shows it"
        raise SupportError(what, where=request.mask, remedy=remedy)
