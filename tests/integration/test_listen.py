"""A watched folder, from deliveries to products, with the real command and real runs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.listening.worker import run_delivery
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status
from tests.integration.conftest import Workbench, write_scene
from tests.listening import ListenerProcess

QUIET = 1.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdm_pipeline.delivery.postman.FIRST_PAUSE", 0.01)


@pytest.fixture
def pipeline(bench: Workbench) -> Path:
    """A pipeline without an archive that watches `coming`."""
    (bench.root / "coming").mkdir()
    path = bench.pipeline(input={}, listen={"folder": "coming", "quiet": QUIET})
    lines = [line for line in path.read_text().splitlines() if line.strip() != "uri: scenes"]
    path.write_text("\n".join(lines))
    return path


def deliver(pipeline: Path, name: str, scene: str, seed: int) -> Path:
    """A delivery of one scene, under its final name at once."""
    folder = pipeline.parent / "coming" / name
    write_scene(folder / f"{scene}.tif", 40, 50, seed)
    return folder


def worker_of(listener: ListenerProcess) -> int:
    """The process id of the worker, as soon as there is one."""
    own = listener.process.pid
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for child in Path(f"/proc/{own}/task/{own}/children").read_text().split():
            # Not before it is itself: a child that is stopped before `exec` stops its parent, too.
            with suppress(FileNotFoundError, ProcessLookupError):  # another one, that has ended since
                if b"hdm_pipeline.listening.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("no worker")


def masks(pipeline: Path) -> set[str]:
    return {path.parent.name for path in (pipeline.parent / "out").glob("*/mask.tif")}


def test_each_folder_is_a_delivery_and_what_was_done_stays(pipeline: Path) -> None:
    deliver(pipeline, "first", "a", 1)
    with ListenerProcess(pipeline) as listener:
        assert listener.wait("done")["scenes"] == 1
        assert masks(pipeline) == {"a"}

        slow = pipeline.parent / "coming" / "second"
        whole = write_scene(pipeline.parent / "whole.tif", 40, 50, 2).read_bytes()
        slow.mkdir()
        for part in range(10):  # a slow copy: longer than the quiet time altogether, never nearly quiet for so long
            with (slow / "b.tif").open("ab") as file:
                file.write(whole[part * len(whole) // 10 : (part + 1) * len(whole) // 10])
            time.sleep(QUIET / 5)
        assert listener.wait("done")["scenes"] == 1
        assert masks(pipeline) == {"a", "b"}
        assert [event["event"] for event in listener.seen].count("complete") == 2

        hidden = deliver(pipeline, ".third", "c", 3)
        time.sleep(2 * QUIET)
        assert masks(pipeline) == {"a", "b"}
        hidden.rename(hidden.with_name("third"))
        listener.wait("done")
        assert masks(pipeline) == {"a", "b", "c"}

        write_scene(pipeline.parent / "coming" / "first" / "late.tif", 40, 50, 4)
        assert listener.wait("done")["scenes"] == 2
        assert listener.stop() == 0
    status = output_status(pipeline.parent / "out")
    assert status["scenes"] == {"done": 4}
    assert status["vanished"] == []
    assert {path.name for path in (pipeline.parent / "coming").iterdir()} == {"first", "second", "third"}

    with ListenerProcess(pipeline) as listener:  # what was done is not done again
        time.sleep(3 * QUIET)
        assert listener.stop(signal.SIGINT) == 0
    assert "complete" not in {event["event"] for event in listener.seen}


def test_deliveries_that_cannot_be_used_stop_nobody(pipeline: Path) -> None:
    coming = pipeline.parent / "coming"
    (coming / "texts").mkdir()
    (coming / "texts" / "readme.txt").write_text("no image")
    (coming / "broken").mkdir()
    (coming / "broken" / "x.tif").write_bytes(b"II*\0 no more")
    (coming / "loose.tif").write_bytes(b"II*\0 no more")
    with ListenerProcess(pipeline) as listener:
        outcomes = {listener.wait("complete")["delivery"] for _ in range(2)}
        deliver(pipeline, "good", "good", 1)
        listener.wait("done")
    kinds = [event["event"] for event in listener.seen]
    assert len(outcomes) == 2
    assert {"empty", "quarantined", "loose files"} <= set(kinds)
    assert masks(pipeline) == {"good"}
    told = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "listen", str(pipeline), "--status"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "not running" in told
    assert "1 done, 1 empty, 1 quarantined" in told


@pytest.mark.long
def test_what_failed_is_done_again_or_dropped_by_a_command(pipeline: Path) -> None:
    coming = pipeline.parent / "coming"
    (coming / "broken").mkdir()
    (coming / "broken" / "x.tif").write_bytes(b"II*\0 no more")

    def ask(*options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "hdm_pipeline", "listen", str(pipeline), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    with ListenerProcess(pipeline) as listener:
        delivery = listener.wait("quarantined")["delivery"]
        assert ask("--again", "0" * 32)[0] == 2
        code, text = ask("--again", delivery)
        assert (code, "the listener does it now" in text) == (0, True)
        assert listener.wait("again")["delivery"] == delivery
        assert listener.wait("quarantined")["delivery"] == delivery
        assert f"quarantined {delivery}" in ask("--status")[1]
    code, text = ask("--drop", delivery)
    assert (code, "when it is started" in text) == (0, True)
    with ListenerProcess(pipeline) as listener:
        assert listener.wait("drop")["delivery"] == delivery
    text = ask("--status")[1]
    assert "1 dropped" in text
    assert delivery not in text
    assert (coming / "broken" / "x.tif").exists()


def test_a_killed_listener_goes_on_and_only_one_may_run(pipeline: Path) -> None:
    deliver(pipeline, "first", "a", 1)
    write_scene(pipeline.parent / "coming" / "first" / "large.tif", 900, 900, 5)
    with ListenerProcess(pipeline) as listener:
        listener.wait("complete")
        second = subprocess.run(
            [sys.executable, "-m", "hdm_pipeline", "listen", str(pipeline)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "another listener uses this inbox" in second.stderr
        listener.kill()
    with ListenerProcess(pipeline) as listener:
        assert listener.wait("done")["scenes"] == 2
    assert masks(pipeline) == {"a", "large"}


@pytest.mark.long
def test_a_worker_that_dies_takes_nobody_with_it(pipeline: Path) -> None:
    """The run is tried again; the listener goes on meanwhile."""
    deliver(pipeline, "first", "a", 1)
    with ListenerProcess(pipeline) as listener:
        listener.wait("complete")
        worker = worker_of(listener)
        os.kill(worker, signal.SIGKILL)
        retry = listener.wait("retry")
        assert retry["outcome"] == "crashed"
        assert "signal 9" in retry["error"]["remedy"]
        assert listener.wait("done")["scenes"] == 1


@pytest.mark.long
def test_a_worker_that_hangs_is_replaced(pipeline: Path) -> None:
    deliver(pipeline, "first", "a", 1)
    with ListenerProcess(pipeline, "execution.step_timeout=5") as listener:
        listener.wait("complete")
        worker = worker_of(listener)
        os.kill(worker, signal.SIGSTOP)
        assert "no sign of life" in listener.wait("retry")["error"]["remedy"]
        assert not Path(f"/proc/{worker}").exists()


@pytest.mark.long
def test_trouble_of_the_pipeline_is_no_fault_of_a_delivery(pipeline: Path) -> None:
    deliver(pipeline, "first", "a", 1)
    weights = pipeline.parent / "mean-color.safetensors"
    with ListenerProcess(pipeline) as listener:
        shutil.move(weights, weights.with_suffix(".away"))
        retry = listener.wait("retry")
        assert retry["error"]["type"] == "WeightsError"
        shutil.move(weights.with_suffix(".away"), weights)
        assert listener.wait("done")["scenes"] == 1


def test_what_a_peer_refuses_is_final_and_listed_and_a_peer_that_is_away_is_tried_again(bench: Workbench) -> None:
    peer, answers = bench.root / "peer", io.StringIO()
    send = {"to": f"folder://{peer}", "products": ["mask"]}
    path = bench.pipeline(output={"directory": "out", "products": ["mask"], "send": send})

    def ended() -> tuple[str, dict[str, str]]:
        answer = run_delivery(Pipeline.from_yaml(path), [str(bench.root / "scenes")], answers)
        return answer["outcome"], answer.get("error", {})

    assert ended()[0] == "trouble"  # the folder is not there
    peer.mkdir()
    (peer / "refuses").write_text("mask")
    outcome, error = ended()
    assert (outcome, error["type"]) == ("refused", "PeerRefusedError")
    assert error["remedy"] == "a peer refuses products of 3 scenes: see `status`"
    (bench.root / "scenes" / "broken.tif").write_bytes(b"II*\0 no more")
    outcome, error = ended()
    assert outcome == "quarantined"
    assert "a peer refuses" in error["remedy"]
    (bench.root / "scenes" / "broken.tif").unlink()
    (peer / "refuses").unlink()
    assert ended() == ("done", {})


def test_what_is_wrong_is_told_before_anything_is_taken_in(bench: Workbench) -> None:
    def told(**listen: object) -> tuple[int, str]:
        sections: dict[str, Any] = {"listen": listen} if listen else {}
        path = bench.pipeline(**sections)
        ended = subprocess.run(
            [sys.executable, "-m", "hdm_pipeline", "listen", str(path)], capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stderr

    for listen, words in (
        ({}, "does not say what to listen to"),
        ({"quiet": 3}, "nothing to listen to"),
        ({"folder": "nowhere"}, "no such folder"),
        ({"receive": {"fax": {}}}, "no plug-in called 'fax'"),
        ({"receive": {"dicom": {"prot": 1}}}, "unknown option 'prot'"),
        ({"receive": {"dicom": {"port": 0}}}, "a listener with TLS needs a certificate"),
    ):
        code, text = told(**listen)
        assert code == 2, text
        assert words in text
    pipeline = bench.pipeline(listen={"receive": {"dicom": {"port": 0, "plain": True}}})
    pipeline.write_text(pipeline.read_text().replace("uri: scenes", "exclude: []"))
    ended = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "run", str(pipeline)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "use `listen` instead of `run`" in ended.stderr
