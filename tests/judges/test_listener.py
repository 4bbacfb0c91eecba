"""The listener as a hospital has it: dcmtk and Orthanc send, a real run segments, and somebody pulls the plug."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.dicom_product import ORGAN
from tests.dicom_series import uid, write_series
from tests.integration.conftest import Workbench, bench, kit  # noqa: F401
from tests.integration.test_dicom_run import MARKERS, disc, leaks_of, marked
from tests.judges.conftest import RequireJudge
from tests.judges.orthanc import INSTALL, Archive, certificate, running
from tests.listener_soak import soak
from tests.listening import ListenerProcess, free_port, inbox_files

DOCS = Path(__file__).resolve().parents[2] / "docs" / "pacs.md"


def pipeline_of(bench: Workbench, **listen: Any) -> Path:  # noqa: F811
    """A pipeline that finds discs in series, and listens."""
    write_series(bench.root / "support" / "series", series="support", pixels=disc)
    Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    example = {"image": "support/series", "mask": "support/mask.png", "slices": [1]}
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    receive = {"port": 0, "plain": True, **listen.pop("dicom", {})}
    path = bench.pipeline(
        input={"reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}},
        support={"classes": [{"name": "disc", "codes": liver, "examples": [example]}]},
        output={"products": ["segmentation"], **listen.pop("output", {})},
        listen={"quiet": 1, "receive": {"dicom": receive}, **listen},
    )
    path.write_text(path.read_text().replace("  uri: scenes\n", ""))
    return path


def study(folder: Path, name: str, series: str, slices: int = 5) -> Path:
    """A study of one series, of a patient whose data must not show."""

    def of_study(dataset: Dataset, index: int) -> None:
        marked(dataset, index)
        dataset.StudyInstanceUID = uid(name)

    write_series(folder, tuple(2.0 * z for z in range(slices)), series=series, pixels=disc, change=of_study)
    return folder


@pytest.fixture
def storescu(require_judge: RequireJudge) -> Callable[..., str]:
    """dcmtk's sender; what it said."""
    program = require_judge("storescu", "dcmtk")

    def send(port: int, *files: Path, options: tuple[str, ...] = ()) -> str:
        command = [program, "-v", "-aec", "HDM", *options, "127.0.0.1", str(port), *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/").stderr

    return send


def segmented(out: Path) -> dict[str, np.ndarray]:
    """Voxels of every SEG in an output directory, by scene."""
    return {
        path.parent.name: hd.seg.segread(path).get_volume(combine_segments=True).array
        for path in out.glob("*/segmentation.dcm")
    }


def test_a_study_becomes_a_seg_and_leaves_nothing_behind(bench: Workbench, storescu: Callable[..., str]) -> None:  # noqa: F811
    pipeline = pipeline_of(bench, keep=24)
    out = bench.root / "out"
    first, second = (study(bench.root / "MARKERNAME" / name, name, f"series of {name}") for name in ("one", "two"))
    *early, late = sorted(first.iterdir(), key=lambda path: path.name.rpartition("-")[2])
    with ListenerProcess(pipeline) as listener:
        assert storescu(listener.port, *early).count("(Success)") == 4
        storescu(listener.port, *second.iterdir())
        assert {listener.wait("done")["scenes"] for _ in range(2)} == {1}
        assert sorted(len(voxels) for voxels in segmented(out).values()) == [4, 5]

        storescu(listener.port, late)  # a study that was segmented is done again, whole
        listener.wait("done")
        found = segmented(out)
        assert [len(voxels) for voxels in found.values()] == [5, 5]
        truth = np.stack([disc(index) > 1000 for index in range(5)])
        assert all(max((v == truth).mean(), (v[::-1] == truth).mean()) > 0.98 for v in found.values())

        storescu(listener.port, *first.iterdir())  # sent once more: nothing new
        time.sleep(3)
        assert listener.stop() == 0
    assert [event["event"] for event in listener.seen].count("complete") == 3
    printed = b"".join(listener.output)
    assert [marker for marker in MARKERS if marker in printed] == []
    assert len(inbox_files(out / ".hdm" / "inbox")) == 10
    shutil.rmtree(out / ".hdm" / "inbox" / "deliveries")  # the images themselves may name the patient, and so may a SEG
    for path in out.glob("*/segmentation.dcm"):
        path.unlink()
    assert leaks_of(out) == []


def test_a_late_image_of_a_study_that_is_gone_waits_for_the_others(
    bench: Workbench,  # noqa: F811
    storescu: Callable[..., str],
) -> None:
    """Its mask would replace that of the whole series."""
    pipeline = pipeline_of(bench, keep=0)
    out = bench.root / "out"
    *early, late = study(bench.root / "study", "study", "series", 6).iterdir()
    with ListenerProcess(pipeline) as listener:
        storescu(listener.port, *early)
        listener.wait("done")
        end = time.monotonic() + 60
        while inbox_files(out / ".hdm" / "inbox"):  # it tidies in its next round
            assert time.monotonic() < end
            time.sleep(0.05)
        before = (next(out.glob("*/segmentation.dcm"))).read_bytes()
        storescu(listener.port, late)
        assert "send the delivery again" in listener.wait("held")["error"]["remedy"]
        assert next(out.glob("*/segmentation.dcm")).read_bytes() == before
        storescu(listener.port, *early)
        listener.wait("done")
    (voxels,) = segmented(out).values()
    assert len(voxels) == 6


def test_nothing_acknowledged_is_lost_by_a_kill(bench: Workbench) -> None:  # noqa: F811
    """A small version of `benchmarks/bench_listener.py`."""
    port = free_port()
    pipeline = pipeline_of(bench, quiet=3600, dicom={"port": port})
    seen = soak(pipeline, bench.root / "out" / ".hdm" / "inbox", port, senders=5, count=200, kills=1, seconds=120)
    assert (seen.sent, seen.acknowledged, seen.lost, seen.twice) == (200, 200, 0, 0)


def test_tls_with_certificates_of_both_sides(bench: Workbench, storescu: Callable[..., str]) -> None:  # noqa: F811
    made, key = certificate(bench.root / "tls")
    other, other_key = certificate(bench.root / "other")
    files = {"certificate_file": "tls/certificate.pem", "key_file": "tls/key.pem", "ca_file": "tls/certificate.pem"}
    pipeline = pipeline_of(bench, quiet=3600, dicom={"plain": False, **files})
    (image,) = study(bench.root / "study", "study", "series", 1).iterdir()
    with ListenerProcess(pipeline) as listener:

        def send(certificate: Path, key: Path) -> str:
            return storescu(listener.port, image, options=("+tls", str(key), str(certificate), "+cf", str(made), "-ic"))

        assert "(Success)" not in storescu(listener.port, image)  # without TLS
        assert "(Success)" not in send(other, other_key)
        assert inbox_files(bench.root / "out" / ".hdm" / "inbox") == []
        assert "(Success)" in send(made, key)


def _stored(archive: Archive) -> int:
    """How often the archive has sent a study."""
    jobs = json.loads(archive.call("/jobs?expand"))
    return [job["Type"] for job in jobs if job["State"] == "Success"].count("DicomModalityStore")


def test_orthanc_sends_what_is_stable_and_says_so(bench: Workbench, require_judge: RequireJudge) -> None:  # noqa: F811
    """By the script in docs/pacs.md, word for word, but for the port and the token."""
    port, hook = free_port(), free_port()
    (bench.root / "hook.token").write_text("a token of this test\n")
    (script,) = re.findall(r"^```lua\n(.*?)^```$", DOCS.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert "8043" in script
    lua = bench.root / "route.lua"
    lua.write_text(script.replace("8043", str(hook)).replace("the line of hook.token", "a token of this test"))
    settings = {"LuaScripts": [str(lua)], "StableAge": 1, "DicomModalities": {"hdm": ["HDM", "127.0.0.1", port]}}
    with running(require_judge("Orthanc", INSTALL), bench.root / "orthanc", settings=settings) as archive:
        back = {"to": f"dimse://JUDGE@127.0.0.1:{archive.dicom_port}", "options": {"plain": True}}
        dicom = {"port": port, "callers": ["JUDGE"], "hook_port": hook, "token_file": "hook.token"}
        pipeline = pipeline_of(bench, quiet=3600, dicom=dicom, output={"send": back})
        with ListenerProcess(pipeline) as listener:
            archive.fill(study(bench.root / "study", "study", "series"))
            assert listener.wait("done")["scenes"] == 1
            query = json.dumps({"Level": "Series", "Query": {"Modality": "SEG", "StudyInstanceUID": uid("study")}})
            assert len(json.loads(archive.call("/tools/find", query.encode()))) == 1
            end = time.monotonic() + 120
            while _stored(archive) < 2:  # the SEG makes the study stable once more, and all is sent again
                assert time.monotonic() < end
                time.sleep(0.1)
            time.sleep(2)  # it is told by the hook, and could begin
            assert listener.stop() == 0
    assert [event["event"] for event in listener.seen].count("complete") == 1
    assert [len(voxels) for voxels in segmented(bench.root / "out").values()] == [5]


def test_a_pacs_that_is_away_gets_the_products_later(
    bench: Workbench,  # noqa: F811
    storescu: Callable[..., str],
    require_judge: RequireJudge,
) -> None:
    """The study waits in the inbox meanwhile; nothing is segmented twice."""
    pacs = free_port()
    back = {"to": f"dimse://JUDGE@127.0.0.1:{pacs}", "options": {"plain": True}}
    pipeline = pipeline_of(bench, keep=0, output={"send": back})
    inbox = bench.root / "out" / ".hdm" / "inbox"
    with ListenerProcess(pipeline) as listener:
        storescu(listener.port, *study(bench.root / "study", "study", "series").iterdir())
        assert listener.wait("retry")["error"]["type"] == "PeerError"
        assert len(inbox_files(inbox)) == 5
        before = next((bench.root / "out").glob("*/segmentation.dcm")).stat().st_mtime_ns
        program = require_judge("Orthanc", INSTALL)
        with running(program, bench.root / "orthanc", settings={"DicomPort": pacs}) as archive:
            listener.wait("done", 90)
            assert len(archive.instances()) == 1
    assert inbox_files(inbox) == []
    assert next((bench.root / "out").glob("*/segmentation.dcm")).stat().st_mtime_ns == before


def test_the_status_of_a_queue(bench: Workbench, storescu: Callable[..., str]) -> None:  # noqa: F811
    pipeline = pipeline_of(bench, quiet=3600)
    with ListenerProcess(pipeline) as listener:
        storescu(listener.port, *study(bench.root / "study", "study", "series").iterdir())
        command = [sys.executable, "-m", "hdm_pipeline", "listen", str(pipeline), "--status", "--json"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (found["running"], found["waiting"], found["deliveries"]) == (True, 1, {})
    assert found["bytes"] > 5 * 2 * 96 * 96
