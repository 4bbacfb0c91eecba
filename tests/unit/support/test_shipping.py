"""Weights for other nodes: they lie there while they are loaded, and what killed processes left does not stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hdm_pipeline.errors import WeightsError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.objects.scratch import weights_folder
from hdm_pipeline.support.shipping import fetched_weights, upload_weights
from tests.s3_server import S3Server

_KILLED = """
import json, os, signal, sys
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.support.shipping import fetched_weights

with fetched_weights(ObjectFolder("s3://out/b"), json.loads(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectFolder:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))
    return ObjectFolder("s3://out/b")


def _uploaded(bucket: ObjectFolder, file: Path, content: bytes) -> dict[str, str]:
    file.write_bytes(content)
    return upload_weights(bucket, [str(file)])


def test_they_are_brought_once_for_all_that_load_them_and_go_with_the_last(
    bucket: ObjectFolder, server: S3Server, tmp_path: Path
) -> None:
    uploaded = _uploaded(bucket, tmp_path / "own.safetensors", b"weights")
    (tmp_path / "copy.safetensors").write_bytes(b"weights")
    uploaded |= upload_weights(bucket, [str(tmp_path / "copy.safetensors")])
    assert len(uploaded) == 2
    with fetched_weights(bucket, uploaded) as here:
        assert list(here) == list(uploaded)
        [there] = {Path(path) for path in here.values()}
        assert there.read_bytes() == b"weights"
        command = [sys.executable, "-c", _KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")]
        subprocess.run([*command, json.dumps(uploaded)], check=True, timeout=120)
        assert there.is_file(), "one that loads them, too, does not take them from under us"
        assert server.counts("/uploads/")["get"] == 1
    assert os.listdir(weights_folder()) == []


def test_what_a_killed_process_left_goes_with_the_next(bucket: ObjectFolder, tmp_path: Path) -> None:
    for name in ("first", "same"):  # the second time the same weights are loaded next, the first time others
        uploaded = _uploaded(bucket, tmp_path / "own.safetensors", name.encode())
        ended = subprocess.run([sys.executable, "-c", _KILLED, json.dumps(uploaded)], timeout=120)
        assert ended.returncode < 0
        assert len(list(weights_folder().rglob("*.safetensors"))) == 1
        if name == "first":
            uploaded = _uploaded(bucket, tmp_path / "other.safetensors", b"others")
        with fetched_weights(bucket, uploaded) as here:
            assert len(here) == 1
        assert os.listdir(weights_folder()) == []


@pytest.mark.parametrize(("content", "said"), [(None, "are gone"), (b"others", "were changed")])
def test_others_than_were_uploaded_are_refused(
    bucket: ObjectFolder, server: S3Server, tmp_path: Path, content: bytes | None, said: str
) -> None:
    uploaded = _uploaded(bucket, tmp_path / "own.safetensors", b"weights")
    [key] = server.keys("out", "b/.hdm/uploads/")
    if content is None:
        server.client().delete_object(Bucket="out", Key=key)
    else:
        server.client().put_object(Bucket="out", Key=key, Body=content)
    with pytest.raises(WeightsError, match=said) as caught, fetched_weights(bucket, uploaded):
        pass
    assert caught.value.where == f"s3://out/{key}"
    assert [*weights_folder().rglob("*.safetensors")] == []


def test_those_of_many_classes_are_there_at_once(bucket: ObjectFolder, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(7)]
    uploaded = {}
    for number, file in enumerate(files):
        uploaded |= _uploaded(bucket, file, b"weights of class %d" % number)
    with fetched_weights(bucket, uploaded) as here:
        assert {path: Path(there).read_bytes() for path, there in here.items()} == {
            str(file): file.read_bytes() for file in files
        }
    assert os.listdir(weights_folder()) == []
