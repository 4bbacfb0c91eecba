"""The studio from end to end: the real server and session, on a small archive."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from hdm_studio.settling import Settling
from tests.integration.conftest import Workbench
from tests.studio_server import Running, answer, refusal, running_studio

LARGE, MIDDLE = "large", "middle"
SQUARE = [[20, 90], [120, 90], [120, 190], [20, 190]]


@pytest.fixture
def file(bench: Workbench) -> Path:
    """A pipeline on two scenes, with a remark in its file."""
    (bench.scenes / "small.tif").unlink()
    path = bench.pipeline(tiling={"size": 128, "overlap": 16}, output={"products": ["mask"]})
    path.write_text("# My lakes.\n" + path.read_text())
    return path


@pytest.fixture
def server(file: Path) -> Iterator[Running]:
    with running_studio(file) as running:
        yield running


@pytest.fixture
def page(server: Running) -> Iterator[httpx.Client]:
    with server.browser() as client:
        yield client


def picture(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def stroke(
    page: httpx.Client, scene: str, value: int, points: list[list[int]], tool: str = "polygon"
) -> httpx.Response:
    body = {"z": 0, "tool": tool, "value": value, "radius": 4, "points": points}
    return page.post(f"/api/scenes/{scene}/strokes", json=body)


def test_a_person_looks_labels_tries_saves_runs_and_sees_the_result(server: Running, page: httpx.Client) -> None:
    state = answer(page.get("/api/state"))
    assert (state["kind"], [one["name"] for one in state["classes"]]) == ("raster", ["water"])
    color = state["classes"][0]["color"]
    assert state["pipeline"] == {"name": "test", "file": str(server.studio.file), "writable": True}
    assert state["run"]["state"] == "idle"
    scenes = answer(page.get("/api/scenes", params={"limit": 1}))
    assert (scenes["total"], scenes["counts"], [one["id"] for one in scenes["scenes"]]) == (2, {"new": 2}, [LARGE])
    about = answer(page.get(f"/api/scenes/{LARGE}"))
    assert (about["shape"], about["levels"], about["pixel_size_m"]) == ([2, 1, 333, 412], 2, [10.0, 10.0])
    assert (about["bands"], about["ranges"]) == (["1", "2"], [[-25.0, 0.0], [-32.0, -5.0]])
    tiles = f"/api/scenes/{LARGE}/image/0"
    assert picture(page.get(f"{tiles}/0/0/0.png")).shape == (256, 256, 4)
    assert picture(page.get(f"{tiles}/0/1/1.png")).shape == (333 - 256, 412 - 256, 4)
    assert picture(page.get(f"{tiles}/1/0/0.png")).shape == (167, 206, 4)
    assert picture(page.get(f"{tiles}/0/0/0.png", params={"low": -5, "high": 90}))[..., :3].max() < 100
    assert max(picture(page.get(f"/api/scenes/{LARGE}/thumbnail.png")).shape) == 256

    drawn = answer(stroke(page, LARGE, 1, SQUARE))
    assert drawn["changed"] == [20, 90, 100, 100]
    assert (drawn["undo"], drawn["redo"]) == (True, False)
    labels = answer(page.get(f"/api/scenes/{LARGE}/labels"))
    assert labels["slices"] == {"0": {"1": 10_000}}
    shown = picture(page.get(f"/api/scenes/{LARGE}/labels/0/0/0/0.png"))
    assert "#{:02x}{:02x}{:02x}".format(*shown[150, 50]) == color
    assert shown[10, 200, 3] == 0
    answer(stroke(page, LARGE, 0, [[200, 200], [230, 200]], "brush"))

    tried = answer(page.post("/api/try", json={"scene": LARGE, "window": [0, 0, 200, 200], "page": "a"}))
    x, y, width, height = tried["window"]
    assert (x, y) == (0, 0)
    for kind in ("mask.png", "outline.png", "score.png?class=water"):
        assert picture(page.get(f"/api/tries/{tried['id']}/{kind}")).shape == (height, width, 4)
    mask = picture(page.get(f"/api/tries/{tried['id']}/mask.png"))
    assert (mask[..., 3] > 0).sum() == tried["pixels"]["water"]

    examples = answer(page.get("/api/examples"))
    assert not examples["saved"]
    assert [one["target"] for one in examples["examples"] if one["scene"] == LARGE] == [10_000]
    answer(page.post("/api/save"))
    assert answer(page.get("/api/examples"))["saved"]
    assert server.studio.file.read_text().startswith("# My lakes.")

    plan = answer(page.get("/api/plan"))
    assert plan == {"scenes": 2, "pending": 2, "again": 0, "done": 0, "quarantined": 0}
    states, log = follow(page, start=True)
    assert [states[0]["ours"], states[-1]["state"], states[-1]["scenes"]["done"]] == [True, "done", 2]
    assert {"run_started", "scene_done", "run_ended"} <= {one.get("event") for one in log}
    found = answer(page.get(f"/api/scenes/{LARGE}"))
    assert found["state"] == "done"
    assert picture(page.get(f"/api/scenes/{LARGE}/result/0/0/0/0.png")).shape == (256, 256, 4)
    product = page.get(f"/output/{LARGE}/mask.tif")
    assert product.content == (server.studio.output / LARGE / "mask.tif").read_bytes()
    assert product.headers["content-disposition"].startswith("attachment")
    report = states[-1]["report"]
    shown_report = page.get(f"/output/{report}")
    assert shown_report.status_code == 200
    assert "sandbox" in shown_report.headers["content-security-policy"]
    assert "allow-scripts" not in shown_report.headers["content-security-policy"]

    # One more stroke, entered into the file: both scenes would be done again.
    answer(stroke(page, MIDDLE, 1, SQUARE))
    answer(page.post("/api/save"))
    assert answer(page.get("/api/plan")) == {"scenes": 2, "pending": 2, "again": 2, "done": 0, "quarantined": 0}


def follow(page: httpx.Client, *, start: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """RUN after RUN, and the lines of the log, from the server's events until the run has ended."""
    states: list[dict[str, Any]] = []
    log: list[dict[str, Any]] = []
    with page.stream("GET", "/api/run/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in events.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                (states if kind == "run" else log).append(json.loads(line.removeprefix("data: ")))
                if start:
                    states.clear()
                    answer(page.post("/api/run"))
                    start = False
                elif states and states[-1]["state"] not in ("running", "stopping"):
                    return states, log
    raise AssertionError("the events ended")


def test_two_pages_see_one_truth_and_do_not_hinder_each_other(server: Running, page: httpx.Client) -> None:
    with server.browser() as other, ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(stroke, client, scene, 1, [[10 + 30 * n, 90], [20 + 30 * n, 90], [20 + 30 * n, 120]])
            for n in range(4)
            for client in (page, other)
            for scene in (LARGE, MIDDLE)
        ]
        assert {job.result().status_code for job in jobs} == {200}
        first, second = (answer(one.get(f"/api/scenes/{LARGE}/labels")) for one in (page, other))
        assert first == second
        assert first["slices"]["0"]["1"] > 0
        body = {"scene": LARGE, "window": [0, 0, 412, 333]}
        tries = [pool.submit(page.post, "/api/try", json={**body, "page": "a"}) for _ in range(4)]
        tries.append(pool.submit(other.post, "/api/try", json={**body, "page": "b"}))
        told = [one.result().status_code for one in tries]
        assert told[-1] == 200
        assert set(told[:-1]) <= {200, 409}
        assert 200 in told[:-1]
    assert answer(page.post(f"/api/scenes/{LARGE}/undo"))["changed"] is not None
    assert answer(page.post(f"/api/scenes/{LARGE}/redo"))["redo"] is False


