"""Writing one segmentation: collect the slices, build the dataset, stream its pixels, settle its UIDs."""

from __future__ import annotations

import io
import tempfile
from datetime import datetime
from pathlib import Path

from pydicom.dataelem import DataElement

from hdm_dicom.derived.encoding import FRAMES, encode_sequences
from hdm_dicom.derived.layers import Layers
from hdm_dicom.derived.origin import settle_uids
from hdm_dicom.derived.scenes import opened_series
from hdm_dicom.derived.stored_slices import stored_slices
from hdm_dicom.files.headers import quiet
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.segmentation.dataset import build
from hdm_dicom.segmentation.frames import spooled, stream
from hdm_dicom.segmentation.style import MAX_BYTES, OTHERS, SegmentationStyle
from hdm_pipeline.contracts import Product
from hdm_pipeline.errors import WriteError

_PIXEL_DATA = 0x7FE00010


def write_segmentation(
    product: Product, path: Path, style: SegmentationStyle, *, refuse_empty: bool, key: bytes | None
) -> None:
    """Write a segmentation; see `SegmentationWriter.write`.

    Args:
        product: to write.
        path: of the file.
        style: kind, series number and the like.
        refuse_empty: raise `WriteError` where nothing was found.
        key: of the keyed hash by which UIDs are replaced; None leaves the patient in.
    """
    quiet()
    clock = datetime.now()
    written = (f"{clock:%Y%m%d}", f"{clock:%H%M%S}") if style.now else None
    where, kind = product.scene.ref.id, style.kind
    opened = opened_series(product.scene)
    source = product.score if kind == "FRACTIONAL" else Layers(product) if style.overlapping else product.mask
    values = tuple(info.value for info in product.classes)
    slices = stored_slices(opened, source, path.parent)
    folder = str(path.parent)
    with (
        spooled(slices, values, kind, folder, layered=style.overlapping) as spool,
        _unnamed(path.parent) as pixels,
    ):
        if refuse_empty and not spool.present.any():
            raise WriteError(
                "nothing was found in the series", where=where, remedy="set `empty: write` to accept empty results"
            )
        dataset, frames = build(product, opened.volume, style, spool.present, written)
        if kind == "BINARY":
            dataset.SegmentsOverlap = "YES" if spool.overlap else "NO"
        size, digest = stream(spool, frames, kind, pixels)
        if size > MAX_BYTES:
            what = f"pixel data of {size} bytes are more than DICOM allows (4 GiB)"
            raise WriteError(what, where=where, remedy=OTHERS)
        pixels.seek(0)
        settle_uids(dataset, product, "segmentation", style, digest, *(written or ()))
        if key is not None:
            deidentify(dataset, key)
        encode_sequences(dataset, *FRAMES)
        # Streamed by pydicom from the file: the pixels never stand in memory as a whole.
        dataset.add(DataElement(_PIXEL_DATA, "OB", pixels))
        dataset.save_as(path, enforce_file_format=True)


def _unnamed(folder: Path) -> io.BufferedRandom:
    return tempfile.TemporaryFile(dir=folder, prefix=".hdm-dicom-")
