"""Addresses of object stores: what is taken means one place everywhere, and what is refused says why."""

from __future__ import annotations

import pytest

from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.address import check_address, check_endpoint, split_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://bucket", ("s3://bucket", "")),
        ("s3://bucket/", ("s3://bucket", "")),
        ("gs://my-bucket.example/a/date=2024-01-01/v1.2+x/", ("gs://my-bucket.example", "a/date=2024-01-01/v1.2+x/")),
        ("az://container/a_b", ("az://container", "a_b/")),
        ("file:///srv/a b", ("file:///srv/a b", "")),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(address: str, expected: tuple[str, str]) -> None:
    assert split_address(check_address(address)) == expected


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3:///a",
        "s3://bucket//a",
        "s3://bucket/a//b",
        "s3://bucket/./a",
        "s3://bucket/../a",
        "s3://bucket/%2e%2e/a",
        "s3://bucket/a%2Fb",
        "s3://bucket/a\\..\\b",
        "s3://bucket/a b",
        " s3://bucket/a",
        "s3://bucket/a ",
        "s3://bucket/a\nb",
        "s3://buck et/a",
        "s3://bucket/*",
        "s3://bücket/a",
        "S3://bucket/a",
        "ftp://bucket/a",
        "file://host/a",
        "file:///a/../b",
    ],
)
def test_what_could_mean_two_places_is_refused(address: str) -> None:
    with pytest.raises(ObjectStoreError) as caught:
        check_address(address)
    assert caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("address", ["s3://key:secret@bucket/a", "s3://bucket/a?secret=x", "s3://bucket/a#secret"])
def test_what_may_be_a_key_is_not_shown(address: str) -> None:
    with pytest.raises(ObjectStoreError, match="more than a bucket") as caught:
        check_address(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", ["localhost:9000", "ftp://localhost", "http://", "http://me:secret@host"])
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_an_endpoint_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(ObjectStoreError, match=f"{name} names no server") as caught:
        check_endpoint("s3://bucket")
    assert "secret" not in str(caught.value)
    check_endpoint("gs://bucket")
    monkeypatch.setenv(name, "http://localhost:9000/")
    check_endpoint("s3://bucket")
