"""Coded terms are checked before a run."""

from __future__ import annotations

import pytest

from hdm_dicom.derived import codes
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.errors import ConfigError

ORGAN = "SCT:91723000:Anatomical Structure"


def classes(**terms: str) -> list[ClassInfo]:
    return [ClassInfo(1, "liver", codes=terms)]


def test_known_terms_pass_in_silence() -> None:
    known = classes(category=ORGAN, type="SCT:10200004:Liver", anatomy="SCT:818981001:Abdomen")
    assert SegmentationWriter().check(known) == []


def test_a_term_outside_the_list_warns() -> None:
    (warning,) = codes.check(classes(category=ORGAN, type="SCT:99999999:Gizzard"))
    assert "99999999" in warning
    assert "not in the shipped list" in warning


def test_a_wrong_meaning_warns() -> None:
    (warning,) = codes.check(classes(category=ORGAN, type="SCT:10200004:Spleen"))
    assert "means 'Liver'" in warning


def test_other_schemes_are_not_doubted() -> None:
    assert codes.check(classes(category=ORGAN, type="99ACME:L-1:Left thing: inner")) == []
    assert codes.parse("99ACME:L-1:Left thing: inner", "here").meaning == "Left thing: inner"


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"type": "SCT:10200004:Liver"},
        {"category": ORGAN},
        {"category": ORGAN, "type": "Liver"},
        {"category": ORGAN, "type": "SCT:liver:Liver"},
        {"category": ORGAN, "type": "SCT:10200004:" + "x" * 65},
        {"category": ORGAN, "type": "bad scheme!:1:x"},
        {"category": ORGAN, "type": "SCT:10200004:Liver", "organ": "SCT:10200004:Liver"},
    ],
)
def test_malformed_or_missing_terms_are_refused(terms: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        codes.check(classes(**terms))
    assert "'liver'" in caught.value.where


def test_the_shipped_list_is_sound() -> None:
    known = codes.snomed()
    assert set(known) == set(codes.ROLES)
    assert all(value.isdigit() and meaning for terms in known.values() for value, meaning in terms.items())
