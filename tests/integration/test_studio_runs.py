"""Runs of the studio: real processes, started here and elsewhere, watched and stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hdm_pipeline import Session
from hdm_pipeline.session.runs import RunState
from hdm_studio.errors import ConflictError
from hdm_studio.runs import Runs
from tests.integration.conftest import Workbench


def runs_of(bench: Workbench, file: Path) -> Runs:
    session = Session(file)
    return Runs(file, lambda skip: session.follow(skip=skip), session.interrupt_run)


@pytest.fixture
def slow(bench: Workbench) -> Path:
    """A pipeline whose run takes a while: of every scene that is opened, half a second."""
    for number in range(9):
        shutil.copy(bench.scenes / "small.tif", bench.scenes / f"slow{number}.tif")
    return bench.pipeline(input={"reader": "faulty", "uri": "scenes/slow*"})


def wait_for(runs: Runs, right: Callable[[RunState], bool]) -> tuple[RunState, bool]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        state, ours = runs.state()
        if right(state):
            return state, ours
        time.sleep(0.05)
    raise AssertionError(runs.state())


def ended(state: RunState) -> bool:
    return state.state not in ("running", "stopping")


def test_what_a_run_fails_by_is_told_with_its_remedy(bench: Workbench) -> None:
    runs = runs_of(bench, bench.pipeline())
    bench.pipeline(support={"classes": []})  # edited since
    runs.start()
    state, ours = wait_for(runs, ended)
    assert (state.state, ours) == ("failed", True)
    assert state.error is not None
    assert "support.classes" in state.error["what"] + state.error["where"]


def test_a_run_is_stopped_after_what_is_being_worked_on(bench: Workbench, slow: Path) -> None:
    runs = runs_of(bench, slow)
    assert runs.state()[0].state == "idle"
    with pytest.raises(ConflictError, match="no run"):
        runs.stop()
    runs.start()
    assert runs.state() == (RunState("running", "starting"), True)
    process = runs.running_process()
    assert process is not None
    assert os.getsid(process) == process  # neither the studio's end nor Ctrl-C in its terminal ends it
    with pytest.raises(ConflictError, match="goes on"):
        runs.start()
    wait_for(runs, lambda state: state.phase == "scenes")
    runs.stop()
    state, ours = wait_for(runs, ended)
    assert (state.state, state.error, ours) == ("stopped", None, True)
    assert state.done < 9


def test_a_run_that_hangs_is_stopped_all_the_same(bench: Workbench) -> None:
    shutil.copy(bench.scenes / "small.tif", bench.scenes / "hang.tif")
    runs = runs_of(bench, bench.pipeline(input={"reader": "faulty", "uri": "scenes/hang*"}))
    runs.start()
    wait_for(runs, lambda state: state.phase == "scenes")
    runs.stop()
    assert wait_for(runs, lambda state: state.state == "stopping")[0].error is None
    runs.stop()
    runs.stop()
    assert wait_for(runs, ended)[0].state == "stopped"


def test_a_run_that_was_started_elsewhere_is_watched_and_stopped(bench: Workbench, slow: Path) -> None:
    runs = runs_of(bench, slow)
    elsewhere = subprocess.Popen([sys.executable, "-m", "hdm_pipeline", "run", str(slow)], stderr=subprocess.DEVNULL)
    state, ours = wait_for(runs, lambda state: state.phase == "scenes")
    assert (state.total, ours) == (9, False)
    assert str(elsewhere.pid) in state.owner
    with pytest.raises(ConflictError, match="goes on"):
        runs.start()
    runs.stop()
    assert wait_for(runs, ended)[0].state == "stopped"
    assert elsewhere.wait(timeout=120) == 0
