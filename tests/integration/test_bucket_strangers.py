"""What is not ours in a bucket, or no bucket: addresses, answers that break off, lists and locks that are none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hdm_pipeline.errors import ConfigError, ObjectStoreError, OutputError
from hdm_pipeline.listening.listener import settings
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.bucket_lock import BucketLock
from hdm_pipeline.output.lock import holder
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status
from hdm_pipeline.session.session import Session
from tests.integration.conftest import Workbench, other_machine
from tests.s3_server import S3Server


@pytest.fixture(autouse=True)
def _first_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other_machine(monkeypatch, tmp_path, "first")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://out/../b", "names no bucket and folder"),
        ("s3://out/%2e%2e/b", "characters that not every store takes"),
        ("s3://out/a b", "characters that not every store takes"),
    ],
)
def test_addresses_are_checked_with_their_lines(bench: Workbench, address: str, said: str) -> None:
    file = bench.pipeline("b", output={"directory": address}, execution={"work": "ftp://x/y"})
    ended = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "validate", str(file)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    for key, what in (("output.directory", said), ("execution.work", "no address")):
        assert any(key in line and what in line and "b.yaml:" in line for line in ended.stderr.splitlines()), (
            ended.stderr
        )


def test_what_cannot_work_on_a_bucket_says_so(bench: Workbench, server: S3Server) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"}, listen={"folder": "scenes"}))
    with pytest.raises(ConfigError, match="an inbox cannot lie in a bucket"):
        settings(pipeline)
    with pytest.raises(ConfigError, match="not in a bucket") as caught:
        Session(pipeline)
    assert "--set output.directory" in caught.value.remedy
    among = bench.pipeline("among", input={"uri": "s3://out/"}, output={"directory": "s3://out/b"})
    with pytest.raises(ConfigError, match="lies with the scenes"):
        Pipeline.from_yaml(among).run()


def test_an_answer_that_breaks_off_is_asked_for_again(server: S3Server) -> None:
    folder = ObjectFolder("s3://out/cut")
    folder.put("there", b"x" * 5000)
    for key, expected in (("there", b"x" * 5000), ("missing", None)):
        server.fails("cut", kind="get|range", key=f"cut/{key}", times=2)
        assert folder.get(key) == expected
        assert [rule.done for rule in server.faults()] == [2]


@pytest.mark.long
def test_what_others_wrote_among_the_manifests_is_passed_over(
    bench: Workbench,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = bench.pipeline("b", output={"directory": "s3://out/b"})
    Pipeline.from_yaml(file).run()
    client = server.client()
    published = {key.split("/")[3]: key for key in server.keys("out", "b/.hdm/published/")}
    facts = {scene: json.loads(server.objects("out", key)[key]) for scene, key in published.items()}

    def put(key: str, content: object) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        client.put_object(Bucket="out", Key=key, Body=body)

    del facts["small"]["files"]
    put(published["small"], facts["small"])
    put(published["middle"], {**facts["middle"], "files": {"../../elsewhere": {}}})
    put(published["large"], [facts["large"]])
    put("b/.hdm/published/new/0123456789abcdef.json", {**facts["large"], "scene": "../.."})
    put("b/.hdm/published/other/0123456789abcdef.json", {"schema": 2, "scene": "other"})
    put("b/.hdm/published/cut/0123456789abcdef.json", b"{")
    put("b/.hdm/published/..%2f/0123456789abcdef.json", {})
    put("b/.hdm/published/deep/er/0123456789abcdef.json", {})
    put("b/.hdm/published/notes.json", {})
    for name in (".hdm/ledger.sqlite", ".hdm/files.json"):  # so that each of them is looked at
        client.delete_object(Bucket="out", Key=f"b/{name}")
    other_machine(monkeypatch, tmp_path, "second")
    summary = Pipeline.from_yaml(file).run()
    assert (sorted(summary.done), summary.done_before) == (["large", "middle", "small"], 0)
    assert caplog.text.count("a manifest that this release did not write is passed over") >= 6
    assert output_status("s3://out/b")["scenes"] == {"done": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is damaged"),
        (b"[1]", "is damaged"),
        (b'{"schema": 1, "files": ["x"]}', "is damaged"),
        (b'{"schema": 1, "generation": 1, "files": 5}', "is damaged"),
        (b'{"schema": 9, "generation": 1, "files": {}}', "another release"),
    ],
)
def test_a_list_of_files_that_is_no_such_list(bench: Workbench, server: S3Server, content: bytes, said: str) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline("b", output={"directory": "s3://out/b"}))
    server.client().put_object(Bucket="out", Key="b/.hdm/files.json", Body=content)
    for ask in (lambda: output_status("s3://out/b"), pipeline.plan, pipeline.run):
        with pytest.raises(OutputError, match=said) as caught:
            ask()
        assert caught.value.where == "s3://out/b/.hdm/files.json"
        assert caught.value.remedy
    assert server.objects("out", "b/.hdm/files.json")["b/.hdm/files.json"] == content


def test_a_lock_that_is_none_is_told_and_taken_over(server: S3Server) -> None:
    for content in (b"{", b"[]", json.dumps({"host": socket.gethostname()}).encode()):
        server.client().put_object(Bucket="out", Key="b/.hdm/run.lock", Body=content)
        folder = ObjectFolder("s3://out/b/.hdm")
        assert holder(folder) == {"owner": None, "host": None, "alive": None}
        with BucketLock(folder, "me", heartbeat=0.1, stale_after=0.5):
            assert (holder(folder) or {})["owner"] == "me"


def test_a_file_address_is_the_path(bench: Workbench, tmp_path: Path) -> None:
    """Also with a space, escaped or not; no client of object stores has a part in it."""
    target = tmp_path / "an output"
    file = bench.pipeline("b", output={"directory": target.as_uri()}, execution={"work": f"file://{tmp_path}/my work"})
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert (target / "small" / "mask.tif").is_file()
    [own] = (tmp_path / "my work").iterdir()
    assert (own / "small").is_dir()
    assert output_status(target.as_uri())["scenes"] == {"done": 3}
    with pytest.raises(ObjectStoreError, match="names no bucket and folder"):
        output_status("file://host/out")
