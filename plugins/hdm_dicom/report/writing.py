"""Writing one report: measure, find the segmentation that it refers to, build it, settle its UIDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.encoding import encode_sequences
from hdm_dicom.derived.origin import settle_dates, settle_uids
from hdm_dicom.derived.scenes import opened_series
from hdm_dicom.derived.tracking import keyed_identifier
from hdm_dicom.files.attributes import PARSE_ERRORS, READ_ERRORS, datasets
from hdm_dicom.files.headers import quiet
from hdm_dicom.files.uids import digest, keyed_uid
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.report.document import ReportStyle, Segments, build, evidence_of
from hdm_dicom.report.measure import measure
from hdm_dicom.report.rules import Rules
from hdm_pipeline.contracts import Product
from hdm_pipeline.errors import WriteError

_SEGMENTATION = "segmentation"
_IDENTITY = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SegmentsOverlap"]
_TRACKING_UID, _TRACKING_IDENTIFIER = "112040", "112039"


def write_report(product: Product, path: Path, style: ReportStyle, rules: Rules, key: bytes | None) -> None:
    """Write a report; see `ReportWriter.write`.

    Args:
        product: to write, with its segmentation among the published products.
        path: of the file.
        style: of the new series.
        rules: which regions are told one by one.
        key: of the keyed hash by which UIDs are replaced; None leaves the patient in.
    """
    quiet()
    where = product.scene.ref.id
    segments = _segments(product)
    opened = opened_series(product.scene)
    sources = evidence_of(opened.volume)
    found = measure(product, rules, overlapping=segments.overlap)
    try:
        report = build(product, opened, sources, segments, found, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"highdicom cannot make a report of this series ({type(error).__name__})",
            where=where,
            remedy="check the series with dciodvfy: it lacks attributes that a report refers to",
        ) from None
    settle_dates(report, date_and_time(sources[0]))
    del report.SeriesDate, report.SeriesTime  # no attributes of a document's series
    settle_uids(report, product, "report", style, digest(found, segments))
    if key is not None:
        _deidentify(report, key, segments)
    if report.StudyInstanceUID != segments.study:
        raise WriteError(
            "the report and the segmentation that it refers to are not de-identified alike",
            where=where,
            remedy="give both products the same `deidentify: {key_file: PATH}`, or none",
        )
    encode_sequences(report, "ContentSequence", "CurrentRequestedProcedureEvidenceSequence")
    report.save_as(path, enforce_file_format=True)


def _segments(product: Product) -> Segments:
    """The segmentation of the same scene."""
    files = product.published.files if product.published is not None else ()
    where = product.scene.ref.id
    for file in files:
        if file.product != _SEGMENTATION:
            continue
        try:
            header = pydicom.dcmread(file.path, stop_before_pixels=True, specific_tags=_IDENTITY)
            sop_class, instance, series, study = (str(header[name].value) for name in _IDENTITY[:4])
            return Segments(sop_class, instance, series, study, overlap=header.get("SegmentsOverlap") == "YES")
        except READ_ERRORS as error:
            what = f"the segmentation cannot be read ({type(error).__name__})"
            raise WriteError(what, where=where, remedy="look at the disk of the output directory; run again") from None
    raise WriteError(
        "a report refers to a segmentation, and there is none", where=where, remedy="add segmentation to the products"
    )


def _deidentify(report: Dataset, key: bytes, segments: Segments) -> None:
    """De-identify a report, but for the UIDs of its segmentation, which has its new ones already."""
    deidentify(report, key)
    new = {keyed_uid(key, uid): uid for uid in (segments.instance, segments.series)}
    for item in _nested(report):
        for element in item:
            if element.VR == "UI" and str(element.value) in new:
                element.value = new[str(element.value)]
        inner = datasets(item, "ContentSequence")
        uids = [one.UID for one in inner if _named(one, _TRACKING_UID)]
        for one in inner:
            if uids and _named(one, _TRACKING_IDENTIFIER):
                one.TextValue = keyed_identifier(str(uids[0]))


def _named(item: Dataset, code: str) -> bool:
    """Whether a content item has a concept name of DCM."""
    return any(
        name.get("CodeValue") == code and name.get("CodingSchemeDesignator") == "DCM"
        for name in datasets(item, "ConceptNameCodeSequence")
    )


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    """A data set and all those within it."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _nested(item)
