"""Addresses of a PACS: what they say, and what they must not hold."""

from __future__ import annotations

import pytest

from hdm_dicom.pacs.address import Address, is_address, parse_address
from hdm_pipeline.errors import ConfigError

WHERE = "input.uri"


def test_dicomweb() -> None:
    found = parse_address("dicomweb://pacs.example:8443/dicom-web/?StudyDate=20260101-&ModalitiesInStudy=CT", WHERE)
    assert found == Address(
        "dicomweb",
        "pacs.example",
        8443,
        path="/dicom-web",
        query=(("StudyDate", "20260101-"), ("ModalitiesInStudy", "CT")),
    )
    assert found.url() == "https://pacs.example:8443/dicom-web"
    assert found.url(plain=True) == "http://pacs.example:8443/dicom-web"
    assert parse_address("dicomweb://pacs/x", WHERE).url() == "https://pacs:443/x"
    assert parse_address("dicomweb://[::1]:80/x", WHERE).url(plain=True) == "http://[::1]:80/x"


def test_dimse() -> None:
    found = parse_address("dimse://MAIN%20PACS@10.0.0.7:104?PatientID=A%20B*", WHERE)
    assert (found.called, found.host, found.port) == ("MAIN PACS", "10.0.0.7", 104)
    assert dict(found.query) == {"PatientID": "A B*"}


def test_nothing_shows_the_query() -> None:
    found = parse_address("dimse://PACS@host:104?PatientName=ROE", WHERE)
    assert "ROE" not in f"{found!r} {found} {found.shown}"
    assert found.shown == "dimse://PACS@host:104"


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("https://host/x", "no address of a PACS"),
        ("dicomweb://host/a b", "no address of a PACS"),
        ("dicomweb://host/a\nb", "no address of a PACS"),
        ("dicomweb://user:hunter2@host/x", "holds a password"),
        ("dicomweb://hunter2@host/x", "holds a user"),
        ("dimse://PACS:hunter2@host:104", "holds a password"),
        ("dimse://PACS@host:104#hunter2", "after #"),
        ("dicomweb:///x", "no host"),
        ("dicomweb://host:99999/x", "host or port"),
        ("dicomweb://host:0/x", "port 0"),
        ("dicomweb://ho%2Fst/x", "no host"),
        ("dicomweb://host/x\\y", "path"),
        ("dimse://host:104", "no application entity"),
        ("dimse://PACS@host", "no port"),
        ("dimse://PACS@host:104/path", "has a path"),
        ("dimse://A_TITLE_OF_17_LETT@host:104", "AE title"),
        ("dimse://A%5CB@host:104", "AE title"),
        ("dimse://%20@host:104", "AE title"),
        ("dicomweb://host/x?StudyDat=2026", "no attribute 'StudyDat'"),
        ("dicomweb://host/x?limit=5", "no matching key"),
        ("dicomweb://host/x?StudyDate", "no list of KEY=VALUE"),
        ("dicomweb://host/x?StudyDate=", "has no value"),
        ("dicomweb://host/x?StudyDate=a%0Ab", "has no value"),
        ("dicomweb://host/x?Modality=CT&Modality=MR", "twice"),
        ("dicomweb://host/x?OtherPatientIDsSequence=1", "sequence"),
    ],
)
def test_wrong_addresses_are_told_and_not_repeated(uri: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_address(uri, WHERE)
    assert caught.value.where == WHERE
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_what_means_to_be_an_address() -> None:
    assert is_address("DICOMWEB://host/x")
    assert is_address("dimse://wrong")
    assert not is_address("s3://bucket/x")
    assert not is_address("folder/dicomweb")
