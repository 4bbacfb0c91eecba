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

from hdm_dicom.files.attributes import PARSE_ERRORS, datasets, numbers, text, values
from hdm_dicom.files.deflated import check_inflated
from hdm_dicom.files.detectors import DETECTOR_TAGS, detector_frames
from hdm_dicom.files.frames import all_oriented, functional_frames, plain_frame
from hdm_dicom.files.instances import Description, Frame, Instance, PixelSpan, Rejected
from hdm_dicom.files.projections import TECHNIQUE, is_projection
from hdm_dicom.files.spacing import SPACING_TAGS
from hdm_dicom.files.stored_values import padding_of, rescale_faults, unstated
from hdm_dicom.files.syntaxes import DECODED_AS, unknown_syntax
from hdm_dicom.files.telling import TELLING_TAGS
from hdm_dicom.files.uids import digest
from hdm_dicom.files.zipped import DAMAGED, ZipRefusedError, member_size, open_file, open_member, split_member

SELECTION_TAGS = ("SeriesDescription", "ProtocolName", "BodyPartExamined", "Manufacturer")
"""What series are chosen by, beside modality and image type."""

TAGS: tuple[str | int, ...] = (
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
    "PlanarConfiguration",
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
    TECHNIQUE,
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
        return Rejected("DICOMDIR: a directory of other files (name their folder as input.uri)")
    if "Rows" not in dataset or "Columns" not in dataset:
        return Rejected(f"no image: {_kind(dataset, sop_class)}")
    faults: list[str] = []
    count = _count(dataset, faults)
    instance = _instance(path, dataset, span, stamp, sop_class, count, faults)
    # Empty ones stand in plain images, too, and say nothing.
    if any(datasets(dataset, f"{of}FunctionalGroupsSequence") for of in ("PerFrame", "Shared")):
        return functional_frames(dataset, instance)
    frame = plain_frame(dataset, instance)
    if instance.fault:
        return [frame]
    if detected := detector_frames(dataset, frame):
        return all_oriented(detected)
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
    modality = text(dataset, "Modality").upper()
    image_type = tuple(str(v).strip().upper() for v in values(dataset, "ImageType"))
    syntax = transfer_syntax(dataset)
    remedy = ""
    if told := unknown_syntax(syntax):
        faults.append(told[0])
        remedy, syntax = told[1], DECODED_AS
    rows, columns = whole("Rows", 0), whole("Columns", 0)
    if rows < 1 or columns < 1:
        faults.append(f"an image of {rows} rows and {columns} columns")
    faults += [*unstated(dataset), *rescale_faults(dataset)]
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
        image_type=image_type,
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
        projection=is_projection(image_type, text(dataset, TECHNIQUE)),
    )


def _description(dataset: Dataset) -> Description:
    return Description(*(text(dataset, name) for name in SELECTION_TAGS))


def _patient(dataset: Dataset) -> str:
    identifier = text(dataset, "PatientID") or text(dataset, "PatientName").casefold()
    return digest("patient", identifier)[:16] if identifier else ""
