"""Where an output in a bucket is worked on, from run to run: begun work goes on, and nothing is left anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import BlockInferred, Event, SceneStarted
from tests.integration.conftest import Workbench, make_bench, published
from tests.s3_server import S3Server

OUTPUT = {"directory": "s3://out/b", "keep": "nothing"}
TILING = {"size": 128, "block": 1}
"""Some twenty blocks in three scenes."""

HERE = {"executor": "inline"}
BESIDE = {"work": "s3://out/b/.hdm/scenes"}
"""Where a run on Ray works."""
ELSEWHERE = {"work": "s3://out/cells"}
RAY = {"executor": "ray", "actors": 1, "threads": 1}


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))


class Told:
    """What a run told, which is ended as by Ctrl-C twice once so many blocks are inferred."""

    def __init__(self, most: int | None = None) -> None:
        self.most, self.blocks, self.done_before = most, 0, 0

    def __call__(self, event: Event) -> None:
        match event:
            case SceneStarted():
                self.done_before += event.blocks_done
            case BlockInferred():
                self.blocks += 1
                if self.blocks == self.most:
                    raise KeyboardInterrupt


def run(bench: Workbench, execution: Mapping[str, Any], most: int | None = None, **output: Any) -> Told:
    file = bench.pipeline("b", output={**OUTPUT, **output}, execution=dict(execution), tiling=TILING)
    told = Told(most)
    if most is None:
        Pipeline.from_yaml(file).run(told)
    else:
        with pytest.raises(KeyboardInterrupt):
            Pipeline.from_yaml(file).run(told)
    return told


def arrays(server: S3Server) -> list[str]:
    """Objects of pixels and scores anywhere in the bucket."""
    return [key for key in server.keys("out") if "/stage-" in key or "/score-" in key]


def arrays_here() -> list[Path]:
    root = Workspace.of("s3://out/b").root
    return [path for path in root.rglob("*") if path.name.startswith(("stage-", "score-"))]


@pytest.mark.parametrize(
    ("first", "second", "goes_on"),
    [
        pytest.param(BESIDE, HERE, True, id="of Ray, then inline"),
        pytest.param(BESIDE, ELSEWHERE, False, id="of Ray, then elsewhere", marks=pytest.mark.long),
        pytest.param(ELSEWHERE, HERE, False, id="elsewhere, then inline", marks=pytest.mark.long),
        pytest.param(ELSEWHERE, BESIDE, False, id="elsewhere, then Ray"),
        pytest.param(HERE, BESIDE, False, id="inline, then Ray", marks=pytest.mark.long),
        pytest.param(HERE, HERE, True, id="inline twice", marks=pytest.mark.long),
    ],
)
def test_begun_work_goes_on_or_is_removed(
    bench: Workbench,
    server: S3Server,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    goes_on: bool,
    undisturbed_blocks: tuple[int, dict[str, bytes]],
) -> None:
    blocks, expected = undisturbed_blocks
    begun = run(bench, first, most=4)
    assert begun.blocks == 4
    assert bool(arrays(server)) == (first is not HERE)
    after = run(bench, second)
    assert after.done_before > 0
    assert (begun.blocks + after.blocks == blocks) == goes_on
    assert arrays(server) == []
    assert arrays_here() == []
    found = {key.removeprefix("b/"): content for key, content in server.objects("out", "b/").items()}
    assert {name: found.get(name) == content for name, content in expected.items()} == dict.fromkeys(expected, True)


@pytest.fixture(scope="module")
def undisturbed_blocks(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> tuple[int, dict[str, bytes]]:
    """Blocks of the archive, and what is published of it."""
    bench = make_bench(tmp_path_factory.mktemp("undisturbed"))
    told = Told()
    Pipeline.from_yaml(bench.pipeline("disk", tiling=TILING)).run(told)
    return told.blocks, published(bench.root / "disk")


@pytest.mark.parametrize("place", ["s3://out", "disk"])
def test_outputs_that_work_in_one_place_leave_each_others_work_alone(
    bench: Workbench, server: S3Server, undisturbed_blocks: tuple[int, dict[str, bytes]], place: str
) -> None:
    """The same archive and settings: their arrays have the same names."""
    first, second = f"{place}/first", f"{place}/second"
    execution = {"work": f"{place}/cells"}
    begun = run(bench, execution, most=4, directory=first)
    assert run(bench, execution, directory=second).done_before == 0
    after = run(bench, execution, directory=first)
    assert after.done_before > 0
    assert begun.blocks + after.blocks == undisturbed_blocks[0]
    cells = [*bench.root.rglob("cells/**/zarr.json"), *server.keys("out", "cells/")]
    assert cells == []


@pytest.mark.long
def test_scores_that_a_run_on_ray_kept_are_used_by_one_inline(bench: Workbench, server: S3Server) -> None:
    first = run(bench, BESIDE, keep="scores")
    assert first.blocks
    assert {key.split("/")[4].split("-")[0] for key in arrays(server)} == {"score"}
    file = Pipeline.from_yaml(bench.root / "b.yaml", ["execution.work=null", "output.threshold=0.8"])
    told = Told()
    assert len(file.run(told).done) == 3
    assert told.blocks == 0


def test_what_a_driver_did_not_live_to_remove_goes_with_the_next_run(
    bench: Workbench, server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It published scenes after it copied the ledger last, and was killed before it removed their pixels."""
    run(bench, BESIDE, keep="all")
    assert arrays(server)
    for name in (".hdm/ledger.sqlite", ".hdm/files.json"):
        server.client().delete_object(Bucket="out", Key=f"b/{name}")
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "other"))
    assert run(bench, BESIDE, keep="nothing").blocks == 0
    assert arrays(server) == []


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param(RAY, HERE, id="to inline"), pytest.param(HERE, RAY, id="to Ray", marks=pytest.mark.long)],
)
def test_from_ray_and_back(
    bench: Workbench, server: S3Server, no_cluster: None, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    begun = run(bench, first, most=4)
    after = run(bench, second)
    if first is RAY:
        assert 0 < after.done_before <= begun.blocks
    assert arrays(server) == []
    assert arrays_here() == []
    assert len([key for key in server.keys("out", "b/") if key.endswith("/mask.tif")]) == 3
