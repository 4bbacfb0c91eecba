"""What `segment` gives back: the like of what it got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdm_pipeline import __version__
from hdm_pipeline.contracts import Pixels, RasterGeometry, Validity
from hdm_pipeline.extras import lacking
from hdm_pipeline.model.whole_image import Mask
from hdm_pipeline.notebook.pictures import ArrayPicture, FilePicture, Picture


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A mask with what belongs to it, as numpy arrays.

    Attributes:
        mask: [y, x] uint8: 1, 2, ... the classes, 0 background, 255 invalid.
        probabilities: [classes, y, x] float32 in 0..1, NaN where invalid; None where they were not asked for.
        classes: names of the classes, of the mask's values 1, 2, ...
        transform: affine (a, b, c, d, e, f) from (column, row) to CRS units; None for an array, which has none.
        crs_wkt: the coordinate reference system as WKT; None where it is unknown.
    """

    mask: Mask
    probabilities: Pixels | None
    classes: tuple[str, ...]
    transform: tuple[float, float, float, float, float, float] | None = None
    crs_wkt: str | None = None


def probabilities_of(scores: Mask, valid: Validity) -> Pixels:
    """Scores [classes, y, x] as probabilities: NaN where invalid."""
    found = scores.astype(np.float32) / np.float32(255)
    found[:, ~valid] = np.nan
    return found


def made_by(threshold: float, weights: str) -> dict[str, Any]:
    """What made a mask, as attributes of it."""
    return {"hdm_version": __version__, "hdm_weights_hash": weights, "hdm_threshold": float(threshold)}


def like(
    picture: Picture, mask: Mask, probabilities: Pixels | None, classes: Sequence[str], made: dict[str, Any]
) -> Any:
    """The result in the form of the input.

    An array gives the plain mask, or with probabilities a `Segmentation`; a `DataArray` gives a `DataArray`, or with
    probabilities a `Dataset`; a path gives the same where xarray is installed, else a `Segmentation`.
    """
    if isinstance(picture, ArrayPicture):
        return mask if probabilities is None else Segmentation(mask, probabilities, tuple(classes))
    if isinstance(picture, FilePicture):
        geometry = picture.geometry
        if lacking("xarray"):
            return Segmentation(mask, probabilities, tuple(classes), geometry.transform, geometry.crs_wkt)
        from hdm_pipeline.xarrays.image import placed

        image: Any = placed(mask.shape, _placed(geometry), geometry.crs_wkt)
    else:
        image = picture
    from hdm_pipeline.xarrays.image import result

    return result(image, mask, probabilities, classes, made)


def _placed(geometry: RasterGeometry) -> tuple[float, ...] | None:
    """The transform, but for the one that a file without coordinates has."""
    plain = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return None if geometry.crs_wkt is None and geometry.transform == plain else geometry.transform
