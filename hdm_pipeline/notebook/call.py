"""`segment`: an image in, its mask out, by labelled examples and without a pipeline file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import Pixels
from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.model.background import require_background
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, fit_projection
from hdm_pipeline.model.whole_image import OVERLAP, TILE, Mask, segment_rows
from hdm_pipeline.notebook.examples import examples_of
from hdm_pipeline.notebook.pictures import picture_of, reader_of, validity_of
from hdm_pipeline.notebook.result import like, made_by, probabilities_of
from hdm_pipeline.notebook.task import Chosen, Task
from hdm_pipeline.stitch import labels
from hdm_pipeline.support.bands import choose_band_weight


def segment(
    array: Any,
    support: Any,
    *,
    classes: Sequence[str] | Mapping[str, int | Sequence[int]] | None = None,
    bands: Sequence[int | str] | None = None,
    scale: Any = None,
    weights: str | Path = "builtin:pyramid",
    valid: Any = None,
    threshold: float = 0.5,
    probabilities: bool = False,
    tile: int = TILE,
    overlap: int = OVERLAP,
    segmenter: FewShotSegmenter | None = None,
    reader: str = "geotiff",
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Segment an image by labelled examples, without adaptation.

    What an image may be: a numpy array [bands, y, x]; an `xarray.DataArray` with the axes x and y and at most one more
    for the bands, in any order; or the path of a file, which is read by a reader plug-in. Images have 1 to 32 bands and
    any size. Invalid are NaN, masked pixels of a masked array, and what equals the nodata value of a `DataArray` or a
    file (and what else the reader calls invalid); they become 255. Scale and offset of a `DataArray` or a file are
    applied. A file and a `DataArray` that dask computes are read a row of tiles at a time: memory is that, and 2 bytes
    a pixel and 3 more for each class (7 with `probabilities`). The result is in memory in any case.

    Args:
        array: the image.
        support: K pairs of an image, as above, and its mask: integers or bool [y, x], 1 the class, 0 background, 255
            ignored. Or such lists by class: ``{"water": [(image, mask)], "forest": [...]}``. A mask may be a numpy
            array, a `DataArray` on the image's grid, or, if the image is one too, a path: that one is warped where it
            needs to be. Where an image is invalid, the label is ignored. Instead of a pair, an example may be a dict as
            under `examples` of a pipeline file: ``{"image": ..., "labels": "lakes.gpkg"}``.
        classes: what masks of several classes hold: names for the values 1, 2, ..., or values by name. Every other
            value is background then, but for 255.
        bands: as `input.bands` of a pipeline file: numbers from 1, names, or arithmetic. None: all of them, but for
            alpha.
        scale: what becomes 0 and 1: ``(low, high)``, one such pair a band, the name of a window of CT, or
            ``{"percentiles": (1, 99)}`` of each image. None: pixels are in 0..1 already; beyond it an
            `UnscaledWarning` is given.
        weights: builtin:NAME or a file; not used where `segmenter` is given.
        valid: [y, x] bool, False where the image holds no data.
        threshold: least score (0..1) that counts as a class; of several the highest score wins.
        probabilities: give the probability of each class as well.
        tile: side in pixels of what the network sees at once; larger images are cut and blended.
        overlap: pixels shared by neighboring tiles, at most half a tile.
        segmenter: one that is loaded already, to save loading it for every image; it is not changed.
        reader: entry point name of the plug-in that reads paths.
        options: of the reader, as `input.options`.

    Returns:
        The like of the image. An array: the mask, [y, x] uint8, 1, 2, ... the classes in their order, 0 background,
        255 invalid; with `probabilities` a `Segmentation`. A `DataArray`: the mask as a `DataArray` (y, x) with CRS,
        coordinates and the names of the classes; with `probabilities` a `Dataset` of ``mask`` and ``probability``
        (class, y, x; 0..1, NaN where invalid). A path: the same, or a `Segmentation` where xarray is not installed.

    Warns:
        UnscaledWarning: pixels lie beyond 0..1.
        SuspectWarning: what a run tells as a warning: values outside the scale, other bands, units or resolution than
            the examples', one class everywhere.

    Raises:
        SupportError: an example cannot be used.
        ModelInputError: the image or an argument has another shape, type or range.
        ConfigError: `bands`, `scale`, `reader` or `options` is wrong, or the extra `xarray` is not installed.
        SceneError: the file cannot be read, or lacks a band.
        WeightsError: the weights cannot be loaded.
    """
    _check(threshold, tile, overlap, segmenter)
    chosen = Chosen.of(bands, scale)
    plugin = reader_of(reader, options, chosen.bands or ())
    with ExitStack() as stack:
        picture = stack.enter_context(picture_of(array, "the array", plugin))
        hidden = validity_of(valid, picture)
        read = examples_of(support, classes, plugin)
        task = Task(picture, chosen, read)
        for category, text in task.told:
            warnings.warn(text, category, stacklevel=2)
        network = segmenter or FewShotSegmenter.load(weights)
        banks = _banks(network, task.examples)
        size = picture.shape[1:]
        scores, good = segment_rows(network, task.rows(hidden), size, banks, tile=tile, overlap=overlap)
        mask = labels(scores, good, threshold)
        names = list(read)
        for category, text in task.told_after(mask, names):
            warnings.warn(text, category, stacklevel=2)
        found = probabilities_of(scores, good) if probabilities else None
        return like(picture, mask, found, names, made_by(threshold, network.weights_hash))


def _banks(network: FewShotSegmenter, classes: Mapping[str, Sequence[tuple[Pixels, Mask]]]) -> list[SupportBank]:
    """The support bank of every class; more than three bands are projected alike for all, as in a run."""
    projection = fit_projection(list(classes.values()), "segment")
    banks = []
    for name, pairs in classes.items():
        where = "segment" if len(classes) == 1 else f"class {name!r}"
        tensors = [
            SupportTensors.of(image, mask, f"{where}, support {number}", projection)
            for number, (image, mask) in enumerate(pairs, 1)
        ]
        require_background([one.labels for one in tensors], where)
        weight = choose_band_weight(network, tensors)
        banks.append(
            network.encode(tensors, class_name=name, band_weight=DEFAULT_WEIGHT if weight is None else weight.weight)
        )
    return banks


def _check(threshold: float, tile: int, overlap: int, segmenter: object) -> None:
    """Refuse numbers that mean nothing, and what is no segmenter.

    Raises:
        ModelInputError: says which.
    """
    if not (isinstance(threshold, Real) and 0 < threshold <= 1):
        remedy = "give a number above 0, up to 1"
        raise ModelInputError(f"the threshold is {threshold!r}", where="segment", remedy=remedy)
    whole = isinstance(tile, Integral) and isinstance(overlap, Integral)
    if not whole or tile < 32 or not 0 <= 2 * overlap <= tile:
        what = f"tile is {tile!r} and overlap {overlap!r}"
        remedy = "give a tile of at least 32 pixels, and an overlap of at most half of it"
        raise ModelInputError(what, where="segment", remedy=remedy)
    if not (segmenter is None or isinstance(segmenter, FewShotSegmenter)):
        remedy = "give FewShotSegmenter.load(weights), or name the weights: weights='builtin:pyramid'"
        raise ModelInputError(f"the segmenter is a {type(segmenter).__name__}", where="segment", remedy=remedy)
