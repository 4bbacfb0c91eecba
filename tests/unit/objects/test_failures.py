"""Errors of stores that are not S3 name what is theirs; what needs a server is under tests/judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder


@pytest.fixture(autouse=True)
def _no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


def _refused(address: str) -> str:
    with pytest.raises(ObjectStoreError) as refused:
        ObjectFolder(address).hurried(0.5).get("a")
    return str(refused.value)


def test_no_account() -> None:
    said = _refused("az://out/b")
    assert "no keys" in said
    assert "AZURE_STORAGE_ACCOUNT_NAME" in said
    assert "AWS" not in said


def test_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "archive")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "%-secret-%")
    said = _refused("az://out/b")
    assert "cannot be read" in said
    assert "AZURE_STORAGE_ACCOUNT_KEY" in said
    assert "secret" not in said


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "archive")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9/archive")
    said = _refused("az://out/b")
    assert "does not answer" in said
    assert "(AZURE_STORAGE_ENDPOINT)" in said


@pytest.mark.parametrize("content", [None, "nonsense", '{"type": "service_account"}'])
def test_a_file_of_no_service_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "account.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    said = _refused("gs://out/b")
    assert "cannot be read" in said
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said
