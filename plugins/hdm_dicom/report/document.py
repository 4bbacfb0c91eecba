"""A measurement report (PS3.16 TID 1500) as a Comprehensive SR, built by highdicom."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as known_codes

from hdm_dicom.derived import codes
from hdm_dicom.derived.origin import AI, concept, equipment, parameters
from hdm_dicom.derived.sources import instance_class, instance_uid, source_header
from hdm_dicom.derived.texts import one_value
from hdm_dicom.derived.tracking import Tracking, of_class, of_lesion
from hdm_dicom.files.attributes import datasets
from hdm_dicom.files.instances import Frame
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.report import terms
from hdm_dicom.report.measure import ClassMeasures, Measures
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.volume_io import OpenVolume
from hdm_pipeline.contracts import ClassInfo, Product, Provenance

_MOST_IMAGES = 64
"""Images of a lesion that are named one by one; a region that spans more is no place in them, and each costs 1 KiB."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segmentation that a report refers to.

    Attributes:
        sop_class: its SOP class UID.
        instance: its SOP instance UID.
        series: its series instance UID.
        study: its study instance UID.
        overlap: its segments overlap, so that they are more than the mask.
    """

    sop_class: str
    instance: str
    series: str
    study: str
    overlap: bool


@dataclass(frozen=True)
class ReportStyle:
    """What the pipeline file says about the series of the report.

    Attributes:
        series_number: of the new series.
        series_description: of the new series.
    """

    series_number: int
    series_description: str


def evidence_of(volume: Volume) -> list[Dataset]:
    """The files of a volume, each once: the complete header of the first, and the names of the others."""
    header = source_header(volume)
    files = {frame.instance.path: frame.instance for frame in volume.frames}
    found: list[Dataset] = [header]
    for instance in list(files.values())[1:]:
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = instance_class(instance.sop_class), instance_uid(instance.sop_instance)
        made.SeriesInstanceUID, made.StudyInstanceUID = header.SeriesInstanceUID, header.StudyInstanceUID
        found.append(made)
    return found


def build(
    product: Product,
    opened: OpenVolume,
    sources: list[Dataset],
    segments: Segments,
    found: list[ClassMeasures],
    style: ReportStyle,
) -> ComprehensiveSR:
    """The report.

    Args:
        product: classes and provenance.
        opened: the volume that was measured.
        sources: its files, see `evidence_of`.
        segments: the segmentation of the same scene.
        found: the measures.
        style: of its series.

    Returns:
        The data set, whose dates and UIDs are still to be settled.
    """
    groups = _Groups(product, opened, sources, segments)
    provenance = product.provenance
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(provenance)),
        procedure_reported=_procedures(sources[0], str(product.scene.attributes.get("modality", ""))),
        imaging_measurements=[group for one in found for group in groups.of(one)],
        title=known_codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(terms.ENGLISH),
    )
    made = equipment(provenance)
    # highdicom copies the content, parses the copy and searches it thrice. It is given the least that it takes; what
    # it would look for, that all images are among the evidence, is so: both come from the volume.
    root = report[0]
    items = root.ContentSequence
    root.ContentSequence = ContentSequence(items[:1])
    document = ComprehensiveSR(
        evidence=[*sources, _evidence(segments, sources[0])],
        content=root,
        # Settled once the content is known; highdicom wants UIDs now.
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        series_description=style.series_description,
        instance_number=1,
        is_complete=True,
        **made,
    )
    document.ContentSequence = items
    return document


class _Groups:
    """Makes the measurement groups (TID 1411) of a report."""

    def __init__(self, product: Product, opened: OpenVolume, sources: list[Dataset], segments: Segments) -> None:
        self._sources, self._segments, self._opened = sources, segments, opened
        self._series = str(sources[0].SeriesInstanceUID)
        self._numbers = {info.value: number for number, info in enumerate(product.classes, 1)}
        modality = str(product.scene.attributes.get("modality", ""))
        self._quantity, self._unit = terms.quantity(product.scene.bands[0].unit, modality)
        provenance = product.provenance
        self._algorithm = AlgorithmIdentification(
            name=one_value(provenance.model) or MANUFACTURER,
            version=one_value(provenance.version) or "0",
            parameters=[f"{name}: {value}" for name, value in parameters(provenance).items()],
            family=AI,
            manufacturer=MANUFACTURER,
        )

    def of(self, one: ClassMeasures) -> list[VolumetricROIMeasurementsAndQualitativeEvaluations]:
        """The group of a class, and those of its lesions."""
        name = one.info.name
        regions = Measurement(name=terms.QUANTITY, value=one.regions, unit=terms.REGIONS)
        groups = [self._group(one.info, of_class(self._series, name), one.whole, [regions])]
        for number, lesion in enumerate(one.lesions, 1):
            tracking = of_lesion(self._series, name, number, lesion.first or (0, 0, 0))
            groups.append(self._group(one.info, tracking, lesion, [], images=self._images(lesion)))
        return groups

    def _group(
        self,
        info: ClassInfo,
        tracking: Tracking,
        measured: Measures,
        further: list[Measurement],
        images: list[SourceImageForSegmentation] | None = None,
    ) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
        coded = {role: concept(codes.parse(term, info.name)) for role, term in info.codes.items()}
        return VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=tracking.uid, identifier=tracking.identifier),
            referenced_segment=ReferencedSegment(
                sop_class_uid=self._segments.sop_class,
                sop_instance_uid=self._segments.instance,
                segment_number=self._numbers[info.value],
                source_images=images,
                source_series=None if images else SourceSeriesForSegmentation(self._series),
            ),
            finding_type=coded["type"],
            finding_category=coded["category"],
            finding_sites=[FindingSite(coded["anatomy"])] if "anatomy" in coded else None,
            algorithm_id=self._algorithm,
            measurements=[*self._measurements(measured), *further],
        )

    def _measurements(self, measured: Measures) -> list[Measurement]:
        named = (
            (terms.VOLUME, measured.volume_ml, terms.MILLILITRE, None),
            (self._quantity, measured.mean, self._unit, terms.MEAN),
            (self._quantity, measured.deviation, self._unit, terms.DEVIATION),
            (terms.DIAMETER, measured.diameter_mm, terms.MILLIMETRE, terms.MAXIMUM),
            (terms.LONG_AXIS, measured.in_plane_mm, terms.MILLIMETRE, terms.MAXIMUM),
        )
        return [
            Measurement(name=name, value=value, unit=unit, derivation=derivation)
            for name, value, unit, derivation in named
            if value is not None
        ]

    def _images(self, lesion: Measures) -> list[SourceImageForSegmentation] | None:
        """The stored images that a lesion lies in; None for the whole series, where they are very many."""
        frames = [self._opened.volume.frames[index] for index in _stored(self._opened, lesion)]
        if len(frames) > _MOST_IMAGES:
            return None
        by_file: dict[str, list[Frame]] = {}
        for frame in frames:
            by_file.setdefault(frame.instance.path, []).append(frame)
        return [
            SourceImageForSegmentation(
                referenced_sop_class_uid=instance_class(some[0].instance.sop_class),
                referenced_sop_instance_uid=instance_uid(some[0].instance.sop_instance),
                referenced_frame_numbers=[frame.index + 1 for frame in some] if some[0].instance.frames > 1 else None,
            )
            for some in by_file.values()
        ]


def _stored(opened: OpenVolume, lesion: Measures) -> list[int]:
    """The stored slices that a region lies in."""
    if lesion.low is None or lesion.high is None:
        return []
    along = opened.view.axes.index(2)
    low, high = lesion.low[along], lesion.high[along]
    if opened.view.flips[along]:
        last = opened.stack.size[2] - 1
        low, high = last - high, last - low
    depths = opened.stack.depths
    if depths is None:
        return list(range(low, high + 1))
    nearest = [int(np.argmin(np.abs(depths - depth))) for depth in opened.volume.depths]
    return [index for index, place in enumerate(nearest) if low <= place <= high] or [
        int(np.argmin(np.abs(opened.volume.depths - depths[(low + high) // 2])))
    ]


def _device(provenance: Provenance) -> ObserverContext:
    made = equipment(provenance)
    identity = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", provenance.version, provenance.model, provenance.weights_hash),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=made["manufacturer_model_name"],
        serial_number=made["device_serial_number"],
    )
    return ObserverContext(observer_type=known_codes.DCM.Device, observer_identifying_attributes=identity)


def _procedures(source: Dataset, modality: str) -> list[hd.sr.CodedConcept]:
    stated = [
        hd.sr.CodedConcept(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
        for item in datasets(source, "ProcedureCodeSequence")
        if item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning")
    ]
    return stated or [terms.procedure(modality)]


def _evidence(segments: Segments, source: Dataset) -> Dataset:
    """The segmentation as evidence, in the study of the source."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = segments.sop_class, segments.instance
    made.SeriesInstanceUID, made.StudyInstanceUID = segments.series, source.StudyInstanceUID
    return made
