"""`evaluate` and `adapt` as a user calls them, on files of every kind, and on real data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from typer.testing import CliRunner, Result

from hdm_pipeline.cli.evaluate import app
from hdm_pipeline.errors import ConfigError, DiskFullError
from hdm_pipeline.model.checkpoints import load_network, read_header, save_weights
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import make_network


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = small_pyramid(2)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(network, path)
    return path


def scene(seed: int, shape: tuple[int, int] = (40, 56)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    top, left = generator.integers(0, shape[0] // 2, 2)
    mask[top : top + 14, left : left + 18] = 1
    return np.where(mask == 1, -5.0, -15.0) + generator.normal(0, 1, shape), mask


@pytest.fixture
def episode_list(tmp_path: Path) -> Path:
    """Supports and queries of several formats, sizes and types, one task with a scale and one without."""
    (tmp_path / "sub").mkdir()
    image, mask = scene(0)
    with rasterio.open(
        tmp_path / "sub" / "a.tif", "w", driver="GTiff", count=2, height=40, width=56, dtype="float32", nodata=np.nan
    ) as file:
        file.write(np.stack([image, image - 7]).astype(np.float32))
    Image.fromarray(mask).save(tmp_path / "sub" / "a.png")
    image, mask = scene(1, (70, 64))
    np.save(tmp_path / "b.npy", np.stack([image, image - 7], axis=-1))
    np.save(tmp_path / "b_mask.npy", mask)
    image, mask = scene(2, (33, 90))
    picture = np.clip((image + 25) * 8, 0, 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "c.jpg", quality=95)
    Image.fromarray(mask).save(tmp_path / "c.png")
    sar = {"image": "sub/a.tif", "mask": "sub/a.png"}
    array = {"image": "b.npy", "mask": "b_mask.npy"}
    photo = {"image": "c.jpg", "mask": "c.png"}
    records = [
        {"task": "sar", "support": [sar], "query": array, "scale": [-30, 0]},
        {"task": "sar", "support": [array, sar], "query": sar},
        {"task": "photo", "support": [photo], "query": photo},
    ]
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_figures_sheet_and_json(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    result = call(
        "evaluate", episode_list, "--weights", weights, "--adapt", "off", "--baseline", "rf",
        "--json", out, "--sheet", sheet,
    )  # fmt: skip
    assert result.exit_code == 0
    assert "mean (mIoU)" in result.stdout
    facts = json.loads(out.read_text())
    assert {name: task["episodes"] for name, task in facts["tasks"].items()} == {"sar": 2, "photo": 1}
    for figures in (facts, facts["baseline"]):
        assert figures["mean_iou"] == pytest.approx(np.mean([task["iou"] for task in figures["tasks"].values()]))
        assert set(figures["tasks"]["sar"]) >= {"iou", "dice", "episodes", "iou_interval"}
    assert facts["baseline"]["mean_iou"] > 0.8  # brightness is enough to tell target from ground
    assert facts["seconds_per_query"] > 0
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert picture.height > 3 * 100


def test_a_broken_episode_is_named_and_sets_the_exit_code(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    record = json.loads(episode_list.read_text().splitlines()[2])
    record["query"] = {"image": "nowhere.jpg", "mask": "c.png"}
    with episode_list.open("a") as file:
        file.write(json.dumps(record) + "\n")
    out = tmp_path / "out.json"
    result = call("evaluate", episode_list, "--weights", weights, "--adapt", "off", "--json", out)
    assert result.exit_code == 3
    assert "line 4 left out" in result.stderr
    assert "nowhere.jpg" in result.stderr
    facts = json.loads(out.read_text())
    assert facts["failed"][0]["line"] == 4
    assert facts["tasks"]["photo"]["episodes"] == 1


def test_a_bad_list_or_output_fails_before_any_work(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder of the output does not exist"):
        call("evaluate", episode_list, "--weights", weights, "--json", tmp_path / "none" / "out.json")
    with pytest.raises(ConfigError, match="a folder lies where the output is to be"):
        call("evaluate", episode_list, "--weights", weights, "--json", tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"task": "a"}\n')
    with pytest.raises(ConfigError, match='line 1: "support"'):
        call("evaluate", tmp_path / "bad.jsonl", "--weights", weights)


def test_figures_that_do_not_fit_on_the_disk_are_told(episode_list: Path, weights: Path) -> None:
    with pytest.raises(DiskFullError) as caught:
        call("evaluate", episode_list, "--weights", weights, "--adapt", "off", "--json", "/dev/full")
    assert "--json" in caught.value.remedy


def test_adapt_writes_weights_that_evaluate_takes(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted.safetensors"
    result = call("adapt", episode_list, "--task", "sar", "--weights", weights, "--out", out, "--steps", 2)
    assert result.exit_code == 0
    assert "kept 2 steps" in result.stdout
    assert json.loads(read_header(out).info["adaptation"])["steps"] == 2
    assert load_network(out).fingerprint() != load_network(weights).fingerprint()
    assert call("evaluate", episode_list, "--weights", out, "--adapt", "off").exit_code == 0
    with pytest.raises(ConfigError, match="2 tasks"):
        call("adapt", episode_list, "--weights", weights, "--out", out)


def test_adapt_takes_pairs_of_image_and_mask(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapted.safetensors"
    pair = f"{tmp_path / 'b.npy'}:{tmp_path / 'b_mask.npy'}"
    result = call("adapt", pair, "--weights", weights, "--out", out, "--steps", 1, "--scale", -30, 0, "--bands", "1")
    assert result.exit_code == 0
    assert out.is_file()
    with pytest.raises(ConfigError, match="not IMAGE:MASK"):
        call("adapt", "chip.tif", "--weights", weights, "--out", out)


def test_evaluation_adapts_to_each_set_of_examples_and_keeps_the_weights(
    episode_list: Path, weights: Path, tmp_path: Path
) -> None:
    cache, outs = tmp_path / "cache", [tmp_path / "1.json", tmp_path / "2.json"]
    for out in outs:
        result = call(
            "evaluate", episode_list, "--weights", weights, "--adapt-steps", 1, "--cache", cache, "--json", out
        )
        assert result.exit_code == 0
    first, second = (json.loads(out.read_text()) for out in outs)
    assert len(first["adaptations"]) == 3
    assert len(list(cache.glob("*.safetensors"))) == 3
    assert first["tasks"] == second["tasks"]


def test_the_published_test_runs_on_a_tiny_data_set(weights: Path, tmp_path: Path) -> None:
    lines = []
    for seed in range(4):
        image, mask = (
            np.kron(part, np.ones((3, 3))) for part in scene(seed, (48, 40))
        )  # 2,268 pixels: enough to count
        picture = np.clip((image + 25) * 8, 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([picture] * 3, axis=-1)).save(tmp_path / f"{seed}.jpg")
        label = Image.fromarray((mask * 6).astype(np.uint8), "P")
        label.putpalette([9, 9, 9] * 256)
        label.save(tmp_path / f"{seed}.png")
        lines.append(f"{seed}.jpg {seed}.png")
    (tmp_path / "val.txt").write_text("\n".join(lines))
    out = tmp_path / "fold.json"
    result = call(
        "evaluate-fold", tmp_path, "--benchmark", "pascal-5i", "--fold", 1, "--weights", weights,
        "--episodes", 3, "--runs", 2, "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0
    facts = json.loads(out.read_text())
    assert [run["seed"] for run in facts["runs"]] == [510, 365]
    assert set(facts["runs"][0]["class_iou"]) <= {"6"}


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys, hdm_pipeline.cli.evaluate; "
        "sys.exit(bool({'torch', 'rasterio', 'pydicom', 'ray', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.data
def test_real_task_lists_are_built_and_run(test_data: Path, tmp_path: Path) -> None:
    """The benchmark's lists are well-formed, and a real slice and a real chip can be read and scored."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "real_tasks.py"
    subprocess.run([sys.executable, script, tmp_path, "--data", test_data], check=True, capture_output=True)
    lines = (tmp_path / "one_shot.jsonl").read_text().splitlines()
    tasks = [json.loads(line)["task"] for line in lines]
    assert len(set(tasks)) >= 5
    short = [
        next(line for line, task in zip(lines, tasks, strict=True) if task == name) for name in ("flood", "ct-liver")
    ]
    (tmp_path / "short.jsonl").write_text("\n".join(short))
    out = tmp_path / "out.json"
    result = call(
        "evaluate", tmp_path / "short.jsonl", "--adapt", "off", "--baseline", "nearest-prototype", "--json", out,
        "--weights", _any_weights(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0
    assert json.loads(out.read_text())["baseline"]["tasks"]["flood"]["iou"] > 0.7


def _any_weights(folder: Path) -> Path:
    path = folder / "untrained.safetensors"
    save_weights(HDMNetPyramid(widths=(8,) * 5, depths=(1,) * 5, heads=2).eval(), path)
    return path


def test_the_curve_over_the_number_of_points(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", episode_list, "--weights", weights, "--adapt", "off", "--points", "20,2")
    result = call(*arguments, "--baseline", "nearest-prototype", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [each["points"] for each in facts["curve"]] == [2, 20]
    assert facts["points"] is None
    assert {each["episodes"] for each in facts["curve"]} == {facts["episodes"]}
    assert len({each["calibration_error"] for each in (*facts["curve"], facts)}) == 3  # other labels, other scores
    head = next(line for line in result.output.splitlines() if line.startswith("points a class"))
    assert head.split()[3:] == ["2", "20", "all"]
    with pytest.raises(ConfigError, match="not a list of positive numbers"):
        call("evaluate", episode_list, "--weights", weights, "--points", "few")


def test_episodes_that_only_points_cannot_serve_set_the_exit_code(tmp_path: Path) -> None:
    """HDMNet takes unknown for background: it refuses 400 points of a large example, and takes 400 of a small one."""
    records = []
    for name, shape in (("large", (128, 128)), ("small", (50, 50))):
        _, mask = scene(0, shape)
        mask[:, -2:] = 0
        np.save(tmp_path / f"{name}.npy", np.where(mask == 1, 0.8, 0.2))
        np.save(tmp_path / f"{name}_mask.npy", mask)
        pair = {"image": f"{name}.npy", "mask": f"{name}_mask.npy"}
        records.append({"task": name, "support": [pair], "query": pair, "scale": [0, 1]})
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    save_weights(make_network(), tmp_path / "hdmnet.safetensors")
    arguments = ("evaluate", tmp_path / "list.jsonl", "--weights", tmp_path / "hdmnet.safetensors", "--adapt", "off")
    whole = call(*arguments)
    assert whole.exit_code == 0, whole.stderr
    result = call(*arguments, "--points", "400")
    assert result.exit_code == 3, result.output
    assert "line 1 left out, with 400 labelled pixels of each class" in result.stderr
    assert "1 of 2 episodes left out, with 400 labelled pixels of each class" in result.stderr


def test_calibration_is_measured_and_drawn_and_changes_no_figure(
    episode_list: Path, weights: Path, tmp_path: Path
) -> None:
    pairs = []
    for seed in range(5):
        image, mask = (part.repeat(2, 0).repeat(2, 1) for part in scene(seed, (48, 48)))  # 1008 pixels of target
        np.save(tmp_path / f"s{seed}.npy", image)
        np.save(tmp_path / f"s{seed}_mask.npy", mask)
        pairs.append({"image": f"s{seed}.npy", "mask": f"s{seed}_mask.npy"})
    record = {"task": "calm", "support": pairs[:4], "query": pairs[4], "scale": [-30, 0]}
    episode_list.write_text(json.dumps(record) + "\n")
    facts = []
    for options in ((), ("--reliability", tmp_path / "diagram.png"), ("--augment", "flips")):
        out = tmp_path / "out.json"
        result = call("evaluate", episode_list, "--weights", weights, "--adapt", "off", "--json", out, *options)
        assert result.exit_code == 0, result.output
        facts.append(json.loads(out.read_text()))
        assert ("mean of tasks  " in result.output) == (len(facts) == 2)
    plain, calibrated, flipped = facts
    assert plain["mean_iou"] == calibrated["mean_iou"]
    assert plain["calibration"]["calm"]["temperatures"] == [1.0]
    assert calibrated["calibration"]["calm"]["temperatures"] != [1.0]
    assert calibrated["calibration_error"] == plain["calibration_error"]
    assert calibrated["calibration_error_calibrated"] != plain["calibration_error"]
    assert (plain["augment"], flipped["augment"]) == ("none", "flips")
    assert flipped["reliability"] != plain["reliability"]
    with Image.open(tmp_path / "diagram.png") as picture:
        assert picture.format == "PNG"


def test_odd_masks_are_told_of_episodes_that_fail_for_them(episode_list: Path, weights: Path, tmp_path: Path) -> None:
    Image.fromarray(np.where(scene(2, (33, 90))[1] == 1, 255, 0).astype(np.uint8)).save(tmp_path / "bytes.png")
    photo, odd = ({"image": "c.jpg", "mask": name} for name in ("c.png", "bytes.png"))
    none_shows_it = {"task": "odd", "support": [odd], "query": photo}
    nowhere = {"task": "odd query", "support": [photo], "query": {"image": "b.npy", "mask": "bytes.png"}}
    arguments = ("--weights", weights, "--adapt", "off")
    with episode_list.open("a") as file:
        file.write("".join(json.dumps(record) + "\n" for record in (none_shows_it, nowhere)))
    result = call("evaluate", episode_list, *arguments, "--points", "5", "--json", tmp_path / "out.json")
    assert result.exit_code == 3
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert line == f"warning: {json.loads((tmp_path / 'out.json').read_text())['warnings'][0]}"
    assert "bytes.png" in line
    assert "write it as 1" in line
    # Also where no episode is left, and where weights are adapted.
    episode_list.write_text(json.dumps(none_shows_it) + "\n")
    for call_that_fails in (("evaluate", episode_list), ("adapt", episode_list, "--out", tmp_path / "w.safetensors")):
        result = CliRunner().invoke(app, [*map(str, call_that_fails), "--weights", str(weights)])
        assert "holds foreground" in str(result.exception)
        assert result.stderr.count("write it as 1") == 1


@pytest.mark.data
def test_labels_of_sen1floods11_are_taken_as_they_are(weights: Path, test_data: Path, tmp_path: Path) -> None:
    """Their -1 is no data."""
    flood = test_data / "flood"
    chips = [
        {"image": f"{flood}/images/{name}_S1Hand.tif", "mask": f"{flood}/labels/{name}_LabelHand.tif"}
        for name in ("USA_905409", "Nigeria_812045", "Ghana_83483")
    ]
    records = [{"task": "flood", "support": [chips[0]], "query": query, "ignore": -1} for query in chips[1:]]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "out.json"
    arguments = ("--adapt", "off", "--baseline", "nearest-prototype", "--weights", weights, "--json", out)
    result = call("evaluate", tmp_path / "list.jsonl", *arguments)
    assert result.exit_code == 3, result.output
    facts = json.loads(out.read_text())
    assert facts["baseline"]["tasks"]["flood"]["iou"] > 0.5
    (failed,) = facts["failed"]
    assert "every pixel of the mask is unknown" in failed["what"]
    assert "Ghana" in failed["where"]
    pixels = sum(found["pixels"] for found in facts["reliability"])
    assert pixels == 117016 + 120118 - without_data(chips[1])
    pair = f"{chips[0]['image']}:{chips[0]['mask']}"
    adapted = tmp_path / "adapted.safetensors"
    arguments = ("--weights", weights, "--out", adapted, "--steps", 1, "--ignore", "-1")
    assert call("adapt", pair, *arguments).exit_code == 0


def without_data(chip: dict[str, str]) -> int:
    """Labelled pixels where the image holds no data."""
    with rasterio.open(chip["image"]) as image, rasterio.open(chip["mask"]) as mask:
        return int(np.count_nonzero((mask.read(1) >= 0) & ~np.isfinite(image.read()).all(axis=0)))
