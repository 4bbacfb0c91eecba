"""Events: what callers may rely on, and what is logged of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ReadError
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    Preparing,
    PreparingStep,
    ProductsNotSent,
    ProductsSent,
    RunEnded,
    RunEvent,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    SceneStarted,
    StepDone,
    Stopping,
    SupportChecked,
    WorkerDied,
)
from hdm_pipeline.reporting.log import JsonLines

NO_CRS = SceneWarning("no_crs", "no CRS", "give it one")

LOGGED: list[tuple[Event, dict[str, Any]]] = [
    (RunStarted(scenes=3, done_before=1), {"event": "run_started", "scenes": 3, "done_before": 1}),
    (Preparing(adapt=True), {"event": "preparing", "adapt": True}),
    (
        PreparingStep(doing="adaptation", class_name="flood", done=40, total=280, seconds_left=12.5),
        {
            "event": "preparing_step",
            "doing": "adaptation",
            "class_name": "flood",
            "done": 40,
            "total": 280,
            "seconds_left": 12.5,
        },
    ),
    (SupportChecked(support={"flood": {"shots": 1}}), {"event": "support_checked", "support": {"flood": {"shots": 1}}}),
    (
        SceneStarted(scene="a", shape=(2, 1, 9, 8), tiles=6, blocks=3, blocks_done=1, warnings=(NO_CRS,)),
        {
            "event": "scene_started",
            "scene": "a",
            "shape": [2, 1, 9, 8],
            "tiles": 6,
            "blocks": 3,
            "blocks_done": 1,
            "warnings": [{"kind": "no_crs", "what": "no CRS", "remedy": "give it one", "suspect": True}],
        },
    ),
    (
        StepDone(scene="a", step="stage", block=0, seconds=0.5),
        {"event": "step_done", "scene": "a", "step": "stage", "block": 0, "seconds": 0.5},
    ),
    (
        BlockInferred(scene="a", block=2, seconds=0.5, tiles=4, skipped=1),
        {"event": "step_done", "scene": "a", "step": "infer", "block": 2, "seconds": 0.5, "tiles": 4, "skipped": 1},
    ),
    (
        SceneDone(
            scene="a",
            outputs=("a/mask.tif",),
            tiles=6,
            blocks=3,
            seconds={"infer": 1.5},
            warnings=(),
            measures={"valid": 1.0, "pixels": {"flood": 7}},
            products={"mask": ("a/mask.tif",)},
        ),
        {
            "event": "scene_done",
            "scene": "a",
            "outputs": ["a/mask.tif"],
            "tiles": 6,
            "blocks": 3,
            "seconds": {"infer": 1.5},
            "warnings": [],
            "products": {"mask": ["a/mask.tif"]},
            "valid": 1.0,
            "pixels": {"flood": 7},
        },
    ),
    (
        ProductsSent(scene="a", to="dicomweb://pacs/dicom-web", products=("segmentation",), what="stored"),
        {
            "event": "products_sent",
            "scene": "a",
            "to": "dicomweb://pacs/dicom-web",
            "products": ["segmentation"],
            "what": "stored",
        },
    ),
    (
        ProductsNotSent(scene="a", to="dimse://A@pacs:104", products=("segmentation",), what="away", remedy="wait"),
        {
            "event": "products_not_sent",
            "scene": "a",
            "to": "dimse://A@pacs:104",
            "products": ["segmentation"],
            "what": "away",
            "remedy": "wait",
        },
    ),
    (
        SceneSplit(scene="a", parts=("b", "c"), left_out=("a localizer",)),
        {"event": "scene_split", "scene": "a", "parts": ["b", "c"], "left_out": ["a localizer"]},
    ),
    (
        SceneQuarantined(scene="a", error=ReadError("broken", where="a.tif", remedy="copy"), seconds={"stage": 1.0}),
        {
            "event": "scene_quarantined",
            "scene": "a",
            "error": {"type": "ReadError", "what": "broken", "where": "a.tif", "remedy": "copy"},
            "seconds": {"stage": 1.0},
            "stale": "",
        },
    ),
    (
        WorkerDied(scene="a", step="infer", block=1, reason="gone"),
        {"event": "worker_died", "scene": "a", "step": "infer", "block": 1, "reason": "gone"},
    ),
    (
        WorkerDied(scene="a", step="survey", block=-1, reason="gone"),
        {"event": "worker_died", "scene": "a", "step": "survey", "reason": "gone"},
    ),
    (Stopping(), {"event": "stopping"}),
    (RunEnded(status="done"), {"event": "run_ended", "status": "done"}),
]


@pytest.mark.parametrize(("event", "line"), LOGGED, ids=lambda value: getattr(value, "kind", ""))
def test_a_line_of_the_log_has_the_fields_of_its_event(tmp_path: Path, event: Event, line: dict[str, Any]) -> None:
    with JsonLines(tmp_path / "log.jsonl") as log:
        log.event(event)
    (written,) = (tmp_path / "log.jsonl").read_text().splitlines()
    found = json.loads(written)
    assert found.pop("time") > 0
    assert found == line
    assert list(found) == list(line), "the order of fields is part of what readers of a log see"


def test_every_event_has_a_kind_and_a_scene() -> None:
    def leaves(kind: type[Event]) -> Iterator[type[Event]]:
        if kind not in (Event, RunEvent):
            yield kind
        for child in kind.__subclasses__():
            yield from leaves(child)

    assert {type(event) for event, _ in LOGGED} == set(leaves(Event)), "a new event needs a line above"
    assert all(event.kind and isinstance(event.scene, str) for event, _ in LOGGED)
