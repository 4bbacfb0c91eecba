"""One call for notebooks, GIS scripts and PACS viewers: arrays in, mask out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import ModelInputError, SupportError
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from hdm_pipeline.model.whole_image import OVERLAP, TILE, Image, Mask, segment_image
from hdm_pipeline.stitch import labels
from hdm_pipeline.support.bands import choose_band_weight

_BEYOND = 0.01
"""How far pixels may lie beyond 0..1: what resampling overshoots."""


def segment(
    array: Image,
    support: Sequence[tuple[Image, Mask]],
    *,
    weights: str | Path = "builtin:pyramid",
    valid: npt.NDArray[np.bool_] | None = None,
    threshold: float = 0.5,
    tile: int = TILE,
    overlap: int = OVERLAP,
    segmenter: FewShotSegmenter | None = None,
) -> Mask:
    """Segment one class in an array by labelled examples, without adaptation.

    Args:
        array: [bands, y, x] in 0..1, float or integer, 1 to 32 bands, any size. NaN counts as invalid, and so do
            masked pixels of a masked array. Numbers beyond 0..1 are taken, with an `UnscaledWarning`.
        support: K pairs of an image [bands, y, x] in 0..1, scaled as `array` is and with as many bands, and its mask
            [y, x] of integers or bool: 1 the class, 0 background, 255 ignored. Where the image is invalid or masked,
            the label is ignored.
        weights: builtin:NAME or a file; not used where `segmenter` is given.
        valid: [y, x] bool, False where `array` holds no data.
        threshold: least score (0..1) that counts as the class.
        tile: side in pixels of what the network sees at once; larger arrays are cut and blended.
        overlap: pixels shared by neighboring tiles, at most half a tile.
        segmenter: one that is loaded already, to save loading it for every array.

    Returns:
        [y, x] uint8: 1 the class, 0 background, 255 invalid.

    Raises:
        SupportError: an example cannot be used.
        ModelInputError: the array, `valid`, `threshold`, `tile` or `overlap` has another shape, type or range.
        WeightsError: the weights cannot be loaded.
    """
    if not (isinstance(threshold, Real) and 0 < threshold <= 1):
        raise ModelInputError(
            f"the threshold is {threshold!r}", where="segment", remedy="give a number above 0, up to 1"
        )
    if tile < 32 or not 0 <= 2 * overlap <= tile:
        what = f"tile is {tile} and overlap {overlap}"
        remedy = "give a tile of at least 32 pixels, and an overlap of at most half of it"
        raise ModelInputError(what, where="segment", remedy=remedy)
    try:
        pixels, good = _image(array, "the array")
    except SupportError as error:
        raise ModelInputError(error.what, where=error.where, remedy=error.remedy) from error
    if valid is not None:
        if not isinstance(valid, np.ndarray) or valid.dtype != np.bool_ or valid.shape != good.shape:
            what = f"`valid` is {_described(valid)}, not bool {good.shape}"
            raise ModelInputError(what, where="segment", remedy="give one bool a pixel: [y, x]")
        good &= valid
    examples = [_example(pair, f"example {number}", len(pixels)) for number, pair in enumerate(support, 1)]
    network = segmenter or FewShotSegmenter.load(weights)
    tensors = support_tensors([image for image, _ in examples], [mask for _, mask in examples], "segment")
    bands = choose_band_weight(network, tensors)
    bank = network.encode(tensors, band_weight=DEFAULT_WEIGHT if bands is None else bands.weight)
    scores = segment_image(network, pixels, good, [bank], tile=tile, overlap=overlap)
    return labels(scores, good, threshold)


class UnscaledWarning(UserWarning):
    """Pixels lie beyond 0..1, as digital numbers or decibels do: the result may be nonsense."""


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _image(array: Any, what: str) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Pixels [bands, y, x] float32, 0 where invalid, and validity [y, x].

    Raises:
        SupportError: it is no image.
    """
    remedy = "give a numpy array [bands, y, x] of float32 in 0..1; add an axis to a plain image"
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise SupportError(f"{what} is {_described(array)}", where="segment", remedy=remedy)
    if array.ndim != 3 or 0 in array.shape:
        raise SupportError(f"{what} has the shape {array.shape}", where="segment", remedy=remedy)
    with np.errstate(over="ignore"):
        pixels = np.ma.getdata(array).astype(np.float32)
    good: npt.NDArray[np.bool_] = np.isfinite(pixels).all(axis=0)
    if isinstance(array, np.ma.MaskedArray):
        good &= ~np.ma.getmaskarray(array).any(axis=0)
    pixels = np.where(good, pixels, np.float32(0))
    low, high = float(pixels.min()), float(pixels.max())
    if low < -_BEYOND or high > 1 + _BEYOND:
        told = f"{what} holds numbers from {low:.4g} to {high:.4g}, not 0..1: scale it, and the examples alike"
        warnings.warn(told, UnscaledWarning, stacklevel=3)
    return pixels, good


def _example(pair: Any, name: str, bands: int) -> tuple[Image, Mask]:
    """An image and its mask, checked.

    Raises:
        SupportError: the pair cannot be used.
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise SupportError(f"{name} is no pair", where="segment", remedy="give (image, mask) for each example")
    pixels, good = _image(pair[0], f"the image of {name}")
    if len(pixels) != bands:
        what = f"{name} has {len(pixels)} bands, the array {bands}"
        raise SupportError(what, where="segment", remedy="give the same bands, in the same order")
    mask = pair[1]
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biu" or mask.shape != good.shape:
        what = f"the mask of {name} is {_described(mask)}, not integers {good.shape}"
        raise SupportError(what, where="segment", remedy="give a mask [y, x] of the image's size: 1, 0 and 255")
    strange = np.setdiff1d(np.ma.getdata(mask), (0, 1, 255))
    if strange.size:
        what = f"the mask of {name} holds {', '.join(map(str, strange[:5].tolist()))}"
        raise SupportError(what, where="segment", remedy="use 1 for the class, 0 for background, 255 for ignored")
    known = good & ~np.ma.getmaskarray(mask)
    # NaN says what is invalid: the network sees the mean color there, and no rule learns from it.
    return np.where(good, pixels, np.float32(np.nan)), np.where(known, np.ma.getdata(mask), 255).astype(np.uint8)
