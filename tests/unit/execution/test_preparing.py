"""The examples prepared in a thread: what is told where, how it fails, how it is stopped; and the driver beside it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from hdm_pipeline.errors import SupportError
from hdm_pipeline.execution.messages import InferTask, PublishTask, StageTask
from hdm_pipeline.execution.preparing import Equipment, Preparing
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.support.steps import OnStep, StepState
from tests.fake_executor import Bench

STEP = StepState("encoding", "flood", 1, 1, None)
BUNDLE = cast(ModelBundle, object())


def equipped(_result: str) -> Equipment:
    return Equipment(cast(Any, None), BUNDLE)


def test_steps_and_the_result_come_out_in_the_polling_thread() -> None:
    told: list[int] = []
    go_on = threading.Event()

    def work(on_step: OnStep) -> str:
        on_step(STEP)
        go_on.wait(30)
        return "done"

    preparing = Preparing(work, equipped, lambda _: told.append(threading.get_ident()))
    assert preparing.poll() is None
    go_on.set()
    found = preparing.poll(30)
    assert found is not None
    assert found.bundle is BUNDLE
    assert told == [threading.get_ident()]
    preparing.close()


def test_what_it_raises_is_raised_where_it_is_polled() -> None:
    def work(_on_step: OnStep) -> str:
        raise SupportError("an example is empty", where="a.tif", remedy="label it")

    preparing = Preparing(work, equipped, lambda _: None)
    with pytest.raises(SupportError, match="an example is empty"):
        preparing.poll(30)
    preparing.close()


def test_closing_ends_it_at_its_next_step() -> None:
    begun, steps = threading.Event(), []

    def work(on_step: OnStep) -> str:
        for number in range(1_000_000):
            steps.append(number)
            begun.set()
            on_step(STEP)
        return "never"

    preparing = Preparing(work, equipped, lambda _: None)
    assert begun.wait(30)
    preparing.close()
    assert len(steps) < 1_000_000


def test_scenes_are_staged_meanwhile_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": (64, 64), "b": (64, 64)})
    given_before: list[type] = []
    threshold = replace(bench.context.provenance, weights_hash="known now")
    complete = replace(bench.context, provenance=threshold)
    polls = iter(range(100))

    def equipment(_patience: float) -> Equipment | None:
        if next(polls) < 20:
            given_before[:] = [type(task) for task in bench.executor.given]
            return None
        return Equipment(complete, BUNDLE)

    bench.run(equipment=equipment)
    assert StageTask in given_before
    assert not {InferTask, PublishTask} & set(given_before)
    assert bench.executor.equipped_with == (complete, BUNDLE)
    assert bench.statuses() == {"a": "done", "b": "done"}
