"""What of a PACS is asked for: matching keys by level (PS3.4 C.6.2), and what its answers say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from hdm_dicom.files.uids import is_uid
from hdm_dicom.options import ReaderOptions
from hdm_dicom.pacs.address import Address, checked_key, parse_address
from hdm_pipeline.errors import ConfigError

OF_STUDY = frozenset(
    (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
        *("ModalitiesInStudy", "ReferringPhysicianName", "SOPClassesInStudy"),
    )
)
OF_INSTANCE = frozenset(("SOPInstanceUID", "SOPClassUID", "InstanceNumber"))
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")

WHERE = "input.options.query"


@dataclass(frozen=True)
class Query:
    """Matching keys by level; every series of every matching study is meant where none is given.

    Attributes:
        study: keys of patients and studies.
        series: keys of series.
        instance: keys of instances; only for labelled examples.
    """

    study: Mapping[str, str] = field(default_factory=dict, repr=False)
    series: Mapping[str, str] = field(default_factory=dict, repr=False)
    instance: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ListedSeries:
    """A series as a PACS lists it.

    Attributes:
        study: UID.
        series: UID.
        modality: e.g. CT; empty if the PACS does not say.
        count: instances that it says it holds; None if it does not say.
        said: what more was asked for, and it says, by keyword. May name a patient.
    """

    study: str
    series: str
    modality: str
    count: int | None
    said: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def parse_query(uri: str, options: ReaderOptions, where: str, *, instances: bool = False) -> tuple[Address, Query]:
    """An address and its matching keys, together with those of the options.

    Args:
        uri: ``dicomweb://...`` or ``dimse://...``.
        options: of the reader.
        where: the key of the address, for errors.
        instances: an example is meant, which may be one instance. The options' keys are for the archive then.

    Raises:
        ConfigError: the network is not allowed, or an address, key or value is wrong.
    """
    address = parse_address(uri, where)
    if address.scheme == "dicomweb" and options.retrieve != "get" and not instances:
        raise ConfigError(
            "C-MOVE is of dimse://, and the address is one of dicomweb://",
            where="input.options.retrieve",
            remedy="leave it out: DICOMweb fetches in one way",
        )
    if not options.allow_network:
        raise ConfigError(
            "the address of a PACS, and the network is not allowed",
            where=where,
            remedy="set input.network: true",
        )
    keys = dict(address.query)
    for key, value in () if instances else options.query:
        if checked_key(key, f"{WHERE}.{key}") in keys:
            raise ConfigError(
                f"the matching key {key} stands in the address, too", where=f"{WHERE}.{key}", remedy="keep one"
            )
        _check_form(key, value, f"{WHERE}.{key}")
    for key, value in address.query:
        _check_form(key, value, where)
    keys |= {} if instances else dict(options.query)
    found = Query(
        study={key: value for key, value in keys.items() if key in OF_STUDY},
        series={key: value for key, value in keys.items() if key not in OF_STUDY | OF_INSTANCE},
        instance={key: value for key, value in keys.items() if key in OF_INSTANCE},
    )
    if found.instance and not instances:
        raise ConfigError(
            f"{min(found.instance)} chooses instances, and an archive is made of series",
            where=where,
            remedy="choose by keys of patient, study and series",
        )
    return address, found


def _check_form(key: str, value: str, where: str) -> None:
    """Refuse a value that no PACS could match; the value is not repeated, for it may say who is meant.

    Raises:
        ConfigError: no date, time, range of them, or UID where the key is one.
    """
    from pydicom.datadict import dictionary_VR

    kind = dictionary_VR(key)
    if kind == "UI" and not all(is_uid(uid) for uid in value.replace(",", "\\").split("\\")):
        raise ConfigError(f"the matching key {key} is no UID", where=where, remedy="copy it from the PACS")
    ends = [end for end in value.split("-", 1) if end]
    if kind == "DA" and not (ends and all(_is_date(end) for end in ends)):
        raise ConfigError(
            f"the matching key {key} is no date", where=where, remedy="write 20260131, 20260101-, or 20260101-20260131"
        )
    if kind == "TM" and not (ends and all(_TIME.fullmatch(end) for end in ends)):
        raise ConfigError(f"the matching key {key} is no time", where=where, remedy="write 0930, 0800-, or 0800-173000")


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
