"""Checks of what is handed to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hdm_pipeline.errors import ModelInputError, SupportError


def require_pairs(images: int, masks: int, where: str) -> None:
    """Raise `SupportError` unless there are as many masks as images, and at least one."""
    if not images or images != masks:
        raise SupportError(
            f"{images} support images and {masks} masks",
            where=where,
            remedy="give at least one image, and one mask for each",
        )


def require_tiles(tiles: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> None:
    """Raise `ModelInputError` unless tiles are floats [B, C, H, W], and `valid`, if given, fits them."""
    if tiles.ndim != 4:
        raise ModelInputError(
            f"tiles have {tiles.ndim} dimensions", where=f"shape {tiles.shape}", remedy="give [B, C, H, W]"
        )
    if not np.issubdtype(tiles.dtype, np.floating):
        raise ModelInputError(f"tiles are {tiles.dtype}", where="tiles", remedy="scale them to float32 in [0, 1]")
    if valid is not None and valid.shape != (tiles.shape[0], *tiles.shape[2:]):
        raise ModelInputError(
            f"valid mask {valid.shape} does not fit tiles {tiles.shape}", where="valid", remedy="give [B, H, W]"
        )


def require_supports(images: Sequence[Tensor], masks: Sequence[Tensor], *, minimum_side: int, where: str) -> None:
    """Refuse supports that cannot be encoded.

    Raises:
        SupportError: says which example and why.
    """
    require_pairs(len(images), len(masks), where)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
        if image.ndim != 3 or image.shape[0] != 3 or image.shape[1:] != mask.shape:
            raise SupportError(
                f"support {number}: image {tuple(image.shape)} and mask {tuple(mask.shape)} do not fit",
                where=where,
                remedy="give images [3, H, W] and masks [H, W] of the same size",
            )
        if not bool(image.isfinite().all()):
            raise SupportError(
                f"support {number} holds NaN or infinity",
                where=where,
                remedy="fill invalid pixels and label them 255, as FewShotSegmenter does",
            )
        if min(mask.shape) < minimum_side:
            raise SupportError(
                f"support {number} of {mask.shape[0]}x{mask.shape[1]} pixels is too small",
                where=where,
                remedy=f"give examples with sides of at least {minimum_side} pixels",
            )
    if not any(bool((mask == 1).any()) for mask in masks):
        raise SupportError(
            "no support shows the class: no pixel is labelled 1", where=where, remedy="label at least one example"
        )
