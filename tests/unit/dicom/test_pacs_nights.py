"""Nights of a PACS that is down or lists nothing: what the command answers, and what can be seen of it later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import EmptyArchiveError, OutputError, PeerError, QuietArchiveError
from hdm_pipeline.options import RunOptions
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status, status_text
from tests.dicomweb_peer import Plan, encoded, peer
from tests.pacs_archive import write_archive, write_pipeline


def pipeline_of(folder: Path, uri: str) -> Path:
    connection = {"plain": True, "timeout": 1}
    return write_pipeline(
        folder, Path("builtin:pyramid-small"), "out", uri=uri, network=True, options={"connection": connection}
    )


def test_a_night_that_lists_nothing_is_no_failure(tmp_path: Path) -> None:
    with peer(Plan(nothing=True)) as uri:
        ended = CliRunner().invoke(app, ["run", str(pipeline_of(tmp_path, f"{uri}?PatientName=ROE"))])
    assert (ended.exit_code, "the PACS lists no series" in ended.output) == (0, True), ended.output
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["status"] == "done"
    assert "the PACS lists no series" in report["warnings"][0]
    assert "ROE" not in json.dumps(report) + ended.output
    assert "nothing there now" in status_text(output_status(tmp_path / "out"))


def test_series_that_are_none_of_ours_are_a_quiet_night_too(tmp_path: Path) -> None:
    with peer(Plan(modality="SR")) as uri:
        summary = Pipeline.from_yaml(pipeline_of(tmp_path, uri)).run()
    assert (summary.exit_code, summary.left) == (0, 0)
    assert any("1 series of SR: no images" in line for line in summary.remarks)


def test_of_a_series_without_a_scene_nothing_stays(tmp_path: Path) -> None:
    localizers = [encoded(index, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]) for index in range(3)]
    with peer(Plan(parts=localizers)) as uri:
        summary = Pipeline.from_yaml(pipeline_of(tmp_path, uri)).run()
    assert (summary.exit_code, summary.done) == (0, ())
    assert any("a localizer" in line for line in summary.remarks)
    assert list((tmp_path / "out/.hdm/scenes").glob("*")) == []


def test_what_input_select_leaves_out_names_it_in_the_remedy(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", count=1)
    path = write_pipeline(tmp_path, Path("builtin:pyramid-small"), "out", uri="archive", select={"modality": "MR"})
    with pytest.raises(EmptyArchiveError) as caught:
        Pipeline.from_yaml(path).run()
    assert caught.value.remedy.startswith("loosen input.select")
    told = output_status(tmp_path / "out")["last_run"]["error"]
    assert (told["what"], "where" in told) == (caught.value.what, False)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, Path("builtin:pyramid-small"), "out", uri="nowhere")
    with pytest.raises(EmptyArchiveError) as caught:
        Pipeline.from_yaml(path).plan()
    assert str(tmp_path / "nowhere") in caught.value.where


def test_an_output_directory_that_is_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    with peer(Plan(nothing=True)) as uri:
        path = pipeline_of(tmp_path, uri)
        (tmp_path / "out").write_text("")
        with pytest.raises(OutputError, match="a file lies where a folder is to be"):
            Pipeline.from_yaml(path).run()


def test_a_plan_lists_what_is_to_be_fetched_and_knows_no_size(tmp_path: Path) -> None:
    with peer(Plan()) as uri:
        path = pipeline_of(tmp_path, uri)
        text, told = (CliRunner().invoke(app, ["plan", str(path), *more]) for more in ((), ("--json",)))
    found = json.loads(told.stdout)
    assert (found["scenes_remote"], found["scenes_total"], found["tiles"], found["seconds"]) == (1, 1, None, None)
    (series,) = found["remote"]
    assert series["about"] == "CT, 3 instances"
    assert f"  {series['id']}: CT, 3 instances" in text.stdout
    assert "tiles     unknown until the series are fetched" in text.stdout


def test_a_delivery_that_holds_nothing_says_so(tmp_path: Path) -> None:
    with peer(Plan(nothing=True)) as uri, pytest.raises(QuietArchiveError):
        Pipeline.from_yaml(pipeline_of(tmp_path, uri)).run(options=RunOptions(delivery=True))


def test_a_night_without_the_pacs_is_seen_in_the_morning(tmp_path: Path) -> None:
    with peer(Plan(nothing=True)) as uri:
        pipeline = Pipeline.from_yaml(pipeline_of(tmp_path, uri))
        pipeline.run()
    before = len(list((tmp_path / "out/.hdm/logs").iterdir()))
    report = tmp_path / "out" / "run.json"
    started = json.loads(report.read_text()) | {"started": "2026-01-01T00:00:00Z"}
    report.write_text(json.dumps(started))
    with pytest.raises(PeerError) as caught:
        pipeline.run()
    found = output_status(tmp_path / "out")
    assert found["last_run"]["status"] == "failed"
    assert found["last_run"]["started"] > started["started"]
    assert found["last_run"]["error"] == caught.value.as_dict()
    assert caught.value.what in status_text(found)
    assert 'hdm_failed{pipeline="pacs"} 1.0' in (tmp_path / "out/.hdm/metrics.prom").read_text()
    logs = sorted((tmp_path / "out/.hdm/logs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(logs) >= before
    assert caught.value.what in logs[-1].read_text()


def test_a_first_night_without_the_pacs_is_seen_too(tmp_path: Path) -> None:
    with pytest.raises(PeerError) as caught:
        Pipeline.from_yaml(pipeline_of(tmp_path, "dicomweb://127.0.0.1:9/web")).run()
    assert caught.value.what in status_text(output_status(tmp_path / "out"))
