"""A product over a DICOM series, as the core hands it to a writer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import ClassInfo, Product, Provenance, SceneHeader, SceneRef
from hdm_pipeline.grid import Window

ORGAN = "SCT:91723000:Anatomical Structure"
LIVER = ClassInfo(1, "liver", (200, 100, 50), {"category": ORGAN, "type": "SCT:10200004:Liver"})
SPLEEN = ClassInfo(
    2, "spleen", (0, 100, 250), {"category": ORGAN, "type": "SCT:78961009:Spleen", "anatomy": "SCT:818981001:Abdomen"}
)
PROVENANCE = Provenance("0.1.0", "a" * 64, "b" * 64, "c" * 64, 0.5, "hdmnet-pyramid")
Bytes = npt.NDArray[np.uint8]


class ArraySource:
    """Pixels of an array [bands, z, y, x]."""

    def __init__(self, array: Bytes) -> None:
        self.array = array
        self.shape: tuple[int, int, int, int] = array.shape  # type: ignore[assignment]

    def read(self, window: Window) -> Bytes:
        return self.array[:, window.z, window.y : window.bottom, window.x : window.right]


def two_blobs(header: SceneHeader) -> Bytes:
    """A mask [1, z, y, x]: class 1 in all slices but the second, class 2 in the first and last, some nodata."""
    _, z, y, x = header.shape
    mask = np.zeros((1, z, y, x), np.uint8)
    mask[0, :, y // 4 : y // 2, x // 3 : x // 2] = 1
    if z > 2:
        mask[0, 1] = 0
    mask[0, 0, 2:5, 1:3] = 2
    mask[0, -1, -2, -3] = 2
    mask[0, 0, 0, 0] = 255
    return mask


def make_product(
    folder: Path | str,
    mask: Callable[[SceneHeader], Bytes] = two_blobs,
    *,
    options: dict[str, Any] | None = None,
    classes: tuple[ClassInfo, ...] = (LIVER, SPLEEN),
) -> Product:
    """The product of the first volume found in a folder; scores are 200 where the class is, else 10 a slice."""
    reader = DicomReader(options)
    ref = next(found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    header = reader.header(ref)
    array = mask(header)
    score = np.concatenate([np.where(array == info.value, 200, 0) for info in classes]).astype(np.uint8)
    return Product(header, classes, ArraySource(array), ArraySource(score), header.shape[2:], PROVENANCE)


def overlapping_product(folder: Path | str, *, options: dict[str, Any] | None = None) -> tuple[Product, Bytes]:
    """A product whose classes overlap by their scores, and which they are: [class, z, y, x] of 0 and 1, no nodata."""
    product = make_product(folder, options=options)
    _, depth, height, width = product.scene.shape
    z, y, x = np.mgrid[:depth, :height, :width]
    distance = [np.hypot(np.hypot(y - height / 2, x - width * at), z - depth / 2) for at in (0.4, 0.6)]
    # A score of 128 is the least that reaches the threshold of 0.5; 127 is not enough.
    score = np.stack([np.where(d < height / 3, np.where(d < height / 6, 255, 128), 127) for d in distance])
    mask = np.where(score.max(axis=0) >= 128, score.argmax(axis=0) + 1, 0)[np.newaxis].astype(np.uint8)
    mask[0, :, height // 2, width // 2] = 255
    layers = ((score >= 128) & (mask != 255)).astype(np.uint8)
    sources = {"mask": ArraySource(mask), "score": ArraySource(score.astype(np.uint8))}
    return dataclasses.replace(product, **sources), layers  # type: ignore[arg-type]
