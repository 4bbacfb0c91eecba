"""The command `studio`, as far as it needs no browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hdm_pipeline.errors import ConfigError
from hdm_studio import command
from hdm_studio.server import listen

PIPELINE = "name: a\ninput: {uri: scenes}\nsupport: {classes: []}\n"


def test_the_only_pipeline_of_a_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "floods.yml").write_text(PIPELINE)
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "photo.yaml").write_bytes(b"\xff\xd8\xff")
    assert command._only_pipeline(tmp_path) == tmp_path / "floods.yml"


def test_where_there_is_none_or_more_than_one_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pipeline file") as caught:
        command._only_pipeline(tmp_path)
    assert "init" in caught.value.remedy
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(PIPELINE)
    with pytest.raises(ConfigError, match=r"a\.yaml, b\.yaml") as caught:
        command._only_pipeline(tmp_path)
    assert "studio a.yaml" in caught.value.remedy


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    with pytest.raises(ConfigError, match="uvicorn") as caught:
        command.studio()
    assert caught.value.remedy == "pip install 'hdm-pipeline[studio]'"


def test_help_loads_nothing_of_the_server() -> None:
    script = "import sys, hdm_studio.command; print({'fastapi', 'uvicorn', 'torch', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_port_that_is_taken_is_told_if_it_was_asked_for_and_else_another_one_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen") as caught:
            listen("127.0.0.1", port)
        assert "--port" in caught.value.remedy
    with listen("127.0.0.1", None), listen("127.0.0.1", None) as second:
        assert second.getsockname()[1] > 0


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        listen("192.0.2.1", 0)
