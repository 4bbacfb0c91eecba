"""What highdicom does by itself, for comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy.typing as npt
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian


def write_segmentation(
    members: Iterable[str], pixels: npt.NDArray[Any], path: Path, names: Sequence[str], kind: str = "BINARY"
) -> None:
    """A segmentation as highdicom writes it from the whole array.

    Args:
        members: files of the series.
        pixels: [z, y, x], labels from 1 or shares 0 to 1, by ascending place.
        path: of the file.
        names: of the segments.
        kind: BINARY or FRACTIONAL.
    """
    sources = [pydicom.dcmread(member, stop_before_pixels=True) for member in members]
    sources.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    algorithm = hd.AlgorithmIdentificationSequence(name="x", family=codes.DCM.ArtificialIntelligence, version="1")
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(names, 1)
    ]
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    ).save_as(path)
