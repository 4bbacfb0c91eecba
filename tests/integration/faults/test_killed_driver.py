"""kill -9 of the driver at every kind of moment: the next run publishes the bytes of an undisturbed one."""

from __future__ import annotations

import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Undisturbed, Workbench, published, steps_of
from tests.integration.faults.victim import kill_at

MOMENTS = [
    ("event:stage", 3),
    ("event:infer", 1),
    ("event:infer", 7),
    ("event:stitch", 2),
    ("event:scene_done", 1),
    ("ledger", 5),
    ("rename", 4),
    ("renamed", 23),
    ("mask", 2),
]


@pytest.mark.parametrize(("moment", "count"), MOMENTS)
def test_a_killed_run_leaves_the_bytes_of_an_undisturbed_one(
    bench: Workbench, undisturbed: Undisturbed, moment: str, count: int
) -> None:
    file = bench.pipeline("killed")
    kill_at(file, moment, count)
    assert Pipeline.from_yaml(file).run().exit_code == 0
    assert published(bench.root / "killed") == undisturbed.files
    # A step whose receipt never reached the ledger is the only one that may be done again, and it left no log line.
    after = steps_of(bench.root / "killed")
    assert all(after.get(step, 0) <= count for step, count in undisturbed.steps.items())
    leftovers = [p for p in (bench.root / "killed").rglob(".*.tif") if p.is_file()]
    assert leftovers == [], "half-written products must not stay"


def test_killed_again_and_again(bench: Workbench, undisturbed: Undisturbed) -> None:
    file = bench.pipeline("killed")
    for _ in range(3):
        kill_at(file, "event:infer", 3)
    Pipeline.from_yaml(file).run()
    assert published(bench.root / "killed") == undisturbed.files
