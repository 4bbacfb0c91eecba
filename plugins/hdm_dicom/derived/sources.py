"""What highdicom is told of the source of a product: small data sets, complete and well-formed.

Real series lack attributes, leave them empty or hold values that their type forbids. A segmentation that copied them
would be refused by the next program, so what is broken is left out here, and what must be there is derived.
"""

from __future__ import annotations

from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.valuerep import validate_value

from hdm_dicom.derived.character_sets import decode_unstated
from hdm_dicom.derived.patient_and_study import keep_whole
from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, text
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.screens import SECONDARY_CAPTURE
from hdm_dicom.files.uids import derived_uid, digest, is_uid
from hdm_dicom.series.volume import Volume

_UTF8 = "ISO_IR 192"
_SEXES = ("M", "F", "O")
_STRICT_TYPES = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})
_TEXTS = _STRICT_TYPES | {"LT", "PN", "ST", "UC", "UR", "UT"}
_MUST_BE_THERE = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_PROCEDURE = "ProcedureCodeSequence"
_STANDARD_SCHEMES = ("SCT", "SRT", "SNM3", "LN", "DCM", "RADLEX", "C4", "CPT4", "I10", "I10P")
"""Local schemes that are not marked as such (``99...``) would make the product invalid, so they are not copied."""


def instance_class(name: str) -> str:
    """The SOP class UID, or that of a secondary capture where the file has none."""
    return name or SECONDARY_CAPTURE


def instance_uid(name: str) -> str:
    """The SOP instance UID, or one that stands for it where the file has none."""
    return name if is_uid(name) else derived_uid("instance", name)


def source_header(volume: Volume) -> FileDataset:
    """The first slice's header without its pixels, complete and well-formed, as a product of the volume refers to it.

    It claims a size of one pixel; see `hdm_dicom.segmentation.dataset`.
    """
    return _complete(read_header(volume.first.instance.path), volume)


def _complete(header: FileDataset, volume: Volume) -> FileDataset:
    """The first slice's header with every attribute that highdicom reads present and well-formed."""
    first = volume.first
    decode_unstated(header)
    _drop_malformed(header)
    keep_whole(header)
    # Texts were decoded on the way; the product is UTF-8 whatever the source was, or claimed to be.
    header.SpecificCharacterSet = _UTF8
    header.Rows = header.Columns = 1
    header.SOPClassUID = instance_class(first.instance.sop_class)
    header.SOPInstanceUID = instance_uid(first.instance.sop_instance)
    for name, kind in (("SeriesInstanceUID", "series"), ("StudyInstanceUID", "study")):
        stated = text(header, name)
        setattr(header, name, stated if is_uid(stated) else derived_uid(kind, volume.id))
    if volume.located and not is_uid(text(header, "FrameOfReferenceUID")):
        header.FrameOfReferenceUID = derived_uid("frame of reference", volume.id)
    if not volume.located:
        header.pop("FrameOfReferenceUID", None)
    for name in _MUST_BE_THERE:
        if name not in header:
            setattr(header, name, "")
    # Files that were stripped of these cannot be filed by a PACS; a hash can.
    header.PatientID = header.PatientID or f"ANON-{digest('patient', header.StudyInstanceUID)[:12]}"
    header.StudyID = header.StudyID or digest("study", header.StudyInstanceUID)[:16]
    if text(header, "PatientIdentityRemoved") == "YES" and "DeidentificationMethodCodeSequence" not in header:
        header.DeidentificationMethod = text(header, "DeidentificationMethod") or "not stated by the source"
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    if any(text(item, "CodingSchemeDesignator") not in _STANDARD_SCHEMES for item in datasets(header, _PROCEDURE)):
        del header[_PROCEDURE]
    # Follows from the places; as stated it may be negative (nuclear medicine), or the gap between slices (some MR).
    header.pop("SpacingBetweenSlices", None)
    if volume.located:
        header.ImagePositionPatient = list(first.position or ())
        header.ImageOrientationPatient = list(volume.cosines)
        header.PixelSpacing = list(volume.spacing)
        header.SliceThickness = first.thickness or volume.step
    return header


def _drop_malformed(header: Dataset) -> None:
    """Remove values that their type forbids, and end one-part person names as PS3.5 section 6.2.1 lets them end."""
    for tag in list(header.keys()):
        try:
            stated = header[tag]
        except PARSE_ERRORS:
            del header[tag]
            continue
        if not isinstance(stated, DataElement):
            continue
        element = _as_defined(stated)
        if element is None:
            del header[tag]
            continue
        header[tag] = element
        if element.VM == 0:
            continue
        if element.VR in _STRICT_TYPES and not _valid(element):
            del header[tag]
        elif element.VR == "PN" and element.VM == 1 and str(element.value).strip():
            name = str(element.value)
            # "Doe" and "Doe^" are one name; the form without delimiters is that of ACR-NEMA.
            element.value = name if "^" in name or "=" in name else f"{name}^"


def _as_defined(element: DataElement) -> DataElement | None:
    """A standard attribute with the type that it has, and one value where it has one; None where it cannot be."""
    if element.tag.is_private or not dictionary_has_tag(element.tag):
        return element
    vr = dictionary_VR(element.tag)
    if vr != element.VR and " " not in vr:  # "US or SS" is decided by the pixels
        if element.VR not in _TEXTS or vr not in _TEXTS:
            return None
        stated = element.value if element.VM > 1 else [element.value] if element.VM else []
        try:
            texts = [str(value) for value in stated]
            element = DataElement(element.tag, vr, texts, validation_mode=pydicom_config.IGNORE)
        except PARSE_ERRORS:
            return None
    if element.VM > 1 and dictionary_VM(element.tag) == "1" and element.VR != "SQ":
        element.value = next((value for value in element.value if value not in (None, "")), "")
    return element


def _valid(element: DataElement) -> bool:
    several = element.value if element.VM > 1 else [element.value]
    try:
        for value in several:
            validate_value(element.VR, str(value), pydicom_config.RAISE)
    except (ValueError, TypeError):
        return False
    return True
