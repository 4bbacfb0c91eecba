"""Which files may be de-identified by their attributes alone, and which may show who the patient is in other ways."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID

from hdm_dicom.files.attributes import text, values
from hdm_dicom.files.screens import SCREENSHOTS, is_capture

_STANDARD = "1.2.840.10008."
_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104."
_SEEN_WITH_TEXT = ("US", "XC", "ES", "GM", "OP", "OPV", "ECG")
"""Modalities whose devices write names into the picture."""


def refused(dataset: Dataset, *, keep_burned_in: bool) -> str:
    """Why a file is left out, for a count; empty if it is not.

    Args:
        dataset: its header.
        keep_burned_in: take images that may show a name.
    """
    sop_class = UID(text(dataset, "SOPClassUID"))
    if not sop_class:
        return "files without a SOP class"
    if sop_class.startswith(_DOCUMENTS):
        return "encapsulated documents: their pages may name the patient"
    if not sop_class.startswith(_STANDARD):
        return "files of a private SOP class"
    if not text(dataset, "SOPInstanceUID"):
        return "files without a SOP instance UID"
    return "" if keep_burned_in else _burned_in(dataset, sop_class)


def _burned_in(dataset: Dataset, sop_class: str) -> str:
    stated = text(dataset, "BurnedInAnnotation").upper()
    if stated == "YES":
        return "images with burned-in annotation"
    kinds = {str(value).strip().upper() for value in values(dataset, "ImageType")}
    capture = is_capture(sop_class) or bool(kinds & SCREENSHOTS)
    if capture and stated != "NO":
        return "secondary captures and screenshots that do not state BurnedInAnnotation NO"
    return ""


def warned(dataset: Dataset) -> list[str]:
    """What a person should look at in a file that is taken, for a count."""
    found = []
    stated = text(dataset, "BurnedInAnnotation").upper()
    if stated == "YES" or (stated != "NO" and text(dataset, "Modality") in _SEEN_WITH_TEXT and "Rows" in dataset):
        found.append("images that may show a name: look at them")
    if text(dataset, "RecognizableVisualFeatures").upper() == "YES":
        found.append("images with recognizable features, such as a face")
    return found
