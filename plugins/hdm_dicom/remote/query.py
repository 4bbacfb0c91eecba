"""What of a PACS is asked for: matching keys by level (PS3.4 C.6.2), and what its answers say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))

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
    if not options.allow_network:
        raise ConfigError(
            "the address of a PACS, and the network is not allowed",
            where=where,
            remedy="set input.network: true",
        )
    keys = dict(address.query)
    for key, value in () if instances else options.query:
        if keys.setdefault(checked_key(key, f"{WHERE}.{key}"), value) != value:
            raise ConfigError(f"the matching key {key} stands in the address, too", where=WHERE, remedy="keep one")
    for key in sorted(_UIDS & set(keys)):
        if not all(is_uid(uid) for uid in keys[key].replace(",", "\\").split("\\")):
            raise ConfigError(f"the matching key {key} is no UID", where=where, remedy="copy it from the PACS")
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
