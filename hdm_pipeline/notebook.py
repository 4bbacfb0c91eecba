"""One call for notebooks, GIS scripts and PACS viewers: arrays in, mask out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import ModelInputError, SupportError
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from hdm_pipeline.model.whole_image import OVERLAP, TILE, Image, Mask, segment_image
from hdm_pipeline.stitch import labels
from hdm_pipeline.support.bands import choose_band_weight


def segment(
    array: Image,
    support: Sequence[tuple[Image, Mask]],
    *,
    weights: str | Path = "builtin:pyramid-small",
    valid: npt.NDArray[np.bool_] | None = None,
    threshold: float = 0.5,
    tile: int = TILE,
    overlap: int = OVERLAP,
    segmenter: FewShotSegmenter | None = None,
) -> Mask:
    """Segment one class in an array by labelled examples, without adaptation.

    Args:
        array: [bands, y, x] float32 in 0..1, 1 to 32 bands, any size; NaN counts as invalid.
        support: K pairs of an image [bands, y, x] float32 in 0..1, scaled as `array` is, and its mask [y, x] uint8:
            1 the class, 0 background, 255 ignored.
        weights: builtin:NAME or a file; not used where `segmenter` is given.
        valid: [y, x] bool, False where `array` holds no data.
        threshold: least score (0..1) that counts as the class.
        tile: side in pixels of what the network sees at once; larger arrays are cut and blended.
        overlap: pixels shared by neighboring tiles, at most half a tile.
        segmenter: one that is loaded already, to save loading it for every array.

    Returns:
        [y, x] uint8: 1 the class, 0 background, 255 invalid.

    Raises:
        SupportError: an example cannot be used, or has other bands than the array.
        ModelInputError: the array has another shape or type.
        WeightsError: the weights cannot be loaded.
    """
    if array.ndim != 3:
        raise ModelInputError(
            f"array has {array.ndim} axes", where="segment", remedy="give [bands, y, x]; add an axis to a plain image"
        )
    network = segmenter or FewShotSegmenter.load(weights)
    examples = support_tensors([image for image, _ in support], [mask for _, mask in support], "segment")
    _require_same_bands(array, support)
    bands = choose_band_weight(network, examples)
    network.band_weight = DEFAULT_WEIGHT if bands is None else bands.weight
    bank = network.encode(examples)
    good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(array).all(axis=0))
    if valid is not None:
        good &= valid
    scores = segment_image(network, array, good, [bank], tile=tile, overlap=overlap)
    return labels(scores, good, threshold)


def _require_same_bands(array: Image, support: Sequence[tuple[Image, Mask]]) -> None:
    for number, (image, _) in enumerate(support, 1):
        if len(image) != len(array):
            raise SupportError(
                f"example has {len(image)} bands, the array {len(array)}",
                where=f"segment, support {number}",
                remedy="give the array and all examples the same bands in the same order",
            )
