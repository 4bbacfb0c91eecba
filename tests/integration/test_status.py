"""`status` and `run.json` while a run goes on, after it was killed, and in the morning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.options import RunOptions
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.archive import Archive
from hdm_pipeline.planning.forecast import Forecast, SceneCost
from hdm_pipeline.planning.keys import Fingerprints, SceneKeyring
from hdm_pipeline.planning.plan import Plan
from hdm_pipeline.reporting.events import BlockInferred, Event, PreparingStep, RunEnded, SceneDone, SceneStarted
from hdm_pipeline.reporting.plan_text import plan_text
from hdm_pipeline.reporting.run_json import RunReport
from hdm_pipeline.reporting.status import output_status, status_text
from tests.integration.conftest import Workbench
from tests.integration.faults.victim import kill_at, run_with_signal


def test_a_run_tells_what_is_going_on(bench: Workbench) -> None:
    (bench.scenes / "broken.tif").write_bytes(b"II*\0 no more")
    pipeline = Pipeline.from_yaml(bench.pipeline())
    seen: list[tuple[dict[str, object], str]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, BlockInferred):
            found = output_status(bench.root / "out")
            seen.append((found, status_text(found)))

    pipeline.run(on_event)
    found, text = seen[-1]
    assert found["holder"]["alive"] is True  # type: ignore[index]
    assert found["scenes"]["running"] >= 1  # type: ignore[index]
    assert "running as" in text
    ended = output_status(bench.root / "out")
    assert ended["holder"] is None
    assert ended["scenes"] == {"done": 3, "quarantined": 1}
    assert "3 of 4 scenes done, 0 running, 1 quarantined, 0 waiting" in status_text(ended)
    assert "quarantined broken" in status_text(ended)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_the_report_has_totals_throughput_and_time_left_while_running(bench: Workbench, ledger: Ledger) -> None:
    report = RunReport(bench.root / "run.json", "test", {"a": "a", "b": "b", "c": "c"}, ledger)
    for scene in ("a", "b"):
        report.event(
            SceneStarted(scene=scene, shape=(1, 1, 9, 9), tiles=8, blocks=2, blocks_done=0, warnings=()),
        )
    report.event(BlockInferred(scene="a", block=0, tiles=4, skipped=0, seconds=0.1))
    seconds = {"infer": 0.1}
    report.event(SceneDone(scene="a", outputs=(), tiles=4, blocks=2, seconds=seconds, warnings=(), measures={}))
    report.write()
    totals = json.loads((bench.root / "run.json").read_text())["totals"]
    assert (totals["done"], totals["running"], totals["waiting"], totals["tiles"]) == (1, 1, 1, 4)
    assert totals["tiles_per_second"] > 0
    assert totals["seconds_left"] is not None


def test_a_killed_run_is_not_said_to_be_running(bench: Workbench) -> None:
    kill_at(bench.pipeline(), "event:infer", 3)
    found = output_status(bench.root / "out")
    assert found["holder"]["alive"] is False
    assert "killed (run again to go on)" in status_text(found)
    assert "running" not in found["scenes"]
    assert sum(found["scenes"].values()) == 3


@pytest.mark.parametrize("text", ["{", "", "[]", '{"status": "done"}', '{"schema": 1}'])
def test_a_damaged_report_hides_no_scene(bench: Workbench, text: str) -> None:
    Pipeline.from_yaml(bench.pipeline()).run()
    (bench.root / "out" / "run.json").write_text(text)
    found = output_status(bench.root / "out")
    assert (found["scenes"], found["last_run"]["status"]) == ({"done": 3}, "unknown")
    assert "run.json is damaged" in status_text(found)


def test_a_first_run_that_was_killed_early_is_not_said_to_be_under_way(bench: Workbench) -> None:
    kill_at(bench.pipeline(), "event:run_started", 1)
    (bench.root / "out" / "run.json").unlink(missing_ok=True)
    told = status_text(output_status(bench.root / "out"))
    assert "a first run was killed before it told anything; run again" in told
    assert "under way" not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_plans_ends_a_run_as_ctrl_c_does(bench: Workbench, number: signal.Signals) -> None:
    file = bench.pipeline()
    code = "import os, sys\nfrom hdm_pipeline import run\nfrom hdm_pipeline.cli.main import main\n"
    code += f"run.make_plan = lambda *_, **__: os.kill(os.getpid(), {int(number)})\n"
    code += f"sys.argv = ['x', 'run', {str(file)!r}]\nmain()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, "interrupted" in ended.stderr) == (1, True)
    found = output_status(bench.root / "out")
    assert found["holder"] is None  # it gave the lock back
    assert found["last_run"]["error"]["what"] == "interrupted"


def test_a_run_that_was_stopped_leaves_scenes_that_wait(bench: Workbench) -> None:
    file = bench.pipeline()
    assert run_with_signal(file, "event:infer", 2, signal.SIGINT) == 0
    found = output_status(bench.root / "out")
    assert set(found["scenes"]) <= {"done", "waiting"}
    assert sum(found["scenes"].values()) == 3
    assert "stopped (run again to go on)" in status_text(found)
    totals = found["last_run"]["totals"]
    assert (totals["running"], totals["waiting"]) == (0, found["scenes"]["waiting"])
    ended = CliRunner().invoke(app, ["run", str(file), "--limit", "1"])
    assert (ended.exit_code, "run again to go on" in ended.output) == (0, True)


def test_a_run_stops_while_its_examples_are_prepared(bench: Workbench) -> None:
    file = bench.pipeline(support={"adapt": {"steps": 1000}})
    out = bench.root / "out"
    seen: list[Event] = []

    def stop_in_adaptation(event: Event) -> None:
        seen.append(event)
        if isinstance(event, PreparingStep) and event.doing == "adaptation" and event.done == 0:
            os.kill(os.getpid(), signal.SIGINT)

    summary = Pipeline.from_yaml(file).run(stop_in_adaptation)
    assert (summary.exit_code, summary.done, summary.left, summary.quarantined) == (0, (), 3, {})
    kinds = [event.kind for event in seen]
    assert kinds[kinds.index("stopping") - 1] == "preparing_step"
    # What is being staged beside it is finished; of the examples nothing more is heard.
    assert set(kinds[kinds.index("stopping") + 1 : -1]) <= {"scene_started", "step_done"}
    assert isinstance(seen[-1], RunEnded)
    assert (seen[-1].status, output_status(out)["holder"]) == ("stopped", None)
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    assert (out / "report.html").is_file()
    assert not list(out.glob(".hdm/models/*"))
    # The same output, whose weights need not be adapted now: nothing is in the way.
    second = Pipeline.from_yaml(bench.pipeline()).run()
    assert (second.exit_code, len(second.done)) == (0, 3)


def test_a_second_interrupt_in_the_preparation_ends_at_once_with_the_documented_code(bench: Workbench) -> None:
    file = bench.pipeline(support={"adapt": {"steps": 1000}})
    command = [sys.executable, "-m", "hdm_pipeline", "run", str(file), "--events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if told.get("doing") == "adaptation" and told["done"] > 0:
                process.send_signal(signal.SIGINT)
                break
        for line in process.stdout:
            if json.loads(line)["event"] == "stopping":
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1, process.stderr.read()[-500:] if process.stderr else ""
    assert json.loads((bench.root / "out" / "run.json").read_text())["status"] in ("failed", "stopped")
    assert output_status(bench.root / "out")["holder"] is None


def test_no_time_is_no_time_to_prepare_the_examples(bench: Workbench) -> None:
    seen: list[str] = []
    summary = Pipeline.from_yaml(bench.pipeline()).run(
        lambda event: seen.append(event.kind), options=RunOptions(time_budget=0.0)
    )
    assert (summary.exit_code, summary.left) == (0, 3)
    assert seen == ["run_started", "preparing", "run_ended"]


def test_a_stopped_report_says_what_waits(bench: Workbench, ledger: Ledger) -> None:
    report = RunReport(bench.root / "run.json", "test", {"a": "a", "b": "b"}, ledger)
    report.event(SceneStarted(scene="a", shape=(1, 1, 9, 9), tiles=8, blocks=2, blocks_done=0, warnings=()))
    assert report.head()["totals"]["running"] == 1
    report.status = "stopped"
    assert dict(report.scenes())["a"]["status"] == "waiting"
    assert (report.head()["totals"]["running"], report.head()["totals"]["waiting"]) == (0, 2)


@pytest.mark.parametrize(
    ("shape", "rate", "time"),
    [
        (None, None, "none: there is no tile to infer"),
        ((1, 1, 64, 64), None, "unknown until a run here infers tiles"),
        ((1, 1, 64, 64), 90.0, "about 1 min 30 s for the tiles, once the examples are prepared"),
    ],
)
def test_a_plan_tells_a_time_only_where_there_is_one(
    bench: Workbench, shape: tuple[int, int, int, int] | None, rate: float | None, time: str
) -> None:
    costs = () if shape is None else (SceneCost("a", shape, tiles=1, blocks=1, stage_bytes=8192),)
    scenes = () if shape is None else (SceneRef("a", "/a.tif", "geotiff", "1"),)
    keyring = SceneKeyring(Pipeline.from_yaml(bench.pipeline()).config, Fingerprints("w", "s"))
    plan = Plan(Archive(scenes, ()), scenes, (), {}, (), keyring)
    assert f"time      {time}" in plan_text(Forecast(plan, costs, (), 0, rate), None).splitlines()
