"""The writer plug-in for label images: PNG with the colors of the classes, and JSON that says what is in it.

For images that are looked at one by one: X-rays, mammograms, ultrasound, dermatology, frames of an angiography. Every
program reads them, and no place in the patient is needed.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names
from hdm_pipeline.contracts import BACKGROUND, NODATA, ClassInfo, Product, SceneHeader, SceneKind, VolumeGeometry
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

_WHERE = "output.products, label_image"
_STEM = "segmentation"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member of a zip archive: its earliest, so that the same masks are the same file."""

_MODALITY = re.compile(r"[A-Z]{2,8}")

_CLEAR = (BACKGROUND, NODATA)
"""Values that are transparent, so that the label lies over its image."""


class LabelImageWriter:
    """Writes ``segmentation.png`` for one image, ``segmentation.zip`` with a PNG an image for several.

    Both have ``segmentation.json`` beside them. Pixels of the PNG are class values, 0 background and 255 no data.

    Args:
        options: none are known.

    Raises:
        ConfigError: an option is given.
    """

    name: ClassVar[str] = "label_image"
    scenes: ClassVar[SceneKind] = "volumes"
    media_type: ClassVar[str] = "image/png"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        check_names(dict(options or {}), [], _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be written."""
        return []

    def filename(self, scene: SceneHeader) -> str:
        """``segmentation.png``, or ``segmentation.zip`` for a scene of several images."""
        return f"{_STEM}.png" if scene.shape[1] == 1 else f"{_STEM}.zip"

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """``segmentation.json``, and what the series was before an image was added to it, or taken away."""
        return (f"{_STEM}.json", f"{_STEM}.zip" if filename.endswith(".png") else f"{_STEM}.png")

    def write(self, product: Product, path: Path) -> None:
        """Write image by image; the same bytes for the same product.

        Raises:
            OutputError: the disk is full.
            WriteError: the scene is no volume, or any other failure.
        """
        scene = product.scene
        if not isinstance(scene.geometry, VolumeGeometry):
            what = "a label image is made of DICOM images"
            raise WriteError(what, where=scene.ref.id, remedy="choose the product `mask` for rasters")
        _, depth, height, width = scene.shape
        counts = np.zeros((depth, 256), dtype=np.int64)
        palette = _palette(product.classes)

        def image(z: int) -> bytes:
            mask = product.mask.read(Window(z=z, y=0, x=0, height=height, width=width))[0]
            counts[z] = np.bincount(mask.ravel(), minlength=256)
            return _png(mask, palette)

        try:
            if depth == 1:
                path.write_bytes(image(0))
            else:
                with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # a PNG is compressed
                    for z in range(depth):
                        archive.writestr(zipfile.ZipInfo(_member(z), _EPOCH), image(z))
            told = json.dumps(_told(product, counts), indent=1, ensure_ascii=False)
            path.with_name(f"{_STEM}.json").write_text(told + "\n", encoding="utf-8")
        except OSError as error:
            raise write_error(error, "the label image", path, scene.ref.id) from None


def _member(z: int) -> str:
    """Name of the label of an image, counted from 0 as `slices` of an example are."""
    return f"{z:05d}.png"


def _palette(classes: Sequence[ClassInfo]) -> bytes:
    """[256 x 3] colors: those of the classes; black where there is none."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    for info in classes:
        colors[info.value] = info.color
    return colors.tobytes()


def _png(mask: npt.NDArray[np.uint8], palette: bytes) -> bytes:
    image = Image.fromarray(mask)
    image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(0 if value in _CLEAR else 255 for value in range(256)))
    return buffer.getvalue()


def _told(product: Product, counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What is in the label; `counts` is [images, 256] pixels of each value."""
    scene, provenance = product.scene, product.provenance
    _, depth, height, width = scene.shape
    spacing = scene.attributes.get("pixel_spacing")
    modality = str(scene.attributes.get("modality", ""))
    area = None if spacing is None else float(spacing[0]) * float(spacing[1])

    def amount(pixels: int) -> dict[str, Any]:
        return {"pixels": pixels, "area_mm2": None if area is None else float(f"{pixels * area:.6g}")}

    return {
        "scene": scene.ref.id,
        "modality": modality if _MODALITY.fullmatch(modality) else "",
        "images": depth,
        "rows": height,
        "columns": width,
        "members": [_member(z) for z in range(depth)] if depth > 1 else [f"{_STEM}.png"],
        "pixel_spacing_mm": None if spacing is None else [float(length) for length in spacing],
        "pixel_spacing_from": scene.attributes.get("pixel_spacing_from", ""),
        "values": {"background": BACKGROUND, "no_data": NODATA},
        "no_data_pixels": int(counts[:, NODATA].sum()),
        "classes": [
            {
                "value": info.value,
                "name": info.name,
                "color": "#{:02x}{:02x}{:02x}".format(*info.color),
                "codes": dict(info.codes),
                **amount(int(counts[:, info.value].sum())),
                "by_image": [amount(int(count)) for count in counts[:, info.value]],
            }
            for info in product.classes
        ],
        "made_by": {
            "hdm_pipeline": provenance.version,
            "model": provenance.model,
            "weights": provenance.weights_hash,
            "supports": provenance.support_hash,
            "pipeline": provenance.pipeline_hash,
            "threshold": provenance.threshold,
        },
    }
