"""The lines that a person reads while a run goes on."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from hdm_pipeline.cli.progress import ProgressBar
from hdm_pipeline.errors import ReadError
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    Preparing,
    PreparingStep,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneStarted,
    Stopping,
    SupportChecked,
    WorkerDied,
)
from hdm_pipeline.reporting.support_text import STEPS

OFF = {"steps": 0, "reason": "off"}
EXAMPLE: dict[str, Any] = {"name": "good.tif", "leave_one_out_iou": 0.8, "contradicts": False, "note": ""}
FP32 = {"precision": "fp32", "runtime": "torch"}


def printed(*events: Event) -> list[str]:
    """What a terminal shows of some events, without the bars."""
    text = StringIO()
    with ProgressBar(Console(file=text, width=400)) as bar:
        for event in events:
            bar.event(event)
    return [line for line in text.getvalue().splitlines() if not line.startswith(("scenes ", "blocks "))]


def support(shots: int = 5, adaptation: dict[str, Any] | None = None, **more: Any) -> SupportChecked:
    facts = {"shots": shots, "adaptation": adaptation or OFF, "mode": FP32, "examples": [], **more}
    return SupportChecked(support={"flood": facts})


def test_preparing_says_what_takes_long() -> None:
    assert printed(Preparing(adapt=False)) == ["reading and checking the labelled examples"]
    assert "minutes" in printed(Preparing(adapt=True))[1]


def test_steps_of_the_preparation_are_a_bar_that_goes_when_it_is_done() -> None:
    text = StringIO()
    console = Console(file=text, width=200, force_terminal=True, color_system=None)
    with ProgressBar(console) as bar:
        for done, left in ((0, None), (40, 75.0)):
            step = PreparingStep(doing="adaptation", class_name="flood", done=done, total=280, seconds_left=left)
            bar.event(step)
            bar._bar.refresh()
        assert "trying to adapt (flood)" in text.getvalue()
        assert "40/280 at most 1 min 15 s left" in text.getvalue()
        bar.event(PreparingStep(doing="checking", class_name="flood", done=1, total=5, seconds_left=2.0))
        bar._bar.refresh()
        assert "checking the examples (flood)" in text.getvalue()
        bar.event(support(1))
        text.truncate(0)
        bar._bar.refresh()
        assert "checking" not in text.getvalue()


@pytest.mark.parametrize("doing", STEPS)
def test_no_step_of_the_preparation_is_cut_off_on_a_narrow_terminal(doing: str) -> None:
    text = StringIO()
    with ProgressBar(Console(file=text, width=80, force_terminal=True, color_system=None)) as bar:
        bar.event(PreparingStep(doing=doing, class_name="flood", done=121, total=140, seconds_left=1434.0))
        bar._bar.refresh()
    assert "121/140" in text.getvalue()
    assert "…" not in text.getvalue()


def test_what_was_found_out_is_told_with_names_as_they_are() -> None:
    facts = {"shots": 1, "adaptation": OFF, "mode": FP32, "examples": [{**EXAMPLE, "name": "chip [old].tif"}]}
    assert printed(SupportChecked(support={"wet [b]": facts})) == [
        "class wet [b]: 1 example: each half of it is found from the other with IoU 0.80; "
        "a second example would tell more",
        "  the network is used as it is",
    ]


def test_what_an_earlier_run_kept_is_told() -> None:
    assert (
        printed(support(1, kept=True))[1]
        == "  the network is used as it is; kept by an earlier run with the same examples"
    )


def test_a_faster_mode_and_a_doubtful_example_are_named() -> None:
    mode = {"precision": "bf16", "speedup": 1.96, "agreement": 0.99871}
    bad = {**EXAMPLE, "name": "bad [b].tif", "contradicts": True, "note": "the others do not find it"}
    lines = printed(support(2, mode=mode, examples=[EXAMPLE, bad]))
    assert lines[0].startswith("class flood: 2 examples disagree: bad [b].tif contradicts the others; ")
    assert "bf16 is 2.0 times as fast as fp32, and 99.87%" in lines[2]
    assert lines[3:] == ["check example bad [b].tif: the others do not find it"]


def test_a_quarantined_scene_is_named_with_its_remedy() -> None:
    event = SceneQuarantined(scene="a", error=ReadError("it is truncated", remedy="copy it again"), seconds={})
    assert printed(event) == ["quarantined a: it is truncated", "  remedy: copy it again"]
    event = SceneQuarantined(scene="a", error=ReadError("it is truncated"), seconds={})
    assert printed(event) == ["quarantined a: it is truncated"]


def test_bars_reach_their_end_without_the_blocks_of_a_quarantined_scene() -> None:
    text = StringIO()
    with ProgressBar(Console(file=text, width=400)) as bar:
        bar.event(RunStarted(scenes=2, done_before=0))
        for scene in ("a", "b"):
            bar.event(SceneStarted(scene=scene, shape=(1, 1, 9, 9), tiles=9, blocks=3, blocks_done=1, warnings=()))
        for block in (1, 2):
            bar.event(BlockInferred(scene="a", block=block, tiles=3, skipped=0, seconds=0.1))
        bar.event(BlockInferred(scene="b", block=1, tiles=3, skipped=0, seconds=0.1))
        bar.event(SceneQuarantined(scene="b", error=ReadError("it is truncated"), seconds={}, stale=".hdm/stale/b"))
        bar.event(SceneDone(scene="a", outputs=(), tiles=9, blocks=3, seconds={}, warnings=(), measures={}))
    assert "5/5" in text.getvalue()
    assert "moved to .hdm/stale/b" in text.getvalue()
    assert bar.told == {"b"}


def test_a_death_and_a_stop_are_told() -> None:
    (line,) = printed(WorkerDied(scene="a", step="infer", block=3, reason="out of memory"))
    assert line == "a worker died at step infer of a: out of memory"
    assert printed(Stopping())[0].startswith("stopping after the blocks")
    step = PreparingStep(doing="adaptation", class_name="water", done=1, total=9, seconds_left=None)
    assert any(line.startswith("stopping before the examples are ready") for line in printed(step, Stopping()))
