"""Runs whose output lies in Azure or in Google Cloud Storage: the bytes of a disk, resumed anywhere, one run at a time.

Azurite serves the one; for the other a server of ours stands in, which is no judge (`tests/gcs_server.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdm_pipeline.comparison import compare_outputs
from hdm_pipeline.errors import ObjectStoreError, OutputError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.bucket_lock import BucketLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status
from hdm_pipeline.xarrays.run_output import open_output
from tests.azure_server import AzureServer
from tests.gcs_server import GoogleServer, google
from tests.integration.conftest import Workbench, bench, kit, other_machine, published
from tests.judges.node import azurite

__all__ = ["azurite", "bench", "google", "kit"]


@pytest.fixture(params=["az", "gs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a bucket, which a machine without any other work of ours reaches."""
    server: AzureServer | GoogleServer = request.getfixturevalue({"az": "azurite", "gs": "google"}[request.param])
    server.enter(monkeypatch)
    other_machine(monkeypatch, tmp_path, "first")
    return f"{request.param}://out"


def _published(folder: ObjectFolder) -> dict[str, bytes]:
    kept = {key for key, _ in folder.keys("") if Path(key).suffix in (".tif", ".xml", ".qml")}
    return {key: folder.get(key) or b"" for key in kept if not key.startswith(".hdm/")}


def test_the_bytes_of_a_disk_and_nothing_to_do_on_another_machine(
    bench: Workbench, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    file = bench.pipeline("b", output={"directory": f"{store}/b"}, execution={"work": f"{store}/work"})
    assert len(Pipeline.from_yaml(file).run().done) == 3
    folder = ObjectFolder(f"{store}/b")
    assert _published(folder) == published(bench.root / "disk")
    assert folder.get(".hdm/run.lock") is None
    assert {key.split("/")[1] for key, _ in ObjectFolder(f"{store}/work").keys("")} == {"large", "middle", "small"}
    other_machine(monkeypatch, tmp_path, "second")
    again = Pipeline.from_yaml(file).run()
    assert (len(again.done), again.done_before) == (0, 3)
    assert output_status(f"{store}/b")["scenes"]["done"] == 3
    opened, here = (open_output(one, chunks=None) for one in (f"{store}/b", bench.root / "disk"))
    assert opened["large"]["mask"].equals(here["large"]["mask"])
    found = compare_outputs(f"{store}/b", str(bench.root / "disk"))
    assert {kind: found["classes"]["water"][kind]["pixels"] for kind in ("gained", "lost")} == {"gained": 0, "lost": 0}


def test_a_scene_published_after_the_last_copy_of_the_ledger_is_not_done_again(
    bench: Workbench, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = bench.pipeline("c", output={"directory": f"{store}/c"})
    Pipeline.from_yaml(file).run()
    folder = ObjectFolder(f"{store}/c")
    expected = _published(folder)
    for name in (".hdm/ledger.sqlite", ".hdm/files.json"):
        folder.delete(name)
    [(manifest, _)] = folder.keys(".hdm/published/small/")
    folder.delete(manifest)
    other_machine(monkeypatch, tmp_path, "second")
    summary = Pipeline.from_yaml(file).run()
    assert (list(summary.done), summary.done_before) == (["small"], 2)
    assert _published(folder) == expected


def test_runs_lock_each_other_out(bench: Workbench, store: str) -> None:
    file = bench.pipeline("d", output={"directory": f"{store}/d"})
    with BucketLock(ObjectFolder(f"{store}/d/.hdm"), "another"), pytest.raises(OutputError, match="another"):
        Pipeline.from_yaml(file).run()
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert json.loads(ObjectFolder(f"{store}/d").get("run.json") or b"")["status"] == "done"


def test_refusals_say_what_is_azures(azurite: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    azurite.enter(monkeypatch)
    with pytest.raises(ObjectStoreError, match=r"no such bucket(.|\n)*AZURE_STORAGE_ENDPOINT"):
        ObjectFolder("az://nothing/b").get("a")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    with pytest.raises(ObjectStoreError, match="refuses the keys"):
        ObjectFolder("az://out/b").get("a")


def test_refusals_say_what_is_googles(google: GoogleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    google.enter(monkeypatch)
    with pytest.raises(ObjectStoreError, match="no such bucket"):
        ObjectFolder("gs://nothing/b").get("a")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(google.stranger_file))
    with pytest.raises(ObjectStoreError, match="refuses the keys"):
        ObjectFolder("gs://out/b").get("a")
