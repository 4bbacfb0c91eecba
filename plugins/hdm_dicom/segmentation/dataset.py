"""The data set of a segmentation, built by highdicom around pixel data that are streamed in afterwards.

highdicom takes the whole segmentation as one array. To keep memory at one slice it is given planes of a single pixel
(1 where a class is present in the slice), with sources that claim the same size: everything but Rows, Columns and the
pixels comes out as it would for the full planes, at a cost that grows only with the number of frames.
"""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from hdm_dicom.derived import codes
from hdm_dicom.derived.frame_references import refuse_shared, settle_references
from hdm_dicom.derived.sources import DATE, TIME, source_images
from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, text
from hdm_dicom.files.uids import derived_uid, digest
from hdm_dicom.segmentation.style import SegmentationStyle
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import ClassInfo, Product, Provenance
from hdm_pipeline.errors import WriteError

_MANUFACTURER = "hdm_pipeline"
_NO_DATE, _NO_TIME = "19000101", "000000"
_DERIVED_FAMILY = PydicomCode("123110", "DCM", "Artificial Intelligence")
_LONG_STRING = 64


def build(
    product: Product, volume: Volume, style: SegmentationStyle, present: npt.NDArray[np.bool_]
) -> tuple[hd.seg.Segmentation, list[tuple[int, int]]]:
    """A segmentation without pixels, and what each of its frames shows.

    Args:
        product: classes and provenance.
        volume: the stored slices.
        style: kind and series attributes.
        present: [slices, classes].

    Returns:
        The data set, and per frame (stored slice, segment number); segment 0 means all of them (LABELMAP).

    Raises:
        WriteError: the source lacks what a segmentation must refer to.
    """
    refuse_shared(volume.shared, volume.id)
    sources = source_images(volume)
    planes: npt.NDArray[Any] = present[:, np.newaxis, np.newaxis].astype(np.uint8)
    if style.kind == "LABELMAP":
        planes = planes.max(axis=3)
    try:
        dataset = _construct(product, sources, planes, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"highdicom cannot make a segmentation of this series ({type(error).__name__})",
            where=volume.id,
            remedy="check the series with dciodvfy: it lacks attributes that a segmentation refers to",
        ) from None
    instance = volume.first.instance
    dataset.Rows, dataset.Columns = instance.rows, instance.columns
    # Argmax masks cannot overlap; probabilities of several classes may.
    single = style.kind != "FRACTIONAL" or present.shape[1] == 1
    dataset.SegmentsOverlap = "NO" if single else "UNDEFINED"
    if not volume.located:
        # Asked for where no orientation in the patient is stated (PS3.3 C.7.6.1).
        dataset.PatientOrientation = sources[0].get("PatientOrientation", "")
    del dataset.PixelData
    _settle(dataset, volume, sources[0])
    return dataset, _frames(dataset, volume)


def _construct(
    product: Product, sources: list[Dataset], planes: npt.NDArray[Any], style: SegmentationStyle
) -> hd.seg.Segmentation:
    provenance = product.provenance
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=style.kind,
        segment_descriptions=[
            _description(info, number, provenance, sources[0]) for number, info in enumerate(product.classes, 1)
        ],
        # Set once the pixels are known; highdicom wants a UID now.
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=provenance.model[:_LONG_STRING] or _MANUFACTURER,
        software_versions=provenance.version[:_LONG_STRING] or "0",
        device_serial_number=provenance.weights_hash[:16] or "0",
        series_description=style.series_description,
        content_label="SEGMENTATION",
        content_description=f"{len(product.classes)} classes, few-shot"[:_LONG_STRING],
        content_creator_name=f"{_MANUFACTURER}^",
        omit_empty_frames=style.omit_empty_frames,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _description(info: ClassInfo, number: int, provenance: Provenance, source: Dataset) -> hd.seg.SegmentDescription:
    terms = {role: _concept(codes.parse(coded, info.name)) for role, coded in info.codes.items()}
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name[:_LONG_STRING],
        segmented_property_category=terms["category"],
        segmented_property_type=terms["type"],
        anatomic_regions=[terms["anatomy"]] if "anatomy" in terms else None,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.model[:_LONG_STRING] or _MANUFACTURER,
            family=_DERIVED_FAMILY,
            version=provenance.version[:_LONG_STRING] or "0",
            source=_MANUFACTURER,
            parameters={
                "weights": provenance.weights_hash,
                "support": provenance.support_hash,
                "pipeline": provenance.pipeline_hash,
                "threshold": f"{provenance.threshold:g}",
            },
        ),
        tracking_id=f"{info.name[: _LONG_STRING - 20]} {digest(source.SeriesInstanceUID, info.name)[:16]}",
        tracking_uid=derived_uid("tracking", source.SeriesInstanceUID, info.name),
        display_color=CIELabColor.from_rgb(*info.color),
    )


def _concept(code: codes.Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _settle(dataset: hd.seg.Segmentation, volume: Volume, source: Dataset) -> None:
    """Replace what highdicom takes from the clock or at random by what follows from the source."""
    stated_date, stated_time = _when(source)
    date, time = DA(stated_date), TM(stated_time)
    dataset.ContentDate = dataset.SeriesDate = dataset.InstanceCreationDate = date
    dataset.ContentTime = dataset.SeriesTime = dataset.InstanceCreationTime = time
    for item in datasets(dataset, "ContributingEquipmentSequence"):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = f"{stated_date}{stated_time}"
    organization = derived_uid("dimensions", volume.id)
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in datasets(dataset, name):
            item.DimensionOrganizationUID = organization


def _when(source: Dataset) -> tuple[str, str]:
    """Date and time of the source: of its content, acquisition, series or study, whichever is stated first."""
    for stem in ("Content", "Acquisition", "Series", "Study"):
        date, time = text(source, f"{stem}Date"), text(source, f"{stem}Time")
        if DATE.fullmatch(date):
            return date, time if TIME.fullmatch(time) else _NO_TIME
    return _NO_DATE, _NO_TIME


def _frames(dataset: hd.seg.Segmentation, volume: Volume) -> list[tuple[int, int]]:
    """(stored slice, segment number) of each frame, from the references that highdicom wrote into it."""
    shared = datasets(dataset, "SharedFunctionalGroupsSequence")
    items = datasets(dataset, "PerFrameFunctionalGroupsSequence")
    indices = settle_references(dataset, volume)
    return [(index, _segment(item, shared)) for index, item in zip(indices, items, strict=True)]


def _segment(item: Dataset, shared: list[Dataset]) -> int:
    for level in (item, *shared):
        for identification in datasets(level, "SegmentIdentificationSequence"):
            return int(identification.ReferencedSegmentNumber)
    return 0
