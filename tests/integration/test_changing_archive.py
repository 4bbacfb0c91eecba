"""Archives as they change, and as people name files: sidecars, damaged replacements, odd names, products among scenes.

Also what `validate --data` and `plan` find before a run.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import BandError, EmptyArchiveError, SupportError
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status, status_text
from tests.integration.conftest import Workbench, write_mask, write_scene
from tests.integration.test_warnings import changed, command


def report(bench: Workbench) -> dict[str, Any]:
    return dict(json.loads((bench.root / "out" / "run.json").read_text()))


def only(bench: Workbench, name: str) -> Path:
    """Leave one scene in the archive."""
    for path in bench.scenes.glob("*.tif"):
        if path.name != f"{name}.tif":
            path.unlink()
    return bench.scenes / f"{name}.tif"


def test_a_corrected_georeference_moves_the_mask(bench: Workbench) -> None:
    scene = only(bench, "small")
    world = scene.with_suffix(".tfw")
    profile = {"driver": "GTiff", "count": 2, "height": 40, "width": 50, "dtype": "float32", "crs": "EPSG:32633"}
    with rasterio.open(scene) as file:
        pixels = file.read()
    with rasterio.open(scene, "w", **profile) as file:
        file.write(pixels)
    for left in (500005, 600005):
        world.write_text(f"10\n0\n0\n-10\n{left}\n5199995\n")
        assert Pipeline.from_yaml(bench.pipeline()).run().done == ("small",)
        with rasterio.open(bench.root / "out" / "small" / "mask.tif") as mask:
            assert mask.transform.c == left - 5
    assert Pipeline.from_yaml(bench.pipeline()).run().done == ()


def test_products_of_a_scene_that_was_replaced_by_a_damaged_file_are_put_aside(bench: Workbench) -> None:
    scene = only(bench, "middle")
    sound = scene.read_bytes()
    Pipeline.from_yaml(bench.pipeline()).run()
    old = (bench.root / "out" / "middle" / "mask.tif").read_bytes()
    for damaged in (sound[:5000], b"no image"):
        scene.write_bytes(damaged)
        assert set(Pipeline.from_yaml(bench.pipeline()).run().quarantined) == {"middle"}
        assert not list((bench.root / "out").glob("*/*.tif"))
        assert (bench.root / "out" / ".hdm" / "stale" / "middle" / "mask.tif").read_bytes() == old
        found = output_status(bench.root / "out")
        assert found["stale"] == ["middle"]
        assert ".hdm/stale: middle" in status_text(found)
    log = "".join(path.read_text() for path in (bench.root / "out" / ".hdm" / "logs").iterdir())
    assert '"stale": ".hdm/stale/middle"' in log
    scene.write_bytes(sound)
    assert Pipeline.from_yaml(bench.pipeline()).run().done == ("middle",)
    assert (bench.root / "out" / "middle" / "mask.tif").read_bytes() == old
    assert output_status(bench.root / "out")["stale"] == []


def test_sidecars_belong_to_their_product(bench: Workbench) -> None:
    """They come, change, go and are put aside with it; what others left of an earlier product goes too."""
    scene = only(bench, "small")
    folder = bench.root / "out" / "small"
    names = {"mask.tif", "mask.tif.aux.xml", "mask.qml", "score.tif", "score.qml"}
    Pipeline.from_yaml(bench.pipeline()).run()
    assert {path.name for path in folder.iterdir()} == names
    outputs = report(bench)["scenes"]["small"]["outputs"]
    assert set(outputs) == {f"small/{name}" for name in names}

    (folder / "score.tif.aux.xml").write_text("statistics of a viewer")
    (folder / "mask.qml").unlink()
    assert Pipeline.from_yaml(bench.pipeline()).run().done == ("small",)
    assert {path.name for path in folder.iterdir()} == names

    renamed = bench.pipeline()
    renamed.write_text(renamed.read_text().replace("name: water", "name: lake"))
    assert Pipeline.from_yaml(renamed).run().done == ("small",)
    for name in ("mask.qml", "score.qml", "mask.tif.aux.xml"):
        text = (folder / name).read_text()
        assert "lake" in text
        assert "water" not in text

    scene.write_bytes(b"no image")
    assert set(Pipeline.from_yaml(renamed).run().quarantined) == {"small"}
    assert not list(folder.iterdir())
    assert {path.name for path in (bench.root / "out" / ".hdm" / "stale" / "small").iterdir()} == names


def test_products_that_are_no_longer_asked_for_are_set_aside(bench: Workbench) -> None:
    """Nobody would keep them true: after the next change of the scene they would pass for products of its new file."""
    only(bench, "small")
    out = bench.root / "out"

    def run(*products: str) -> tuple[str, ...]:
        return Pipeline.from_yaml(bench.pipeline(output={"directory": "out", "products": list(products)})).run().done

    assert run("mask", "score", "stac") == ("small",)
    assert (out / "collection.json").is_file()
    score = (out / "small" / "score.tif").read_bytes()

    assert run("mask") == ("small",)
    assert {path.name for path in (out / "small").iterdir()} == {"mask.tif", "mask.tif.aux.xml", "mask.qml"}
    assert not (out / "collection.json").exists()
    stale = out / ".hdm" / "stale"
    assert (stale / "small" / "score.tif").read_bytes() == score
    assert {path.name for path in (stale / "small").iterdir()} == {"score.tif", "score.qml", "item.json"}
    assert output_status(out)["stale"] == ["collection.json", "small"]
    assert run("mask") == ()

    assert run("mask", "score") == ("small",)
    assert (out / "small" / "score.tif").read_bytes() == score


def test_a_run_killed_while_publishing_leaves_no_names_of_another_product(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(bench, "small")
    Pipeline.from_yaml(bench.pipeline()).run()
    pipeline = bench.pipeline()
    pipeline.write_text(pipeline.read_text().replace("name: water", "name: lake"))
    rename, folder = os.replace, bench.root / "out" / "small"

    def killed(source: Any, target: Any) -> None:
        rename(source, target)
        if Path(target) == folder / "mask.tif":
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Pipeline.from_yaml(pipeline).run()
    monkeypatch.undo()
    assert not (folder / "mask.qml").exists()
    assert not (folder / "mask.tif.aux.xml").exists()
    assert Pipeline.from_yaml(pipeline).run().done == ("small",)
    assert "lake" in (folder / "mask.qml").read_text()


def test_any_file_name_gets_a_mask(bench: Workbench) -> None:
    scene = only(bench, "small")
    names = ["lake (1)", "a'b", 'a"b', "a#b", "a&b", "a,b", "\u00fcn\u00efcode", "-dash", "[x]", "a b"]
    for name in names:
        shutil.copy(scene, bench.scenes / f"{name}.tif")
    summary = Pipeline.from_yaml(bench.pipeline()).run()
    assert (len(summary.done), summary.quarantined) == (len(names) + 1, {})
    inputs = {Path(entry["input"]).stem: scene for scene, entry in report(bench)["scenes"].items()}
    assert set(inputs) == {*names, "small"}
    assert all((bench.root / "out" / scene / "mask.tif").is_file() for scene in inputs.values())


def test_an_example_may_have_any_name_and_its_sidecars_count(bench: Workbench) -> None:
    only(bench, "small")
    support = bench.root / "support"
    for old, new in (("chip.tif", "chip [1] (é).tif"), ("chip_mask.tif", "#mask[2].tif")):
        (support / old).rename(support / new)
    example = {"image": "support/chip [1] (é).tif", "mask": "support/#mask[2].tif"}
    pipeline = bench.pipeline(support={"classes": [{"name": "water", "examples": [example]}]})
    assert Pipeline.from_yaml(pipeline).validate(data=True) == []
    assert Pipeline.from_yaml(pipeline).run().done == ("small",)
    (support / "notes.txt").write_text("of no importance")
    assert Pipeline.from_yaml(pipeline).run().done == ()
    band = '<PAMRasterBand band="1"><Offset>0.5</Offset><Scale>1</Scale></PAMRasterBand>'
    (support / "chip [1] (é).tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    assert Pipeline.from_yaml(pipeline).run().done == ("small",)


@pytest.mark.parametrize("options", [{"recursive": True}, {}])
def test_own_products_are_no_scenes(bench: Workbench, options: dict[str, Any]) -> None:
    only(bench, "small")
    uri = "scenes" if options else "scenes/**/*.tif"
    pipeline = bench.pipeline(input={"uri": uri, "options": options, "bands": [1], "scale": {"fixed": [-25, 0]}})
    masks = [f"output.directory={json.dumps(str(bench.scenes / 'masks'))}"]
    assert Pipeline.from_yaml(pipeline, masks).run().done == ("small",)
    assert Pipeline.from_yaml(pipeline, masks).run().done == ()
    write_scene(bench.scenes / "new.tif", 40, 50, 9)
    assert Pipeline.from_yaml(pipeline, masks).run().done == ("new",)


def test_products_that_are_named_are_left_out(bench: Workbench) -> None:
    only(bench, "small")
    Pipeline.from_yaml(bench.pipeline()).run()
    summary = Pipeline.from_yaml(bench.pipeline(input={"uri": ["scenes", "out/small/mask.tif"]})).run()
    assert (summary.done, summary.done_before) == ((), 1)
    assert "product" in report(bench)["skipped"][0]["reason"]


@pytest.mark.parametrize(
    ("sections", "key", "error"),
    [
        ({"input": {"bands": ["VV", "B99"]}}, "input.bands.1", BandError),
        ({"support": {"mask": "support/half.tif"}}, "support.classes.0.examples.0", SupportError),
        ({"support": {"mask": "support/text.tif"}}, "support.classes.0.examples.0", SupportError),
        ({"support": {"mask": "support/all.tif"}}, "support.classes.0.examples", SupportError),
    ],
)
def test_wrong_data_are_found_before_the_run(
    bench: Workbench, sections: dict[str, dict[str, Any]], key: str, error: type[Exception]
) -> None:
    write_mask(bench.root / "support" / "half.tif", 64, 64, 4)
    (bench.root / "support" / "text.tif").write_text("no image")
    changed(bench.root / "support" / "chip_mask.tif", bench.root / "support" / "all.tif", np.ones_like)
    if "support" in sections:
        example = {"image": "support/chip.tif", **sections["support"]}
        sections = {"support": {"classes": [{"name": "water", "examples": [example]}]}}
    pipeline = Pipeline.from_yaml(bench.pipeline(**sections))
    assert pipeline.validate() == []
    with pytest.raises(PipelineFileError) as caught:
        pipeline.validate(data=True)
    assert key in [problem.key for problem in caught.value.problems]
    assert "archive" not in "".join(problem.remedy for problem in caught.value.problems)
    with pytest.raises((error, SupportError)):
        pipeline.plan()
    assert not (bench.root / "out").exists()


def test_a_band_that_only_the_scenes_lack_is_found_before_the_run(bench: Workbench) -> None:
    chip = bench.root / "support" / "chip.tif"
    changed(chip, chip, descriptions=("VV", "VH"))
    pipeline = Pipeline.from_yaml(bench.pipeline(input={"bands": ["VV", "VH"]}))
    with pytest.raises(PipelineFileError, match="no band 'VV'"):
        pipeline.validate(data=True)
    with pytest.raises(BandError, match="no band 'VV'"):
        pipeline.plan()
    small = bench.scenes / "small.tif"
    changed(small, small, descriptions=("VV", "VH"))
    first, _ = pipeline.validate(data=True)
    assert "2 of 3 scenes lack band VV" in first
    assert [scene.id for scene in pipeline.plan().scenes] == ["small"]


def test_sound_data_pass(bench: Workbench) -> None:
    assert Pipeline.from_yaml(bench.pipeline()).validate(data=True) == []


def test_a_bad_area_of_interest_is_told_at_its_own_key(bench: Workbench) -> None:
    square = [[500000, 5000000], [501000, 5000000], [501000, 4999000], [500000, 5000000]]
    (bench.root / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(bench.pipeline(input={"aoi": "aoi.geojson"})).validate()
    assert [problem.key for problem in caught.value.problems] == ["input.aoi"]
    assert "on no globe" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("img", "neither GeoTIFF nor JPEG"), ("v/*.vrt", "allow_vrt"), ("no/such", "does not exist")],
)
def test_why_no_scene_was_found_is_told(bench: Workbench, uri: str, reason: str) -> None:
    for name in ("img/a.img", "v/a.vrt"):
        (bench.root / name).parent.mkdir()
        (bench.root / name).write_text("x")
    for given in (uri, [uri, "nowhere"]):
        with pytest.raises(EmptyArchiveError, match=reason):
            Pipeline.from_yaml(bench.pipeline(input={"uri": given})).plan()


def test_words_of_the_command_line(
    bench: Workbench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(bench, "small")
    (bench.scenes / "broken.tif").write_bytes(b"II*\0 no more")
    file = str(bench.pipeline())
    code, text = command(capsys, monkeypatch, "run", file)
    assert (code, text.count("quarantined broken")) == (3, 1)
    code, text = command(capsys, monkeypatch, "run", file)
    assert (code, text.count("quarantined broken")) == (3, 1)
    by_file, by_folder = (command(capsys, monkeypatch, "status", place) for place in (file, str(bench.root / "out")))
    assert by_file == by_folder
    assert "1 done, 1 quarantined" in by_file[1]
    with pytest.raises(PipelineFileError, match="a name holds letters"):
        Pipeline.from_yaml(bench.pipeline(), ["name='a b'"])
