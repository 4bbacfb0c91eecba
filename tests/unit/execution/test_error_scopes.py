"""Each class of error says what it ends, and the driver does as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.config.file import FileError
from hdm_pipeline.errors import ConfigError, HdmError, StoreError
from hdm_pipeline.execution.messages import Failed, PublishTask, Task
from tests.fake_executor import Bench

MEET_NO_RUN = ("hdm_pipeline.session.", "hdm_pipeline.config.yaml_text")
"""Modules whose errors a person at work meets, and no run."""

EXPECTED = {
    "HdmError": "run",
    "ConfigError": "run",
    "FileError": "run",
    "PipelineFileError": "run",
    "TrainingFileError": "run",
    "ArchiveError": "run",
    "EmptyArchiveError": "run",
    "QuietArchiveError": "run",
    "SupportError": "run",
    "WeightsError": "run",
    "PluginError": "scene",
    "PluginLoadError": "run",
    "ModelInputError": "run",
    "BankMismatchError": "run",
    "PixelOverflowError": "scene",
    "OptimizationError": "run",
    "TrainingError": "run",
    "SceneError": "scene",
    "ReadError": "scene",
    "UnsupportedSceneError": "scene",
    "BandError": "scene",
    "SuspectSceneError": "scene",
    "TileError": "scene",
    "StoreError": "scene",
    "FetchError": "scene",
    "NoAnswerError": "scene",
    "WriteError": "scene",
    "PeerError": "run",
    "PeerRefusedError": "run",
    "PeerSilentError": "run",
    "OutputError": "run",
    "LostLockError": "run",
    "MissingExtraError": "run",
    "ObjectStoreError": "run",
    "ObjectStoreSilentError": "run",
    "DiskFullError": "run",
    "InboxFullError": "run",
    "NoSuchSceneError": "run",
    "LedgerError": "run",
    "ExecutionError": "run",
}
"""What each class ends. A new class needs a line here: decide what becomes of a run in which it is raised."""

SIZES = dict.fromkeys(("a", "b", "c"), (64, 160))


def tree(kind: type[HdmError] = HdmError) -> Iterator[type[HdmError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("hdm_pipeline.") and not child.__module__.startswith(MEET_NO_RUN):
            yield from tree(child)


KINDS = sorted(set(tree()), key=lambda kind: kind.__name__)


def make(kind: type[HdmError]) -> HdmError:
    if issubclass(kind, FileError):
        return kind("file.yaml", [])
    return kind("it broke", where="scene b", remedy="mend it")


def test_every_class_has_its_scope() -> None:
    assert {kind.__name__: kind.scope for kind in KINDS} == EXPECTED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("step", ["survey", "stage", "infer", "stitch", "publish"])
def test_an_error_ends_what_its_class_says(tmp_path: Path, kind: type[HdmError], step: str) -> None:
    bench, error = Bench(tmp_path, SIZES), make(kind)

    def script(task: Task) -> Failed | None:
        return Failed(task, error) if task.scene == "b" and task.step == step else None

    if EXPECTED[kind.__name__] == "scene":
        executor = bench.run(script)
        assert bench.statuses() == {"a": "done", "b": "quarantined", "c": "done"}
        record = bench.ledger.scene("b")
        assert record is not None
        assert record.error == error.as_dict()
        surveys = sum(task.scene == "b" and task.step == "survey" for task in executor.given)
        assert surveys == (2 if kind is StoreError else 1)
        return
    with pytest.raises(kind) as caught:
        bench.run(script)
    assert caught.value is error
    assert "quarantined" not in bench.statuses().values()
    finished = {(task.scene, task.step, task.block) for task in bench.executor.ended} - {
        ("b", step, 0),
        ("b", step, -1),
    }
    bench.run()
    assert bench.statuses() == {"a": "done", "b": "done", "c": "done"}
    again = {(task.scene, task.step, task.block) for task in bench.executor.given}
    assert not {entry for entry in finished & again if entry[2] >= 0}, "a finished block is done again"


def test_a_finished_scene_is_kept_when_the_run_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SIZES)

    def script(task: Task) -> Failed | None:
        error = make(ConfigError)
        return Failed(task, error) if task.scene == "b" and isinstance(task, PublishTask) else None

    with pytest.raises(ConfigError):
        bench.run(script)
    assert bench.statuses()["a"] == "done"
    assert "a" not in {task.scene for task in bench.run().given}
