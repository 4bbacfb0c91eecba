"""What a run says of the labelled examples: no figure that was not measured."""

from __future__ import annotations

from typing import Any

import pytest

from hdm_pipeline.reporting.support_text import left_text, step_text, support_lines

OFF: dict[str, Any] = {"steps": 0, "reason": "off"}
EXPLAINED = {"steps": 0, "held_out_iou": {"0": 0.97}, "seconds": 0.0, "cached": False}


def example(iou: float | None, name: str = "a.tif", note: str = "", *, contradicts: bool = False) -> dict[str, Any]:
    return {"name": name, "leave_one_out_iou": iou, "contradicts": contradicts, "note": note}


def lines(*examples: dict[str, Any], adaptation: dict[str, Any] = OFF, **calibration: Any) -> list[str]:
    facts: dict[str, Any] = {"shots": len(examples), "examples": list(examples), "adaptation": adaptation}
    if calibration:
        facts["calibration"] = {"temperature": 1.0, "reason": "", "calibration_error": None, **calibration}
    return support_lines("flood", facts)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([example(0.94), example(0.94)], "2 examples agree: each is found from the others with IoU 0.94"),
        ([example(0.8), example(0.9)], "2 examples agree: each is found from the others with IoU 0.80 to 0.90"),
        ([example(0.4), example(0.9)], "2 examples agree in part: each is found from the others with IoU 0.40 to 0.90"),
        ([example(0.2), example(0.3)], "2 examples are unlike: each is found from the others with IoU 0.20 to 0.30"),
        (
            [example(0.9), example(None), example(0.9)],
            "3 examples agree: each is found from the others with IoU 0.90; 1 example cannot be judged",
        ),
        (
            [example(0.9), example(1.0, note="has 9 labelled pixels, too few to judge it by")],
            "2 examples agree: each is found from the others with IoU 0.90; 1 example cannot be judged",
        ),
        (
            [example(0.9), example(0.1, "b.tif", "is odd", contradicts=True)],
            "2 examples disagree: b.tif contradicts the others; from the others, the rest is found with IoU 0.90",
        ),
        (
            [example(0.1, f"{name}.tif", "is odd", contradicts=True) for name in "abcd"],
            "4 examples disagree: a.tif, b.tif, c.tif and 1 more contradict the others",
        ),
        (
            [example(0.8)],
            "1 example: each half of it is found from the other with IoU 0.80; a second example would tell more",
        ),
        (
            [example(0.2)],
            "1 example: each half of it is found from the other with IoU 0.20: check its labels, or add another",
        ),
        ([example(None)], "1 example: whether the labels agree cannot be told; look at the masks"),
    ],
)
def test_whether_examples_agree(examples: list[dict[str, Any]], said: str) -> None:
    assert lines(*examples) == [f"class flood: {said}", "  the network is used as it is"]


@pytest.mark.parametrize(("share", "told"), [(0.49, True), (0.5, False)])
def test_the_figures_of_strokes_say_little_about_edges(share: float, told: bool) -> None:
    strokes, whole = example(1.0) | {"labelled_share": share}, example(1.0) | {"labelled_share": 1.0}
    for examples in ((strokes, whole), (strokes,)):
        line = lines(*examples)[0]
        assert ("IoU 1.00 on the pixels that were drawn, which says little about edges" in line) == told
    unjudged = example(None) | {"labelled_share": share}
    assert "edges" not in lines(unjudged, whole)[0]


@pytest.mark.parametrize(
    ("adaptation", "said"),
    [
        (EXPLAINED, "the network is used as it is: it finds them so well that adapting it to them would not help"),
        (
            {"steps": 0, "held_out_iou": {}, "cached": False},
            "the network is used as it is: too few labelled pixels could tell whether adapting it helps",
        ),
        (
            {"steps": 0, "held_out_iou": {"0": 0.8, "20": 0.7}, "cached": True},
            "adapting the network to them would not help (IoU of held-out parts 0.80 without, 0.70 with)",
        ),
        ({"steps": 0, "held_out_iou": {"0": 0.6, "20": 0.7}}, "adapting the network to them would not help"),
        ({"steps": 0, "held_out_iou": {"0": None, "20": None}}, "adapting the network to them would not help"),
        ({"steps": 1, "held_out_iou": {}, "cached": False}, "the network was adapted to them in 1 training step"),
        (
            {"steps": 60, "held_out_iou": {"0": 0.6, "20": 0.65, "40": 0.7}, "cached": True},
            "the network was adapted to them in 60 training steps by an earlier run "
            "(IoU of held-out parts 0.60 without, 0.70 with)",
        ),
    ],
)
def test_what_adapting_gave(adaptation: dict[str, Any], said: str) -> None:
    assert lines(example(0.9), example(0.9), adaptation=adaptation)[1] == f"  {said}"


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ({"reason": "off"}, ""),
        ({"reason": "one example cannot be held out"}, "; its scores are as they come"),
        (
            {"temperature": 1.0, "calibration_error": [0.02, 0.02]},
            "; its scores are as sure as held-out examples say",
        ),
        (
            {"temperature": 1.5, "calibration_error": [0.0712, 0.0304]},
            "; its scores were calibrated by held-out examples (error 0.071 before, 0.030 after)",
        ),
    ],
)
def test_how_sure_scores_are(calibration: dict[str, Any], said: str) -> None:
    assert lines(example(0.9), example(0.9), **calibration)[1] == f"  the network is used as it is{said}"


def test_a_step_has_a_name_and_time_left() -> None:
    assert step_text("adaptation", "flood") == "trying to adapt (flood)"
    assert step_text("reading", "") == "reading the examples"
    assert left_text(75.0, at_most=True) == "at most 1 min 15 s left"
    assert left_text(75.0, at_most=False) == "1 min 15 s left"
    assert left_text(None, at_most=True) == left_text(0.2, at_most=True) == ""
