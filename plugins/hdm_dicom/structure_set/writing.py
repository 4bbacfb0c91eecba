"""Writing one structure set: trace slice after slice, describe the ROIs, settle the UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from hdm_dicom.derived.layers import Layers
from hdm_dicom.derived.origin import settle_uids
from hdm_dicom.derived.scenes import opened_series
from hdm_dicom.derived.stored_slices import stored_slices
from hdm_dicom.files.headers import quiet
from hdm_dicom.files.uids import keyed_uid
from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.series.volume import Volume
from hdm_dicom.structure_set.contours import Contour, ContourEncoder, source_uids
from hdm_dicom.structure_set.dataset import add_encoded, build
from hdm_dicom.structure_set.style import StructureStyle
from hdm_dicom.volumes.volume_io import OpenVolume
from hdm_pipeline.contracts import Product, SceneHeader
from hdm_pipeline.errors import WriteError

_MAX_BYTES = 0xFFFFFFFE


def open_located(scene: SceneHeader) -> OpenVolume:
    """The volume of a scene, if contours can be drawn in it.

    Raises:
        ReadError: see `hdm_dicom.volumes.volume_io.open_volume`.
        WriteError: its slices have no place in the patient.
    """
    opened = opened_series(scene)
    if not opened.volume.located:
        raise WriteError(
            "contours are drawn in the patient, and the slices have no positions in it",
            where=scene.ref.id,
            remedy="choose the product `segmentation`, `nifti` or `label_image`, or leave out such series",
        )
    return opened


def write_structure_set(
    product: Product, path: Path, style: StructureStyle, *, refuse_empty: bool, key: bytes | None
) -> None:
    """Write a structure set; see `StructureSetWriter.write`.

    Args:
        product: to write.
        path: of the file.
        style: series number and the like.
        refuse_empty: raise `WriteError` where nothing was found.
        key: of the keyed hash by which UIDs are replaced; None leaves the patient in.
    """
    quiet()
    where = product.scene.ref.id
    opened = open_located(product.scene)
    encoder = ContourEncoder(opened.volume, _uids(opened.volume, key))
    traced = _traced(product, opened, path.parent, style, encoder)
    if refuse_empty and not any(traced.values()):
        raise WriteError(
            "nothing was found in the series", where=where, remedy="set `empty: write` to accept empty results"
        )
    digest = _digest(traced)
    encoded = {number: b"".join([encoder.item(one) for one in contours]) for number, contours in traced.items()}
    size = sum(map(len, encoded.values()))
    if size > _MAX_BYTES:
        what = f"contours of {size} bytes are more than DICOM allows (4 GiB)"
        remedy = "write the product `segmentation` in place of `rtstruct`, or fewer classes"
        raise WriteError(what, where=where, remedy=remedy)
    dataset = build(product, opened.volume, style)
    settle_uids(dataset, product, "structure set", style, digest)
    if key is not None:
        deidentify(dataset, key)
    add_encoded(dataset, encoder.images(), encoded)
    dataset.save_as(path, enforce_file_format=True)


def _traced(
    product: Product, opened: OpenVolume, folder: Path, style: StructureStyle, encoder: ContourEncoder
) -> dict[int, list[Contour]]:
    traced: dict[int, list[Contour]] = {info.value: [] for info in product.classes}
    source = Layers(product) if style.overlapping else product.mask
    for index, image in enumerate(stored_slices(opened, source, folder)):
        if not image.any():
            continue
        for band, (value, items) in enumerate(traced.items()):
            marked = image[band] > 0 if style.overlapping else image[0] == value
            items.extend(encoder.contours(index, marked, len(items) + 1))
    return traced


def _uids(volume: Volume, key: bytes | None) -> list[str]:
    uids = source_uids(volume)
    return uids if key is None else [keyed_uid(key, uid) for uid in uids]


def _digest(traced: Mapping[int, Sequence[Contour]]) -> str:
    """Of what is drawn where: the same whether images have their own names or keyed ones."""
    digest = hashlib.sha256()
    for number, contours in traced.items():
        digest.update(f"{number}:".encode())
        for contour in contours:
            digest.update(f"{contour.slice}:".encode())
            digest.update(contour.drawn)
    return digest.hexdigest()
