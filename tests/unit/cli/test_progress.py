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
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneStarted,
    Stopping,
    SupportChecked,
    WorkerDied,
)

OFF = {"steps": 0, "reason": "off"}
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


def test_one_example_is_one_example() -> None:
    assert printed(support(1)) == ["class flood: 1 example; the network is used as it is"]
    assert printed(support(2)) == ["class flood: 2 examples; the network is used as it is"]


@pytest.mark.parametrize(
    ("steps", "cached", "said"),
    [
        (0, False, "the network is used as it is, because adapting it to them would not make it better"),
        (0, True, "the network is used as it is, because adapting it to them would not make it better"),
        (1, False, "the network was adapted to them in 1 training step"),
        (80, True, "the network was adapted to them in 80 training steps by an earlier run"),
    ],
)
def test_what_adaptation_gave_is_said_in_words(steps: int, cached: bool, said: str) -> None:
    adaptation = {"steps": steps, "held_out_iou": {"0": 0.5}, "seconds": 1.0, "cached": cached}
    assert printed(support(5, adaptation)) == [f"class flood: 5 examples; {said}"]


def test_a_faster_mode_and_a_doubtful_example_are_named() -> None:
    mode = {"precision": "bf16", "speedup": 1.96, "agreement": 0.99871}
    examples = [
        {"name": "good.tif", "contradicts": False, "note": ""},
        {"name": "bad.tif", "contradicts": True, "note": "the others do not find it"},
    ]
    lines = printed(support(2, mode=mode, examples=examples))
    assert "bf16 is 2.0 times as fast as fp32, and 99.87%" in lines[1]
    assert lines[2:] == ["check example bad.tif: the others do not find it"]


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
    assert "Ctrl-C again" in printed(Stopping())[0]
