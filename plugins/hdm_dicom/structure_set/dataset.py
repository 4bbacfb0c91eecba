"""The data set of a structure set, without its contours (PS3.3 A.19): what it is of, and its ROIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom as hd
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.tag import Tag
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from hdm_dicom.derived import codes
from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.sources import instance_uid, source_header
from hdm_dicom.files.attributes import PARSE_ERRORS, text
from hdm_dicom.files.instances import Frame
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.series.volume import Volume
from hdm_dicom.structure_set.style import StructureStyle
from hdm_pipeline.contracts import ClassInfo, Product, Provenance
from hdm_pipeline.errors import WriteError

_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
"""What the standard asks for as the class of a study, though the service itself is retired."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MANUFACTURER = "hdm_pipeline"
_LABEL = "HDM structures"
_ALGORITHM_FAMILY = PydicomCode("123110", "DCM", "Artificial Intelligence")
_ORGANS = ("91723000", "123037004")
"""SNOMED CT categories that make a structure an organ: Anatomical Structure, Body structure."""

_LONG_STRING = 64
_CONTOURS = Tag(0x3006, 0x0040)


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
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(volume, source)]
    dataset.StructureSetROISequence = [
        _roi(info, product.provenance, source.FrameOfReferenceUID) for info in product.classes
    ]
    name_structures(dataset, product.classes)
    dataset.ROIContourSequence = [_drawn(info) for info in product.classes]
    dataset.RTROIObservationsSequence = [_observation(info, number) for number, info in enumerate(product.classes, 1)]
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def name_structures(dataset: Dataset, classes: Sequence[ClassInfo]) -> None:
    """Give ROIs the names of their classes.

    De-identification empties names, as people write a patient's into them; these come from the pipeline file.
    """
    for roi, info in zip(dataset.StructureSetROISequence, classes, strict=True):
        roi.ROIName = info.name[:_LONG_STRING]


def add_contours(dataset: Dataset, encoded: Mapping[int, Sequence[bytes]]) -> None:
    """Give ROIs their contours, as encoded by `ContourEncoder`, by ROI number; a ROI without any stays as it is."""
    for roi in dataset.ROIContourSequence:
        items = b"".join(encoded[int(roi.ReferencedROINumber)])
        if items:
            roi[_CONTOURS] = RawDataElement(_CONTOURS, "SQ", len(items), items, 0, True, True)


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
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=provenance.model[:_LONG_STRING] or _MANUFACTURER,
        software_versions=provenance.version[:_LONG_STRING] or "0",
        device_serial_number=provenance.weights_hash[:16] or "0",
        series_description=style.series_description,
        transfer_syntax_uid=ImplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        specific_character_set=source.SpecificCharacterSet,
    )
    dataset.copy_patient_and_study_information(source)
    return dataset


def _frame_of_reference(volume: Volume, source: Dataset) -> Dataset:
    series, study, frame_of_reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ContourImageSequence = _images(volume)
    study.ReferencedSOPClassUID = _STUDY
    study.ReferencedSOPInstanceUID = source.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference.FrameOfReferenceUID = source.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _images(volume: Volume) -> list[Dataset]:
    """Every image of the volume, once; of a multi-frame image the frames that belong to it."""
    by_image: dict[str, list[Frame]] = {}
    for frame in volume.frames:
        by_image.setdefault(instance_uid(frame.instance.sop_instance), []).append(frame)
    images = []
    for uid, frames in by_image.items():
        image = Dataset()
        image.ReferencedSOPClassUID = frames[0].instance.sop_class or _SECONDARY_CAPTURE
        image.ReferencedSOPInstanceUID = uid
        if frames[0].instance.frames > 1:
            image.ReferencedFrameNumber = [frame.index + 1 for frame in frames]
        images.append(image)
    return images


def _roi(info: ClassInfo, provenance: Provenance, frame_of_reference: UID) -> Dataset:
    roi = Dataset()
    roi.ROINumber = info.value
    roi.ReferencedFrameOfReferenceUID = frame_of_reference
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIDerivationAlgorithmIdentificationSequence = hd.AlgorithmIdentificationSequence(
        name=provenance.model[:_LONG_STRING] or _MANUFACTURER,
        family=_ALGORITHM_FAMILY,
        version=provenance.version[:_LONG_STRING] or "0",
        source=_MANUFACTURER,
        parameters={
            "weights": provenance.weights_hash,
            "support": provenance.support_hash,
            "pipeline": provenance.pipeline_hash,
            "threshold": f"{provenance.threshold:g}",
        },
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
    observation.ROIObservationLabel = info.name[:16]
    terms = {role: codes.parse(coded, info.name) for role, coded in info.codes.items()}
    if "type" in terms:
        observation.RTROIIdentificationCodeSequence = [_concept(terms["type"])]
    if "category" in terms:
        observation.SegmentedPropertyCategoryCodeSequence = [_concept(terms["category"])]
    if "anatomy" in terms:
        observation.AnatomicRegionSequence = [_concept(terms["anatomy"])]
    category = terms.get("category")
    organ = category is not None and category.scheme == "SCT" and category.value in _ORGANS
    observation.RTROIInterpretedType = "ORGAN" if organ else ""
    observation.ROIInterpreter = ""
    return observation


def _concept(code: codes.Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)
