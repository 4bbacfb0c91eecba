"""`output.send`: what is published goes to a peer, once, whatever happens on the way. The peer is a folder."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import ArchiveError, LostLockError, OutputError, PeerError
from hdm_pipeline.options import RunOptions, RunSummary
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, ProductsSent, SceneDone
from hdm_pipeline.reporting.status import output_status, status_text
from hdm_pipeline.testing import ConformanceError, check_sender
from tests.integration.conftest import Workbench, steps_of
from tests.integration.faults.victim import kill_at
from tests.lost_lock import THEIRS, lose, quick_locks

SCENES = ("large", "middle", "small")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdm_pipeline.delivery.postman.FIRST_PAUSE", 0.01)


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    folder = tmp_path / "peer"
    folder.mkdir()
    return folder


def sending(bench: Workbench, peer: Path, what: tuple[str, ...] = ("mask",), **output: Any) -> Path:
    """A pipeline file whose masks, or other products, go to the folder."""
    send = {"to": f"folder://{peer}", "products": list(what)}
    return bench.pipeline(output={"directory": "out", "products": ["mask", "score"], "send": send, **output})


def slowly(path: Path, seconds: float) -> Path:
    """The same pipeline file, whose peer takes its time over each file."""
    content = yaml.safe_load(path.read_text())
    content["output"]["send"]["options"] = {"seconds": seconds}
    path.write_text(yaml.safe_dump(content))
    return path


def run(path: Path, options: RunOptions | None = None) -> RunSummary:
    return Pipeline.from_yaml(path).run(options=options)


def log_of(peer: Path) -> list[str]:
    log = peer / "log"
    return sorted(log.read_text().split()) if log.is_file() else []


def logs_of(bench: Workbench) -> str:
    return "".join(path.read_text() for path in sorted((bench.root / "out" / ".hdm" / "logs").iterdir()))


def test_each_product_is_sent_once(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    summary = run(path)
    assert summary.exit_code == 0
    assert [(one.to, one.products, one.sent, one.files) for one in summary.sends] == [
        (f"folder://{peer}", ("mask",), 3, 3)
    ]
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]
    for scene in SCENES:
        assert (peer / f"{scene}-mask.tif").read_bytes() == (bench.root / "out" / scene / "mask.tif").read_bytes()
    again = run(path)
    assert again.sends[0].sent == 0
    assert len(log_of(peer)) == 3
    assert output_status(bench.root / "out")["not_sent"] == {}


def test_without_a_list_a_peer_gets_all_that_it_takes(bench: Workbench, peer: Path) -> None:
    output = {"directory": "out", "products": ["mask", "score", "polygons"], "send": [{"to": f"folder://{peer}"}]}
    run(bench.pipeline(output=output))
    assert log_of(peer) == sorted(f"{scene}/{name}.tif" for scene in SCENES for name in ("mask", "score"))


def test_what_earlier_runs_made_is_sent_without_computing_it_again(bench: Workbench, peer: Path) -> None:
    run(bench.pipeline())
    steps = steps_of(bench.root / "out")
    summary = run(sending(bench, peer))
    assert summary.done == ()
    assert summary.sends[0].sent == 3
    assert steps_of(bench.root / "out") == steps
    assert len(log_of(peer)) == 3


def test_a_peer_that_is_away_costs_no_mask_and_gets_all_later(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    summary = run(path)
    assert summary.exit_code == 4
    assert len(summary.done) == 3
    assert set(summary.sends[0].not_sent) == set(SCENES)
    report = json.loads((bench.root / "out" / "run.json").read_text())
    assert report["status"] == "done"
    assert report["send"][0]["not_sent"]["small"] == {"what": "the folder is not there", "remedy": "make it"}
    assert report["scenes"]["small"]["status"] == "done"
    (warning,) = [one for one in report["scenes"]["small"]["warnings"] if one["kind"] == "not_sent"]
    assert warning["what"] == f"mask not sent to folder://{peer}: the folder is not there"
    text = status_text(output_status(bench.root / "out"))
    assert f"not sent  3 scenes to folder://{peer}: the folder is not there (large, middle, small)" in text
    peer.mkdir()
    again = run(path)
    assert again.exit_code == 0
    assert again.done == ()
    assert len(log_of(peer)) == 3
    assert "not sent" not in status_text(output_status(bench.root / "out"))
    assert "not_sent" not in (bench.root / "out" / "run.json").read_text().replace('"not_sent": {}', "")


def test_the_command_says_what_was_not_sent(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    (peer / "locked").touch()
    result = CliRunner().invoke(app, ["run", str(path)])
    assert result.exit_code == 4
    assert "3 scenes could not be sent" in result.output
    assert f"not sent  3 scenes to folder://{peer}: the folder is locked" in result.output
    assert "remedy: unlock it" in result.output
    (peer / "locked").unlink()
    result = CliRunner().invoke(app, ["run", str(path)])
    assert result.exit_code == 0
    assert f"sent 3 files of 3 scenes to folder://{peer}" in result.output


def test_a_product_that_is_refused_keeps_no_other_back(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer, ("mask", "score"))
    (peer / "refuses").write_text("score")
    summary = run(path)
    assert summary.exit_code == 4
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]
    assert summary.sends[0].not_sent["large"] == {"what": "takes no score", "remedy": "ask its owner"}
    (peer / "refuses").unlink()
    assert run(path).exit_code == 0
    # The masks were not sent a second time.
    assert log_of(peer) == sorted(f"{scene}/{name}.tif" for scene in SCENES for name in ("mask", "score"))


def test_a_new_mask_is_sent_anew_and_the_same_one_is_not(bench: Workbench, peer: Path) -> None:
    run(sending(bench, peer))
    assert len(log_of(peer)) == 3
    # Other products: the scenes are published anew, their masks are the same bytes.
    summary = run(sending(bench, peer, products=["mask"]))
    assert len(summary.done) == 3
    assert summary.exit_code == 0
    assert len(log_of(peer)) == 3
    run(sending(bench, peer, threshold=0.999))
    assert log_of(peer) == sorted([f"{scene}/mask.tif" for scene in SCENES] * 2)


def test_what_an_older_release_made_is_sent_too(bench: Workbench, peer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("hdm_pipeline.planning.keys.PIXELS_VERSION", 1)
        run(bench.pipeline())
    with Ledger.open(bench.root / "out" / ".hdm" / "ledger.sqlite") as ledger:
        for record in ledger.scenes():  # it did not note which product a file belongs to
            info = {name: value for name, value in record.info.items() if name != "products"}
            ledger.upsert_scene(record._replace(info=info))
    summary = run(sending(bench, peer))
    assert len(summary.done) == 3
    assert len(log_of(peer)) == 3


def test_to_a_peer_that_is_no_longer_asked_nothing_is_owed(bench: Workbench, peer: Path) -> None:
    run(sending(bench, peer / "away"))
    assert set(output_status(bench.root / "out")["not_sent"]) == {f"folder://{peer / 'away'}"}
    run(sending(bench, peer))
    assert output_status(bench.root / "out")["not_sent"] == {}


def test_a_run_that_fails_sends_nothing_once_it_has_ended(bench: Workbench, peer: Path) -> None:
    path = slowly(sending(bench, peer), 0.5)

    def fail(event: Event) -> None:
        if isinstance(event, SceneDone) and event.scene == "middle":
            raise OutputError("no more space")

    with pytest.raises(OutputError):
        Pipeline.from_yaml(path).run(on_event=fail)
    assert [one.name for one in threading.enumerate() if one.name.startswith("hdm-send")] == []
    sent = log_of(peer)
    report = json.loads((bench.root / "out" / "run.json").read_text())
    assert report["status"] == "failed"
    assert [one["files"] for one in report["send"]] == [len(sent)]
    assert 1 <= len(sent) < len(SCENES)  # what was under way ended; on a slow machine one had been sent before
    assert '"event": "products_sent"' in logs_of(bench)


@pytest.mark.parametrize("moment", ["event:scene_done", "event:products_sent"])
def test_a_run_that_is_killed_loses_no_delivery(bench: Workbench, peer: Path, moment: str) -> None:
    path = sending(bench, peer)
    kill_at(path, moment, 1)
    owed = output_status(bench.root / "out")["not_sent"]
    assert owed == {} or set(owed) == {f"folder://{peer}"}
    run(path)
    assert set(log_of(peer)) == {f"{scene}/mask.tif" for scene in SCENES}
    assert output_status(bench.root / "out")["not_sent"] == {}
    lines = log_of(peer)
    run(path)
    assert log_of(peer) == lines


def test_a_report_keeps_what_was_sent_when_there_is_nothing_to_do(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    report = bench.root / "out" / "run.json"
    run(path)
    first = json.loads(report.read_text())["scenes"]
    run(path)
    again = json.loads(report.read_text())["scenes"]
    assert {scene: facts["sent"] for scene, facts in again.items()} == {s: facts["sent"] for s, facts in first.items()}
    assert all(facts["sent"][f"folder://{peer}"]["complete"] for facts in again.values())
    assert not any("send" in facts for facts in again.values())


def test_a_plan_says_who_gets_what(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    assert f"send      mask to folder://{peer}: 3 scenes once done" in told_by_plan(path)
    peer.rmdir()
    run(path)
    assert f"send      mask to folder://{peer}: 3 scenes done and not sent yet" in told_by_plan(path)
    peer.mkdir()
    run(path)
    assert f"send      mask to folder://{peer}: nothing is waiting" in told_by_plan(path)


def told_by_plan(path: Path) -> str:
    return CliRunner().invoke(app, ["plan", str(path)]).stdout


def test_a_scene_that_is_gone_from_the_archive_is_still_sent(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    run(path)
    (bench.scenes / "small.tif").unlink()
    peer.mkdir()
    run(path)
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]
    # One that was never to be sent to a peer is not, once it has vanished.
    other = bench.root / "other"
    other.mkdir()
    run(sending(bench, other))
    assert log_of(other) == ["large/mask.tif", "middle/mask.tif"]


def test_what_is_owed_is_sent_though_the_archive_is_empty(bench: Workbench, peer: Path) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    run(path)
    for scene in SCENES:
        (bench.scenes / f"{scene}.tif").unlink()
    peer.mkdir()
    with pytest.raises(ArchiveError):  # of deliveries many come: none sends what others owe
        run(path, RunOptions(delivery=True))
    assert log_of(peer) == []
    with pytest.raises(ArchiveError):
        run(path)
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]
    status = output_status(bench.root / "out")
    assert status["not_sent"] == {}
    report = json.loads((bench.root / "out" / "run.json").read_text())
    assert (report["status"], report["error"]["type"], report["send"][0]["sent"]) == ("failed", "EmptyArchiveError", 3)
    assert report["totals"]["done"] == 3
    assert all(one["sent"][f"folder://{peer}"]["complete"] for one in report["scenes"].values())
    assert logs_of(bench).count('"event": "products_sent"') == 3
    assert 'status="sent"} 3.0' in (bench.root / "out" / ".hdm" / "metrics.prom").read_text()


def test_sending_what_is_owed_can_be_interrupted(bench: Workbench, peer: Path) -> None:
    path = slowly(sending(bench, peer / "away"), 0.0)
    run(path)
    for scene in SCENES:
        (bench.scenes / f"{scene}.tif").unlink()
    (peer / "away").mkdir()
    seen: list[str] = []

    def interrupt(event: Event) -> None:
        seen.append(event.kind)
        if isinstance(event, ProductsSent) and "stopping" not in seen:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(ArchiveError):
        Pipeline.from_yaml(slowly(path, 1.0)).run(on_event=interrupt)
    assert "stopping" in seen
    assert len(log_of(peer / "away")) < 3
    assert set(output_status(bench.root / "out")["not_sent"]) == {f"folder://{peer / 'away'}"}


def test_a_run_that_loses_its_lock_while_it_sends_what_is_owed_says_so(
    bench: Workbench, peer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    run(path)
    peer.mkdir()
    for scene in SCENES:
        (bench.scenes / f"{scene}.tif").unlink()
    locks = quick_locks(monkeypatch)

    def take_over(event: Event) -> None:
        if isinstance(event, ProductsSent) and not locks[0].lost:
            lock = bench.root / "out" / ".hdm" / "run.lock"
            lose(locks[0], lambda: lock.write_text(json.dumps(THEIRS)))

    with pytest.raises(LostLockError):
        Pipeline.from_yaml(path).run(on_event=take_over)


def test_what_ends_a_run_is_told_though_what_is_owed_cannot_be_noted(
    bench: Workbench, peer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    run(path)
    for scene in SCENES:
        (bench.scenes / f"{scene}.tif").unlink()

    def full(*_: object) -> None:
        raise OutputError("no space is left")

    monkeypatch.setattr("hdm_pipeline.output.deliveries.Deliveries.record", full)
    with pytest.raises(ArchiveError):
        run(path)
    assert "no space is left" in logs_of(bench)


def test_what_is_owed_is_sent_though_nobody_serves_the_examples(
    bench: Workbench, peer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sending(bench, peer)
    peer.rmdir()
    run(path)
    peer.mkdir()

    def unreachable(*_: object) -> None:
        raise PeerError("the PACS cannot be reached")

    monkeypatch.setattr("hdm_pipeline.run.local_examples", unreachable)
    with pytest.raises(PeerError):
        run(path)
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]


def test_a_slow_peer_holds_no_scene_up(bench: Workbench, peer: Path) -> None:
    path = slowly(sending(bench, peer), 1.0)
    seen: list[str] = []
    Pipeline.from_yaml(path).run(on_event=lambda event: seen.append(event.kind))
    # All scenes are done before the second delivery is.
    second = [n for n, kind in enumerate(seen) if kind == "products_sent"][1]
    assert seen[:second].count("scene_done") == 3
    assert seen.count("products_sent") == 3
    assert seen[-1] == "run_ended"


def test_out_of_time_the_rest_is_left_to_the_next_run(bench: Workbench, peer: Path) -> None:
    run(bench.pipeline())
    path = slowly(sending(bench, peer), 0.5)
    summary = run(path, RunOptions(time_budget=0.0))
    assert summary.exit_code == 0
    assert summary.sends[0].waiting >= 2  # one may have been on its way
    assert run(path).exit_code == 0
    assert log_of(peer) == [f"{scene}/mask.tif" for scene in SCENES]


@pytest.mark.parametrize(
    ("send", "told"),
    [
        ({"to": "folder:///x", "products": ["polygons"]}, "'polygons' (application/geopackage+sqlite3) cannot be sent"),
        ({"to": "nowhere://x"}, "nothing can send to an address that begins with 'nowhere://'"),
        ({"to": "folder:///x", "products": ["nifti"]}, "'nifti' is not among `products`"),
        ({"to": "folder://me:secret@host/x"}, "no password in an address"),
        ({"to": "folder://host/x?a=1"}, "has no ? and no #"),
        ({"to": "x"}, "an address is SCHEME://"),
        ([{"to": "folder:///x"}, {"to": "folder:///x"}], "is named twice"),
    ],
)
def test_what_cannot_be_sent_is_told_before_a_run(bench: Workbench, send: Any, told: str) -> None:
    path = bench.pipeline(output={"directory": "out", "products": ["mask", "polygons"], "send": send})
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(path).validate()
    assert told in str(caught.value)
    assert "output" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_suite_for_senders_finds_what_lies(bench: Workbench, peer: Path) -> None:
    from hdm_testkit.sender import FolderSender

    files = [bench.scenes / "small.tif", bench.scenes / "middle.tif"]

    def stored(path: Path) -> bytes | None:
        copy = peer / f"scenes-{path.name}"
        return copy.read_bytes() if copy.is_file() else None

    odd = bench.root / "odd.txt"
    odd.write_text("no raster")
    check_sender(FolderSender, f"folder://{peer}", files, nobody=f"folder://{peer}/none", stored=stored)

    class Liar(FolderSender):
        def fits(self, path: Path) -> bool:
            return True

        def send(self, files: Any) -> Any:
            return [SendAnswer("stored", "") for _ in files]

    for path in peer.iterdir():
        path.unlink()
    with pytest.raises(ConformanceError) as caught:
        check_sender(Liar, f"folder://{peer}", files, odd=odd, nobody=f"folder://{peer}/none", stored=stored)
    text = "\n".join(caught.value.findings)
    for told in (
        "another kind fits",
        "says nothing",
        "does not hold small.tif",
        "cannot be sent: the answers",
        "nobody",
    ):
        assert told in text
