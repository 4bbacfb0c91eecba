"""Our Processing provider in real QGIS: found, enabled, run, cancelled, and its layers shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.judges.headless_qgis import Qgis
from tests.judges.plugin_bench import LAKE, in_qgis, iou, lake, pipeline, prepared, write_scene


@pytest.fixture
def qgis(tmp_path: Path) -> Qgis:
    return prepared(tmp_path, sys.executable)


def test_qgis_process_runs_a_pipeline(qgis: Qgis, tmp_path: Path) -> None:
    (file := pipeline(tmp_path)).parent.joinpath("scenes", "broken.tif").write_text("no image")
    told = qgis.process("run", "hdm:run", "--", f"PIPELINE={file}", f"OUTPUT={tmp_path / 'elsewhere'}")
    results = told["results"]
    assert (results["DONE"], results["QUARANTINED"], results["LEFT"]) == (1, 1, 0)
    assert results["RESULTS"] == str(tmp_path / "elsewhere")
    assert results["LAYERS"] == [str(tmp_path / "elsewhere" / "a" / "mask.tif")]
    assert json.loads(Path(results["REPORT"]).read_text())["status"] == "done"
    assert iou(tmp_path / "elsewhere" / "a" / "mask.tif", lake(192, 160)) > 0.9
    log = json.dumps(told["log"])
    assert "broken is quarantined" in log
    assert "remedy" in log
    again = qgis.run("hdm:run", PIPELINE=file, OUTPUT=tmp_path / "elsewhere", LOAD=0)
    assert (again["DONE"], again["DONE_BEFORE"], again["LAYERS"]) == (0, 1, [])


def test_masks_come_with_their_style_and_scores_where_asked_for(qgis: Qgis, tmp_path: Path) -> None:
    file = pipeline(tmp_path)
    ran = in_qgis(qgis, "hdm:run", PIPELINE=file)
    assert ran["error"] == ""
    assert [layer["name"] for layer in ran["layers"]] == ["a mask"]
    assert ran["percent"] == sorted(ran["percent"])
    assert ran["percent"][-1] == 100
    assert any(0 < percent < 100 for percent in ran["percent"])
    picture = tmp_path / "picture.png"
    scene = tmp_path / "scenes" / "a.tif"
    loaded = in_qgis(qgis, "hdm:load", RESULTS=tmp_path / "out", SCORES=True, picture=picture, under=scene)
    assert loaded["results"]["COUNT"] == 2
    mask, score = loaded["layers"]
    assert (mask["name"], mask["classes"]) == ("a mask", [[0, "background", "#f5f5f5", 0], [1, "lake", LAKE, 255]])
    assert (score["name"], score["renderer"]) == ("a score", "singlebandpseudocolor")
    with Image.open(picture) as image:
        seen = np.asarray(image.convert("RGB"))
    water = (seen == tuple(bytes.fromhex(LAKE[1:]))).all(axis=2)
    chart = water[:, : seen.shape[1] * 118 // 160]
    assert 0.05 < chart.mean() < 0.3  # the lake over its scene
    assert water[:, seen.shape[1] * 119 // 160 :].sum() > 50  # its patch in the legend


def test_cancelling_stops_the_run_and_loses_nothing(qgis: Qgis, tmp_path: Path) -> None:
    tiling = {"size": 64, "overlap": 16, "block": 1}
    file = pipeline(tmp_path, tiling=tiling, output={"products": ["mask"]})
    write_scene(tmp_path / "scenes" / "a.tif", 500, 600, 0)
    stopped = in_qgis(qgis, "hdm:run", PIPELINE=file, cancel_at="a: ")
    assert stopped["error"] == ""
    assert "stopped: run again to go on from the last finished block" in stopped["warned"]
    assert "stopping after what is being worked on" in stopped["told"]
    assert stopped["results"]["LEFT"] == 1
    logs = sorted((tmp_path / "out" / ".hdm" / "logs").iterdir())
    assert json.loads(logs[-1].read_text().splitlines()[-1]) | {"time": 0} == {
        "time": 0,
        "event": "run_ended",
        "status": "stopped",
    }
    went_on = in_qgis(qgis, "hdm:run", PIPELINE=file)
    assert went_on["results"]["DONE"] == 1
    logs = [log.read_text().splitlines() for log in (tmp_path / "out" / ".hdm" / "logs").iterdir()]
    records = [json.loads(line) for log in logs for line in log]
    inferred = [one["block"] for one in records if one.get("event") == "step_done" and one["step"] == "infer"]
    assert len(inferred) == len(set(inferred)) > 20  # no block was done twice


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such/hdm-pipeline", "there is no /no/such/hdm-pipeline"),
        ("", "no hdm-pipeline is on the PATH"),
        ("/usr/bin/python3", "The Python of the settings has no hdm_pipeline"),
    ],
)
def test_a_missing_command_line_is_told_with_its_remedy(tmp_path: Path, command: str, said: str) -> None:
    qgis = prepared(tmp_path, command)
    done = qgis.call("qgis_process.bin", "run", "hdm:run", "--", f"PIPELINE={pipeline(tmp_path)}", check=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "nstall it" in done.stdout + done.stderr


def test_a_wrong_pipeline_is_told_as_the_command_line_tells_it(qgis: Qgis, tmp_path: Path) -> None:
    file = pipeline(tmp_path)
    file.write_text(file.read_text().replace("adapt:", "adopt:"))
    found = in_qgis(qgis, "hdm:run", PIPELINE=file)
    assert "support.adopt" in found["error"]
    assert "ended with exit code 2" in found["error"]


def test_a_folder_without_results_is_told(qgis: Qgis, tmp_path: Path) -> None:
    found = in_qgis(qgis, "hdm:load", RESULTS=tmp_path)
    assert "holds no run.json" in found["error"]
