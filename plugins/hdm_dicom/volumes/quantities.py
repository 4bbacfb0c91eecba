"""What the pixel values of a volume are: `input.options.units`, and what a person should know of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import (
    READ_ERRORS,
    datasets,
    functional_groups,
    numbers,
    private_number,
    private_tags,
    text,
    values,
)
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.instances import Frame
from hdm_dicom.files.stored_values import has_lut, mirrored, rescale_of
from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes import suv
from hdm_dicom.volumes.bits import bits_of
from hdm_dicom.volumes.conversion import Conversion, Line, little_endian, lookup_table
from hdm_dicom.volumes.pixels import reading
from hdm_dicom.volumes.voi import check_voi
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ReadError, UnsupportedSceneError

_PHILIPS_MR = "Philips MR Imaging DD 001"
_REAL_WORLD = "RealWorldValueMappingSequence"
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SUV_TAGS: tuple[str | int, ...] = (
    "Modality",
    "Units",
    "SUVType",
    "CorrectedImage",
    "DecayCorrection",
    "DecayCorrected",
    "DecayCorrectionDateTime",
    "PatientWeight",
    "RadiopharmaceuticalInformationSequence",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "TimezoneOffsetFromUTC",
    *private_tags(0x7053, 0x00, 0x09),
    *private_tags(0x0009, 0x0D),
)
_TABLES = ("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction")
_LEAVE = "or leave input.options.units at `rescaled`"
_DISPLAYED = "display"


@dataclass(frozen=True)
class Quantities:
    """The conversion of a volume, and what to know of it.

    Attributes:
        conversion: from stored values.
        warnings: of the header; without a patient's data.
    """

    conversion: Conversion
    warnings: tuple[str | SceneWarning, ...]


def quantities_of(volume: Volume, options: ReaderOptions) -> Quantities:
    """What the values of a volume are under the options `units` and `voi`.

    Raises:
        ReadError: a rescale that cannot be used, or a header that cannot be read.
        UnsupportedSceneError: the volume holds no such values; says which attribute is missing.
    """
    if volume.first.instance.samples != 1:
        return Quantities(Conversion(), ())
    _check_slopes(volume)
    bits, warnings = bits_of(volume.frames, volume.id, options.max_frame_pixels)
    found: list[str | SceneWarning] = list(warnings)
    make = {"suv": _suv, "philips": _philips, "real_world": _real_world}.get(options.units)
    unit, lines = volume.first.unit, dict[tuple[str, int], Line]()
    if make is not None:
        unit, lines, notes = make(volume)
        found += notes
    else:
        found += _told_of_rescale(volume, options)
    voi = options.voi == "apply"
    _check_tables(volume, luts=make is None, voi=voi)
    return Quantities(Conversion(_DISPLAYED if voi else unit, bits, lines, voi), tuple(found))


def _check_slopes(volume: Volume) -> None:
    for number, frame in enumerate(volume.frames):
        if frame.slope == 0 and not frame.lut:
            raise ReadError(
                "RescaleSlope (0028,1053) is 0: all pixels would have one value",
                where=f"{volume.id}, slice {number}",
                remedy="export the series again; the slope is lost",
            )


def _check_tables(volume: Volume, *, luts: bool, voi: bool) -> None:
    """Find a malformed lookup table, or a missing window, in the headers: before a run decodes the first pixel."""
    if not voi and not (luts and any(frame.lut for frame in volume.frames)):
        return
    for number, (frame, header) in enumerate(_headers(volume, _TABLES)):
        where = f"{volume.id}, slice {number}"
        with reading(where, "a lookup table cannot be read"):
            if luts and frame.lut:
                item, little = datasets(header, "ModalityLUTSequence")[0], little_endian(header)
                lookup_table(item, frame.instance.signed, where, little=little)
            if voi:
                check_voi(frame, header, where)


def _told_of_rescale(volume: Volume, options: ReaderOptions) -> list[str | SceneWarning]:
    """What a person should know where each frame's own Modality LUT or rescale is applied."""
    frames, first = volume.frames, volume.first
    found: list[str | SceneWarning] = []
    units = {frame.unit for frame in frames}
    if len(units) > 1:
        what = f"slices of one series are in {len(units)} units, by RescaleType (0028,1054) or Units (0054,1001)"
        found.append(SceneWarning("mixed_units", what, "separate them: no `scale` can fit all of them"))
    stated = [frame.rescaled for frame in frames]
    if any(stated) and not all(stated):
        what = f"{stated.count(False)} of {len(stated)} slices state no RescaleSlope and RescaleIntercept"
        found.append(SceneWarning("mixed_rescale", f"{what}: their values may not be comparable", "export them again"))
    elif first.instance.modality == "CT" and not any(stated) and (first.slope != 1 or first.intercept != 0):
        lacking = "RescaleIntercept (0028,1052): 0" if first.slope != 1 else "RescaleSlope (0028,1053): 1"
        what = f"no {lacking} is taken, with the {'slope' if first.slope != 1 else 'intercept'} that is stated"
        found.append(SceneWarning("half_rescale", what, "compare the values with another viewer, or export them again"))
    elif first.instance.modality == "CT" and not any(stated):
        found.append("no rescale slope and intercept: stored values are taken as they are")
    if first.instance.photometric == "MONOCHROME1" and options.voi == "ignore":
        turned = "turned over in the range of the stored bits" if mirrored(first) else "a quantity, so not turned over"
        found.append(f"MONOCHROME1: values are {turned}")
    header = _header(first.instance.path, None, volume.id)
    return found + _told_of_other_values(header, first, options)


