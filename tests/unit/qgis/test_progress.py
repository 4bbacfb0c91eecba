"""Events of a run as a dialog shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ReadError
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    Preparing,
    PreparingStep,
    RunEnded,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneStarted,
    StepDone,
    Stopping,
    SupportChecked,
    WorkerDied,
)
from hdm_pipeline.reporting.log import event_record
from qgis_hdm.progress import Progress, failure_text


def told(progress: Progress, event: Event) -> tuple[list[str], list[str]]:
    """Through the line that the command prints."""
    return progress.line(json.dumps(event_record(event), default=str) + "\n")


def test_steps_of_the_preparation_are_told_once() -> None:
    progress = Progress()
    begun = PreparingStep(doing="adaptation", class_name="flood", done=0, total=280, seconds_left=None)
    assert told(progress, begun) == (["preparing the examples of flood: adaptation"], [])
    going_on = PreparingStep(doing="adaptation", class_name="flood", done=9, total=280, seconds_left=30.0)
    assert told(progress, going_on) == ([], [])


def started(scene: str, blocks: int = 4, done: int = 0) -> SceneStarted:
    return SceneStarted(scene=scene, shape=(1, 1, 9, 9), tiles=9, blocks=blocks, blocks_done=done, warnings=())


def done(scene: str, *warnings: SceneWarning) -> SceneDone:
    return SceneDone(scene=scene, outputs=(), tiles=9, blocks=4, seconds={}, warnings=warnings, measures={})


def test_per_cent_grow_by_blocks_and_scenes() -> None:
    progress = Progress()
    assert told(progress, RunStarted(scenes=2, done_before=1))[0] == ["2 scenes to do, 1 done by earlier runs"]
    assert told(progress, Preparing(adapt=True))[0][0].endswith("can take minutes")
    assert progress.percent == 0
    told(progress, started("a", 4, 2))
    assert progress.percent == pytest.approx(24.5)
    told(progress, StepDone(scene="a", step="stage", block=2, seconds=1))
    assert progress.percent == pytest.approx(24.5)
    told(progress, BlockInferred(scene="a", block=2, seconds=1, tiles=1, skipped=0))
    assert progress.percent == pytest.approx(36.75)
    told(progress, started("a"))  # done once more: the bar does not run back
    assert progress.percent == pytest.approx(36.75)
    told(progress, done("a"))
    assert progress.percent == 50
    error = ReadError("it is cut off", where="b.tif", remedy="copy it again")
    assert told(progress, SceneQuarantined(scene="b", error=error, seconds={})) == (
        [],
        ["b is quarantined: it is cut off (remedy: copy it again)"],
    )
    assert progress.percent == 100


def test_what_may_be_nonsense_is_warned_of() -> None:
    progress = Progress()
    warning = SceneWarning("scale_low", "all is dark", "check the scale")
    fact = SceneWarning("note", "no CRS", suspect=False)
    assert told(progress, done("a", warning, fact))[1] == ["a: all is dark (remedy: check the scale)"]
    assert told(progress, done("b", fact))[1] == []
    assert progress.warnings == ["a"]
    dead = WorkerDied(scene="a", step="infer", block=1, reason="killed")
    assert told(progress, dead)[1] == ["a worker died at step infer of a: killed"]
    facts: dict[str, Any] = {
        "shots": 2,
        "examples": [{"name": "x", "contradicts": True, "note": "is unlike"}, {"name": "y", "contradicts": False}],
        "warnings": [{"example": "x", "kind": "k", "what": "odd", "remedy": ""}],
    }
    assert told(progress, SupportChecked(support={"lake": facts})) == (
        ["class lake: 2 example(s)"],
        ["example x: odd", "check example x: is unlike"],
    )


def test_the_end_and_lines_of_others() -> None:
    progress = Progress()
    assert progress.line("a library says hello\n") == (["a library says hello"], [])
    assert progress.line("[1, 2]") == (["[1, 2]"], [])
    assert progress.line("\n") == ([], [])
    assert told(progress, Stopping())[0]
    assert told(progress, RunEnded(status="done")) == ([], [])
    assert progress.summary is None
    progress.line('{"event": "summary", "done": 3, "report": "/out/run.json"}')
    assert progress.summary is not None
    assert progress.percent == 100


def test_failures_say_what_to_do() -> None:
    assert "Update it" in failure_text(2, "Error: No such option: --events")
    assert "has no typer" in failure_text(1, "ModuleNotFoundError: No module named 'typer'")
    assert failure_text(-9, "") == "hdm_pipeline was killed by signal 9"
    assert failure_text(1, "error: the disk is full") == "hdm_pipeline ended with exit code 1:\nerror: the disk is full"
