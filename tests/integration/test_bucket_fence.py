"""A run that is publishing while another one takes its output over, in a bucket of a real server and on a disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hdm_pipeline.errors import LostLockError
from hdm_pipeline.output.fence import FRESH
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, RunStarted, SceneDone
from tests.integration.conftest import Workbench, published
from tests.lost_lock import THEIRS, quick_locks
from tests.s3_server import S3Server
from tests.until import until

NEVER = 3600.0
"""Seconds between two signs of life of a run that is to notice nothing by them."""

WRITES = ("put", "part", "complete", "create", "replace", "delete", "start")

BUCKET = {"directory": "s3://out/b"}


@pytest.fixture(autouse=True)
def _scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch" / "first"))


def _held(server: S3Server, key: str) -> bool:
    return any(one["fault"] == "hold" and key in one["key"] for one in server.log())


def _taken_over(server: S3Server) -> None:
    body = json.dumps({**THEIRS, "token": "theirs"}).encode()
    server.client().put_object(Bucket="out", Key="b/.hdm/run.lock", Body=body)


def _written(server: S3Server) -> list[str]:
    """What was written since the log was forgotten; writes on a condition that were refused are none."""
    return [one["key"] for one in server.log() if one["kind"] in WRITES and one["status"] < 300]


def test_after_the_write_that_was_under_way_nothing_of_the_scene_is_written(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_locks(monkeypatch, NEVER)
    server.fails("hold", kind="put", key="/mask.tif$", times=1)

    def take() -> None:
        until(lambda: _held(server, "/mask.tif"), seconds=120)
        _taken_over(server)
        server.forget()
        time.sleep(FRESH)
        server.heals()

    other = threading.Thread(target=take)
    other.start()
    with pytest.raises(LostLockError) as caught:
        Pipeline.from_yaml(bench.pipeline("b", output=BUCKET)).run()
    other.join()
    assert caught.value.where == "s3://out/b"
    [note] = _written(server)
    assert note.startswith("out/b/.hdm/published/large/")
    assert note.endswith(".lost")
    assert not server.keys("out", "b/middle/")


def test_a_scene_that_is_published_after_the_loss_is_not_touched(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench.pipeline("b", output=BUCKET)
    Pipeline.from_yaml(file).run()
    before = server.objects("out", "b/")
    quick_locks(monkeypatch, NEVER)

    def take(event: Event) -> None:
        if isinstance(event, RunStarted):
            _taken_over(server)
            server.forget()

    with pytest.raises(LostLockError):
        Pipeline.from_yaml(file, ["output.threshold=0.9"]).run(take)
    (bench.scenes / "small.tif").write_bytes(b"II*\0 no image")  # what is to be set aside for it stays, too
    server.client().delete_object(Bucket="out", Key="b/.hdm/run.lock")
    with pytest.raises(LostLockError):
        Pipeline.from_yaml(file).run(take)
    assert _written(server) == []
    after = server.objects("out", "b/")
    assert {key: after[key] for key in before} == before


def test_arrays_that_the_successor_shares_are_not_removed(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs with equal settings call their arrays the same, and of these nothing is to be kept."""
    quick_locks(monkeypatch, NEVER)
    work = {"executor": "inline", "work": "s3://out/cells"}
    file = bench.pipeline("b", output={**BUCKET, "keep": "nothing"}, execution=work)
    arrays: list[str] = []

    def take(event: Event) -> None:
        if isinstance(event, SceneDone) and not arrays:
            arrays.extend(server.keys("out", "cells/"))
            _taken_over(server)
            server.forget()

    with pytest.raises(LostLockError):
        Pipeline.from_yaml(file).run(take)
    assert arrays
    assert set(arrays) <= set(server.keys("out", "cells/"))
    assert not [one["key"] for one in server.log() if one["kind"] == "delete"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_workers_of_other_processes_ask_for_themselves(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, no_cluster: None
) -> None:
    quick_locks(monkeypatch, NEVER)

    def take(event: Event) -> None:
        if isinstance(event, RunStarted):
            _taken_over(server)

    execution = {"executor": "ray", "actors": 1, "threads": 1}
    with pytest.raises(LostLockError) as caught:
        Pipeline.from_yaml(bench.pipeline("b", output=BUCKET, execution=execution)).run(take)
    assert caught.value.where == "s3://out/b"
    assert not [key for key in server.keys("out", "b/") if "mask" in key or "/published/" in key]


def test_on_a_disk_nothing_is_put_in_place(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_locks(monkeypatch, NEVER)
    out = bench.root / "out"

    def take(event: Event) -> None:
        if isinstance(event, SceneDone):
            (out / ".hdm" / "run.lock").write_text(json.dumps(THEIRS))

    with pytest.raises(LostLockError) as caught:
        Pipeline.from_yaml(bench.pipeline("out")).run(take)
    assert caught.value.where == str(out)
    assert (out / "large" / "mask.tif").is_file()
    assert not (out / "small" / "mask.tif").exists()


def test_what_two_runs_claim_is_done_again_unless_they_mean_the_same(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bench.pipeline("b", output=BUCKET)
    Pipeline.from_yaml(file).run()
    client = server.client()
    keys = {scene: server.keys("out", f"b/.hdm/published/{scene}/")[0] for scene in ("large", "middle", "small")}
    folders = {scene: key.rpartition("/")[0] for scene, key in keys.items()}
    client.put_object(Bucket="out", Key=keys["small"].replace(".json", ".lost"), Body=b"")
    client.put_object(Bucket="out", Key=f"{folders['middle']}/0123456789abcdef.lost", Body=b"")
    client.put_object(Bucket="out", Key=f"{folders['large']}/0123456789abcdef.json", Body=b"{}")
    for machine in ("first", "second"):  # with a ledger of its own, and with that of the bucket
        monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch" / machine))
        pending = [ref.id for ref in Pipeline.from_yaml(file).plan().plan.scenes]
        assert pending == ["large", "middle"]
    summary = Pipeline.from_yaml(file).run()
    assert (sorted(summary.done), summary.done_before) == (["large", "middle"], 1)
    for scene in ("large", "middle"):
        assert server.keys("out", f"b/.hdm/published/{scene}/") == [keys[scene]]
    assert Pipeline.from_yaml(file).run().done_before == 3


@pytest.mark.slow
@pytest.mark.parametrize("held", ["out/b/middle/mask.tif", "out/b/.hdm/published/middle/"])
def test_what_a_run_that_slept_wrote_over_its_successors_is_done_again(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: str
) -> None:
    """It sleeps after the question and before the write: nobody can hold that write back."""
    Pipeline.from_yaml(bench.pipeline("disk"), ["output.threshold=0.9"]).run()
    expected = {name: content for name, content in published(bench.root / "disk").items() if name.endswith(".tif")}
    file = bench.pipeline("b", output=BUCKET)
    server.fails("hold", kind="put", key=held)
    loser = subprocess.Popen(
        [sys.executable, "-m", "hdm_pipeline", "run", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HDM_SCRATCH": str(tmp_path / "scratch" / "loser")},
    )
    try:
        until(lambda: _held(server, held), seconds=120)
        loser.send_signal(signal.SIGSTOP)
        server.client().delete_object(Bucket="out", Key="b/.hdm/run.lock")  # as if taken over, and given back since
        server.client().delete_object(Bucket="out", Key="b/.hdm/files.json")
        winner = Pipeline.from_yaml(file, ["output.threshold=0.9"])
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://{server.direct}")  # past what is held
            assert len(winner.run().done) == 3
            masks = server.objects("out", "b/")
            assert {name: masks[f"b/{name}"] for name in expected} == expected
        server.heals()
    finally:
        loser.send_signal(signal.SIGCONT)
        _, said = loser.communicate(timeout=240)
    assert loser.returncode != 0
    assert "another run took over this output" in said
    now = server.objects("out", "b/")
    changed = {name for name in expected if now[f"b/{name}"] != expected[name]}
    assert changed == ({"middle/mask.tif"} if held.endswith(".tif") else set())
    summary = Pipeline.from_yaml(file, ["output.threshold=0.9"]).run()
    assert (list(summary.done), summary.done_before) == (["middle"], 2)
    again = server.objects("out", "b/")
    assert {name: again[f"b/{name}"] for name in expected} == expected
