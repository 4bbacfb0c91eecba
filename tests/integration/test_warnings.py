"""Wrong data that still runs: told in `run.json` and at the end of `run`, and quarantined where the run is strict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from hdm_pipeline.cli.main import main
from hdm_pipeline.errors import SupportError
from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench


def changed(path: Path, target: Path, pixels: Callable[[Any], Any] = lambda p: p, **profile: Any) -> None:
    """A copy of a raster with other pixels or another profile; `descriptions` and `units` go to the bands."""
    names, units = profile.pop("descriptions", ()), profile.pop("units", ())
    with rasterio.open(path) as file:
        made = pixels(file.read())
        kept = {**file.profile, "count": len(made), "dtype": made.dtype, **profile}
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(target, "w", **kept) as file:
        file.write(made)
        if names:
            file.descriptions = names
        if units:
            file.units = units


def report(bench: Workbench) -> dict[str, Any]:
    return dict(json.loads((bench.root / "out" / "run.json").read_text()))


def kinds(bench: Workbench, scene: str) -> set[str]:
    return {warning["kind"] for warning in report(bench)["scenes"][scene]["warnings"]}


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Run the command line; its exit code and all that it printed."""
    monkeypatch.setattr("sys.argv", ["hdm_pipeline", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture
def odd(bench: Workbench) -> Workbench:
    """One sound scene, and one of each kind of wrong ones."""
    sound = bench.scenes / "middle.tif"
    for name in ("large", "small"):
        (bench.scenes / f"{name}.tif").unlink()
    changed(sound, bench.scenes / "linear.tif", lambda p: 10 ** (p / 10))
    changed(sound, bench.scenes / "coarse.tif", transform=Affine(30, 0, 500000, 0, -30, 5000000))
    changed(sound, bench.scenes / "nowhere.tif", crs=None)
    changed(sound, bench.scenes / "void.tif", lambda p: p * np.float32("nan"))
    return bench


WRONG = {"linear": "scale_high", "coarse": "resolution", "nowhere": "no_crs", "void": "no_data"}


def test_wrong_scenes_are_done_and_told(
    odd: Workbench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = command(capsys, monkeypatch, "run", str(odd.pipeline()))
    assert code == 0
    assert report(odd)["totals"]["done"] == 5
    for scene, kind in WRONG.items():
        assert kind in kinds(odd, scene)
        assert f"({kind})" in text
    assert "1 scene:" in text
    assert "execution.strict" not in text
    assert "scale_high 1 scene" in command(capsys, monkeypatch, "status", str(odd.root / "out"))[1]
    assert not kinds(odd, "middle") & set(WRONG.values())


def test_strict_quarantines_them_before_the_network_sees_them(
    odd: Workbench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = command(capsys, monkeypatch, "run", str(odd.pipeline()), "--strict")
    assert code == 3
    scenes = report(odd)["scenes"]
    assert {name for name, scene in scenes.items() if scene["status"] == "quarantined"} == set(WRONG)
    assert all(scenes[name]["error"]["type"] == "SuspectSceneError" for name in WRONG)
    assert "execution.strict" in text
    assert not any((odd.root / "out" / name).exists() for name in WRONG)


def test_strictness_may_be_changed_between_runs(odd: Workbench) -> None:
    """Neither choice needs --retry-quarantined or leaves a product that the other would not have published."""
    assert len(Pipeline.from_yaml(odd.pipeline()).run().done) == 5
    strict = Pipeline.from_yaml(odd.pipeline(execution={"strict": True})).run()
    assert (set(strict.quarantined), strict.done_before) == (set(WRONG), 1)
    again = Pipeline.from_yaml(odd.pipeline()).run()
    assert (set(again.done), again.done_before, again.quarantined) == (set(WRONG), 1, {})


def test_one_class_everywhere_is_quarantined_before_it_is_published(bench: Workbench) -> None:
    dry_to_wet = np.float32(11)
    changed(bench.scenes / "small.tif", bench.scenes / "sea.tif", lambda p: np.where(p[:1] < -13, p, p - dry_to_wet))
    summary = Pipeline.from_yaml(bench.pipeline(execution={"strict": True})).run()
    assert set(summary.quarantined) == {"sea"}
    assert "became 'water'" in summary.quarantined["sea"]["what"]
    assert not (bench.root / "out" / "sea").exists()


def test_bands_in_another_order_than_the_examples(bench: Workbench) -> None:
    chip, small = bench.root / "support" / "chip.tif", bench.scenes / "small.tif"
    changed(chip, chip, descriptions=("VV", "VH"), units=("dB", "dB"))
    changed(small, bench.scenes / "swapped.tif", lambda p: p[::-1], descriptions=("VH", "VV"))
    changed(small, bench.scenes / "other.tif", descriptions=("VV", "HH"), units=("dB", "W"))
    summary = Pipeline.from_yaml(bench.pipeline()).run()
    assert set(summary.quarantined) == {"swapped"}
    assert "another order" in summary.quarantined["swapped"]["what"]
    assert {"bands", "units"} <= kinds(bench, "other")
    named = Pipeline.from_yaml(bench.pipeline(input={"bands": ["VV", "VH"]})).run()
    assert "swapped" not in named.quarantined


def test_examples_outside_the_scale_are_told_and_refused_when_strict(bench: Workbench) -> None:
    chip = bench.root / "support" / "chip.tif"
    changed(chip, chip, lambda p: 10 ** (p / 10))
    Pipeline.from_yaml(bench.pipeline()).run()
    (first, _) = report(bench)["support"]["water"]["warnings"]
    assert (first["kind"], first["example"]) == ("scale_high", "chip.tif")
    with pytest.raises(SupportError, match="high end"):
        Pipeline.from_yaml(bench.pipeline(folder="strict", execution={"strict": True})).run()


def test_many_scenes_of_a_kind_are_summed_up(
    bench: Workbench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        changed(bench.scenes / "small.tif", bench.scenes / f"nowhere{number}.tif", crs=None)
    code, text = command(capsys, monkeypatch, "run", str(bench.pipeline()))
    assert code == 0
    assert "warning (no_crs) of 5 scenes:" in text
    assert "... and 2 more; all are in run.json" in text
