"""Writing one preview: a Multi-frame True Color Secondary Capture (PS3.3 A.8.5), its pictures streamed."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import IO

import highdicom as hd
import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from hdm_dicom.derived.dates import date_and_time
from hdm_dicom.derived.origin import equipment, settle_dates, settle_uids
from hdm_dicom.derived.scenes import opened_series, read_options
from hdm_dicom.derived.sources import instance_class, instance_uid, source_header
from hdm_dicom.derived.stored_slices import stored_slices
from hdm_dicom.files.attributes import PARSE_ERRORS, text
from hdm_dicom.files.headers import quiet
from hdm_dicom.files.spacing import AT_DETECTOR, IN_PATIENT, IN_REGION, ON_FILM
from hdm_dicom.files.uids import derived_uid
from hdm_dicom.options import ReaderOptions
from hdm_dicom.preview.overlay import Legend, draw, picture
from hdm_dicom.preview.style import PreviewStyle
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.pixels import FrameReader
from hdm_dicom.volumes.source import DicomSource
from hdm_dicom.volumes.volume_io import OpenVolume
from hdm_pipeline.contracts import Product
from hdm_pipeline.errors import WriteError

_STORAGE = "1.2.840.10008.5.1.4.1.1.7.4"
_MAX_BYTES = 0xFFFFFFFE
_PIXEL_DATA = 0x7FE00010
_SLICE_LOCATIONS, _PAGES = Tag(0x0018, 0x2005), Tag(0x0018, 0x2001)
_SAMPLED = 1 << 16


def write_preview(product: Product, path: Path, style: PreviewStyle, key: bytes | None) -> None:
    """Write a preview; see `PreviewWriter.write`.

    Args:
        product: to write.
        path: of the file.
        style: which slices, and how.
        key: of the keyed hash by which UIDs are replaced; None leaves the patient in.
    """
    quiet()
    where = product.scene.ref.id
    options = read_options(product.scene)
    opened = opened_series(product.scene)
    volume = opened.volume
    source = source_header(volume)
    if key is not None and text(source, "BurnedInAnnotation") == "YES":
        raise WriteError(
            "something is burned into the images, which de-identification leaves there",
            where=where,
            remedy="leave the preview out, or give it no `deidentify`",
        )
    shown = sorted({*range(0, len(volume.frames), style.every), len(volume.frames) - 1})
    size = len(shown) * volume.first.instance.rows * volume.first.instance.columns * 3
    if size > _MAX_BYTES:
        raise WriteError(
            f"pictures of {size} bytes are more than DICOM allows (4 GiB)", where=where, remedy="raise `every`"
        )
    try:
        dataset = _describe(product, volume, source, shown, style)
    except PARSE_ERRORS as error:
        raise WriteError(
            f"no preview can be made of this series ({type(error).__name__})",
            where=where,
            remedy="check the series with dciodvfy: it lacks attributes that a preview refers to",
        ) from None
    with tempfile.TemporaryFile(dir=path.parent, prefix=".hdm-dicom-") as pixels:
        digest = _draw(product, opened, options, style, shown, pixels, path.parent)
        settle_uids(dataset, product, "preview", style, digest)
        if key is not None:
            deidentify(dataset, key)
        pixels.seek(0)
        dataset.add(DataElement(_PIXEL_DATA, "OB", pixels))
        dataset.save_as(path, enforce_file_format=True)


def _describe(product: Product, volume: Volume, source: Dataset, shown: list[int], style: PreviewStyle) -> hd.SOPClass:
    """The data set without its pixels, whose UIDs are still to be settled."""
    dataset = hd.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=derived_uid("series to be"),
        sop_instance_uid=derived_uid("instance to be"),
        series_number=style.series_number,
        series_description=style.series_description,
        sop_class_uid=_STORAGE,
        instance_number=1,
        modality="OT",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        specific_character_set=source.SpecificCharacterSet,
        **equipment(product.provenance),
    )
    dataset.copy_patient_and_study_information(source)
    settle_dates(dataset, date_and_time(source))
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "YES"
    dataset.DerivationDescription = "window of the pipeline, result of the segmentation drawn over it"
    dataset.SourceImageSequence = [_reference(volume, index) for index in shown]
    dataset.LossyImageCompression = "00"
    dataset.PatientOrientation = source.get("PatientOrientation", "")
    dataset.Laterality = text(source, "Laterality")  # must be there, and is empty where the source tells none
    instance = volume.first.instance
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = instance.rows, instance.columns, len(shown)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    # What was measured at a detector or on a film must not stand there as millimetres in the patient: viewers measure
    # with it. The scale of an ultrasound region holds within the region alone.
    if volume.first.spacing is not None and volume.first.spacing_from != IN_REGION:
        name = volume.first.spacing_from if volume.first.spacing_from in (AT_DETECTOR, ON_FILM) else IN_PATIENT
        setattr(dataset, name, [round(value, 6) for value in volume.first.spacing])
    if len(shown) > 1 and volume.located:
        dataset.FrameIncrementPointer = _SLICE_LOCATIONS
        dataset.SliceLocationVector = [round(float(volume.depths[index]), 4) for index in shown]
    elif len(shown) > 1:
        dataset.FrameIncrementPointer = _PAGES
        dataset.PageNumberVector = list(range(1, len(shown) + 1))
    return dataset


def _reference(volume: Volume, index: int) -> Dataset:
    frame = volume.frames[index]
    made = Dataset()
    made.ReferencedSOPClassUID = instance_class(frame.instance.sop_class)
    made.ReferencedSOPInstanceUID = instance_uid(frame.instance.sop_instance)
    if frame.instance.frames > 1:
        made.ReferencedFrameNumber = frame.index + 1
    return made


def _draw(
    product: Product,
    opened: OpenVolume,
    options: ReaderOptions,
    style: PreviewStyle,
    shown: list[int],
    out: IO[bytes],
    folder: Path,
) -> str:
    """Write the pictures, padded to an even length; returns their SHA-256 (hex)."""
    reader = FrameReader(product.scene.ref.id, options.max_frame_pixels, opened.quantities.conversion)
    window = _window(product, opened, options)
    legend = Legend(product.classes) if style.legend else None
    digest = hashlib.sha256()
    wanted = set(shown)
    for index, mask in enumerate(stored_slices(opened, product.mask, folder)):
        if index not in wanted:
            continue
        rgb = picture(reader.read(opened.volume.frames[index], index), window)
        draw(rgb, mask[0], product.classes, style.opacity)
        if legend is not None:
            legend.write(rgb)
        out.write(rgb.tobytes())
        digest.update(rgb.tobytes())
    if out.tell() % 2:
        out.write(b"\0")
    out.flush()
    return digest.hexdigest()


def _window(product: Product, opened: OpenVolume, options: ReaderOptions) -> tuple[float, float] | None:
    """The values that are shown black and white: those that the network saw so; None for colours."""
    if opened.bands > 1:
        return None
    if product.ranges:
        return product.ranges[0]
    sample = DicomSource(product.scene.ref, options).sample([0], _SAMPLED)
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, [1, 99])
    return float(low), float(high)
