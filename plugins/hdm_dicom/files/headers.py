"""Headers of DICOM files as small records: read once, without pixels, tolerant of broken files.

A record keeps or repeats nothing of a patient: who it is stays as a hash, to notice two patients under one series.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hdm_dicom.files.attributes import PARSE_ERRORS, numbers, text, values
from hdm_dicom.files.deflated import check_inflated
from hdm_dicom.files.detectors import DETECTOR_TAGS, detector_frames
from hdm_dicom.files.instances import Description, Frame, Instance, PixelSpan, Rejected
from hdm_dicom.files.spacing import SPACING_TAGS, pixel_spacing, thickness
from hdm_dicom.files.stored_values import has_lut, padding_of, rescale_faults, rescale_of, unit_of
from hdm_dicom.files.syntaxes import DECODED_AS, unknown_syntax
from hdm_dicom.files.telling import TELLING_TAGS, dimension_names, frame_keys, image_keys
from hdm_dicom.files.uids import digest
from hdm_dicom.files.zipped import DAMAGED, ZipRefusedError, member_size, open_file, open_member, split_member

SELECTION_TAGS = ("SeriesDescription", "ProtocolName", "BodyPartExamined", "Manufacturer")
"""What series are chosen by, beside modality and image type."""

TAGS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "InstanceNumber",
    *TELLING_TAGS,
    *SELECTION_TAGS,
    *DETECTOR_TAGS,
    "ImagePositionPatient",
    "ImageOrientationPatient",
    *SPACING_TAGS,
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "DimensionIndexSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "Units",
)
"""What a scan reads; pydicom steps over everything else."""

_SAMPLES = ("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")

_PIXEL_DATA = frozenset({(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)})
_UNDEFINED = 0xFFFFFFFF
_HEAD = 1 << 16
"""Bytes of a file that are read at once: most headers end within."""

_PARSING = threading.Lock()
"""Held by the thread that parses. Parsing never waits, so a second thread would only take the interpreter from it again
and again, at a third of the speed; the others wait for their files meanwhile."""

_LEAST_CROSS = 1e-6
"""Square of the sine between rows and columns below which they have one direction."""

_PREAMBLE = 132
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


def quiet() -> None:
    """Keep pydicom's and highdicom's warnings off the log: they repeat values of the file, which may be a patient's.

    What matters of them is found again by our own checks and said without the value.
    """
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


quiet()  # whoever reads a DICOM file comes by here first


def read_header(path: str, tags: Sequence[str | int] | None = None) -> FileDataset:
    """A data set without its pixels, also of files that lack the preamble or the meta header.

    Raises:
        ValueError: not DICOM, or broken. Other exceptions of pydicom's parser are passed on.
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        return _parse(file, tags)


def read_to_pixels(file: BinaryIO, tags: Sequence[str] | None = None) -> FileDataset:
    """As `read_header`, of an open file, which then stands at the pixels' tag; at its end if it has none."""
    return _parse(file, tags)


def read_with_pixels(path: str) -> tuple[FileDataset, PixelSpan | None]:
    """A data set without its pixels, as `read_header`, and where its pixel data lie."""
    with open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        dataset = _parse(file, None)
        return dataset, _pixel_span(file, dataset, size)


def scan(path: str) -> list[Frame] | Rejected:
    """The frames of an image file, or why it is none. Broken headers come back with `Instance.fault` set."""
    if split_member(path) is not None:
        return _scan_member(path)
    try:
        with io.BufferedReader(io.FileIO(path, opener=_open_at_once), _HEAD) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Rejected("")
            file.peek()  # reads it
            with _PARSING:
                return _scan_open(path, file, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")
    except OSError as error:
        return Rejected(f"cannot be opened ({type(error).__name__})")
    except NotDicomError:
        return Rejected("")
    except PARSE_ERRORS as error:
        return Rejected(f"header cannot be read ({type(error).__name__})")


def _scan_member(path: str) -> list[Frame] | Rejected:
    """A file within a zip archive: inflated only as far as its header goes."""
    try:
        size, stamp = member_size(path)
        with open_member(path) as file, _PARSING:
            return _scan_open(path, file, size, stamp)
    except ZipRefusedError as error:
        return Rejected(str(error))
    except NotDicomError:
        return Rejected("")
    except (*DAMAGED, *PARSE_ERRORS) as error:
        return Rejected(f"cannot be read within its zip archive ({type(error).__name__})")


def _scan_open(path: str, file: BinaryIO, size: int, stamp: str) -> list[Frame] | Rejected:
    dataset = _parse(file, TAGS)
    return _frames(path, dataset, _pixel_span(file, dataset, size), stamp)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a named pipe in the archive would wait for a writer for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class NotDicomError(ValueError):
    """The file does not look like DICOM."""


def _parse(file: BinaryIO, tags: Sequence[str | int] | None) -> FileDataset:
    head = file.read(_PREAMBLE)
    file.seek(0)
    bare = head[128:132] != b"DICM"
    # Without a preamble a data set begins with group 2 or 8, little or big endian.
    if bare and head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"):
        raise NotDicomError("no DICOM prefix")
    check_inflated(file)
    names: Any = list(tags) if tags is not None else None
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=names, force=True)
    if bare and "SOPClassUID" not in dataset:
        raise NotDicomError("no DICOM prefix and no SOP class")
    return dataset


