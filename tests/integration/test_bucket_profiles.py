"""Keys out of a profile, as `aws configure` writes it, against a server that knows whose keys it gave out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from tests.s3_server import S3Server

ALLOWED = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture
def profiles(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A server that refuses strangers; a home with the profiles `default` (of nobody), `night` and `empty`."""
    import boto3

    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=f"http://{server.direct}", **keys)
    iam.create_user(UserName="night")
    iam.put_user_policy(UserName="night", PolicyName="all", PolicyDocument=json.dumps(ALLOWED))
    given = iam.create_access_key(UserName="night")["AccessKey"]
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n"
        f"[night]\naws_access_key_id = {given['AccessKeyId']}\naws_secret_access_key = {given['SecretAccessKey']}\n"
        "[empty]\n"
    )
    (folder / "config").write_text("[profile night]\nregion = us-east-1\n")
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with server.strict():
        yield folder
    iam.delete_access_key(UserName="night", AccessKeyId=given["AccessKeyId"])
    iam.delete_user_policy(UserName="night", PolicyName="all")
    iam.delete_user(UserName="night")


def test_the_keys_of_a_profile_are_used(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ObjectFolder("s3://out/b")
    with pytest.raises(ObjectStoreError, match="refuses the keys"):
        folder.put("k", b"1")
    monkeypatch.setenv("AWS_PROFILE", "night")
    folder.put("k", b"1")
    assert folder.get("k") == b"1"


def test_a_file_elsewhere_is_found_by_its_variable(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = (profiles / "credentials").rename(profiles.parent / "keys")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(elsewhere))
    monkeypatch.setenv("AWS_PROFILE", "night")
    ObjectFolder("s3://out/b").put("k", b"1")


def test_keys_in_the_environment_come_first(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with pytest.raises(ObjectStoreError, match="refuses the keys"):
        ObjectFolder("s3://out/b").put("k", b"1")


@pytest.mark.parametrize("profile", ["nowhere", "empty"])
def test_a_profile_without_keys_is_named(profiles: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(ObjectStoreError, match=f"no keys in the profile '{profile}'") as caught:
        ObjectFolder("s3://out/b").get("k")
    assert str(profiles / "credentials") in caught.value.where
