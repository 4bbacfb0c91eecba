"""The data set of a structure set, without its contours and images (PS3.3 A.19): what it is of, and its ROIs."""

from __future__ import annotations

from collections.abc import Mapping

import highdicom as hd
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from hdm_dicom.derived import codes
from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.origin import AI, concept, equipment, parameters
from hdm_dicom.derived.sources import source_header
from hdm_dicom.derived.texts import SHORT_STRING, class_name, one_value
from hdm_dicom.files.attributes import PARSE_ERRORS, text
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.series.volume import Volume
from hdm_dicom.structure_set.style import StructureStyle
from hdm_pipeline.contracts import ClassInfo, Product, Provenance
from hdm_pipeline.errors import WriteError

_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
"""What the standard asks for as the class of a study, though the service itself is retired."""

_LABEL = "HDM structures"
_ORGANS = ("91723000", "123037004")
"""SNOMED CT categories that make a structure an organ: Anatomical Structure, Body structure."""

_IMAGES, _CONTOURS = Tag(0x3006, 0x0016), Tag(0x3006, 0x0040)


def build(product: Product, volume: Volume, style: StructureStyle) -> hd.SOPClass:
    """A structure set whose ROIs have no contours yet; UIDs of series and instance are still to be settled.

    Raises:
        WriteError: the source lacks what a structure set must refer to.
    """
    source = source_header(volume)
    try:
        dataset = _base(product.provenance, source, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"no structure set can be made of this series ({type(error).__name__})",
            where=volume.id,
            remedy="check the series with dciodvfy: it lacks attributes that a structure set refers to",
        ) from None
    stated_date, stated_time = date_and_time(source)
    date, time = DA(stated_date), TM(stated_time)
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.StructureSetDate = date
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.StructureSetTime = time
    dataset.OperatorsName = ""
    dataset.FrameOfReferenceUID = source.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = text(source, "PositionReferenceIndicator")
    dataset.StructureSetLabel = _LABEL
    dataset.StructureSetName = style.series_description
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    dataset.StructureSetROISequence = [
        _roi(info, product.provenance, source.FrameOfReferenceUID) for info in product.classes
    ]
    dataset.ROIContourSequence = [_drawn(info) for info in product.classes]
    dataset.RTROIObservationsSequence = [_observation(info, number) for number, info in enumerate(product.classes, 1)]
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def add_encoded(dataset: Dataset, images: bytes, contours: Mapping[int, bytes]) -> None:
    """Add what `ContourEncoder` encoded: the images of the series, and ROIs' contours.

    Args:
        dataset: as `build` makes it.
        images: items.
        contours: items by ROI number, one after the other; a ROI without any stays as it is.
    """
    frame_of_reference = dataset.ReferencedFrameOfReferenceSequence[0]
    study = frame_of_reference.RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    _add(series, _IMAGES, images)
    for roi in dataset.ROIContourSequence:
        _add(roi, _CONTOURS, contours[int(roi.ReferencedROINumber)])
    # As if they had been read like this: pydicom then writes what is encoded as it is, and does not parse it first.
    dataset.set_original_encoding(True, True, convert_encodings(dataset.SpecificCharacterSet))
    for item in (frame_of_reference, study, series, *dataset.ROIContourSequence):
        item.set_original_encoding(True, True, default_encoding)


def _add(item: Dataset, tag: BaseTag, items: bytes) -> None:
    if items:
        item[tag] = RawDataElement(tag, "SQ", len(items), items, 0, True, True)


def _base(provenance: Provenance, source: Dataset, style: StructureStyle) -> hd.SOPClass:
    dataset = hd.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        # Set once the contours are known; highdicom wants UIDs now.
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        sop_class_uid=_STORAGE,
        instance_number=1,
        modality="RTSTRUCT",
        series_description=style.series_description,
        transfer_syntax_uid=ImplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        specific_character_set=source.SpecificCharacterSet,
        **equipment(provenance),
    )
    dataset.copy_patient_and_study_information(source)
    return dataset


def _frame_of_reference(source: Dataset) -> Dataset:
    series, study, frame_of_reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    study.ReferencedSOPClassUID = _STUDY
    study.ReferencedSOPInstanceUID = source.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference.FrameOfReferenceUID = source.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _roi(info: ClassInfo, provenance: Provenance, frame_of_reference: UID) -> Dataset:
    roi = Dataset()
    roi.ROINumber = info.value
    roi.ROIName = class_name(info.name)
    roi.ReferencedFrameOfReferenceUID = frame_of_reference
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIDerivationAlgorithmIdentificationSequence = hd.AlgorithmIdentificationSequence(
        name=one_value(provenance.model) or MANUFACTURER,
        family=AI,
        version=one_value(provenance.version) or "0",
        source=MANUFACTURER,
        parameters=parameters(provenance),
    )
    return roi


def _drawn(info: ClassInfo) -> Dataset:
    drawn = Dataset()
    drawn.ROIDisplayColor = list(info.color)
    drawn.ReferencedROINumber = info.value
    return drawn


def _observation(info: ClassInfo, number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = info.value
    observation.ROIObservationLabel = class_name(info.name, SHORT_STRING)
    terms = {role: codes.parse(coded, info.name) for role, coded in info.codes.items()}
    if "type" in terms:
        observation.RTROIIdentificationCodeSequence = [concept(terms["type"])]
    if "category" in terms:
        observation.SegmentedPropertyCategoryCodeSequence = [concept(terms["category"])]
    if "anatomy" in terms:
        observation.AnatomicRegionSequence = [concept(terms["anatomy"])]
    category = terms.get("category")
    organ = category is not None and category.scheme == "SCT" and category.value in _ORGANS
    observation.RTROIInterpretedType = "ORGAN" if organ else ""
    observation.ROIInterpreter = ""
    return observation
