"""Coded terms of a class for DICOM, by what it is called (SNOMED CT; DICOM PS3.16, CID 7150, 7159 and 7166)."""

from __future__ import annotations

_ANATOMY = "SCT:91723000:Anatomical Structure"
_ALTERED = "SCT:49755003:Morphologically Abnormal Structure"
_TISSUE = "SCT:85756007:Tissue"

_TERMS = {
    "liver": (_ANATOMY, "SCT:10200004:Liver"),
    "spleen": (_ANATOMY, "SCT:78961009:Spleen"),
    "kidney": (_ANATOMY, "SCT:64033007:Kidney"),
    "pancreas": (_ANATOMY, "SCT:15776009:Pancreas"),
    "bladder": (_ANATOMY, "SCT:89837001:Urinary bladder"),
    "stomach": (_ANATOMY, "SCT:69695003:Stomach"),
    "heart": (_ANATOMY, "SCT:80891009:Heart"),
    "lung": (_ANATOMY, "SCT:39607008:Lung"),
    "brain": (_ANATOMY, "SCT:12738006:Brain"),
    "aorta": (_ANATOMY, "SCT:15825003:Aorta"),
    "prostate": (_ANATOMY, "SCT:41216001:Prostate"),
    "lesion": (_ALTERED, "SCT:52988006:Lesion"),
    "tumor": (_ALTERED, "SCT:108369006:Tumor"),
}


def codes_of(class_name: str) -> tuple[dict[str, str], bool]:
    """``category`` and ``type`` of a class, and whether they are its own: a class without an entry is any tissue."""
    called = class_name.casefold().strip().removesuffix("s")
    known = _TERMS.get(called)
    category, kind = known or (_TISSUE, _TISSUE)
    return {"category": category, "type": kind}, known is not None
