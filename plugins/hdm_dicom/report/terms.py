"""Coded terms of a report: quantities, units, procedures (PS3.16; SNOMED CT, DCM, LOINC and UCUM)."""

from __future__ import annotations

import re

from highdicom.sr import CodedConcept

VOLUME = CodedConcept("118565006", "SCT", "Volume")
DIAMETER = CodedConcept("81827009", "SCT", "Diameter")
LONG_AXIS = CodedConcept("103339001", "SCT", "Long axis")
MEAN = CodedConcept("373098007", "SCT", "Mean")
DEVIATION = CodedConcept("386136009", "SCT", "Standard Deviation")
MAXIMUM = CodedConcept("56851009", "SCT", "Maximum")
QUANTITY = CodedConcept("246205007", "SCT", "Quantity")
MILLILITRE = CodedConcept("ml", "UCUM", "milliliter")
MILLIMETRE = CodedConcept("mm", "UCUM", "millimeter")
NONE = CodedConcept("1", "UCUM", "no units")
REGIONS = CodedConcept("{regions}", "UCUM", "connected regions")
ENGLISH = CodedConcept("en-US", "RFC5646", "English (United States)")

_HOUNSFIELD = (
    CodedConcept("112031", "DCM", "Attenuation Coefficient"),
    CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit"),
)
_SUV = CodedConcept("126401", "DCM", "SUVbw"), CodedConcept("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value")
_ACTIVITY = (
    CodedConcept("110821", "DCM", "Nuclear Medicine Tomographic Activity"),
    CodedConcept("Bq/ml", "UCUM", "Becquerels/milliliter"),
)
_QUANTITIES = {
    "HU": _HOUNSFIELD,
    "SUV": _SUV,
    "SUVBW": _SUV,
    "GML": _SUV,
    "G/ML": _SUV,
    "{SUVBW}G/ML": _SUV,
    "G/ML{SUVBW}": _SUV,
    "[HNSF'U]": _HOUNSFIELD,
    "BQML": _ACTIVITY,
    "BQ/ML": _ACTIVITY,
}
_UCUM = {
    "MGML": "mg/ml",
    "PCT": "%",
    "PCNT": "%",
    "1CM": "/cm",
    "CM2": "cm2",
    "CM2ML": "cm2/ml",
    "MLG": "ml/g",
    "MLML": "ml/ml",
    "MLMING": "ml/min/g",
    "MLMINML": "ml/min/ml",
    "MGMINML": "mg/min/ml",
    "UMOLML": "umol/ml",
    "UMOLMINML": "umol/min/ml",
}
"""Units of DICOM's own spelling (PS3.3 C.8.9.1, C.11.1.1.2) in UCUM."""

_DICOM_TERM = re.compile(r"[A-Z0-9_]+")
_SHORT_STRING = 16
_MR = CodedConcept("110852", "DCM", "MR signal intensity")
_VALUE = CodedConcept("value", "99HDM", "Value of the image")
_PROCEDURES = {
    "CT": ("25045-6", "LN", "CT Unspecified body region"),
    "MR": ("25056-3", "LN", "MR Unspecified body region"),
    "PT": ("44136-0", "LN", "PET Unspecified body region"),
}
_IMAGING = ("363679005", "SCT", "Imaging procedure")


def quantity(unit: str, modality: str) -> tuple[CodedConcept, CodedConcept]:
    """What the values of an image measure, and their unit.

    Args:
        unit: of the scene; empty if unknown.
        modality: of the series.
    """
    known = _QUANTITIES.get(unit.upper())
    if known is not None:
        return known
    code = _UCUM.get(unit, unit)
    if _DICOM_TERM.fullmatch(code) or not code.isascii() or len(code) > _SHORT_STRING:
        # UCUM lets a unit that it does not know stand in braces, beside the number one.
        plain = "".join(c for c in code if c.isascii() and (c.isalnum() or c == "_"))[: _SHORT_STRING - 2]
        code = f"{{{plain}}}" if plain else ""
    named = CodedConcept(code, "UCUM", code.strip("{}")) if code else NONE
    return (_MR if modality == "MR" else _VALUE), named


def procedure(modality: str) -> CodedConcept:
    """The procedure that a report of a series speaks of, where the source names none by a code."""
    return CodedConcept(*_PROCEDURES.get(modality, _IMAGING))
