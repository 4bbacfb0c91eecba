"""Studies out of a real PACS: Orthanc by DICOMweb (HTTPS, users, client certificates), dcmqrscp by DIMSE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import kit as kit  # a fixture
from tests.judges.conftest import RequireJudge
from tests.judges.orthanc import INSTALL, Archive, running
from tests.pacs_archive import leaks_of, write_archive, write_pipeline


@pytest.fixture(scope="module")
def kit_weights(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Path:
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    path = tmp_path_factory.mktemp("weights") / "mean-color.safetensors"
    save_weights(MeanColor(), path)
    return path


@pytest.fixture
def secure(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    """An Orthanc behind HTTPS that asks for a client's certificate."""
    stunnel = require_judge("stunnel4", "apt-get install stunnel4")
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc", stunnel=stunnel, ask_clients=True) as made:
        yield made


@pytest.fixture
def plain(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as made:
        yield made


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_USER", "judge")
    monkeypatch.setenv("PACS_PASSWORD", "secret")


def web_input(archive: Archive, query: str = "", **connection: Any) -> dict[str, Any]:
    """The `input` of a pipeline over an Orthanc."""
    known = {"user_env": "PACS_USER", "password_env": "PACS_PASSWORD"}
    if archive.certificate is None:
        known |= {"plain": True}
    else:
        known |= {
            "ca_file": str(archive.certificate),
            "certificate_file": str(archive.certificate),
            "key_file": str(archive.key),
        }
    uri = archive.web.replace("https://", "dicomweb://").replace("http://", "dicomweb://")
    return {"uri": uri + query, "network": True, "options": {"connection": {**known, **connection}}}


def masks(out: Path) -> dict[str, np.ndarray]:
    found = sorted(out.glob("*/segmentation.nii.gz"))
    return {path.parent.name: np.asarray(nibabel.load(path).dataobj) for path in found}  # type: ignore[attr-defined]


def scenes_of(out: Path) -> dict[str, Any]:
    scenes: dict[str, Any] = json.loads((out / "run.json").read_text())["scenes"]
    return scenes


def test_a_run_over_a_pacs_is_a_run_over_the_folder(secure: Archive, tmp_path: Path, kit_weights: Path) -> None:
    write_archive(tmp_path / "files")
    secure.fill(tmp_path / "files")
    folder = Pipeline.from_yaml(write_pipeline(tmp_path, kit_weights, "folder", uri="files")).run()
    query = "?PatientID=MARKERID&ModalitiesInStudy=CT"
    path = write_pipeline(tmp_path, kit_weights, "pacs", **web_input(secure, query))
    pipeline = Pipeline.from_yaml(path)
    assert pipeline.validate() == []
    assert pipeline.plan().remote == 3
    summary = pipeline.run()
    assert summary.exit_code == 0
    assert sorted(summary.done) == sorted(folder.done)
    expected, found = masks(tmp_path / "folder"), masks(tmp_path / "pacs")
    assert len(found) == 3
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    assert any(mask.any() for mask in found.values())
    assert list((tmp_path / "pacs").glob(".hdm/scenes/*/fetched")) == []
    assert leaks_of(tmp_path / "pacs") == []
    again = pipeline.run()
    assert (again.done, again.done_before) == ((), 3)
