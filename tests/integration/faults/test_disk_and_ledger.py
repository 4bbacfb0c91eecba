"""A full disk, a damaged ledger, lost files, a second run, Ctrl-C, a clock that goes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hdm_pipeline.errors import LedgerError, OutputError
from hdm_pipeline.options import RunOptions
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Undisturbed, Workbench, published, steps_of
from tests.integration.faults.victim import kill_at, run_with_signal


def test_a_full_disk_is_said_and_survived(bench: Workbench, undisturbed: Undisturbed, small_disk: Path) -> None:
    file = bench.pipeline("full", output={"directory": str(small_disk / "out")})
    with pytest.raises(OutputError, match="full") as caught:
        Pipeline.from_yaml(file).run()
    assert "free space" in caught.value.remedy
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    Pipeline.from_yaml(file).run()
    assert published(small_disk / "out") == undisturbed.files


def test_an_output_that_cannot_be_written_is_said(bench: Workbench) -> None:
    (bench.root / "file").write_text("not a folder")
    file = bench.pipeline(output={"directory": "file/out"})
    with pytest.raises(OutputError) as caught:
        Pipeline.from_yaml(file).run()
    assert caught.value.remedy


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_a_damaged_ledger_is_refused_and_can_be_rebuilt(bench: Workbench, damage: str) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline())
    pipeline.run()
    before, steps = published(bench.root / "out"), steps_of(bench.root / "out")
    ledger = pipeline.workspace.ledger
    content = ledger.read_bytes()
    if damage == "truncated":
        ledger.write_bytes(content[: len(content) // 2])
    else:
        ledger.write_bytes(b"not a ledger" * 1000)
    with pytest.raises(LedgerError) as caught:
        pipeline.run()
    assert "--rebuild-ledger" in caught.value.remedy
    assert published(bench.root / "out") == before
    summary = pipeline.run(options=RunOptions(rebuild_ledger=True))
    assert len(summary.done) == 3
    assert published(bench.root / "out") == before
    assert steps_of(bench.root / "out")["infer"] == 2 * steps["infer"]


def test_lost_scores_are_made_again(bench: Workbench, undisturbed: Undisturbed) -> None:
    """Files and receipts disagree: the receipts say all blocks are inferred, the files are gone."""
    file = bench.pipeline("lost")
    kill_at(file, "event:stitch", 3)
    for folder in (bench.root / "lost" / ".hdm" / "scenes").glob("*/score-*"):
        shutil.rmtree(folder)
    summary = Pipeline.from_yaml(file).run()
    assert summary.exit_code == 0
    assert published(bench.root / "lost") == undisturbed.files


def test_a_second_run_on_one_output_is_refused(bench: Workbench) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline())
    pipeline.workspace.create()
    with RunLock(pipeline.workspace.lock, "night shift:4711"), pytest.raises(OutputError) as caught:
        pipeline.run()
    assert "night shift:4711" in str(caught.value)
    assert len(pipeline.run().done) == 3


def test_an_interrupt_finishes_what_is_in_flight(bench: Workbench, undisturbed: Undisturbed) -> None:
    file = bench.pipeline("interrupted")
    assert run_with_signal(file, "event:infer", 2, signal.SIGINT) == 0
    report = json.loads((bench.root / "interrupted" / "run.json").read_text())
    assert report["status"] == "stopped"
    Pipeline.from_yaml(file).run()
    assert published(bench.root / "interrupted") == undisturbed.files
    assert steps_of(bench.root / "interrupted") == undisturbed.steps


def test_a_clock_that_goes_back_changes_nothing(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline())
    pipeline.run()
    before = published(bench.root / "out")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86_400 * 365)
    again = pipeline.run()
    assert (again.done, again.done_before) == ((), 3)
    os.utime(bench.scenes / "small.tif", (0, 0))
    changed = pipeline.run()
    assert changed.done == ("small",)
    assert published(bench.root / "out")["large/mask.tif"] == before["large/mask.tif"]
