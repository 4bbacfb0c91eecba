"""`output.send` to real peers: Orthanc by STOW-RS (HTTPS, users) and by C-STORE, dcmtk's `dcmqrscp`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from hdm_dicom.senders import DicomWebSender, DimseSender
from hdm_pipeline.options import RunSummary
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status
from hdm_pipeline.testing import check_sender
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration import conftest as whole_runs
from tests.integration.test_dicom_run import MARKERS, marked
from tests.judges.conftest import RequireJudge, missing
from tests.judges.orthanc import INSTALL, Archive, free_port, running

kit, bench = whole_runs.kit, whole_runs.bench
Workbench = whole_runs.Workbench

SERIES = ("one", "two", "three")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    if any(find_spec(name) is None for name in ("pynetdicom", "dicomweb_client")):
        missing("pynetdicom, dicomweb-client (install: pip install 'hdm-pipeline[pacs]')")
    monkeypatch.setattr("hdm_pipeline.delivery.postman.FIRST_PAUSE", 0.05)
    monkeypatch.setenv("PACS_USER", "judge")
    monkeypatch.setenv("PACS_PASSWORD", "secret")


def disc(index: int) -> np.ndarray:
    """A bright disc that moves from slice to slice."""
    y, x = np.mgrid[:96, :96]
    return np.where((y - 48) ** 2 + (x - 30 - 6 * index) ** 2 < 200, 1200, 950).astype(np.uint16)


def pipeline_file(bench: Workbench, send: Any, **output: Any) -> Path:
    """A pipeline over three small series, whose segmentations are sent."""
    for series in SERIES:
        write_series(bench.root / "archive" / series, series=series, pixels=disc, change=marked)
    write_series(bench.root / "support" / "series", series="support", pixels=disc)
    Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    example = {"image": "support/series", "mask": "support/mask.png", "slices": [1]}
    return bench.pipeline(
        input={"uri": "archive", "reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}},
        support={"classes": [{"name": "disc", "codes": liver, "examples": [example]}]},
        output={"products": ["segmentation", "nifti"], "send": send, **output},
    )


def leaks(bench: Workbench) -> list[str]:
    """Where something of the patient stands in what was written beside the segmentations, by name or content."""
    out = bench.root / "out"
    written = [path for path in out.rglob("*") if path.is_file() and path.name != "segmentation.dcm"]
    found = [f"{path}: {marker!r}" for path in written for marker in MARKERS if marker in path.read_bytes()]
    return found + [str(path) for path in written for marker in MARKERS if marker.decode() in str(path)]


def by_web(archive: Archive, **options: Any) -> dict[str, Any]:
    given = {"user_env": "PACS_USER", "password_env": "PACS_PASSWORD", "timeout": 10}
    given |= {"ca_file": str(archive.certificate)} if archive.certificate else {"plain": True}
    address = archive.web.replace("https://", "dicomweb://").replace("http://", "dicomweb://")
    return {"to": address, "options": {**given, **options}}


def by_dimse(listens: int, called: str = "JUDGE", **options: Any) -> dict[str, Any]:
    return {"to": f"dimse://{called}@127.0.0.1:{listens}", "options": {"plain": True, "timeout": 10, **options}}


def run(path: Path) -> RunSummary:
    return Pipeline.from_yaml(path).run()


def segmentations(bench: Workbench) -> dict[str, Path]:
    """What was published, by SOP instance UID."""
    found = (bench.root / "out").glob("*/segmentation.dcm")
    return {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID: path for path in found}


def assert_holds(archive: Archive, bench: Workbench, *, exactly: bool = False) -> None:
    """The archive has each segmentation once, and nothing else; byte for byte where nothing re-encodes the header."""
    published = segmentations(bench)
    assert len(published) == len(SERIES)
    assert len(archive.instances()) == len(SERIES)
    for uid, path in published.items():
        back = archive.stored(uid)
        if exactly:
            assert back == path.read_bytes()
        else:
            copy = bench.root / "back.dcm"
            copy.write_bytes(back)
            assert pydicom.dcmread(copy) == pydicom.dcmread(path)


@pytest.fixture
def secure(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    program, stunnel = require_judge("Orthanc", INSTALL), require_judge("stunnel4", "apt-get install stunnel4")
    with running(program, tmp_path / "orthanc", stunnel=stunnel) as archive:
        yield archive


@pytest.fixture
def orthanc(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as archive:
        yield archive


def test_stow_over_https_with_a_user(secure: Archive, bench: Workbench) -> None:
    path = pipeline_file(bench, by_web(secure))
    summary = run(path)
    assert summary.exit_code == 0, summary.sends
    assert (summary.sends[0].sent, summary.sends[0].files) == (3, 3)
    assert_holds(secure, bench, exactly=True)
    assert leaks(bench) == []
    # What a viewer asks: which segmentations has this study?
    study = pydicom.dcmread(next(iter(segmentations(bench).values())), stop_before_pixels=True).StudyInstanceUID
    found = json.loads(
        secure.call(f"/dicom-web/studies/{study}/series?Modality=SEG", headers={"Accept": "application/dicom+json"})
    )
    assert len(found) == len(SERIES)
    assert run(path).sends[0].files == 0


def test_the_senders_keep_their_contract(orthanc: Archive, tmp_path: Path) -> None:
    write_series(tmp_path / "series", series="contract", pixels=disc)
    files = sorted(path for path in (tmp_path / "series").rglob("*") if path.is_file())
    (tmp_path / "odd.txt").write_text("no DICOM")

    def stored(path: Path) -> bytes:
        return orthanc.stored(pydicom.dcmread(path).SOPInstanceUID)

    web, dimse = by_web(orthanc), by_dimse(orthanc.dicom_port)
    more: dict[str, Any] = {"odd": tmp_path / "odd.txt", "options": web["options"]}
    check_sender(
        DicomWebSender, web["to"], files[:2], nobody=f"dicomweb://127.0.0.1:{free_port()}/x", stored=stored, **more
    )
    # Over DIMSE a PACS writes the meta header of the file itself.
    more["options"] = dimse["options"]
    check_sender(DimseSender, dimse["to"], files[2:4], nobody=f"dimse://JUDGE@127.0.0.1:{free_port()}", **more)


def test_c_store(orthanc: Archive, bench: Workbench) -> None:
    summary = run(pipeline_file(bench, by_dimse(orthanc.dicom_port)))
    assert summary.exit_code == 0, summary.sends
    assert_holds(orthanc, bench)
    assert leaks(bench) == []


def test_c_store_to_dcmqrscp(require_judge: RequireJudge, bench: Workbench, tmp_path: Path) -> None:
    program = require_judge("dcmqrscp", "apt-get install dcmtk")
    port, store = free_port(), tmp_path / "qr"
    store.mkdir()
    (tmp_path / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\nHostTable BEGIN\nHostTable END\n"
        f'VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nSTORE "{store}" RW (50, 64mb) ANY\nAETable END\n'
    )
    process = subprocess.Popen([program, "-c", str(tmp_path / "qr.cfg"), "--allow-shutdown"])
    try:
        path = pipeline_file(bench, by_dimse(port, "STORE"))
        for _ in range(40):
            if run(path).exit_code == 0:
                break
            time.sleep(0.25)
        held = {pydicom.dcmread(file).SOPInstanceUID: file for file in store.glob("*.dcm")}
        published = segmentations(bench)
        assert set(held) == set(published)
        for uid, file in held.items():
            assert pydicom.dcmread(file) == pydicom.dcmread(published[uid])
        assert run(path).sends[0].files == 0
        # Sent once more after the receipts are lost: the same three objects.
        (bench.root / "out" / ".hdm" / "ledger.sqlite").unlink()
        assert run(path).sends[0].files == 3
        assert len(list(store.glob("*.dcm"))) == len(SERIES)
    finally:
        process.terminate()
        process.wait(10)


def test_storage_commitment(require_judge: RequireJudge, bench: Workbench, tmp_path: Path) -> None:
    ours = free_port()
    settings = {"DicomModalities": {"hdm": {"AET": "HDM", "Host": "127.0.0.1", "Port": ours}}}
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc", settings=settings) as archive:
        path = pipeline_file(bench, by_dimse(archive.dicom_port, commitment=True, port=ours))
        summary = run(path)
        assert summary.exit_code == 0, summary.sends
        assert_holds(archive, bench)
    report = json.loads((bench.root / "out" / "run.json").read_text())
    answers = [scene["sent"][summary.sends[0].to]["what"] for scene in report["scenes"].values()]
    assert answers == ["stored, committed"] * 3


def test_a_commitment_that_does_not_come_is_told(orthanc: Archive, bench: Workbench) -> None:
    # Orthanc reports to port 104 of this machine, where nobody listens.
    path = pipeline_file(bench, by_dimse(orthanc.dicom_port, commitment=True, timeout=2))
    summary = run(path)
    assert summary.exit_code == 4
    whats = {error["what"] for error in summary.sends[0].not_sent.values()}
    assert whats == {"stored, but not committed within 2 seconds"}


def test_wrong_credentials_cost_no_mask_and_are_corrected(
    secure: Archive, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pipeline_file(bench, by_web(secure))
    monkeypatch.setenv("PACS_PASSWORD", "not-the-password")
    summary = run(path)
    assert (len(summary.done), summary.exit_code) == (3, 4)
    whats = {error["what"] for error in summary.sends[0].not_sent.values()}
    assert len(whats) == 1
    assert "the password or token is wrong (HTTP 401)" in whats.pop()
    out = bench.root / "out"
    written = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    assert b"not-the-password" not in written
    assert leaks(bench) == []
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    again = run(path)
    assert (len(again.done), again.exit_code) == (0, 0)
    assert_holds(secure, bench, exactly=True)


def test_a_title_that_the_pacs_does_not_know(orthanc: Archive, bench: Workbench) -> None:
    summary = run(pipeline_file(bench, by_dimse(orthanc.dicom_port, ae_title="STRANGER")))
    assert summary.exit_code == 4
    assert orthanc.instances() == []
    summary = run(pipeline_file(bench, by_dimse(orthanc.dicom_port)))
    assert summary.exit_code == 0
    assert len(orthanc.instances()) == 3


def test_a_pacs_that_is_down_gets_all_once_it_is_up(
    require_judge: RequireJudge, bench: Workbench, tmp_path: Path
) -> None:
    program, folder = require_judge("Orthanc", INSTALL), tmp_path / "orthanc"
    ports = (free_port(), free_port())
    here = Archive(f"http://127.0.0.1:{ports[0]}", ports[1], "judge", "secret")
    path = pipeline_file(bench, [by_web(here), by_dimse(here.dicom_port)])
    summary = run(path)
    assert (len(summary.done), summary.exit_code) == (3, 4)
    assert [len(peer.not_sent) for peer in summary.sends] == [3, 3]
    assert all(error["what"] and error["remedy"] for peer in summary.sends for error in peer.not_sent.values())
    with running(program, folder, ports=ports):
        again = run(path)
        assert (again.done, again.exit_code) == ((), 0)
        assert_holds(here, bench)


def test_plain_http_is_refused_unless_asked(orthanc: Archive, bench: Workbench) -> None:
    send = by_web(orthanc)
    del send["options"]["plain"]
    summary = run(pipeline_file(bench, send))
    assert summary.exit_code == 4
    assert orthanc.instances() == []


def test_a_certificate_that_is_not_trusted(secure: Archive, bench: Workbench) -> None:
    send = by_web(secure)
    del send["options"]["ca_file"]
    summary = run(pipeline_file(bench, send))
    assert summary.exit_code == 4
    assert "certificate is not trusted" in str(summary.sends[0].not_sent)
    assert secure.instances() == []


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_killed_while_it_sends_nothing_is_lost_or_doubled(
    require_judge: RequireJudge, bench: Workbench, tmp_path: Path, kind: str
) -> None:
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc") as archive:
        send = by_web(archive) if kind == "web" else by_dimse(archive.dicom_port)
        path = pipeline_file(bench, send)
        for instances in (1, 2):
            _kill_when(archive, path, instances)
        run(path)
        assert_holds(archive, bench, exactly=kind == "web")
        assert output_status(bench.root / "out")["not_sent"] == {}
        changes = json.loads(archive.call("/changes?limit=1000"))["Changes"]
        assert [change["ChangeType"] for change in changes].count("NewInstance") == len(SERIES)


def _kill_when(archive: Archive, path: Path, instances: int) -> None:
    """Start a run, and kill it as soon as the archive has so many instances."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "hdm_pipeline", "run", str(path)], env=environment)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(archive.instances()) < instances and time.monotonic() < deadline:
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    assert len(archive.instances()) >= instances


@contextmanager
def _serving(handler: Any) -> Iterator[int]:
    from pynetdicom import AE

    peer = AE(ae_title="JUDGE")
    peer.add_supported_context("1.2.840.10008.5.1.4.1.1.66.4")
    server: Any = peer.start_server(("127.0.0.1", port := free_port()), block=False, evt_handlers=handler)
    try:
        yield port
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (0x0111, 0, "was there already"),
        (0xB000, 0, "stored, with warning B000H"),
        (0xA700, 4, "out of resources (A700H)"),
        (0x0124, 4, "not authorised (0124H)"),
    ],
)
def test_what_a_peer_answers_to_c_store(bench: Workbench, status: int, code: int, told: str) -> None:
    from pynetdicom import evt

    with _serving([(evt.EVT_C_STORE, lambda event: status)]) as port:
        summary = run(pipeline_file(bench, by_dimse(port)))
    assert summary.exit_code == code
    assert leaks(bench) == []
    assert told in (bench.root / "out" / "run.json").read_text()
