"""Options of a connection to a PACS, its secrets and certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hdm_dicom.pacs.connection import Connection
from hdm_pipeline.errors import ConfigError
from tests.judges.orthanc import certificate

WHERE = "input.options.connection"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("pem"))


def test_defaults_speak_tls() -> None:
    ours = Connection.parse({}, WHERE)
    assert ours == Connection(ae_title="HDM", plain=False, timeout=30.0)
    assert ours.tls(WHERE) is not None
    assert Connection.parse({"plain": True, "timeout": 5}, WHERE).tls(WHERE) is None
    assert Connection.parse(ours.as_dict(), WHERE) == ours


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"titel": "X"}, "unknown option 'titel'"),
        ({"password": SECRET}, "does not belong in a pipeline file"),
        ({"plain": "yes"}, "must be of type bool"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"ae_title": "A_TITLE_OF_17_LETT"}, "AE title"),
        ({"user_env": "U"}, "a user needs a password"),
        ({"password_env": "P"}, "a user needs a password"),
        ({"user_env": "U", "password_env": "P", "password_file": "/p"}, "both"),
        ({"token_env": "T", "token_file": "/t"}, "both"),
        ({"user_env": "U", "password_env": "P", "token_env": "T"}, "both"),
        ({"key_file": "/k"}, "without certificate_file"),
        ({"plain": True, "ca_file": "/c"}, "without TLS"),
    ],
)
def test_wrong_options(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        Connection.parse(options, WHERE)
    assert WHERE in caught.value.where
    assert SECRET not in str(caught.value)


def test_secrets_come_from_environment_and_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PACS_USER", "hdm")
    monkeypatch.setenv("PACS_TOKEN", SECRET)
    (tmp_path / "password").write_text(SECRET + "\n")
    by_file = Connection.parse({"user_env": "PACS_USER", "password_file": str(tmp_path / "password")}, WHERE)
    known = by_file.credentials(WHERE)
    assert (known.user, known.password) == ("hdm", SECRET)
    token = Connection.parse({"token_env": "PACS_TOKEN"}, WHERE).credentials(WHERE)
    assert token.token == SECRET
    assert SECRET not in f"{known!r} {known} {token!r} {by_file!r} {by_file.as_dict()}"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a\nb", b"\xff\xfe", b"x" * 70_000])
def test_a_file_without_a_usable_secret(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Connection.parse({"token_file": str(tmp_path / "token")}, WHERE).credentials(WHERE)
    assert "token_file" in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("value", [None, "", "a\r\nX-Evil: 1"])
def test_a_variable_without_a_usable_secret(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("PACS_TOKEN", value)
    with pytest.raises(ConfigError) as caught:
        Connection.parse({"token_env": "PACS_TOKEN"}, WHERE).credentials(WHERE)
    assert caught.value.remedy
    assert "Evil" not in str(caught.value)


def test_certificates_are_loaded(pem: tuple[Path, Path]) -> None:
    made, key = (str(path) for path in pem)
    options = {"ca_file": made, "certificate_file": made, "key_file": key}
    ours = Connection.parse(options, WHERE).tls(WHERE)
    assert ours is not None
    assert ours.check_hostname
    assert [c["subject"] for c in ours.get_ca_certs()] == [((("commonName", "localhost"),),)]
    listener = Connection.parse(options, WHERE).tls(WHERE, server=True)
    assert listener is not None
    assert listener.verify_mode.name == "CERT_REQUIRED"
    assert listener.minimum_version.name == "TLSv1_2"


def test_wrong_certificates(pem: tuple[Path, Path], tmp_path: Path) -> None:
    made, key = (str(path) for path in pem)
    (nonsense := tmp_path / "nonsense.pem").write_text("nonsense")
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", key, "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    for options, key_of in (
        ({"ca_file": str(tmp_path / "none.pem")}, "ca_file"),
        ({"ca_file": str(nonsense)}, "ca_file"),
        ({"certificate_file": made}, "certificate_file"),
        ({"certificate_file": made, "key_file": str(tmp_path / "none.pem")}, "key_file"),
        ({"certificate_file": made, "key_file": str(locked)}, "certificate_file"),
    ):
        with pytest.raises(ConfigError) as caught:
            Connection.parse(options, WHERE).tls(WHERE)
        assert caught.value.where.startswith(f"{WHERE}.{key_of}")
    with pytest.raises(ConfigError, match="listener"):
        Connection().tls(WHERE, server=True)


def test_relative_paths_do_not_depend_on_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Connection.parse({"token_file": "token"}, WHERE).token_file == str(tmp_path / "token")