def test_what_is_asked_wrongly_is_told_and_changes_nothing(page: httpx.Client) -> None:
    before = answer(page.get("/api/state"))["revision"]
    good = {"z": 0, "tool": "brush", "value": 1, "radius": 4, "points": [[1, 2]]}
    for change in (
        {"tool": "spray"},
        {"value": 300},
        {"value": 9},
        {"z": 5},
        {"points": []},
        {"points": [[1, 2, 3]]},
        {"radius": -1},
        {"extra": 1},
    ):
        refusal(page.post(f"/api/scenes/{LARGE}/strokes", json={**good, **change}), 400)
    for body in (b"", b"{", b"[]", b'{"z": NaN}', json.dumps({**good, "radius": 1e308 * 10}).encode()):
        refusal(page.post(f"/api/scenes/{LARGE}/strokes", content=body), 400)
    assert "nowhere" in str(refusal(page.post("/api/scenes/nowhere/strokes", json=good), 404))
    for path in (
        "/api/scenes/nowhere",
        "/api/scenes/nowhere/thumbnail.png",
        f"/api/scenes/{LARGE}/image/0/2/0/0.png",
        f"/api/scenes/{LARGE}/image/0/0/9/0.png",
        f"/api/scenes/{LARGE}/image/1/0/0/0.png",
        f"/api/scenes/{LARGE}/result/0/0/0/0.png",
        "/api/tries/00/mask.png",
        "/api/nothing",
        "/nothing.js",
        "/output/run.json",
    ):
        refusal(page.get(path), 404 if path != "/nothing.js" or PAGE_BUILT else 400)
    for path in (f"/api/scenes/{LARGE}/image/0/-1/0/0.png", f"/api/scenes/{LARGE}/image/0/0/0/0.png?low=1"):
        refusal(page.get(path), 400)
    for params in ({"state": "lost"}, {"sort": "size"}, {"limit": 0}):
        refusal(page.get("/api/scenes", params=params), 400)
    refusal(page.post("/api/try", json={"scene": LARGE, "window": [0, 0, 0, 5]}), 400)
    refusal(page.post("/api/try", json={"scene": LARGE, "window": [9000, 0, 5, 5]}), 400)
    refusal(page.post("/api/classes", json={"name": "water"}), 400)
    refusal(page.request("DELETE", "/api/examples", json={"scene": LARGE, "class": "ice"}), 400)
    refusal(page.post("/api/run/stop"), 409)
    refusal(page.put("/api/run"), 405)
    assert answer(page.get("/api/state"))["revision"] == before


