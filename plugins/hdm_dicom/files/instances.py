"""What is known of image files from their headers: small frozen records, without a patient's data.

Only `Description` holds free text; nothing writes it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PixelSpan:
    """Where the pixel data lie in a file.

    Attributes:
        offset: of the first byte of the value.
        length: bytes of the value; None where the file leaves it undefined (compressed).
        available: bytes from `offset` to the end of the file.
    """

    offset: int
    length: int | None
    available: int


@dataclass(frozen=True, slots=True)
class Description:
    """What people and devices call a series: to choose by, never to be shown, for it may hold anything.

    Attributes:
        series: its description.
        protocol: its name.
        body_part: that was examined.
        manufacturer: of the device.
    """

    series: str = ""
    protocol: str = ""
    body_part: str = ""
    manufacturer: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One image file.

    Attributes:
        path: of the file.
        sop_class: SOP class UID; from the meta header where the data set leaves it empty.
        sop_instance: SOP instance UID, likewise.
        series: series instance UID, or a hash that stands for it where there is none.
        study: study instance UID; may be empty.
        frame_of_reference: UID; may be empty.
        patient: hash of the patient's identifier; empty if unknown.
        modality: e.g. CT.
        image_type: values of ImageType.
        syntax: transfer syntax UID.
        rows: of each frame.
        columns: of each frame.
        frames: number of frames.
        samples: per pixel.
        photometric: photometric interpretation.
        bits_allocated: per sample.
        bits_stored: per sample.
        high_bit: number of the highest bit of a sample, counted from 0.
        signed: two's complement.
        padding: lowest and highest stored value that mean "no data"; None without.
        span: of the pixel data; None if not found (absent, or in a deflated file).
        deflated: the data set is compressed as a whole.
        stamp: size and modification time of the file.
        number: InstanceNumber, or 0.
        fault: what is wrong with the header; empty if nothing.
        remedy: what to do about it; empty for the usual.
        unsupported: the fault is not the file's: it may be whole, in an encoding that we do not know.
        description: what the series is called.
        stated: the header says all that its samples are read by; nothing is assumed.
    """

    path: str
    sop_class: str
    sop_instance: str
    series: str
    study: str
    frame_of_reference: str
    patient: str
    modality: str
    image_type: tuple[str, ...]
    syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None
    span: PixelSpan | None
    deflated: bool
    stamp: str
    number: int
    fault: str
    remedy: str = ""
    unsupported: bool = False
    description: Description = Description()
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2-D image of a file.

    Attributes:
        instance: the file it is in.
        index: zero-based frame number.
        position: (x, y, z) in mm (LPS) of the centre of the first pixel; None if unknown.
        orientation: direction cosines of the rows, then of the columns; None if unknown.
        spacing: mm between rows, mm between columns; None if unknown.
        thickness: mm, above 0; 0 if unknown.
        slope: of the rescaling.
        intercept: of the rescaling.
        rescaled: the file states slope and intercept, or a Modality LUT.
        lut: the file has a Modality LUT, which takes the place of slope and intercept.
        unit: of the rescaled values, e.g. HU or BQML; empty if unknown.
        keys: attributes that tell volumes of one series apart, by name; a name may come twice, the same ones come for
            all frames of a kind of file.
        spacing_from: keyword of the attribute that states the spacing; empty if unknown.
        spacing_fault: why a spacing that is stated makes no sense; empty if it does.
    """

    instance: Instance
    index: int
    position: tuple[float, float, float] | None
    orientation: tuple[float, float, float, float, float, float] | None
    spacing: tuple[float, float] | None
    thickness: float
    slope: float
    intercept: float
    rescaled: bool
    lut: bool
    unit: str
    keys: tuple[tuple[str, str], ...]
    spacing_from: str = ""
    spacing_fault: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that is no image.

    Attributes:
        reason: one line; empty where the file is not DICOM at all.
    """

    reason: str
