"""Outputs in a bucket: the bytes of a disk, resumed anywhere, whatever the store does. The server is a real one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hdm_pipeline.comparison import compare_outputs
from hdm_pipeline.errors import ConfigError, LostLockError, ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.bucket_lock import BucketLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, SceneDone
from hdm_pipeline.reporting.status import output_status, status_text
from hdm_pipeline.xarrays.run_output import open_output
from tests.dicom_series import write_series
from tests.fault_proxy import Rule
from tests.integration.conftest import Workbench, other_machine, published, write_scene
from tests.lost_lock import THEIRS, lose, quick_locks
from tests.s3_server import S3Server


@pytest.fixture(autouse=True)
def _first_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other_machine(monkeypatch, tmp_path, "first")


def _products(server: S3Server, prefix: str) -> dict[str, bytes]:
    found = {key.removeprefix(prefix): content for key, content in server.objects("out", prefix).items()}
    return {
        key: content
        for key, content in found.items()
        if Path(key).suffix in (".tif", ".xml", ".qml", ".vrt", ".json")
        and not key.startswith(".hdm")
        and key != "run.json"
    }


PRODUCTS = {"products": ["mask", "score", "stac"]}


def test_the_bytes_of_a_disk_and_nothing_to_do_on_another_machine(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Pipeline.from_yaml(bench.pipeline("disk", output=PRODUCTS)).run()
    pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b", **PRODUCTS}))
    first = pipeline.run()
    assert len(first.done) == 3
    disk = bench.root / "disk"
    found = _products(server, "b/")
    files = {p.relative_to(disk).as_posix(): p.read_bytes() for p in disk.rglob("*") if p.is_file()}
    shown = (".tif", ".qml", ".vrt", ".xml", ".json")
    files = {n: c for n, c in files.items() if Path(n).suffix in shown and not n.startswith(".hdm") and n != "run.json"}
    assert set(found) == set(files)
    for scene in ("large", "middle", "small"):  # where the scene is cannot be told relative to a bucket
        here, there = (json.loads(of.pop(f"{scene}/item.json")) for of in (files, found))
        assert there.pop("links")[-1]["href"] == (bench.scenes / f"{scene}.tif").as_uri()
        del here["links"]
        assert here == there
    assert [name for name in files if found[name] != files[name]] == []
    objects = server.objects("out", "b/")
    for name in ("run.json", "report.html", "collection.json", ".hdm/ledger.sqlite", ".hdm/files.json"):
        assert f"b/{name}" in objects
    assert "b/.hdm/run.lock" not in objects
    other_machine(monkeypatch, tmp_path, "second")
    assert Pipeline.from_yaml(pipeline.file.path).plan().plan.scenes == ()
    server.forget()
    again = Pipeline.from_yaml(pipeline.file.path).run()
    assert (len(again.done), again.done_before) == (0, 3)
    assert found.items() <= _products(server, "b/").items()
    written = {one["key"] for one in server.log() if one["kind"] in ("put", "create", "part")}
    assert not [key for key in written if key.endswith(("mask.tif", "score.tif"))]


def test_a_scene_published_after_the_last_copy_of_the_ledger_is_not_done_again(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    Pipeline.from_yaml(file).run()
    expected = _products(server, "b/")
    # As a driver leaves it that is killed before the ledger is copied, but for one scene that is not published yet.
    client = server.client()
    for name in (".hdm/ledger.sqlite", ".hdm/files.json"):
        client.delete_object(Bucket="out", Key=f"b/{name}")
    [manifest] = server.objects("out", "b/.hdm/published/small/")
    client.delete_object(Bucket="out", Key=manifest)
    other_machine(monkeypatch, tmp_path, "second")
    summary = Pipeline.from_yaml(file).run()
    assert (list(summary.done), summary.done_before) == (["small"], 2)
    assert _products(server, "b/") == expected
    page = server.objects("out", "b/report.html")["b/report.html"].decode()
    assert page.count("data:image/webp") >= 3, "pictures of scenes that were published elsewhere, too"


@pytest.mark.long
def test_other_settings_elsewhere_and_back(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    Pipeline.from_yaml(file).run()
    expected = _products(server, "b/")
    other_machine(monkeypatch, tmp_path, "second")
    other = Pipeline.from_yaml(file, ["output.threshold=0.9", "output.products=[mask]"])
    assert len(other.run().done) == 3
    changed = _products(server, "b/")
    assert changed["small/mask.tif"] != expected["small/mask.tif"]
    assert "small/score.tif" not in changed
    other_machine(monkeypatch, tmp_path, "first")
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert _products(server, "b/") == expected


def test_a_scene_that_is_quarantined_now_shows_nothing(bench: Workbench, server: S3Server) -> None:
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    Pipeline.from_yaml(file).run()
    (bench.scenes / "small.tif").write_bytes(b"II*\0 no image")
    assert set(Pipeline.from_yaml(file).run().quarantined) == {"small"}
    found = server.objects("out", "b/")
    assert not [key for key in found if key.startswith(("b/small/", "b/.hdm/published/small/"))]
    assert "b/.hdm/stale/small/mask.tif" in found
    assert output_status("s3://out/b")["stale"] == ["small"]
    # A second time: what was made of the file before is not mixed with what is made of an earlier one.
    server.client().put_object(Bucket="out", Key="b/.hdm/stale/small/of-an-earlier-file.tif", Body=b"1")
    (bench.scenes / "small.tif").unlink()
    write_scene(bench.scenes / "small.tif", 40, 50, 9)
    assert list(Pipeline.from_yaml(file).run().done) == ["small"]
    assert not server.keys("out", "b/.hdm/stale/small/")
    server.client().put_object(Bucket="out", Key="b/.hdm/stale/small/of-an-earlier-file.tif", Body=b"1")
    (bench.scenes / "small.tif").write_bytes(b"II*\0 no image")
    assert set(Pipeline.from_yaml(file).run().quarantined) == {"small"}
    stale = {key.rpartition("/")[2] for key in server.keys("out", "b/.hdm/stale/small/")}
    assert "mask.tif" in stale
    assert "of-an-earlier-file.tif" not in stale


def test_what_a_killed_driver_gave_to_other_nodes_goes_with_the_next_run(bench: Workbench, server: S3Server) -> None:
    server.client().put_object(Bucket="out", Key="b/.hdm/uploads/0123.safetensors", Body=b"1")
    Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"})).run()
    assert server.keys("out", "b/.hdm/uploads/") == []
    assert not [key for key in server.objects("out", "b/.hdm/files.json")["b/.hdm/files.json"].split() if b"upl" in key]


def test_a_run_whose_lock_another_one_takes_ends_with_that_and_writes_no_more(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = quick_locks(monkeypatch)
    done = []

    def take(event: Event) -> None:
        if isinstance(event, SceneDone):
            done.append(event.scene)
            theirs = {**THEIRS, "token": "theirs"}
            body = json.dumps(theirs).encode()
            lose(locks[0], lambda: server.client().put_object(Bucket="out", Key="b/.hdm/run.lock", Body=body))
            server.forget()

    with pytest.raises(LostLockError) as caught:
        Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"})).run(take)
    assert (caught.value.where, len(done)) == ("s3://out/b", 1)
    assert caught.value.remedy
    # Of a scene that was being published the product under way may still come, and the note that says so; nothing more.
    written = [one["key"] for one in server.log() if one["kind"] not in ("get", "list", "head")]
    late = [key for key in written if key.endswith((".lost", "/mask.tif", "/score.tif"))]
    assert written == late
    assert len([key for key in late if key.endswith(".tif")]) <= 1
    assert server.objects("out", "b/.hdm/run.lock")["b/.hdm/run.lock"].count(b"theirs") == 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_to_workers_of_this_machine_nothing_is_uploaded(bench: Workbench, server: S3Server, no_cluster: None) -> None:
    execution = {"executor": "ray", "actors": 1, "threads": 1}
    file = bench.pipeline("b", output={"directory": "s3://out/b"}, execution=execution)
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert server.counts("/uploads/")["put"] == 0
    assert server.counts("/small/mask.tif")["put"] > 0


def test_status_report_compare_and_open_output_read_a_bucket(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    Pipeline.from_yaml(file).run()
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    other_machine(monkeypatch, tmp_path, "second")
    server.client().delete_object(Bucket="out", Key="b/report.html")
    ended = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "status", "s3://out/b", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    status = json.loads(ended.stdout)
    assert (status["output"], status["scenes"], status["holder"]) == ("s3://out/b", {"done": 3}, None)
    ended = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "report", "s3://out/b"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout.strip() == "s3://out/b/report.html"
    assert b"data:image/webp" in server.objects("out", "b/report.html")["b/report.html"]
    opened = open_output("s3://out/b", chunks=None)
    here = open_output(bench.root / "disk", chunks=None)
    assert opened["large"]["mask"].equals(here["large"]["mask"])
    found = compare_outputs("s3://out/b", str(bench.root / "disk"))
    assert {kind: found["classes"]["water"][kind]["pixels"] for kind in ("gained", "lost")} == {"gained": 0, "lost": 0}
    with pytest.raises(ConfigError, match="no run has written here"):
        open_output("s3://out/nothing")


def test_an_error_of_a_comparison_names_the_bucket(bench: Workbench, server: S3Server) -> None:
    Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"})).run()
    Pipeline.from_yaml(bench.pipeline("scores", output={"products": ["score"]})).run()
    with pytest.raises(ConfigError, match="no masks in the later run") as caught:
        compare_outputs("s3://out/b", str(bench.root / "scores"))
    assert caught.value.where == f"s3://out/b and {bench.root / 'scores'}"


@pytest.mark.parametrize(("fault", "what"), [("expired", "refuses the keys"), ("missing", "there is no such bucket")])
def test_a_store_that_refuses_ends_the_run_with_a_remedy(
    bench: Workbench, server: S3Server, fault: str, what: str
) -> None:
    address = "s3://out/b" if fault == "expired" else "s3://no-such-bucket/b"
    pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": address}))
    if fault == "expired":
        server.fails("expired", kind="put|part", key="mask.tif")
    with pytest.raises(ObjectStoreError) as caught:
        pipeline.run()
    assert what in caught.value.what
    assert caught.value.remedy
    if fault == "expired":
        server.heals()
        report = json.loads(server.objects("out", "b/run.json")["b/run.json"])
        assert report["status"] == "failed"
        assert report["totals"]["quarantined"] == 0
        assert len(Pipeline.from_yaml(pipeline.file.path).run().done) == 3


@pytest.mark.long
def test_503_and_lost_answers_change_nothing(bench: Workbench, server: S3Server) -> None:
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    rules = [
        Rule("lose", kind="create|replace", key="run.lock", first=1, every=2),
        Rule("lose", kind="put", key="published", first=1, every=2),
        Rule("slow_down", kind="put|part|delete|get", key="out/", first=3, every=11),
    ]
    server.rules(rules)
    summary = Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"})).run()
    assert [rule for rule in server.faults() if not rule.done] == []
    server.heals()
    assert len(summary.done) == 3
    assert {k: v for k, v in _products(server, "b/").items() if k.endswith(".tif")} == {
        k: v for k, v in published(bench.root / "disk").items() if k.endswith(".tif")
    }


@pytest.mark.long
def test_a_run_that_is_killed_goes_on_without_what_lay_on_its_disk(
    bench: Workbench, server: S3Server, tmp_path: Path
) -> None:
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    server.fails("delay", kind="put", key="score.tif", seconds=0.5)
    process = subprocess.Popen(
        [sys.executable, "-m", "hdm_pipeline", "run", str(file)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not server.objects("out", "b/.hdm/published/"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.heals()
    assert "b/.hdm/run.lock" in server.objects("out", "b/")
    shutil.rmtree(tmp_path / "scratch")
    summary = Pipeline.from_yaml(file).run()
    assert summary.done_before >= 1
    assert len(summary.done) + summary.done_before == 3
    assert {k: v for k, v in _products(server, "b/").items() if k.endswith(".tif")} == {
        k: v for k, v in published(bench.root / "disk").items() if k.endswith(".tif")
    }


def test_what_is_in_a_bucket_is_sent_once(bench: Workbench, server: S3Server, tmp_path: Path) -> None:
    peer = tmp_path / "peer"
    peer.mkdir()
    send = {"to": f"folder://{peer}", "products": ["mask"]}
    file = bench.pipeline("b", output={"directory": "s3://out/b", "send": send})
    Pipeline.from_yaml(file).run()
    found = server.objects("out", "b/")
    for scene in ("large", "middle", "small"):
        assert (peer / f"{scene}-mask.tif").read_bytes() == found[f"b/{scene}/mask.tif"]
    assert Pipeline.from_yaml(file).run().sends[0].sent == 0


@pytest.mark.parametrize("output", ["disk-of-products", "s3://out/b"])
def test_what_is_worked_on_lies_in_a_bucket(bench: Workbench, server: S3Server, output: str) -> None:
    """Pixels and scores there give the same masks, each object of theirs is put once, and what is finished is gone."""
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    file = bench.pipeline("b", output={"directory": output, "keep": "nothing"}, execution={"work": "s3://out/cells"})
    assert len(Pipeline.from_yaml(file).run().done) == 3
    expected = published(bench.root / "disk")
    if output.startswith("s3:"):
        found = {key.removeprefix("b/"): content for key, content in server.objects("out", "b/").items()}
    else:
        found = published(bench.root / output)
    assert {name: found.get(name) == content for name, content in expected.items()} == dict.fromkeys(expected, True)
    put = [one["key"] for one in server.log() if one["kind"] == "put" and one["key"].startswith("out/cells/")]
    assert len([key for key in put if "/c." in key]) > 3 * 3
    assert len(put) == len(set(put))
    assert server.objects("out", "cells/") == {}


def test_a_series_in_a_bucket(bench: Workbench, server: S3Server) -> None:
    def disc(z: int) -> npt.NDArray[np.int16]:
        y, x = np.mgrid[:64, :64]
        return np.where((y - 32) ** 2 + (x - 30) ** 2 < (10 + z) ** 2, 1100, 900).astype(np.int16)

    write_series(bench.root / "ct" / "a", series="a", pixels=disc)
    write_series(bench.root / "support" / "series", series="support", pixels=disc)
    Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    sections = {
        "input": {"uri": "ct", "reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}},
        "support": {
            "classes": [
                {
                    "name": "disc",
                    "codes": {"category": "SCT:123037004:Anatomical Structure", "type": "SCT:10200004:Liver"},
                    "examples": [{"image": "support/series", "mask": "support/mask.png", "slices": [1]}],
                }
            ]
        },
    }
    products = {"products": ["segmentation", "report", "nifti"]}
    Pipeline.from_yaml(bench.pipeline("disk", **sections, output=products)).run()
    sections["execution"] = {"work": "s3://out/cells"}
    file = bench.pipeline("b", **sections, output={"directory": "s3://out/b", **products})
    Pipeline.from_yaml(file).run()
    assert server.counts(key="cells/")["put"] > 0
    disk = {
        path.relative_to(bench.root / "disk").as_posix(): path.read_bytes()
        for path in (bench.root / "disk").rglob("*")
        if path.suffix in (".dcm", ".gz")
    }
    assert len(disk) == 3
    found = {key.removeprefix("b/"): content for key, content in server.objects("out", "b/").items()}
    assert {name: found.get(name) == content for name, content in disk.items()} == dict.fromkeys(disk, True)


def test_scenes_are_called_in_a_bucket_as_on_a_disk(bench: Workbench, server: S3Server) -> None:
    for name in ("middle", "large"):
        (bench.scenes / f"{name}.tif").unlink()
    odd = "a b@c=1+2 - x"
    (bench.scenes / "small.tif").rename(bench.scenes / f"{odd}.tif")
    output = {"directory": "s3://out/b", "keep": "nothing"}
    file = bench.pipeline("b", output=output, execution={"work": "s3://out/cells"})
    assert list(Pipeline.from_yaml(file).run().done) == [odd]
    assert f"b/{odd}/mask.tif" in server.keys("out", "b/")
    assert Pipeline.from_yaml(file).run().done_before == 1
    (bench.scenes / f"{odd}.tif").write_bytes(b"II*\0 no image")
    assert list(Pipeline.from_yaml(file).run().quarantined) == [odd]
    assert f"b/.hdm/stale/{odd}/mask.tif" in server.keys("out", "b/")
    assert server.keys("out", "cells/") == []


def test_a_first_run_elsewhere_that_has_copied_nothing_yet_is_told_as_under_way(server: S3Server) -> None:
    with pytest.raises(ConfigError, match="no run has written here"):
        output_status("s3://out/b")
    with BucketLock(ObjectFolder("s3://out/b/.hdm"), "a driver far away"):
        found = output_status("s3://out/b")
        assert found["holder"]["owner"] == "a driver far away"
        assert found["scenes"] == {}
        assert "first run under way as a driver far away" in status_text(found)
    with pytest.raises(ConfigError, match="no run has written here"):
        output_status("s3://out/b")
