"""What a product repeats of patient and study beyond names and dates: only what is whole (PS3.3 C.7.1 and C.7.2).

Sequences that lack what their items must have would make the product invalid, and nobody misses them in it.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, text

_ENUMERATED = {
    "PregnancyStatus": ("1", "2", "3", "4"),
    "SmokingStatus": ("YES", "NO", "UNKNOWN"),
    "PatientSexNeutered": ("ALTERED", "UNALTERED"),
}
_SPECIES = ("PatientSpeciesDescription", "PatientSpeciesCodeSequence")
_OF_ANIMALS = (
    "PatientBreedDescription",
    "PatientSexNeutered",
    "ResponsiblePerson",
    "ResponsibleOrganization",
)
_SEQUENCES_OF_ANIMALS = ("PatientBreedCodeSequence", "BreedRegistrationSequence")
"""What must be there, though it may be empty, where a species is stated."""

_TRIAL = "ClinicalTrial"


def keep_whole(header: Dataset) -> None:
    """Take out sequences that are empty or whose items are not whole, values that are none, and half trials."""
    for element in [element for element in header if element.VR == "SQ"]:
        items = datasets(header, element.keyword)
        if not items or not all(_whole(element.keyword, item) for item in items):
            del header[element.tag]
    for name, known in _ENUMERATED.items():
        if name in header and text(header, name) not in known:
            del header[name]
    _settle_trial(header)
    if any(text(header, name) or datasets(header, name) for name in _SPECIES):
        for name in (*_OF_ANIMALS, *_SEQUENCES_OF_ANIMALS):
            if name not in header:
                setattr(header, name, [] if name in _SEQUENCES_OF_ANIMALS else "")


def _whole(name: str, item: Dataset) -> bool:
    """Whether the item of a sequence holds what it must."""

    def has(*names: str) -> bool:
        return all(text(item, one) for one in names)

    if name.endswith("CodeSequence"):
        coded = has("URNCodeValue") or (has("CodingSchemeDesignator") and (has("CodeValue") or has("LongCodeValue")))
        return coded and has("CodeMeaning")
    if name in ("ReferencedStudySequence", "ReferencedPatientSequence"):
        return has("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
    if name == "OtherPatientIDsSequence":
        return has("PatientID", "TypeOfPatientID")
    if name.startswith("IssuerOf"):
        return has("LocalNamespaceEntityID") or has("UniversalEntityID", "UniversalEntityIDType")
    if name.endswith("IdentificationSequence"):
        persons = datasets(item, "PersonIdentificationCodeSequence")
        coded = bool(persons) and all(_whole("PersonIdentificationCodeSequence", person) for person in persons)
        return coded and (has("InstitutionName") or bool(datasets(item, "InstitutionCodeSequence")))
    return len(item) > 0


def _settle_trial(header: Dataset) -> None:
    """A clinical trial with all that must be said of it, or none."""
    stated = [element.keyword for element in header if element.keyword.startswith(_TRIAL)]
    if not stated:
        return
    named = all(text(header, f"{_TRIAL}{what}") for what in ("SponsorName", "ProtocolID"))
    if not named or not any(text(header, f"{_TRIAL}Subject{what}") for what in ("ID", "ReadingID")):
        for name in stated:
            del header[name]
        return
    for what in ("ProtocolName", "SiteID", "SiteName"):
        if f"{_TRIAL}{what}" not in header:
            setattr(header, f"{_TRIAL}{what}", "")