PAGE_BUILT = (Path(__file__).resolve().parents[2] / "plugins" / "hdm_studio" / "page" / "index.html").is_file()


def test_scenes_that_came_and_went_are_seen_once_the_archive_is_looked_through_again(
    file: Path, page: httpx.Client
) -> None:
    assert answer(page.get("/api/scenes"))["total"] == 2
    scenes = file.parent / "scenes"
    shutil.copy(scenes / f"{MIDDLE}.tif", scenes / "new.tif")
    (scenes / f"{LARGE}.tif").unlink()
    assert answer(page.post("/api/refresh")) == {"scenes": 2}
    assert [one["id"] for one in answer(page.get("/api/scenes"))["scenes"]] == [MIDDLE, "new"]
    for name in (MIDDLE, "new"):
        (scenes / f"{name}.tif").unlink()
    refusal(page.post("/api/refresh"), 400)
    assert answer(page.get("/api/scenes"))["total"] == 2


def test_strokes_without_a_try_unsettle_the_examples_and_then_each_is_judged(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = threading.Event()

    def settling(settle: Callable[[], bool]) -> Settling:
        return Settling(lambda: quiet.wait(30) and settle(), quiet=0.01)

    monkeypatch.setattr("hdm_studio.studio.Settling", settling)
    with running_studio(file) as server, server.browser() as page:
        assert answer(page.get("/api/examples"))["settled"]
        answer(stroke(page, LARGE, 1, SQUARE))
        answer(stroke(page, LARGE, 0, [[200, 200], [230, 200]], "brush"))
        examples = answer(page.get("/api/examples"))
        assert not examples["settled"]
        assert [one["iou"] for one in examples["examples"]] == [None, None]
        quiet.set()
        while not (examples := answer(page.get("/api/examples")))["settled"]:
            pass
        assert all(one["iou"] is not None for one in examples["examples"])


def test_a_scene_whose_file_vanishes_is_told_of_and_the_others_are_there(file: Path, page: httpx.Client) -> None:
    answer(stroke(page, MIDDLE, 1, SQUARE))
    (file.parent / "scenes" / f"{LARGE}.tif").unlink()
    for response in (
        page.get(f"/api/scenes/{LARGE}/image/0/0/0/0.png"),
        page.post("/api/try", json={"scene": LARGE, "window": [0, 0, 9, 9]}),
    ):
        assert response.status_code in (404, 422)
        assert refusal(response, response.status_code)["remedy"]
    assert answer(page.get("/api/scenes"))["total"] >= 1
    assert picture(page.get(f"/api/scenes/{MIDDLE}/image/0/0/0/0.png")).shape == (200, 130, 4)
    assert answer(page.get(f"/api/scenes/{MIDDLE}/labels"))["slices"] == {"0": {"1": 10_000}}


@contextmanager
def no_room() -> Iterator[None]:
    """Within: no file of this process may grow, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_no_stroke_is_lost(file: Path, server: Running, page: httpx.Client) -> None:
    answer(stroke(page, LARGE, 1, SQUARE))
    with no_room():
        error = refusal(stroke(page, LARGE, 0, [[300, 200], [340, 200], [340, 240], [300, 240]]), 507)
    assert "free" in error["remedy"]
    assert len(error["what"]) < 400
    # It is drawn, though not saved; the next one saves both.
    answer(stroke(page, LARGE, 1, [[400, 300]], "point"))
    slices = answer(page.get(f"/api/scenes/{LARGE}/labels"))["slices"]
    assert slices["0"]["0"] == 1600
    with running_studio(file) as anew, anew.browser() as client:
        assert answer(client.get(f"/api/scenes/{LARGE}/labels"))["slices"] == slices


def test_strangers_get_nothing_over_the_wire(server: Running, page: httpx.Client) -> None:
    stranger = httpx.Client(base_url=server.base)
    for method, path in (("GET", "/api/state"), ("GET", f"/api/scenes/{LARGE}/thumbnail.png"), ("GET", "/app.js")):
        refusal(stranger.request(method, path), 401)
    assert stranger.get("/").status_code == 401
    refusal(stranger.get("/", params={"token": "guess"}), 401)
    refusal(page.post("/api/run", headers={"origin": "https://evil.example"}), 403)
    refusal(page.get("/api/state", headers={"host": "evil.example"}), 403)
    answers = [
        raw(
            server,
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {page_cookie(page)}\r\nConnection: close\r\n\r\n",
        )
        for path in (
            "/../out.yaml",
            "/%2e%2e/out.yaml",
            "/..%2fout.yaml",
            "/output/../out.yaml",
            "/output/%2e%2e/out.yaml",
            "/output/%2fetc/passwd",
            "/output/.hdm/ledger.sqlite",
            "/api/scenes/..%2f..%2fetc/thumbnail.png",
            "/api/scenes/%00/thumbnail.png",
        )
    ]
    assert all(one.startswith(("HTTP/1.1 404", "HTTP/1.1 400")) for one in answers), answers
    assert not any("support" in one.partition("\r\n\r\n")[2] for one in answers)


def page_cookie(page: httpx.Client) -> str:
    return "; ".join(f"{name}={value}" for name, value in page.cookies.items())


def raw(server: Running, request: str) -> str:
    with socket.create_connection(("127.0.0.1", server.door.port)) as sock:
        sock.sendall(request.encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode(errors="replace")


@pytest.fixture
def read_only(file: Path) -> Iterator[Path]:
    """The pipeline, in a folder that may not be written."""
    file.chmod(0o444)
    file.parent.chmod(0o555)
    yield file
    file.parent.chmod(0o755)


MERE_MORTAL = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Even root is held to the permissions of files."""


def test_the_command_on_a_read_only_folder(read_only: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    labels = tmp_path_factory.mktemp("my_labels")
    command = [*MERE_MORTAL, sys.executable, "-m", "hdm_pipeline", "studio", "--port", "0", "--labels", str(labels)]
    process = subprocess.Popen(command, cwd=read_only.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("studio of test: http://127.0.0.1:")  # the only pipeline of the folder was taken
        address = line.split()[-1]
        base = address.split("/?")[0]
        with httpx.Client(base_url=base, headers={"origin": base, "content-type": "application/json"}) as page:
            assert page.get(address).status_code == 303
            assert page.get("/").status_code == (200 if PAGE_BUILT else 400)
            assert answer(page.get("/api/state"))["pipeline"]["writable"] is False
            answer(stroke(page, LARGE, 1, SQUARE))
            response = page.post("/api/save")
            assert refusal(response, response.status_code)["remedy"]
            assert any(labels.rglob("*"))
            with page.stream("GET", "/api/run/events") as events:
                lines = events.iter_lines()
                assert next(lines) == "event: run"
                process.send_signal(signal.SIGINT)
                list(lines)  # they end by themselves
        out, err = process.communicate(timeout=30)
    finally:
        timer.cancel()
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert LARGE not in out + err  # requests leave no trace
    assert "/api" not in out + err
