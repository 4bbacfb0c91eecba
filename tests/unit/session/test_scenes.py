"""What a session lists of an archive: states by the ledger and the present keys, dates, order."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ConfigError, NoSuchSceneError, ReadError, SceneError
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.keys import Fingerprints
from hdm_pipeline.planning.plan import fingerprints
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.session.scenes import Scenes, chosen, require_local
from hdm_pipeline.session.values import SceneState

NAMES = ("S1A_20220126", "a", "b", "c")


def write(path: Path, pixels: np.ndarray, **tags: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    size = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32633", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **size
    ) as file:
        file.write(pixels)
        file.update_tags(**tags)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    for name in NAMES:
        write(
            tmp_path / "scenes" / f"{name}.tif", np.zeros((1, 8, 8), np.uint8), TIFFTAG_DATETIME="2021:05:06 07:08:09"
        )
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[:, :4] = 1
    write(tmp_path / "chip.tif", mask)
    write(tmp_path / "chip_mask.tif", mask)
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    content = {
        "name": "test",
        "input": {"uri": "scenes", "bands": [1], "scale": {"fixed": [0, 255]}},
        "support": {"classes": [{"name": "water", "examples": [{"image": "chip.tif", "mask": "chip_mask.tif"}]}]},
        "model": {"weights": "weights.safetensors"},
        "output": {"directory": "out"},
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    return Pipeline.from_yaml(tmp_path / "p.yaml")


@pytest.fixture
def scenes(pipeline: Pipeline) -> Iterator[Scenes]:
    found = Scenes(pipeline.config, pipeline.workspace, archive_reader(pipeline.config))
    yield found
    found.close()


def note(scenes: Scenes, name: str, **facts: object) -> None:
    """Write into the ledger what a run with the present keys would have."""
    scenes.workspace.create()
    keys = scenes.keys(scenes.ref(name), "")
    assert keys is not None
    record = SceneRecord(name, keys.product, keys.score, keys.stage)
    with Ledger.open(scenes.workspace.ledger) as ledger:
        ledger.upsert_scene(record._replace(**facts))


def states(scenes: Scenes) -> dict[str, str]:
    return {state.id: state.state for state in scenes.states()}


def publish(scenes: Scenes, name: str, **info: object) -> None:
    (scenes.workspace.root / name).mkdir(parents=True)
    (scenes.workspace.root / name / "mask.tif").write_bytes(b"mask")
    note(scenes, name, status="done", outputs=(f"{name}/mask.tif",), info=info)


def test_before_a_run_all_scenes_are_new_and_nothing_is_written(scenes: Scenes) -> None:
    assert states(scenes) == dict.fromkeys(NAMES, "new")
    assert not scenes.workspace.root.exists()


def test_a_scene_is_done_only_while_its_products_are_current(scenes: Scenes, tmp_path: Path) -> None:
    warning = SceneWarning("empty", "nothing was found", "look at it")
    info = {
        "pixels": {"water": 30, "ice": 10},
        "area_m2": {"water": 3000.0, "ice": 1000.0},
        "uncertainty": {"water": 0.2, "ice": 0.6},
        "warnings": [warning.as_dict()],
    }
    publish(scenes, "a", **info)
    publish(scenes, "b")
    found = scenes.state("a", labeled={"a"})
    assert (found.state, found.outputs, found.labeled) == ("done", ("a/mask.tif",), True)
    assert found.measures == {"water": {"pixels": 30, "area_m2": 3000}, "ice": {"pixels": 10, "area_m2": 1000}}
    assert found.uncertainty == pytest.approx(0.3)
    assert found.warnings == (warning,)

    (scenes.workspace.root / "b" / "mask.tif").unlink()
    assert states(scenes) == {"S1A_20220126": "new", "a": "done", "b": "new", "c": "new"}

    write(tmp_path / "chip_mask.tif", np.ones((1, 8, 8), np.uint8))
    assert states(scenes)["a"] == "done", "examples are not hashed for each listing"
    scenes.supports_changed()
    again = scenes.state("a")
    assert (again.state, again.measures) == ("new", found.measures), "what the last run found is still told"


def test_a_quarantined_scene_tells_why(scenes: Scenes) -> None:
    error = ReadError("the file is cut off", where="a.tif", remedy="copy it again")
    note(scenes, "a", status="quarantined", error=error.as_dict())
    found = scenes.state("a")
    assert (found.state, found.error["what"], found.error["remedy"]) == (
        "quarantined",
        "the file is cut off",
        "copy it again",
    )
    publish(scenes, "b", warnings=[])
    scenes.use(scenes.config.model_copy(update={"name": "other"}))
    assert states(scenes) == dict.fromkeys(NAMES, "new")


def test_a_scene_is_running_only_while_a_run_is(scenes: Scenes) -> None:
    note(scenes, "a", status="running")
    assert states(scenes)["a"] == "new", "the run that had begun it is gone"
    with RunLock(scenes.workspace.lock, "test"):
        assert states(scenes)["a"] == "running"


def test_without_an_example_nothing_is_done_and_it_is_said_why(scenes: Scenes, tmp_path: Path) -> None:
    publish(scenes, "a")
    (tmp_path / "chip.tif").unlink()
    scenes.supports_changed()
    assert states(scenes)["a"] == "new"
    assert scenes.problem is not None
    assert "chip.tif" in str(scenes.problem)


def test_the_archive_is_looked_through_again_when_asked(scenes: Scenes, tmp_path: Path) -> None:
    assert len(scenes.states()) == 4
    os.remove(tmp_path / "scenes" / "b.tif")
    assert len(scenes.states()) == 4
    with pytest.raises(ReadError):
        scenes.header("b")
    scenes.refresh()
    assert "b" not in states(scenes)
    with pytest.raises(NoSuchSceneError):
        scenes.ref("b")


def test_dates_are_read_beside_and_those_of_patients_are_not(scenes: Scenes) -> None:
    scenes.states()
    thread = scenes._dates._thread
    assert isinstance(thread, threading.Thread)
    thread.join(20)
    found = {state.id: state.date for state in scenes.states()}
    assert found["a"] == "2021-05-06T07:08:09Z"
    header = scenes.header("a")
    private = dataclasses.replace(header, ref=dataclasses.replace(header.ref, private=True))
    scenes._dates.learn(private)
    assert scenes._dates.known[private.ref] == ""


def test_what_lies_on_another_machine_is_not_opened(scenes: Scenes) -> None:
    with pytest.raises(SceneError, match="another machine"):
        require_local(dataclasses.replace(scenes.ref("a"), remote=True))


def test_scenes_are_chosen_and_ordered() -> None:
    warning = SceneWarning("empty", "nothing")
    of = [
        SceneState("b", "done", date="2021", measures={"w": {"pixels": 9.0, "area_m2": 4.0}}, uncertainty=0.1),
        SceneState("A", "new", date="2023", labeled=True),
        SceneState("c", "done", measures={"w": {"area_m2": 5.0}}, uncertainty=0.9, warnings=(warning,)),
    ]

    def ids(**how: str) -> list[str]:
        return [scene.id for scene in chosen(of, **how)]

    assert ids() == ["A", "b", "c"]
    assert ids(sort="uncertainty") == ids(sort="area") == ["c", "b", "A"]
    assert ids(sort="date") == ["A", "b", "c"]
    assert ids(state="done", text="C") == ["c"]
    assert (ids(state="warnings"), ids(state="labeled")) == (["c"], ["A"])
    with pytest.raises(ConfigError, match="'size'"):
        ids(sort="size")
    with pytest.raises(ConfigError, match="'odd'"):
        ids(state="odd")


def test_scenes_are_shown_while_examples_are_hashed(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes.refs()
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments: object) -> Fingerprints:
        begun.set()
        assert go_on.wait(20)
        return fingerprints(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("hdm_pipeline.session.scenes.fingerprints", slow)
    with ThreadPoolExecutor(2) as threads:
        listed = threads.submit(states, scenes)
        assert begun.wait(20)
        try:
            assert threads.submit(scenes.ref, "a").result(timeout=20).id == "a"
        finally:
            go_on.set()
        assert listed.result(timeout=20) == dict.fromkeys(NAMES, "new")


def test_a_scene_that_cannot_be_read_says_so_until_it_can(scenes: Scenes, tmp_path: Path) -> None:
    file = tmp_path / "scenes" / "a.tif"
    good = file.read_bytes()
    file.write_bytes(good[:40])
    assert states(scenes)["a"] in ("new", "unreadable")
    with pytest.raises(ReadError) as told:
        scenes.header("a")
    found = scenes.state("a")
    assert (found.state, found.error) == ("unreadable", told.value.as_dict())
    assert states(scenes) == {**dict.fromkeys(NAMES, "new"), "a": "unreadable"}
    file.write_bytes(good)
    scenes.refresh()
    assert (scenes.state("a").state, scenes.state("a").error) == ("new", {})


def test_the_thread_that_reads_dates_finds_damaged_scenes(scenes: Scenes, tmp_path: Path) -> None:
    (tmp_path / "scenes" / "a.tif").write_bytes(b"II*\0")
    scenes.states()
    thread = scenes._dates._thread
    assert isinstance(thread, threading.Thread)
    thread.join(20)
    assert states(scenes)["a"] == "unreadable"


def test_a_damaged_scene_that_was_done_or_quarantined_stays_that(scenes: Scenes, tmp_path: Path) -> None:
    publish(scenes, "a")
    note(scenes, "b", status="quarantined", error={"what": "it was damaged"})
    for name in "ab":
        scenes.troubles.learn(scenes.ref(name), ReadError("it is gone"))
    assert (scenes.state("a").state, scenes.state("b").state) == ("done", "quarantined")
    assert scenes.state("b").error == {"what": "it was damaged"}
