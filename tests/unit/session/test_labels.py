"""Labels of a session stay what they were drawn as, whatever becomes of the classes, the disk and other threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
import yaml

from hdm_pipeline import Session
from hdm_pipeline.contracts import SavedLabels, SceneLabels
from hdm_pipeline.errors import ConfigError, OutputError
from hdm_pipeline.grid import Window
from hdm_pipeline.session import session as module
from hdm_pipeline.session.strokes import Stroke

AT = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)


def dot(value: int, at: float) -> Stroke:
    return Stroke(z=0, tool="brush", value=value, points=((at, at),), radius=5)


def names(session: Session, scene: str, *places: int) -> list[str]:
    """Of the classes that places on the diagonal of a scene are drawn as."""
    known = {one.value: one.name for one in session.classes}
    found = (session.labels(scene, Window(z=0, y=at, x=at, height=1, width=1))[0, 0] for at in places)
    return [known.get(int(value), "") for value in found]


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32633", transform=AT, count=1, height=256, width=256, dtype="uint8"
    ) as file:
        file.write(pixels, 1)


def classes(file: Path, *called: str) -> None:
    """Give a pipeline file other classes."""
    config = yaml.safe_load(file.read_text())
    config["support"]["classes"] = [{"name": one, "examples": []} for one in called]
    file.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write(tmp_path / "scenes" / f"{name}.tif", np.arange(65536, dtype=np.uint32).astype(np.uint8).reshape(256, 256))
    config: dict[str, Any] = {
        "name": "test",
        "input": {"uri": "scenes", "bands": [1], "scale": {"fixed": [0, 255]}},
        "support": {"classes": []},
        "output": {"directory": "out"},
    }
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    classes(path, "water", "forest")
    return path


@pytest.fixture
def session(file: Path) -> Iterator[Session]:
    with Session(file) as opened:
        yield opened


def test_threads_that_draw_add_classes_and_read_the_file_again_do_not_wait_for_each_other(session: Session) -> None:
    failed: list[BaseException] = []

    def work(one: Callable[[int], object], times: int) -> None:
        try:
            for number in range(times):
                one(number)
        except BaseException as error:  # noqa: BLE001  # of a thread: the test tells it
            failed.append(error)

    def more(number: int) -> None:
        session.add_class(f"class {number}")
        session.reload()

    jobs = (lambda number: session.draw("a", dot(1 + number % 2, 20.0 + number)), 60), (more, 60)
    threads = [threading.Thread(target=work, args=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not failed


def test_while_a_stroke_cannot_be_saved_classes_do_not_change(
    session: Session, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.draw("a", dot(1, 50))

    def full(*_: object) -> None:
        raise OutputError("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(session._reader, "save_labels", full)
        with pytest.raises(OutputError):
            session.draw("a", dot(1, 100))
        classes(file, "forest", "water")
        with pytest.raises(OutputError):
            session.reload()
        assert [one.name for one in session.config.support.classes] == ["water", "forest"]
        assert names(session, "a", 50, 100) == ["water", "water"]
    session.reload()
    session.draw("a", dot(1, 200))
    assert names(session, "a", 50, 100, 200) == ["water", "water", "forest"]
    with Session(file) as later:
        assert names(later, "a", 50, 100, 200) == ["water", "water", "forest"]


def test_a_stroke_while_the_file_is_read_again_is_filed_under_its_class(
    session: Session, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.draw("a", dot(1, 50))
    classes(file, "forest", "water")
    threads: list[threading.Thread] = []
    switch = session._classes.use

    def slow(*args: Any) -> None:
        threads.append(threading.Thread(target=session.draw, args=("a", dot(1, 100)), daemon=True))
        threads[0].start()
        threads[0].join(0.2)
        assert threads[0].is_alive()  # it waits until all of the session knows the new classes
        switch(*args)

    monkeypatch.setattr(session._classes, "use", slow)
    session.reload()
    threads[0].join(60)
    assert names(session, "a", 50, 100) == ["water", "forest"]


@pytest.mark.parametrize("again", [False, True], ids=["one session", "a later one"])
def test_a_class_that_leaves_the_pipeline_file_keeps_its_labels(file: Path, again: bool) -> None:
    with Session(file) as session:
        session.draw("a", dot(1, 50))
        classes(file, "waterr", "forest")
        if not again:
            session.reload()
            assert [one.name for one in session.classes] == ["waterr", "forest", "water"]
            session.draw("a", dot(2, 200))
    with Session(file) as later:
        later.draw("a", dot(2, 100))
        classes(file, "forest", "water")
        later.reload()
        assert [one.name for one in later.classes] == ["forest", "water"]
        assert names(later, "a", 50, 100) == ["water", "forest"]


def test_examples_are_those_of_labels_that_another_session_has_drawn(session: Session, file: Path) -> None:
    with Session(file) as other:
        other.draw("a", dot(1, 50))
    (before,) = [one.target for one in session.examples() if one.class_name == "water"]
    with Session(file) as other:
        other.draw("a", dot(1, 200))
    classes(file, "water", "forest", "more")
    session.reload()
    (after,) = [one.target for one in session.examples() if one.class_name == "water"]
    assert after == 2 * before == session.drawn("a")[0][1]


def test_examples_are_made_of_what_is_drawn_at_one_moment(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.draw("a", dot(1, 50))
    before = session.drawn("a")[0][1]
    pixels = session._examples._pixels

    def drawn_meanwhile(*args: Any) -> Any:
        session.draw("a", dot(1, 200))
        return pixels(*args)

    with monkeypatch.context() as patch:
        patch.setattr(session._examples, "_pixels", drawn_meanwhile)
        (during,) = [one.target for one in session.examples() if one.class_name == "water"]
    (after,) = [one.target for one in session.examples() if one.class_name == "water"]
    assert (during, after) == (before, 2 * before)


def test_the_folder_is_looked_through_once_for_all_scenes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for scene in ("a", "b"):
        session.draw(scene, dot(1, 50))
    listed: list[object] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scan(path))
    assert len(session._labels.all()) == 2
    assert listed == [session._labels.folder]


def test_a_change_while_the_pipeline_file_is_read_is_no_known_one(
    session: Session, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.draw("a", dot(1, 50))
    session.draw("a", dot(0, 100))
    read = module.read_pipeline_file

    def changed_after(path: Path, *more: Any) -> Any:
        found = read(path, *more)
        path.write_text(path.read_text() + "# by another program\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_pipeline_file", changed_after)
        session.reload()
        with pytest.raises(OutputError):
            session.save()
    assert "a_labels" not in file.read_text()
    session.save()  # reads again what changed meanwhile
    assert "a_labels" in file.read_text()
    assert file.read_text().count("# by another program\n") == 2


@pytest.mark.parametrize("change", [("input", "exclude", ["b"]), ("output", "directory", "elsewhere")])
def test_another_archive_needs_another_session(session: Session, file: Path, change: tuple[str, str, object]) -> None:
    section, key, value = change
    config = yaml.safe_load(file.read_text())
    config[section][key] = value
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(ConfigError, match="another archive"):
        session.reload()


def test_a_scene_that_cannot_be_saved_holds_up_no_other(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    save = session._reader.save_labels  # type: ignore[attr-defined]

    def broken(labels: SceneLabels, folder: Path) -> SavedLabels:
        if labels.scene.id == "a":
            raise OutputError("the file is another user's")
        return cast(SavedLabels, save(labels, folder))

    with monkeypatch.context() as patch:
        patch.setattr(session._reader, "save_labels", broken)
        with pytest.raises(OutputError):
            session.draw("a", dot(1, 20.0))
        session.draw("b", dot(1, 20.0))
        assert [path.name for path in session._labels.folder.glob("*_labels.tif")] == ["b_labels.tif"]
        with pytest.raises(OutputError):
            session._labels.save()
    session._labels.save()
    assert len(list(session._labels.folder.glob("*_labels.tif"))) == 2


def test_a_stroke_on_labels_that_the_pipeline_file_names_gives_the_run_other_examples(file: Path) -> None:
    (file.parent / "weights.safetensors").write_bytes(b"weights")
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**config, "model": {"weights": "weights.safetensors"}}, sort_keys=False))
    classes(file, "water")
    with Session(file) as session:
        for value, at in ((1, 50), (0, 100)):
            session.draw("a", dot(value, at))
        session.save()
        scenes = session._scenes
        before = scenes.keys(scenes.ref("b"), "")
        session.draw("b", dot(1, 50))  # not entered yet
        assert scenes.keys(scenes.ref("b"), "") is before
        session.draw("a", dot(1, 150))
        after = scenes.keys(scenes.ref("b"), "")
    assert before is not None
    assert after is not None
    assert before.product != after.product