def _pixel_span(file: BinaryIO, dataset: FileDataset, size: int) -> PixelSpan | None:
    # Having stopped before the pixels, the file stands at their tag: reading it here costs nothing.
    implicit, little = dataset.original_encoding
    start = file.tell()
    head = file.read(12)
    if len(head) < 8:
        return None
    order = "little" if little else "big"
    tag = (int.from_bytes(head[0:2], order), int.from_bytes(head[2:4], order))  # type: ignore[arg-type]
    if tag not in _PIXEL_DATA:
        return None
    raw = head[4:8] if implicit else head[8:12]
    offset = start + (8 if implicit else 12)
    length = int.from_bytes(raw, order)  # type: ignore[arg-type]
    return PixelSpan(offset, None if length == _UNDEFINED else length, max(size - offset, 0))


def transfer_syntax(dataset: FileDataset) -> str:
    """The transfer syntax UID; guessed from the encoding where the meta header lacks it."""
    meta = getattr(dataset, "file_meta", None)
    stated = str(meta.get("TransferSyntaxUID", "") or "") if meta is not None else ""
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if not little:
        return str(ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)


def _frames(path: str, dataset: FileDataset, span: PixelSpan | None, stamp: str) -> list[Frame] | Rejected:
    meta = getattr(dataset, "file_meta", Dataset())
    sop_class = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")
    if sop_class == _MEDIA_DIRECTORY:
        return Rejected("DICOMDIR: a directory of other files")
    if "Rows" not in dataset or "Columns" not in dataset:
        return Rejected(f"no image: {_kind(dataset, sop_class)}")
    faults: list[str] = []
    count = _count(dataset, faults)
    instance = _instance(path, dataset, span, stamp, sop_class, count, faults)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return _functional_frames(dataset, instance)
    frame = _plain_frame(dataset, instance)
    if instance.fault:
        return [frame]
    if detected := detector_frames(dataset, frame):
        return _all_oriented(detected)
    if count <= 1:
        return [frame]
    # Frames without functional groups (cine, secondary capture) have one place, or none: they are told apart by index.
    return [replace(frame, index=index, position=None, orientation=None) for index in range(count)]


def _kind(dataset: Dataset, sop_class: str) -> str:
    name = pydicom.uid.UID(sop_class).name if sop_class else ""
    return name if name and name != sop_class else text(dataset, "Modality")[:16] or "no rows and columns"


def _count(dataset: Dataset, faults: list[str]) -> int:
    value = numbers(dataset, "NumberOfFrames", 1)
    if value is None:
        if dataset.get_item("NumberOfFrames") is not None and text(dataset, "NumberOfFrames"):
            faults.append("NumberOfFrames is not a number")
        return 1
    if value[0] < 1:
        faults.append(f"NumberOfFrames is {value[0]:g}")
        return 1
    return int(value[0])


