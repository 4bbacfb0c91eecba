"""From the events that `hdm-pipeline run --events` prints to per cent and lines of text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a run is, by its events.

    Attributes:
        percent: 0 to 100.
        summary: the last event, which says how the run ended; None before.
        warnings: scenes with a warning that their result may be nonsense.
    """

    percent: float = 0.0
    summary: Mapping[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    _scenes: int = 0
    _finished: int = 0
    _blocks: dict[str, list[int]] = field(default_factory=dict)

    def line(self, line: str) -> tuple[list[str], list[str]]:
        """Take in a line that the run printed.

        Returns:
            What to tell the user, and what to warn of; a line that is no event is told as it is.
        """
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            return ([line.rstrip()] if line.strip() else []), []
        told, warned = self._event(event)
        if self._scenes:
            under_way = sum(done / total for done, total in self._blocks.values() if total)
            self.percent = max(self.percent, min(100.0, 100.0 * (self._finished + 0.98 * under_way) / self._scenes))
        return told, warned

    def _event(self, event: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        scene = str(event.get("scene", ""))
        match event["event"]:
            case "run_started":
                self._scenes = int(event["scenes"])
                done = event["done_before"]
                return [f"{self._scenes} scenes to do, {done} done by earlier runs"], []
            case "preparing":
                more = "; adapting the network to them can take minutes" if event["adapt"] else ""
                return [f"reading and checking the labelled examples{more}"], []
            case "preparing_step" if not event["done"]:
                of_class = f" of {event['class_name']}" if event["class_name"] else ""
                return [f"preparing the examples{of_class}: {event['doing']}"], []
            case "support_checked":
                return _support(event["support"])
            case "scene_started":
                self._blocks[scene] = [int(event["blocks_done"]), int(event["blocks"])]
                return [f"{scene}: {event['tiles']} tiles"], []
            case "step_done" if event.get("step") == "infer" and scene in self._blocks:
                self._blocks[scene][0] += 1
                return [], []
            case "scene_done":
                return self._ended(scene, [f"{scene}: done"], self._warned(scene, event["warnings"]))
            case "scene_quarantined":
                return self._ended(scene, [], [f"{scene} is quarantined: {_error(event['error'])}"])
            case "worker_died":
                return [], [f"a worker died at step {event['step']} of {scene}: {event['reason']}"]
            case "stopping":
                return ["stopping after what is being worked on"], []
            case "summary":
                self.summary = event
                self.percent = 100.0
        return [], []

    def _ended(self, scene: str, told: list[str], warned: list[str]) -> tuple[list[str], list[str]]:
        self._blocks.pop(scene, None)
        self._finished += 1
        return told, warned

    def _warned(self, scene: str, warnings: list[Mapping[str, Any]]) -> list[str]:
        suspect = [one for one in warnings if one.get("suspect")]
        if suspect:
            self.warnings.append(scene)
        return [f"{scene}: {_error(one)}" for one in suspect]


def _support(classes: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    told = [f"class {name}: {facts['shots']} example(s)" for name, facts in classes.items()]
    warned = []
    for facts in classes.values():
        warned += [f"example {one.get('example', '')}: {_error(one)}" for one in facts.get("warnings", ())]
        warned += [
            f"check example {one['name']}: {one.get('note', '')}"
            for one in facts.get("examples", ())
            if one.get("contradicts")
        ]
    return told, warned


def _error(error: Mapping[str, Any]) -> str:
    """What is wrong, and what to do."""
    remedy = error.get("remedy") or ""
    return f"{error.get('what', '')}" + (f" (remedy: {remedy})" if remedy else "")


def failure_text(code: int, errors: str) -> str:
    """Why a command failed, by what it said last.

    Args:
        code: its exit code; negative for a signal.
        errors: the last lines of its standard error.
    """
    if "No such option: --events" in errors:
        return "The installed hdm_pipeline is too old for this plug-in.\nUpdate it to the version of the plug-in."
    if lacking := re.search(r"No module named '?(\w+)", errors):
        return (
            f"The Python of the settings has no {lacking[1]}.\n"
            "Install it there (pip install hdm-pipeline), or set the path of another one."
        )
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"hdm_pipeline {how}" + (f":\n{errors}" if errors else "")