def _told_of_other_values(header: Dataset, first: Frame, options: ReaderOptions) -> list[SceneWarning]:
    """Other values that the file offers, and how to get them."""
    found = []
    if has_lut(header) and any(value is not None for value in rescale_of(header)):
        what = "both a Modality LUT (0028,3000) and a rescale are stated: the Modality LUT counts"
        found.append(SceneWarning("modality_lut", what, "check the values against another viewer"))
    if first.instance.modality == "MR" and _philips_slope(header, first.index):
        what = "Philips' private scale (2005,xx0E) is not applied: values of several series may not be comparable"
        found.append(SceneWarning("private_scale", what, "set input.options.units to `philips`", suspect=False))
    if first.unit == "CNTS":
        what = "values are counts of PET: Philips' private scale (7053,xx00) is not applied"
        found.append(SceneWarning("private_scale", what, "set input.options.units to `suv`", suspect=False))
    mapping = _mappings(header, first.index)
    if mapping and _differs(mapping[0], first):
        what = "a real world value mapping (0040,9096) is not applied: values are those of the rescale"
        found.append(SceneWarning("real_world", what, "set input.options.units to `real_world`", suspect=False))
    if options.voi == "ignore" and not first.unit and datasets(header, "VOILUTSequence"):
        what = "a VOI LUT (0028,3010) is not applied: values are those before it, not what viewers show"
        found.append(SceneWarning("voi_lut", what, "set input.options.voi to `apply`", suspect=False))
    return found


def _header(path: str, tags: Sequence[str | int] | None, where: str) -> Dataset:
    try:
        return read_header(path, tags)
    except READ_ERRORS as error:
        remedy = "run again; if it stays, export the series again"
        raise ReadError(f"a header cannot be read ({type(error).__name__})", where=where, remedy=remedy) from None


Made = tuple[str, dict[tuple[str, int], Line], list[str | SceneWarning]]


def _each(
    volume: Volume, tags: Sequence[str | int], line: Callable[[Dataset, Frame], Line]
) -> dict[tuple[str, int], Line]:
    return {(frame.instance.path, frame.index): line(header, frame) for frame, header in _headers(volume, tags)}


def _headers(volume: Volume, tags: Sequence[str | int]) -> Iterator[tuple[Frame, Dataset]]:
    """Each frame with the header of its file, functional groups among it."""
    path, header = "", Dataset()
    for frame in volume.frames:
        if frame.instance.path != path:  # frames of a file come together
            path = frame.instance.path
            header = _header(path, [*tags, *_GROUPS], volume.id)
        yield frame, header


def _suv(volume: Volume) -> Made:
    paths = list(dict.fromkeys(frame.instance.path for frame in volume.frames))
    headers = {path: _header(path, _SUV_TAGS, volume.id) for path in paths}
    scale = suv.SuvScale(list(headers.values()), volume.id)
    lines = {}
    for frame in volume.frames:
        if frame.lut:
            what = "no SUV of values with a Modality LUT (0028,3000)"
            raise UnsupportedSceneError(what, where=volume.id, remedy=f"choose other units, {_LEAVE}")
        path = frame.instance.path
        factor = scale.factor(headers[path], frame.unit)
        lines[path, frame.index] = Line(frame.slope * factor, frame.intercept * factor)
    return suv.UNIT, lines, list(dict.fromkeys(scale.notes))


