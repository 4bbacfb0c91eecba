"""What a run found out about the labelled examples, in words: two lines a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hdm_pipeline.errors import counted
from hdm_pipeline.reporting.plan_text import duration

AGREE = 0.7
"""Least IoU of every example by the others from which on they are said to agree."""

APART = 0.5
"""IoU that no example reaches where they are unlike: the class looks different in each, or labels are wrong."""

HALVES_AGREE = 0.5
"""The same of one example's halves, which show less of the class than a second example would."""

STEPS = {
    "reading": "reading the examples",
    "loading": "loading the network",
    "reduction": "choosing the scale",
    "adaptation": "trying to adapt",
    "encoding": "encoding the examples",
    "checking": "checking the examples",
}
"""What the steps of `PreparingStep` are called."""

CLEAR = 0.02
"""Gain in IoU that a reader takes for one."""

SPARSE = 0.5
"""Share of an example's pixels below which, if labelled, its IoU says little about edges: few of them were drawn."""

_SPARSELY = " on the pixels that were drawn, which says little about edges"

INTERVALS_OF_SPARSE = (
    "Intervals rest on labels of less than half of an example: edges were hardly checked, "
    "and the truth may lie outside."
)
"""What is said beside areas and volumes where `is_sparse` holds."""

_MOST_NAMED = 3

_ONLY_BACKGROUND = "shows background only"
"""How the note of an example begins that no IoU is told of (`support.quality`)."""

Facts = Mapping[str, Any]
"""One class's entry of `support` in `run.json`."""


def support_lines(name: str, facts: Facts) -> list[str]:
    """What was found out about a class: whether its examples agree, and what is made of it.

    Args:
        name: of the class.
        facts: its entry in `run.json`.
    """
    shots = counted(facts["shots"], "example")
    kept = "; kept by an earlier run with the same examples" if facts.get("kept") else ""
    return [f"class {name}: {shots}{_agreement(facts['examples'])}", f"  {_network(facts)}{kept}"]


def _agreement(examples: Sequence[Facts]) -> str:
    """Whether the examples agree, with the figures that say so."""
    doubtful = [example for example in examples if example["contradicts"]]
    if doubtful:
        named = ", ".join(example["name"] for example in doubtful[:_MOST_NAMED])
        more = f" and {len(doubtful) - _MOST_NAMED} more" if len(doubtful) > _MOST_NAMED else ""
        verb = "contradicts" if len(doubtful) == 1 else "contradict"
        rest = [e["leave_one_out_iou"] for e in examples if _is_judged(e) and not e["contradicts"]]
        found = f"; from the others, the rest is found with IoU {_span(rest)}{_where(examples)}" if rest else ""
        return f" disagree: {named}{more} {verb} the others{found}"
    others = [example for example in examples if example["note"].startswith(_ONLY_BACKGROUND)]
    examples = [example for example in examples if example not in others]
    beside = f"; {counted(len(others), 'example')} beside {'shows' if len(others) == 1 else 'show'} background only"
    return _agreement_of_shown(examples) + (beside if others else "")


def _agreement_of_shown(examples: Sequence[Facts]) -> str:
    """The same of examples that show the class and do not contradict each other."""
    known = [example["leave_one_out_iou"] for example in examples if _is_judged(example)]
    if not known:
        return ": whether the labels agree cannot be told; look at the masks"
    if len(examples) == 1:
        found = f": each half of it is found from the other with IoU {known[0]:.2f}{_where(examples)}"
        enough = known[0] >= HALVES_AGREE
        return f"{found}; a second example would tell more" if enough else f"{found}: check its labels, or add another"
    untold = (
        f"; {counted(len(examples) - len(known), 'example')} cannot be judged" if len(known) < len(examples) else ""
    )
    agree = "agree" if min(known) >= AGREE else "agree in part" if max(known) >= APART else "are unlike"
    return f" {agree}: each is found from the others with IoU {_span(known)}{_where(examples)}{untold}"


def is_sparse(examples: Sequence[Facts]) -> bool:
    """Whether less than half of an example was labelled whose IoU is told: strokes, not a whole mask."""
    return any(_is_judged(one) and one.get("labelled_share", 1.0) < SPARSE for one in examples)


def _where(examples: Sequence[Facts]) -> str:
    """What the figures rest on, where that is little."""
    return _SPARSELY if is_sparse(examples) else ""


def _is_judged(example: Facts) -> bool:
    """Whether its IoU says something: it has one, and does not rest on a few pixels."""
    return example["leave_one_out_iou"] is not None and "too few to judge" not in example["note"]


def _span(values: Sequence[float]) -> str:
    """One figure where all are alike, else the lowest and the highest."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _network(facts: Facts) -> str:
    """What becomes of the network's weights and of the scores."""
    return f"{_adapted(facts['adaptation'])}; {_calibrated(facts.get('calibration'))}".removesuffix("; ")


def _adapted(adaptation: Facts) -> str:
    held_out = adaptation.get("held_out_iou")
    if held_out is None:
        return "the network is used as it is"
    figures = {int(steps): iou for steps, iou in held_out.items() if iou is not None}
    if adaptation["steps"]:
        steps = counted(adaptation["steps"], "training step")
        earlier = " by an earlier run" if adaptation["cached"] else ""
        return f"the network was adapted to them in {steps}{earlier}{_gain(figures)}"
    if not held_out:
        return "the network is used as it is: too few labelled pixels could tell whether adapting it helps"
    if len(held_out) == 1 and figures:  # it was not tried
        return "the network is used as it is: it finds them so well that adapting it to them would not help"
    # Adapting is tried on smaller images. What is better there may still be worse than what is used.
    gained = max(figures.values(), default=0.0) - figures.get(0, 0.0)
    return f"adapting the network to them would not help{_gain(figures) if gained < CLEAR else ''}"


def _gain(figures: Mapping[int, float]) -> str:
    """Held-out IoU before and after, where both were measured."""
    tried = {steps: iou for steps, iou in figures.items() if steps}
    if 0 not in figures or not tried:
        return ""
    return f" (IoU of held-out parts {figures[0]:.2f} without, {max(tried.values()):.2f} with)"


def _calibrated(calibration: Facts | None) -> str:
    if calibration is None or calibration["reason"] == "off":
        return ""
    if calibration["reason"]:
        return "its scores are as they come"
    error = calibration["calibration_error"]
    if calibration["temperature"] == 1 or error is None:
        return "its scores are as sure as held-out examples say"
    return f"its scores were calibrated by held-out examples (error {error[0]:.3f} before, {error[1]:.3f} after)"


def step_text(step: str, class_name: str) -> str:
    """What a step of the preparation is called, with its class."""
    told = STEPS.get(step, step)
    return f"{told} ({class_name})" if class_name else told


def left_text(seconds: float | None, *, at_most: bool) -> str:
    """Time left in a step; empty where nobody knows."""
    if seconds is None or seconds < 1:
        return ""
    return f"{'at most ' if at_most else ''}{duration(seconds)} left"
