"""What highdicom is told of the source of a segmentation: small data sets, complete and well-formed.

Real series lack attributes, leave them empty or hold values that their type forbids. A segmentation that copied them
would be refused by the next program, so what is broken is left out here, and what must be there is derived.
"""

from __future__ import annotations

from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.valuerep import validate_value

from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, text
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.screens import SECONDARY_CAPTURE
from hdm_dicom.files.uids import derived_uid, digest, is_uid
from hdm_dicom.series.volume import Volume
from hdm_pipeline.errors import WriteError

_UTF8 = "ISO_IR 192"
_SEXES = ("M", "F", "O")
_STRICT_TYPES = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})
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
_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_OF_MANY_FRAMES = (
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    _PER_FRAME,
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
)
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


def source_images(volume: Volume) -> list[Dataset]:
    """The stored slices as highdicom's source images: one a slice, or one multi-frame image with only these frames.

    All claim a size of one pixel; see `hdm_dicom.segmentation.dataset`. Frames of several files, of which highdicom
    knows nothing, are given to it as files of their own, called as `stand_in` says; what it writes of them is put right
    by `hdm_dicom.derived.frame_references.settle_references`.

    Raises:
        WriteError: the slices have no common place, or nothing can refer to them.
    """
    if not volume.located and len(volume.frames) > 1:
        raise WriteError(
            "a segmentation of several frames needs their positions in the patient",
            where=volume.id,
            remedy="choose another product for series without geometry",
        )
    header = source_header(volume)
    of_frames = any(frame.instance.frames > 1 for frame in volume.frames) or _PER_FRAME in header
    if of_frames and len({frame.instance.path for frame in volume.frames}) == 1:
        _set_frames(header, volume)
        return [header]
    for name in _OF_MANY_FRAMES:
        header.pop(name, None)
    header.SOPInstanceUID = stand_in(volume, 0)
    sources = [header, *(_slice(volume, index, header) for index in range(1, len(volume.frames)))]
    if of_frames:
        for source in sources:  # by its class highdicom would take it for a file of many frames
            source.SOPClassUID = SECONDARY_CAPTURE
    return sources


def stand_in(volume: Volume, index: int) -> str:
    """What a stored slice is called before highdicom: by its instance, or by its frame where that holds several."""
    frame = volume.frames[index]
    uid = instance_uid(frame.instance.sop_instance)
    return uid if frame.instance.frames == 1 else derived_uid("frame", uid, frame.index)


def _slice(volume: Volume, index: int, header: Dataset) -> Dataset:
    frame = volume.frames[index]
    source = Dataset()
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ImageOrientationPatient"):
        if name in header:
            setattr(source, name, header.get(name))
    source.Rows = source.Columns = 1
    source.SOPClassUID = instance_class(frame.instance.sop_class)
    source.SOPInstanceUID = stand_in(volume, index)
    source.ImagePositionPatient = list(frame.position or ())
    source.PixelSpacing = list(volume.spacing)
    return source


def _set_frames(header: Dataset, volume: Volume) -> None:
    """Functional groups that describe the frames of the volume, in its order, and nothing else."""
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(volume.first.orientation or (1, 0, 0, 0, 1, 0))
    measures.PixelSpacing = list(volume.spacing)
    measures.SliceThickness = volume.first.thickness or volume.step
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    items = []
    for frame in volume.frames:
        place, item = Dataset(), Dataset()
        place.ImagePositionPatient = list(frame.position or (0, 0, 0))
        item.PlanePositionSequence = [place]
        items.append(item)
    header.NumberOfFrames = len(items)
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = items


def _complete(header: FileDataset, volume: Volume) -> FileDataset:
    """The first slice's header with every attribute that highdicom reads present and well-formed."""
    first = volume.first
    _drop_malformed(header)
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
        header.ImageOrientationPatient = list(first.orientation or ())
        header.PixelSpacing = list(volume.spacing)
        header.SliceThickness = first.thickness or volume.step
    return header


def _drop_malformed(header: Dataset) -> None:
    """Remove values that their type forbids, and end one-part person names as PS3.5 section 6.2.1 lets them end."""
    for tag in list(header.keys()):
        try:
            element = header[tag]
        except PARSE_ERRORS:
            del header[tag]
            continue
        if not isinstance(element, DataElement) or element.VM == 0:
            continue
        if element.VR in _STRICT_TYPES and not _valid(element):
            del header[tag]
        elif element.VR == "PN" and element.VM == 1 and str(element.value).strip():
            name = str(element.value)
            # "Doe" and "Doe^" are one name; the form without delimiters is that of ACR-NEMA.
            element.value = name if "^" in name or "=" in name else f"{name}^"


def _valid(element: DataElement) -> bool:
    several = element.value if element.VM > 1 else [element.value]
    try:
        for value in several:
            validate_value(element.VR, str(value), pydicom_config.RAISE)
    except (ValueError, TypeError):
        return False
    return True
