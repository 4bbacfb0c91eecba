"""The writer plug-in for DICOM Segmentations: `hdm_pipeline.contracts.Writer`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from highdicom.seg import Segmentation
from pydicom.dataelem import DataElement
from pydicom.uid import UID

from hdm_dicom import codes
from hdm_dicom.deidentify import deidentify, read_key
from hdm_dicom.headers import quiet
from hdm_dicom.options import ReaderOptions, check_names, one_of
from hdm_dicom.regrid import stored_slices
from hdm_dicom.seg_dataset import SegmentationStyle, build
from hdm_dicom.seg_pixels import spooled, stream
from hdm_dicom.uids import derived_uid
from hdm_dicom.volume_io import open_volume
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, VolumeGeometry
from hdm_pipeline.errors import ConfigError, WriteError

_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_OPTIONS = ("type", "omit_empty_frames", "empty", "series_number", "series_description", "deidentify")
_WHERE = "output.products, segmentation"
_MAX_BYTES = 0xFFFFFFFE
_PIXEL_DATA = 0x7FE00010


class SegmentationWriter:
    """Writes one DICOM SEG a series.

    Args:
        options: ``type`` BINARY (default), FRACTIONAL or LABELMAP; ``omit_empty_frames`` (default true);
            ``empty`` what to do when nothing was found: ``write`` a segmentation whose frames are all empty (default)
            or ``error``; ``series_number`` (default 900) and ``series_description`` of the new series;
            ``deidentify: {key_file: PATH}`` to remove who the patient is, see `hdm_dicom.deidentify`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "segmentation"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, list(_OPTIONS), _WHERE)
        kind = str(options.get("type", "BINARY")).upper()
        one_of(kind, _KINDS, f"{_WHERE}, type")
        omit = options.get("omit_empty_frames", True)
        one_of(omit, (True, False), f"{_WHERE}, omit_empty_frames")
        self._empty = options.get("empty", "write")
        one_of(self._empty, ("write", "error"), f"{_WHERE}, empty")
        number, description = options.get("series_number", 900), options.get("series_description", "HDM segmentation")
        if not isinstance(number, int) or not 1 <= number < 1 << 31:
            raise ConfigError("series_number must be a positive integer", where=_WHERE)
        if not isinstance(description, str) or not 1 <= len(description) <= 64 or "\\" in description:
            raise ConfigError("series_description must have 1 to 64 characters, no backslash", where=_WHERE)
        self._style = SegmentationStyle(kind, bool(omit), number, description)  # type: ignore[arg-type]
        self._key = _key(options.get("deidentify"))
        quiet()

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check the coded terms; see `hdm_dicom.codes.check`."""
        return codes.check(classes)

    def filename(self, scene: SceneHeader) -> str:
        """Always ``segmentation.dcm``."""
        return "segmentation.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Write the segmentation; the same bytes for the same product.

        Memory is a slice and the description of every frame; slices and pixel data pass through unnamed files beside
        `path`.

        Raises:
            WriteError: not a DICOM series, changed since, empty where that is an error, or the disk is full.
        """
        where = product.scene.ref.id
        if product.scene.ref.reader != "dicom" or not isinstance(product.scene.geometry, VolumeGeometry):
            raise WriteError(
                "a DICOM segmentation needs a DICOM series", where=where, remedy="choose the product `mask` for rasters"
            )
        try:
            self._write(product, path)
        except OSError as error:
            raise WriteError(
                f"the segmentation cannot be written ({type(error).__name__})", where=where, remedy="free disk space"
            ) from None

    def _write(self, product: Product, path: Path) -> None:
        where, kind = product.scene.ref.id, self._style.kind
        options = ReaderOptions.parse(product.scene.attributes.get("options"))
        opened = open_volume(product.scene.ref, options)
        source = product.score if kind == "FRACTIONAL" else product.mask
        values = tuple(info.value for info in product.classes)
        slices = stored_slices(opened, source, where)
        with spooled(slices, values, kind, str(path.parent)) as spool, _unnamed(path.parent) as pixels:
            if self._empty == "error" and not spool.present.any():
                raise WriteError(
                    "nothing was found in the series", where=where, remedy="set `empty: write` to accept empty results"
                )
            dataset, frames = build(product, opened.volume, self._style, spool.present)
            size, digest = stream(spool, frames, kind, pixels)
            if size > _MAX_BYTES:
                raise WriteError(f"pixel data of {size} bytes are more than DICOM allows (4 GiB)", where=where)
            pixels.seek(0)
            _settle_uids(dataset, product, self._style, digest)
            if self._key is not None:
                deidentify(dataset, self._key)
            # Streamed by pydicom from the file: the pixels never stand in memory as a whole.
            dataset.add(DataElement(_PIXEL_DATA, "OB", pixels))
            dataset.save_as(path, enforce_file_format=True)


def _unnamed(folder: Path) -> io.BufferedRandom:
    return tempfile.TemporaryFile(dir=folder, prefix=".hdm-dicom-")


def _key(option: object) -> bytes | None:
    if option is None or option is False:
        return None
    where = f"{_WHERE}, deidentify"
    if not isinstance(option, Mapping) or not isinstance(option.get("key_file"), str):
        raise ConfigError(
            "deidentify needs the file of its key", where=where, remedy="write `deidentify: {key_file: PATH}`"
        )
    check_names(option, ["key_file"], where)
    return read_key(option["key_file"], where)


def _settle_uids(dataset: Segmentation, product: Product, style: SegmentationStyle, digest: str) -> None:
    """UIDs that follow from the content and the source."""
    made_of = (product.scene.ref.id, product.scene.ref.identity, product.provenance, product.classes, style)
    dataset.SeriesInstanceUID = UID(derived_uid("segmentation series", *made_of))
    dataset.SOPInstanceUID = UID(derived_uid("segmentation", *made_of, digest))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