def _instance(
    path: str,
    dataset: FileDataset,
    span: PixelSpan | None,
    stamp: str,
    sop_class: str,
    count: int,
    faults: list[str],
) -> Instance:
    def whole(name: str, default: int) -> int:
        value = numbers(dataset, name, 1)
        return default if value is None else int(value[0])

    meta = getattr(dataset, "file_meta", Dataset())
    sop_instance = text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID")
    modality = text(dataset, "Modality")
    syntax = transfer_syntax(dataset)
    remedy = ""
    if told := unknown_syntax(syntax):
        faults.append(told[0])
        remedy, syntax = told[1], DECODED_AS
    rows, columns = whole("Rows", 0), whole("Columns", 0)
    if rows < 1 or columns < 1:
        faults.append(f"an image of {rows} rows and {columns} columns")
    faults += rescale_faults(dataset)
    bits_stored = whole("BitsStored", 0) or whole("BitsAllocated", 0)
    return Instance(
        path=path,
        sop_class=sop_class,
        sop_instance=sop_instance or f"file {digest(os.path.basename(path), stamp)}",
        series=text(dataset, "SeriesInstanceUID"),
        study=text(dataset, "StudyInstanceUID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        patient=_patient(dataset),
        modality=modality,
        image_type=tuple(str(v).strip().upper() for v in values(dataset, "ImageType")),
        syntax=syntax,
        rows=rows,
        columns=columns,
        frames=count,
        samples=whole("SamplesPerPixel", 1),
        photometric=text(dataset, "PhotometricInterpretation"),
        bits_allocated=whole("BitsAllocated", 0),
        bits_stored=bits_stored,
        high_bit=whole("HighBit", bits_stored - 1),
        signed=whole("PixelRepresentation", 0) == 1,
        padding=padding_of(dataset),
        span=span,
        deflated=pydicom.uid.UID(syntax).is_deflated,
        stamp=stamp,
        number=whole("InstanceNumber", 0),
        fault="; ".join(faults),
        remedy=remedy,
        unsupported=bool(remedy) and len(faults) == 1,
        description=_description(dataset),
        stated=all(numbers(dataset, name, 1) is not None for name in _SAMPLES),
    )


def _description(dataset: Dataset) -> Description:
    return Description(*(text(dataset, name) for name in SELECTION_TAGS))


def _patient(dataset: Dataset) -> str:
    identifier = text(dataset, "PatientID") or text(dataset, "PatientName").casefold()
    return digest("patient", identifier)[:16] if identifier else ""


def _plain_frame(dataset: Dataset, instance: Instance) -> Frame:
    spacing = pixel_spacing(dataset)
    slope, intercept = rescale_of(dataset)
    lut = has_lut(dataset)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    return Frame(
        instance=_oriented(instance, orientation),
        index=0,
        position=numbers(dataset, "ImagePositionPatient", 3),  # type: ignore[arg-type]
        orientation=orientation,  # type: ignore[arg-type]
        spacing=spacing.value,
        thickness=thickness(dataset),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        rescaled=(slope is not None and intercept is not None) or lut,
        lut=lut,
        unit=unit_of(dataset, dataset, instance.modality),
        keys=image_keys(dataset, instance.image_type),
        spacing_from=spacing.source,
        spacing_fault=spacing.fault,
    )


def _oriented(instance: Instance, orientation: tuple[float, ...] | None) -> Instance:
    """The instance, with a fault if its rows and columns have no direction."""
    if orientation is None or instance.fault or _spans_a_plane(orientation):
        return instance
    what = "is all zero" if not any(orientation) else "gives rows and columns no two directions"
    remedy = "set ImageOrientationPatient, or remove it and ImagePositionPatient if the place is not known"
    return replace(instance, fault=f"the orientation of the image in the patient {what}", remedy=remedy)


def _spans_a_plane(cosines: tuple[float, ...]) -> bool:
    ax, ay, az, bx, by, bz = cosines
    cross = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return sum(c * c for c in cross) > _LEAST_CROSS * (ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz)


def _functional_frames(dataset: Dataset, instance: Instance) -> list[Frame]:
    """Frames of an enhanced multi-frame object: each attribute per frame, or shared by all (PS3.3 C.7.6.16)."""
    items = [i for i in values(dataset, "PerFrameFunctionalGroupsSequence") if isinstance(i, Dataset)]
    shared = [i for i in values(dataset, "SharedFunctionalGroupsSequence") if isinstance(i, Dataset)][:1]
    if len(items) != instance.frames:
        fault = f"NumberOfFrames is {instance.frames}, but {len(items)} frames are described"
        return [_plain_frame(dataset, replace(instance, fault=fault))]
    base = replace(_plain_frame(dataset, instance), instance=instance)
    dimensions = dimension_names(dataset)

    def one(item: Dataset, index: int) -> Frame:
        def group(name: str) -> Dataset:
            for level in (item, *shared):
                found = values(level, name)
                if found and isinstance(found[0], Dataset):
                    return found[0]
            return Dataset()

        measures, rescale = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
        spacing = pixel_spacing(measures)
        if not spacing.source:  # enhanced X-ray angiography states it here, at the detector
            spacing = pixel_spacing(group("FramePixelDataPropertiesSequence"))
        slope, intercept = rescale_of(rescale)
        return Frame(
            instance=instance,
            index=index,
            position=numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),  # type: ignore[arg-type]
            orientation=numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),  # type: ignore[arg-type]
            spacing=spacing.value or base.spacing,
            thickness=thickness(measures) or base.thickness,
            slope=base.slope if slope is None else slope,
            intercept=base.intercept if intercept is None else intercept,
            rescaled=(slope is not None and intercept is not None) or base.rescaled,
            lut=base.lut,
            unit=unit_of(dataset, rescale, instance.modality) if text(rescale, "RescaleType") else base.unit,
            keys=frame_keys(base.keys, group, dimensions),
            spacing_from=spacing.source or base.spacing_from,
            spacing_fault=pixel_spacing(measures).fault or base.spacing_fault,
        )

    return _all_oriented([one(item, index) for index, item in enumerate(items)])


def _all_oriented(frames: list[Frame]) -> list[Frame]:
    """The frames of a file; all of them share the fault of one."""
    instance = frames[0].instance
    faulty = next((f for f in frames if _oriented(instance, f.orientation) is not instance), None)
    if faulty is None:
        return frames
    instance = _oriented(instance, faulty.orientation)
    return [replace(frame, instance=instance) for frame in frames]
