"""The data set of a segmentation, built by highdicom around pixel data that are streamed in afterwards.

highdicom takes the whole segmentation as one array. To keep memory at one slice it is given planes of a single pixel
(1 where a class is present in the slice), with sources that claim the same size: everything but Rows, Columns and the
pixels comes out as it would for the full planes, at a cost that grows only with the number of frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from hdm_dicom.derived import codes
from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.frame_references import refuse_shared
from hdm_dicom.derived.origin import (
    AI,
    concept,
    equipment,
    parameters,
    settle_dates,
    settle_dimensions,
)
from hdm_dicom.derived.sources import source_header
from hdm_dicom.derived.stand_ins import settle_measures, settle_references, stand_ins
from hdm_dicom.derived.texts import class_name, few_shot, one_value
from hdm_dicom.derived.tracking import of_class
from hdm_dicom.files.attributes import PARSE_ERRORS, datasets
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.segmentation.style import SegmentationStyle
from hdm_dicom.segmentation.without_places import without_places
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import ClassInfo, Product, Provenance
from hdm_pipeline.errors import WriteError


def build(
    product: Product,
    volume: Volume,
    style: SegmentationStyle,
    present: npt.NDArray[np.bool_],
    written: tuple[str, str] | None = None,
) -> tuple[hd.seg.Segmentation, list[tuple[int, int]]]:
    """A segmentation without pixels, and what each of its frames shows.

    Args:
        product: classes and provenance.
        volume: the stored slices.
        style: kind and series attributes.
        present: [slices, classes].
        written: date and time of creation; None for those of the source.

    Returns:
        The data set, and per frame (stored slice, segment number); segment 0 means all of them (LABELMAP).

    Raises:
        WriteError: the source lacks what a segmentation must refer to.
    """
    refuse_shared(volume.shared, volume.id)
    kept = np.flatnonzero(present.any(axis=1)) if style.drawn else np.arange(len(present))
    part = _part(volume, kept) if style.drawn else volume
    sources = stand_ins(part, source_header(part))
    planes: npt.NDArray[Any] = present[kept, np.newaxis, np.newaxis].astype(np.uint8)
    if style.kind == "LABELMAP":
        planes = planes.max(axis=3)
    dataset = _constructed(product, sources, planes, style, volume.id)
    instance = volume.first.instance
    dataset.Rows, dataset.Columns = instance.rows, instance.columns
    # Masks cannot overlap, and layers are looked at by the caller; probabilities of several classes may.
    single = style.kind != "FRACTIONAL" or present.shape[1] == 1
    dataset.SegmentsOverlap = "NO" if single else "UNDEFINED"
    if not volume.located:
        # Asked for where no orientation in the patient is stated (PS3.3 C.7.6.1).
        dataset.PatientOrientation = sources[0].get("PatientOrientation", "")
    del dataset.PixelData
    settle_dates(dataset, written or date_and_time(sources[0]))
    settle_dimensions(dataset, volume.id)
    slices = settle_references(dataset, part)
    settle_measures(dataset, volume, anew=style.drawn)
    if not volume.located:
        without_places(dataset, slices)
    return dataset, list(zip((int(kept[index]) for index in slices), _segments(dataset), strict=True))


def _part(volume: Volume, kept: npt.NDArray[np.intp]) -> Volume:
    """Some slices of a volume, as thick as they are in it: a few of many need not be told of all, 1,500 say."""
    frames = [volume.frames[index] for index in kept]
    return replace(volume, frames=tuple(replace(frame, thickness=frame.thickness or volume.step) for frame in frames))


def _constructed(
    product: Product, sources: list[Dataset], planes: npt.NDArray[Any], style: SegmentationStyle, where: str
) -> hd.seg.Segmentation:
    """What highdicom makes of it, or an error that carries nothing of the data."""
    try:
        return _construct(product, sources, planes, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"highdicom cannot make a segmentation of this series ({type(error).__name__})",
            where=where,
            remedy="check the series with dciodvfy: it lacks attributes that a segmentation refers to",
        ) from None


def _construct(
    product: Product, sources: list[Dataset], planes: npt.NDArray[Any], style: SegmentationStyle
) -> hd.seg.Segmentation:
    provenance = product.provenance
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=style.kind,
        segment_descriptions=[
            _description(info, number, provenance, sources[0], style) for number, info in enumerate(product.classes, 1)
        ],
        # Set once the pixels are known; highdicom wants a UID now.
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        instance_number=1,
        **equipment(provenance),
        series_description=style.series_description,
        content_label="LABELS" if style.drawn else "SEGMENTATION",
        content_description="drawn by hand" if style.drawn else few_shot(len(product.classes)),
        content_creator_name=f"{MANUFACTURER}^",
        omit_empty_frames=style.omit_empty_frames,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _description(
    info: ClassInfo, number: int, provenance: Provenance, source: Dataset, style: SegmentationStyle
) -> hd.seg.SegmentDescription:
    terms = {role: concept(codes.parse(coded, info.name)) for role, coded in info.codes.items()}
    tracking = of_class(source.SeriesInstanceUID, info.name)
    drawn = style.drawn
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=class_name(info.name),
        segmented_property_category=terms["category"],
        segmented_property_type=terms["type"],
        anatomic_regions=[terms["anatomy"]] if "anatomy" in terms else None,
        algorithm_type="MANUAL" if drawn else "AUTOMATIC",
        algorithm_identification=None
        if drawn
        else hd.AlgorithmIdentificationSequence(
            name=one_value(provenance.model) or MANUFACTURER,
            family=AI,
            version=one_value(provenance.version) or "0",
            source=MANUFACTURER,
            parameters=parameters(provenance),
        ),
        tracking_id=tracking.identifier,
        tracking_uid=tracking.uid,
        display_color=CIELabColor.from_rgb(*info.color),
    )
    if number in style.names:
        made.SegmentDescription = style.names[number]
    return made


def _segments(dataset: hd.seg.Segmentation) -> list[int]:
    """The segment number of each frame."""
    shared = datasets(dataset, "SharedFunctionalGroupsSequence")
    return [_segment(item, shared) for item in datasets(dataset, "PerFrameFunctionalGroupsSequence")]


def _segment(item: Dataset, shared: list[Dataset]) -> int:
    for level in (item, *shared):
        for identification in datasets(level, "SegmentIdentificationSequence"):
            return int(identification.ReferencedSegmentNumber)
    return 0
