"""What a product says of its origin: the program that made it, its dates (those of the source), and its own UIDs."""

from __future__ import annotations

from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from hdm_dicom.derived.codes import Code
from hdm_dicom.derived.texts import one_value
from hdm_dicom.files.attributes import datasets
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import derived_uid
from hdm_pipeline.contracts import Product, Provenance

AI = PydicomCode("123110", "DCM", "Artificial Intelligence")


def equipment(provenance: Provenance) -> dict[str, Any]:
    """The equipment that made a product, as highdicom takes it."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": one_value(provenance.model) or MANUFACTURER,
        "software_versions": one_value(provenance.version) or "0",
        "device_serial_number": provenance.weights_hash[:16] or "0",
    }


def parameters(provenance: Provenance) -> dict[str, str]:
    """What the algorithm was run with, by name."""
    return {
        "weights": provenance.weights_hash,
        "support": provenance.support_hash,
        "pipeline": provenance.pipeline_hash,
        "threshold": f"{provenance.threshold:g}",
    }


def concept(code: Code) -> hd.sr.CodedConcept:
    """A coded term as highdicom takes it."""
    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def settle_dates(dataset: Dataset, when: tuple[str, str]) -> None:
    """Replace what highdicom takes from the clock by a date and a time."""
    stated_date, stated_time = when
    date, time = DA(stated_date), TM(stated_time)
    dataset.ContentDate = dataset.SeriesDate = dataset.InstanceCreationDate = date
    dataset.ContentTime = dataset.SeriesTime = dataset.InstanceCreationTime = time
    for item in datasets(dataset, "ContributingEquipmentSequence"):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = f"{stated_date}{stated_time}"


def settle_dimensions(dataset: Dataset, volume: str) -> None:
    """Replace the random UID of the dimensions of a multi-frame image by one that follows from the volume's id."""
    organization = derived_uid("dimensions", volume)
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in datasets(dataset, name):
            item.DimensionOrganizationUID = organization


def settle_uids(dataset: Any, product: Product, kind: str, style: object, *content: str) -> None:
    """Series and instance UIDs that follow from the source, what made the product, its options and its content.

    Args:
        dataset: whose UIDs are set, those of its meta header, too.
        product: source, classes and provenance.
        kind: of the product, e.g. ``segmentation``.
        style: its options.
        content: hash of its content, and when it was written if that is not when its source was.
    """
    made_of = (product.scene.ref.id, product.scene.ref.identity, product.provenance, product.classes, style)
    dataset.SeriesInstanceUID = UID(derived_uid(f"{kind} series", *made_of))
    dataset.SOPInstanceUID = UID(derived_uid(kind, *made_of, *content))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
