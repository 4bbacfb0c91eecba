"""Writing one parametric map: highdicom describes it around planes of one pixel, the pixels are streamed in after.

See `hdm_dicom.segmentation.dataset` for why: highdicom takes the whole map as one array.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import highdicom as hd
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from hdm_dicom.derived import codes
from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.encoding import FRAMES, encode_sequences
from hdm_dicom.derived.origin import (
    concept,
    equipment,
    settle_dates,
    settle_dimensions,
    settle_uids,
)
from hdm_dicom.derived.scenes import opened_series
from hdm_dicom.derived.sources import source_header
from hdm_dicom.derived.stand_ins import settle_measures, settle_references, stand_ins
from hdm_dicom.derived.stored_slices import stored_slices
from hdm_dicom.derived.texts import SHORT_STRING, few_shot, one_value
from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, text
from hdm_dicom.files.headers import quiet
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.volume_io import OpenVolume
from hdm_pipeline.contracts import ClassInfo, PixelSource, Product
from hdm_pipeline.errors import WriteError

_MAX_BYTES = 0xFFFFFFFE
_FLOAT_PIXELS = 0x7FE00008
_FLOAT_BYTES = 4
_UNIT = CodedConcept("1", "UCUM", "no units")
_SOMEWHERE = CodedConcept("91723000", "SCT", "Anatomical Structure")
_SIDES, _UNPAIRED = ("R", "L", "B"), "U"
_QUANTITIES = {
    "score": CodedConcept("122157", "DCM", "Probability"),
    "uncertainty": None,
}


@dataclass(frozen=True)
class MapStyle:
    """What the pipeline file says about a parametric map.

    Attributes:
        of: ``score`` or ``uncertainty``.
        bands: indices of the classes that are written.
        series_number: of the new series.
        series_description: of the new series.
    """

    of: str
    bands: tuple[int, ...]
    series_number: int
    series_description: str


def write_map(product: Product, path: Path, style: MapStyle, key: bytes | None) -> None:
    """Write a map; see `ParametricMapWriter.write`.

    Args:
        product: to write.
        path: of the file.
        style: what it is of.
        key: of the keyed hash by which UIDs are replaced; None leaves the patient in.
    """
    quiet()
    where = product.scene.ref.id
    source = product.score if style.of == "score" else product.uncertainty
    if source is None:
        raise WriteError("no uncertainty was computed", where=where, remedy="run again")
    opened = opened_series(product.scene)
    instance = opened.volume.first.instance
    size = len(opened.volume.frames) * len(style.bands) * instance.rows * instance.columns * _FLOAT_BYTES
    if size > _MAX_BYTES:
        raise WriteError(
            f"pixel data of {size} bytes are more than DICOM allows (4 GiB)", where=where, remedy="name fewer `classes`"
        )
    sources = stand_ins(opened.volume, source_header(opened.volume))
    try:
        dataset = _describe(product, sources, opened.volume, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"highdicom cannot make a parametric map of this series ({type(error).__name__})",
            where=where,
            remedy="check the series with dciodvfy: it lacks attributes that a map refers to",
        ) from None
    dataset.Rows, dataset.Columns = instance.rows, instance.columns
    del dataset.FloatPixelData
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.FrameAnatomySequence = [_anatomy([product.classes[band] for band in style.bands], sources[0])]
    settle_dates(dataset, date_and_time(sources[0]))
    settle_dimensions(dataset, opened.volume.id)
    settle_measures(dataset, opened.volume)
    with tempfile.TemporaryFile(dir=path.parent, prefix=".hdm-dicom-") as pixels:
        digest = _stream(opened, source, style, _in_order(dataset, opened.volume, style), pixels, path.parent)
        settle_uids(dataset, product, "parametric map", style, digest)
        if key is not None:
            deidentify(dataset, key)
        encode_sequences(dataset, *FRAMES)
        pixels.seek(0)
        dataset.add(DataElement(_FLOAT_PIXELS, "OF", pixels))
        dataset.save_as(path, enforce_file_format=True)


def _describe(product: Product, sources: list[Dataset], volume: Volume, style: MapStyle) -> ParametricMap:
    planes = np.zeros((len(volume.frames), 1, 1, len(style.bands)), dtype=np.float32)
    mappings = [
        [
            RealWorldValueMapping(
                lut_label=_label(product, band),
                lut_explanation=one_value(f"{style.of} of {product.classes[band].name}"),
                unit=_UNIT,
                value_range=(0.0, 1.0),
                slope=1.0,
                intercept=0.0,
                quantity_definition=_QUANTITIES[style.of],
            )
        ]
        for band in style.bands
    ]
    one = len(style.bands) == 1
    return ParametricMap(
        source_images=sources,
        pixel_array=planes[..., 0] if one else planes,
        # Set once the pixels are known; highdicom wants UIDs now.
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        series_description=style.series_description,
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=mappings[0] if one else mappings,
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label=style.of.upper(),
        content_description=f"{style.of} of {few_shot(len(style.bands))}",
        content_creator_name=f"{MANUFACTURER}^",
        **equipment(product.provenance),
    )


def _anatomy(classes: Sequence[ClassInfo], source: Dataset) -> Dataset:
    """Where in the body a map lies: where its classes do, if they agree, or else some structure of it.

    Without it readers look for a laterality of the series, and dcmqi ends.
    """
    stated = {info.codes.get("anatomy") for info in classes}
    term = stated.pop() if len(stated) == 1 else None
    where = concept(codes.parse(term, "anatomy")) if term is not None else _SOMEWHERE
    anatomy = Dataset()
    side = text(source, "ImageLaterality") or text(source, "Laterality")
    anatomy.FrameLaterality = side if side in _SIDES else _UNPAIRED
    anatomy.AnatomicRegionSequence = [where]
    return anatomy


def _label(product: Product, band: int) -> str:
    """Name of a class's map within the product: unique, and short enough for DICOM."""
    return one_value(f"{band + 1} {product.classes[band].name}", SHORT_STRING)


def _in_order(dataset: ParametricMap, volume: Volume, style: MapStyle) -> dict[tuple[int, int], int]:
    """Put the frames in order: class by class, along the normal as the slices are stored; readers count on it.

    Returns:
        The frame of each (index of the class, stored slice).
    """

    def place(index: int, item: Dataset) -> tuple[int, int]:
        mapping = datasets(item, "RealWorldValueMappingSequence")
        band = int(str(mapping[0].LUTLabel).partition(" ")[0]) - 1 if mapping else style.bands[0]
        return band, index

    items = datasets(dataset, "PerFrameFunctionalGroupsSequence")
    placed = {place(index, item): item for index, item in zip(settle_references(dataset, volume), items, strict=True)}
    dataset.PerFrameFunctionalGroupsSequence = [placed[key] for key in sorted(placed)]
    return {key: frame for frame, key in enumerate(sorted(placed))}


def _stream(
    opened: OpenVolume,
    source: PixelSource,
    style: MapStyle,
    frames: dict[tuple[int, int], int],
    out: IO[bytes],
    folder: Path,
) -> str:
    """Write the pixels of all frames; returns the SHA-256 (hex) of the slices."""
    digest = hashlib.sha256()
    for index, image in enumerate(stored_slices(opened, source, folder)):
        for band in style.bands:
            digest.update(image[band].tobytes())
            values = (image[band] / np.float32(255)).astype("<f4")
            out.seek(frames[band, index] * values.nbytes)
            out.write(values.tobytes())
    out.flush()
    return digest.hexdigest()
