"""A person at work on a pipeline: labels that stay, tries that a run confirms, an archive that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import yaml

from hdm_pipeline import Pipeline, Session
from hdm_pipeline.errors import ConfigError, OutputError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.iou import iou
from hdm_pipeline.samples import archive as samples
from hdm_pipeline.session.strokes import Stroke, Tool
from hdm_pipeline.session.values import TryEndedError
from tests.integration.conftest import Workbench

WHOLE = Window.whole(0, (200, 130))
CHIP = {"image": "support/chip.tif", "mask": "support/chip_mask.tif"}
TWO_CLASSES: dict[str, Any] = {
    "support": {
        "classes": [
            {"name": "water", "examples": [CHIP]},
            {"name": "land", "examples": [{**CHIP, "value": 0}]},
        ]
    }
}
NONE_YET: dict[str, Any] = {"support": {"classes": [{"name": "water", "examples": []}]}}


def stroke(value: int, *points: tuple[float, float], radius: float = 9.0, tool: Tool = "brush") -> Stroke:
    return Stroke(z=0, tool=tool, value=value, points=points, radius=radius)


def test_a_try_finds_what_a_run_finds(bench: Workbench) -> None:
    file = bench.pipeline(**TWO_CLASSES)
    Pipeline.from_yaml(file).run()
    with Session(file) as session:
        assert session.settle()
        windows = {
            "middle": [WHOLE],
            "small": [Window.whole(0, (40, 50))],
            "large": [
                Window(z=0, y=0, x=0, height=100, width=150),  # with the collar
                Window(z=0, y=233, x=262, height=100, width=150),
                Window(z=0, y=111, x=77, height=1, width=1),
            ],
        }
        for scene, of_scene in windows.items():
            mask, score = (_product(bench, scene, name) for name in ("mask", "score"))
            for window in of_scene:
                found = session.try_window(scene, window)
                rows, columns = window.rows_columns(Window.whole(0, (9999, 9999)))
                assert found.window == window
                assert (found.mask == mask[0, rows, columns]).all()
                assert (found.scores == score[:, rows, columns]).all()
        assert {0, 1, 2, 255} >= set(np.unique(mask))


def test_a_false_alarm_is_corrected_by_background_on_another_scene(bench: Workbench) -> None:
    file = bench.pipeline(**NONE_YET)
    with Session(file) as session:
        session.add_class("sand")
        session.draw("middle", stroke(1, (40.5, 50.5), (60.5, 55.5)))
        with pytest.raises(ConfigError, match="no background yet") as refused:
            session.save()
        assert "draw some background" in refused.value.remedy
        session.draw("middle", stroke(0, (20.0, 150.0), (100.0, 150.0)))
        before = session.try_window("small", Window.whole(0, (40, 50)))
        session.draw("small", stroke(0, (20.0, 20.0), radius=15))
        assert session.settle()
        found = session.try_window("small", Window.whole(0, (40, 50)))
        assert (found.scores != before.scores).any()
        other = next(one for one in session.examples() if one.scene == "small")
        assert (other.target, other.iou, other.note) == (0, None, "")
        assert other.background > 0
        assert not session.saved
        assert session.save() == [{"class": "water", "scene": scene} for scene in ("middle", "small")]  # not of sand
        assert session.saved
        assert session.left_out() == []
    Pipeline.from_yaml(file).run()
    assert (found.mask == _product(bench, "small", "mask")[0]).all()
    assert (found.scores[:1] == _product(bench, "small", "score")).all()  # the file knows no sand


def _product(bench: Workbench, scene: str, name: str) -> npt.NDArray[Any]:
    (path,) = (bench.root / "out" / scene).glob(f"{name}*.tif")
    with rasterio.open(path) as file:
        found: npt.NDArray[Any] = file.read()
    return found


def test_of_a_large_window_the_middle_is_tried_and_a_try_can_be_ended(bench: Workbench) -> None:
    with Session(bench.pipeline()) as session:
        found = session.try_window("large", Window.whole(0, (333, 412)), uncertainty=True)
        assert found.mask.shape == (found.window.height, found.window.width)
        assert 0 < found.window.y < 333 - found.window.bottom + 50
        assert found.uncertainty is not None
        asked = iter([False, False, True])
        with pytest.raises(TryEndedError):
            session.try_window("middle", WHOLE, stopped=lambda: next(asked))


def test_settling_gives_way_to_who_tries(bench: Workbench) -> None:
    with Session(bench.pipeline()) as session:
        before = session.try_window("small", Window.whole(0, (40, 50)))
        network = session._network
        network._urgent += 1  # somebody waits
        assert not session.settle()
        network._urgent -= 1
        again = session.try_window("small", Window.whole(0, (40, 50)))
        assert (again.scores == before.scores).all()
        assert [one.iou for one in session.examples()] == [None]
        assert session.settle()
        assert session.examples()[0].iou is not None


def test_labels_survive_the_session_and_get_into_the_pipeline_file(bench: Workbench) -> None:
    file = bench.pipeline(**NONE_YET)
    with pytest.raises(ConfigError, match="no example yet"):
        Pipeline.from_yaml(file).validate()
    with Session(file) as session:
        with pytest.raises(SupportError, match="no example yet"):
            session.try_window("middle", WHOLE)
        session.add_class("sand", "#aabbcc")
        session.draw("middle", stroke(1, (40.5, 50.5), (60.5, 55.5)))
        with pytest.raises(SupportError, match="no background yet"):
            session.try_window("middle", WHOLE)
        session.draw("middle", stroke(2, (100.2, 150.7), radius=20))
        session.draw("middle", stroke(0, (20.0, 150.0), (20.0, 190.0), (60.0, 150.0), tool="polygon"))
        session.draw("middle", stroke(1, (200.0, 10.0)))  # outside
        session.draw("middle", stroke(0, (45.0, 50.0), radius=3, tool="eraser"))
        drawn, revision = session.labels("middle", WHOLE), session.revision
        assert session.undo("middle") == Window(z=0, y=47, x=42, height=6, width=6)
        session.redo("middle")
        assert (session.labels("middle", WHOLE) == drawn).all()
        assert session.revision == revision + 2
    with Session(file) as session:
        assert [one.name for one in session.classes] == ["water", "sand"]
        assert (session.labels("middle", WHOLE) == drawn).all()
        assert [one.labeled for one in session.scenes()] == [False, True, False]
        assert not session.saved
        text, before = session.text(), file.read_text()
        assert text != before == file.read_text()
        assert session.save() == [{"class": "sand", "scene": "middle"}, {"class": "water", "scene": "middle"}]
        assert session.saved
        assert file.read_text() == text
        assert {(one.class_name, one.target) for one in session.examples()} == {
            ("water", (drawn == 1).sum()),  # each is there once
            ("sand", (drawn == 2).sum()),
        }
        Pipeline.from_yaml(file).validate(data=True)
        session.remove_example("middle", "sand")
        assert not session.saved
        with pytest.raises(ConfigError, match="without an example"):
            session.save()


def test_two_sessions_draw_on_one_scene(bench: Workbench) -> None:
    file = bench.pipeline()
    with Session(file) as one, Session(file) as other:
        one.draw("middle", stroke(1, (30.0, 30.0)))
        other.draw("middle", stroke(0, (90.0, 30.0)))
        one.draw("middle", stroke(1, (30.0, 150.0)))
        assert other.undo("middle") is not None
        other.redo("middle")
        assert one.undo("middle") is not None
        wanted = other.labels("middle", WHOLE).copy()
        wanted[120:] = 255
        assert set(np.unique(wanted)) == {0, 1, 255}
        one.examples()  # looks for what others drew
        assert (one.labels("middle", WHOLE) == wanted).all()
    with Session(file) as session:
        assert (session.labels("middle", WHOLE) == wanted).all()


def test_a_stroke_that_cannot_be_saved_stays_until_it_can(bench: Workbench) -> None:
    file, folder = bench.pipeline(), bench.root / "labels"
    folder.write_text("in the way")
    session = Session(file)
    with pytest.raises(OutputError) as refused:
        session.draw("middle", stroke(1, (30.0, 30.0)))
    assert refused.value.remedy
    assert 1 in session.labels("middle", WHOLE)
    with pytest.raises(OutputError):
        session.close()
    folder.unlink()
    session = Session(file)
    folder.write_text("in the way again")
    for value, scene in ((1, "middle"), (0, "large")):
        with pytest.raises(OutputError):
            session.draw(scene, stroke(value, (30.0, 30.0)))
    folder.unlink()
    session.draw("large", stroke(1, (30.0, 60.0)))
    session.close()
    with Session(file) as again:
        assert again.drawn("middle").keys() == again.drawn("large").keys() == {0}


def test_what_is_no_scene_class_or_label_is_refused(bench: Workbench) -> None:
    with Session(bench.pipeline()) as session:
        with pytest.raises(OutputError, match="no such scene"):
            session.draw("nowhere", stroke(1, (1.0, 1.0)))
        with pytest.raises(ConfigError, match="means no class"):
            session.draw("middle", stroke(7, (1.0, 1.0)))
        with pytest.raises(ConfigError, match="already"):
            session.add_class("water")
        with pytest.raises(ConfigError, match="no class can be called"):
            session.add_class("sand", "brown")
        for values in (np.zeros((3, 4)), np.zeros((9, 9), np.uint8), np.full((3, 4), 9)):
            with pytest.raises(ConfigError):
                session.add_example("middle", Window(z=0, y=0, x=0, height=3, width=4), values)
        assert not session.drawn("middle")


@pytest.mark.slow
def test_two_labelled_scenes_segment_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "RECIPES", samples.RECIPES[:3])
    samples.make_samples(tmp_path)
    truths = {path.stem: _read(path) for path in sorted((tmp_path / "truth").glob("*.tif"))}
    scale = [[-25, 0], [-32, -5], [-2, 16]]
    content = {
        "name": "flood",
        "input": {"uri": "scenes", "bands": [1, 2, "b1 - b2"], "scale": {"fixed": scale}},
        "support": {"adapt": "off", "classes": [{"name": "flood", "examples": []}]},
        "model": {"weights": "builtin:pyramid-small"},
        "execution": {"executor": "inline"},
        "output": {"directory": "out"},
    }
    file = tmp_path / "flood.yaml"
    file.write_text(yaml.safe_dump(content))
    first, second, third = truths
    with Session(file) as session:
        for scene in (first, second):
            truth = truths[scene].copy()
            truth[100:400:60] = 255  # not all of it is drawn
            session.add_example(scene, Window.whole(0, truth.shape), truth)
        found = session.try_window(third, Window.whole(0, truths[third].shape))
        assert iou(found.mask == 1, truths[third]) > 0.85
        session.save()
    Pipeline.from_yaml(file).run()
    for scene, truth in truths.items():
        (path,) = (tmp_path / "out" / scene).glob("mask*.tif")
        assert iou(_read(path) == 1, truth) > 0.85


def _read(path: Path) -> npt.NDArray[np.uint8]:
    with rasterio.open(path) as file:
        found: npt.NDArray[np.uint8] = file.read(1)
    return found
