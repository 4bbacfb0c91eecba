"""Which stored image each frame of a product was made of: references that another program can follow to one image."""

from __future__ import annotations

from pydicom.dataset import Dataset

from hdm_dicom.derived.sources import instance_class, instance_uid, stand_in
from hdm_dicom.files.attributes import datasets, numbers
from hdm_dicom.files.instances import Instance
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.errors import WriteError

SHARED = "shared_uids"
"""Attribute of a scene's header: how many of its images share their SOP instance UID with another image."""


def check_references(scene: SceneHeader) -> None:
    """Refuse a scene whose images cannot be referred to, before any of it is worked on.

    Raises:
        WriteError: several images of it share a SOP instance UID.
    """
    refuse_shared(int(scene.attributes.get(SHARED, 0)), scene.ref.id)


def refuse_shared(shared: int, where: str) -> None:
    """Raise `WriteError` if images share their UIDs: a reference would name all of them, and a PACS keeps only one."""
    if shared:
        raise WriteError(
            f"{shared} images share their SOP instance UID with other images: a product that refers to its source "
            "cannot say which is meant",
            where=where,
            remedy="give each image a UID of its own (a PACS would keep one of them only), or choose products without "
            "references, such as nifti",
        )


def settle_references(dataset: Dataset, volume: Volume) -> list[int]:
    """Put right what highdicom wrote of its sources (`source_images`), and tell each frame's stored slice by index."""
    by_uid = {stand_in(volume, index): index for index in range(len(volume.frames))}
    whole_file = len({frame.instance.path for frame in volume.frames}) == 1
    sources = [
        item.DerivationImageSequence[0].SourceImageSequence[0]
        for item in datasets(dataset, "PerFrameFunctionalGroupsSequence")
    ]
    # Frames of several segments may share one item: all are looked at before any is changed.
    found = [_slice_of(source, by_uid, whole_file) for source in sources]
    for source, index in zip(sources, found, strict=True):
        frame = volume.frames[index]
        _refer(source, frame.instance)
        if "ReferencedFrameNumber" in source or frame.instance.frames > 1:
            source.ReferencedFrameNumber = frame.index + 1
    for series in datasets(dataset, "ReferencedSeriesSequence"):
        _name_files(series, by_uid, volume)
    return found


def _slice_of(source: Dataset, by_uid: dict[str, int], whole_file: bool) -> int:
    number = numbers(source, "ReferencedFrameNumber", 1)
    # One multi-frame source is numbered as if it held only the frames of the volume.
    return int(number[0]) - 1 if number is not None and whole_file else by_uid[source.ReferencedSOPInstanceUID]


def _refer(item: Dataset, instance: Instance) -> None:
    item.ReferencedSOPClassUID = instance_class(instance.sop_class)
    item.ReferencedSOPInstanceUID = instance_uid(instance.sop_instance)


def _name_files(series: Dataset, by_uid: dict[str, int], volume: Volume) -> None:
    """Name each source file once, by its own UID."""
    kept: dict[str, Dataset] = {}
    for item in datasets(series, "ReferencedInstanceSequence"):
        index = by_uid.get(str(item.ReferencedSOPInstanceUID))
        if index is not None:
            _refer(item, volume.frames[index].instance)
        kept.setdefault(str(item.ReferencedSOPInstanceUID), item)
    series.ReferencedInstanceSequence = list(kept.values())
