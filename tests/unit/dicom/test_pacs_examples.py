"""Labelled examples that lie in a PACS: named by UID, fetched once, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hdm_pipeline.errors import (
    OutputError,
    PeerSilentError,
    SupportError,
)
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.support.remote import borrowed_examples, local_examples
from tests.dicom_series import uid
from tests.dicomweb_peer import SERIES, Plan, peer, reader
from tests.pacs_archive import write_pipeline


@pytest.mark.parametrize(
    ("query", "what"),
    [("", "named by UID"), ("?Modality=CT", "named by UID"), ("?SeriesInstanceUID=1.x", "no UID")],
)
def test_examples_are_named_by_uid(query: str, what: str, tmp_path: Path) -> None:
    with peer(Plan()) as uri, pytest.raises(SupportError, match=what):
        reader().fetch_example(uri + query, tmp_path)


def test_an_example_is_the_same_file_wherever_it_came_from(tmp_path: Path) -> None:
    stats = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        with peer(Plan()) as uri:
            path = Path(reader().fetch_example(f"{uri}?SeriesInstanceUID={SERIES}", folder))
        stats.append(sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in path.iterdir()))
    assert stats[0] == stats[1]
    assert len(stats[0]) == 3


def with_examples(root: Path, address: str, **of_input: Any) -> Pipeline:
    """A pipeline whose example lies in a PACS, image and mask."""
    path = write_pipeline(root, Path("builtin:pyramid-small"), "out", **{"uri": "files", "network": True, **of_input})
    content = yaml.safe_load(path.read_text())
    content["input"]["options"] = {"connection": {"plain": True, "timeout": 1}}
    image, mask = f"{address}?SeriesInstanceUID={SERIES}", f"{address}?SOPInstanceUID={uid('series', 1)}"
    content["support"]["classes"][0]["examples"] = [{"image": image, "mask": mask, "slices": [1]}]
    path.write_text(yaml.safe_dump(content))
    return Pipeline.from_yaml(path)


def test_a_pacs_is_not_asked_for_examples_that_are_here(tmp_path: Path) -> None:
    plan = Plan()
    with peer(plan) as address:
        pipeline = with_examples(tmp_path, address)
        ours, folder = archive_reader(pipeline.config), pipeline.workspace.examples
        here = local_examples(pipeline.config, ours, folder)
        asked = len(plan.asked)
        assert asked
        assert local_examples(pipeline.config, ours, folder) == here
        with borrowed_examples(pipeline.config, ours, folder) as borrowed:
            assert borrowed == here
        assert len(plan.asked) == asked
        # What is no longer whole is fetched again.
        image = here.support.classes[0].examples[0].image
        lost = min(Path(image).iterdir())
        lost.unlink()
        assert local_examples(pipeline.config, ours, folder) == here
        assert lost.is_file()
        assert len(plan.asked) > asked


def test_an_example_that_does_not_come_is_named(tmp_path: Path) -> None:
    key = "support.classes.0.examples.0"
    with peer(Plan(nothing=True)) as address:
        pipeline = with_examples(tmp_path, address)
        with pytest.raises(SupportError) as missing:
            pipeline.plan()
        assert missing.value.where.startswith(f"{key}.image: dicomweb://127")
        support = pipeline.config.support
        example = support.classes[0].examples[0].model_copy(update={"image": str(tmp_path / "here")})
        classes = [support.classes[0].model_copy(update={"examples": [example]})]
        config = pipeline.config.model_copy(update={"support": support.model_copy(update={"classes": classes})})
        with pytest.raises(SupportError) as missing:
            local_examples(config, archive_reader(config), tmp_path / "kept")
        assert missing.value.where.startswith(f"{key}.mask: dicomweb://127")
    with pytest.raises(PeerSilentError) as down:
        local_examples(config, archive_reader(config), tmp_path / "kept")
    assert down.value.where.startswith(f"{key}.mask: dicomweb://127")


def test_examples_are_fetched_only_by_who_holds_the_output_directory(tmp_path: Path) -> None:
    """Two runs that begin at once would unlink what the other one fetches."""
    plan = Plan()
    with peer(plan) as address:
        pipeline = with_examples(tmp_path, address)
        pipeline.workspace.create()
        with RunLock(pipeline.workspace.lock, "another run"), pytest.raises(OutputError, match="another run"):
            pipeline.run()
    assert plan.asked == []
    assert not pipeline.workspace.examples.exists()
