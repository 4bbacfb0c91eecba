"""What earlier releases wrote is opened by this one (docs/versions.md). The files are never made anew.

`tests/golden/releases/VERSION` holds the pipeline file, `run.json` and the ledger (as SQL) of a run over two scenes and
one file that is none. A release adds its own.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hdm_pipeline import open_output
from hdm_pipeline.config.file import PipelineFileError, read_pipeline_file
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import LedgerError
from hdm_pipeline.hashing import hash_of_hash
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.planning import keys, plan
from hdm_pipeline.planning.keys import Fingerprints
from hdm_pipeline.reporting.html.page import write_report
from hdm_pipeline.reporting.status import output_status, status_text

RELEASES = Path(__file__).parents[1] / "golden" / "releases"
SCENES = {"alder": "done", "birch": "done", "broken": "quarantined"}


@pytest.fixture(params=sorted(path.name for path in RELEASES.iterdir()))
def release(request: pytest.FixtureRequest) -> Path:
    return RELEASES / str(request.param)


@pytest.fixture
def output(release: Path, tmp_path: Path) -> Workspace:
    """An output directory as that release left it, but for products."""
    workspace = Workspace(tmp_path / "out")
    workspace.create()
    shutil.copy(release / "run.json", workspace.report)
    with sqlite3.connect(workspace.ledger) as connection:
        connection.executescript((release / "ledger.sql").read_text())
    return workspace


def test_the_pipeline_file_is_read(release: Path) -> None:
    file = read_pipeline_file(release / "pipeline.yaml")
    assert (file.config.version, file.config.name) == (1, "bench")


def test_status_and_report_tell_of_the_run(output: Workspace) -> None:
    found = output_status(output.root)
    assert found["scenes"] == {"done": 2, "quarantined": 1}
    assert found["last_run"]["status"] == "done"
    assert "2 done" in status_text(found)
    page = write_report(output).read_text()
    assert all(name in page for name in SCENES)


def test_open_output_has_the_table_of_the_run(output: Workspace) -> None:
    found = open_output(output.root)
    assert list(found) == ["alder", "birch"]
    assert dict(zip(found.table["scene"].values.tolist(), found.table["state"].values.tolist(), strict=True)) == SCENES
    assert found.table["area_m2"].sel(scene="birch", **{"class": "water"}).item() == 4_048_100.0


def test_a_run_goes_on_from_the_ledger(output: Workspace) -> None:
    with Ledger.open(output.ledger) as ledger:
        assert {record.id: record.status for record in ledger.scenes()} == SCENES
        done = ledger.scene("birch")
        assert done is not None
        assert ledger.receipts(done.score_key, "infer")
        ledger.upsert_scene(SceneRecord("cedar", "key"))
        assert ledger.scenes("running")[0].id == "cedar"


def test_the_report_says_its_schema(release: Path) -> None:
    assert json.loads((release / "run.json").read_text())["schema"] == 1


def test_newer_formats_are_refused_by_name(release: Path, output: Workspace, tmp_path: Path) -> None:
    content = yaml.safe_load((release / "pipeline.yaml").read_text()) | {"version": 2}
    newer = tmp_path / "newer.yaml"
    newer.write_text(yaml.safe_dump(content))
    with pytest.raises(PipelineFileError, match="install a newer release"):
        read_pipeline_file(newer)
    with sqlite3.connect(output.ledger) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="version 99") as caught:
        Ledger.open(output.ledger)
    assert "release" in caught.value.remedy


class Archive:
    """Lists the scenes of the release; their files are gone, and with them what their keys began with."""

    def discover(self, _: str) -> Iterator[SceneRef]:
        for name in SCENES:
            yield SceneRef(name, f"/archive/{name}.tif", "geotiff", name)


def test_a_plan_recognizes_what_the_release_finished(
    release: Path, output: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores may be those of another release; what is made of them is filed under the same keys as then."""
    config = read_pipeline_file(release / "pipeline.yaml").config
    monkeypatch.setattr(plan, "fingerprints", lambda *_: Fingerprints("w", "s"))
    monkeypatch.setattr(keys, "hash_of_texts", lambda _, scene, __: scene)
    with Ledger.open(output.ledger) as ledger:
        scores = {record.id: record.score_key for record in ledger.scenes()}
        monkeypatch.setattr(keys, "hash_of_hash", lambda outer, inner: scores.get(inner) or hash_of_hash(outer, inner))
        for name in (name for record in ledger.scenes() for name in record.outputs):
            (output.root / name).parent.mkdir(exist_ok=True)
            (output.root / name).touch()
        found = plan.make_plan(config, (), output, Archive(), ledger)  # type: ignore[arg-type]
        assert (found.scenes, sorted(found.done), list(found.quarantined)) == ((), ["alder", "birch"], ["broken"])
        (output.root / "birch" / "mask.tif").unlink()
        found = plan.make_plan(config, (), output, Archive(), ledger)  # type: ignore[arg-type]
        assert [ref.id for ref in found.scenes] == ["birch"]