def _philips(volume: Volume) -> Made:
    tags = [*private_tags(0x2005, 0x0E, 0x0F)]

    def line(header: Dataset, frame: Frame) -> Line:
        scale = _philips_slope(header, frame.index)
        if not scale:
            raise UnsupportedSceneError(
                "no Philips floating point values without the private Scale Slope (2005,xx0E)",
                where=volume.id,
                remedy=f"export the series with its private attributes, {_LEAVE}",
            )
        # FP = (SV x RS + RI) / (RS x SS): T. L. Chenevert et al., Translational Oncology 7 (2014), 65-71.
        return Line(1 / scale, frame.intercept / (frame.slope * scale))

    return "", _each(volume, tags, line), []


def _philips_slope(header: Dataset, index: int) -> float | None:
    """Scale slope (SS) of a frame: in the data set, or in a private sequence of its functional groups."""
    plain = private_number(header, 0x2005, _PHILIPS_MR, 0x0E)
    if plain is not None:
        return plain
    for item in functional_groups(header, index):
        for block in range(0x10, 0x30):
            for inner in _items_at(item, 0x2005, block << 8 | 0x0F):
                found = private_number(inner, 0x2005, _PHILIPS_MR, 0x0E)
                if found is not None:
                    return found
    return None


def _items_at(dataset: Dataset, group: int, element: int) -> list[Dataset]:
    """Items of a private sequence."""
    found = dataset.get((group, element))
    return [item for item in found.value if isinstance(item, Dataset)] if found is not None and found.VR == "SQ" else []


def _mappings(header: Dataset, index: int) -> list[Dataset]:
    for level in (*functional_groups(header, index), header):
        found = datasets(level, _REAL_WORLD)
        if found:
            return found
    return []


def _differs(mapping: Dataset, frame: Frame) -> bool:
    slope, intercept = numbers(mapping, "RealWorldValueSlope", 1), numbers(mapping, "RealWorldValueIntercept", 1)
    return slope is None or intercept is None or (slope[0], intercept[0]) != (frame.slope, frame.intercept)


def _real_world(volume: Volume) -> Made:
    units: set[str] = set()
    several = False

    def line(header: Dataset, frame: Frame) -> Line:
        nonlocal several
        found = _mappings(header, frame.index)
        several = several or len(found) > 1
        if not found:
            raise UnsupportedSceneError(
                "no RealWorldValueMappingSequence (0040,9096)",
                where=volume.id,
                remedy=f"choose other units, {_LEAVE}",
            )
        codes = datasets(found[0], "MeasurementUnitsCodeSequence")
        units.add(text(codes[0], "CodeValue") if codes else "")
        return _mapped(found[0], volume.id)

    lines = _each(volume, [_REAL_WORLD], line)
    notes: list[str | SceneWarning] = []
    if len(units) > 1:
        what = f"slices of one series are mapped to {len(units)} units"
        notes.append(SceneWarning("mixed_units", what, "separate them: no `scale` can fit all of them"))
    if several:
        notes.append("there are several real world value mappings: the first counts")
    return min(units), lines, notes


def _mapped(mapping: Dataset, where: str) -> Line:
    def bound(which: str) -> float | None:
        for name in (f"DoubleFloatRealWorldValue{which}ValueMapped", f"RealWorldValue{which}ValueMapped"):
            found = numbers(mapping, name, 1)
            if found is not None:
                return found[0]
        return None

    first, last = bound("First"), bound("Last")
    table = values(mapping, "RealWorldValueLUTData")
    if table and first is not None:
        return Line(1, 0, first, last, tuple(float(str(value)) for value in table))
    slope, intercept = numbers(mapping, "RealWorldValueSlope", 1), numbers(mapping, "RealWorldValueIntercept", 1)
    if slope is None or intercept is None or slope[0] == 0:
        raise UnsupportedSceneError(
            "the real world value mapping states no RealWorldValueSlope (0040,9225) and RealWorldValueIntercept "
            "(0040,9224)",
            where=where,
            remedy=f"choose other units, {_LEAVE}",
        )
    return Line(slope[0], intercept[0], first, last)
