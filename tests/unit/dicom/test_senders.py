"""Senders to a PACS: what their options may be, what a PACS' answers mean, and how much memory a file takes."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest

from hdm_dicom.pacs.answers import of_http, of_status, of_stow
from hdm_dicom.senders import DicomWebSender, DimseSender
from hdm_pipeline.errors import ConfigError
from tests.dicom_series import write_series

UID = "1.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
PUSH_MODEL = "1.2.840.10008.1.20.1"
WEB = "dicomweb://127.0.0.1:{}/dicom-web"


def item(uid: str | None = UID, **values: int) -> dict[str, Any]:
    tags = {"reason": "00081197", "warning": "00081196"}
    found = {tags[name]: {"vr": "US", "Value": [value]} for name, value in values.items()}
    return found | ({"00081155": {"vr": "UI", "Value": [uid]}} if uid else {})


def answer(stored: list[Any] | None = None, failed: list[Any] | None = None) -> dict[str, Any]:
    body = {}
    if stored is not None:
        body["00081199"] = {"vr": "SQ", "Value": stored}
    if failed is not None:
        body["00081198"] = {"vr": "SQ", "Value": failed}
    return body


@pytest.mark.parametrize(
    ("status", "body", "outcome", "what"),
    [
        (200, answer([item()]), "stored", "stored"),
        (200, answer([item()], []), "stored", "stored"),  # Orthanc
        (200, {**answer([item()]), "00081198": {"vr": "SQ"}}, "stored", "stored"),  # Orthanc
        (202, answer([item(warning=0xB000)]), "stored", "stored, with warning B000H"),
        (409, answer(failed=[item(reason=0x0111)]), "stored", "was there already"),
        (409, answer([], [item(reason=0x0122)]), "refused", "SOP class not supported (0122H)"),
        (202, answer([item("9.9")], [item(reason=0xA700)]), "refused", "out of resources (A700H)"),
        (409, answer(failed=[item(None, reason=0xC000)]), "refused", "cannot understand (C000H)"),
        (409, answer(failed=[item()]), "refused", "gives no reason"),
        (409, answer(failed=[item(reason=0x0F0F)]), "refused", "a reason of its own (0F0FH)"),
        (200, None, "stored", "stored"),
        (200, {}, "stored", "stored"),
        (202, None, "refused", "HTTP 202 without saying"),
        (200, answer([item("9.9")]), "refused", "does not say that it stored"),
        (200, {"00081199": {"Value": "x"}, "00081198": 7}, "stored", "stored"),
        (409, [], "refused", "HTTP 409 without saying"),
    ],
)
def test_what_the_answer_to_stow_means(status: int, body: Any, outcome: str, what: str) -> None:
    found = of_stow(status, body, UID)
    assert (found.outcome, what in found.what) == (outcome, True), found


@pytest.mark.parametrize(
    ("status", "outcome", "again"),
    [
        (401, "unavailable", False),
        (403, "unavailable", False),
        (404, "unavailable", False),
        (503, "unavailable", True),
        (429, "unavailable", True),
        (400, "refused", False),
        (413, "refused", False),
        (500, "refused", True),
    ],
)
def test_what_a_status_of_http_means(status: int, outcome: str, again: bool) -> None:
    found = of_http(status)
    assert found is not None
    assert (found.outcome, found.again) == (outcome, again)
    assert str(status) in found.what


def test_a_body_that_is_to_be_read() -> None:
    assert [of_http(status) for status in (200, 202, 409)] == [None] * 3


@pytest.mark.parametrize(
    ("status", "outcome", "again"),
    [
        (None, "unavailable", True),
        (0x0000, "stored", False),
        (0x0111, "stored", False),
        (0xB007, "stored", False),
        (0xA701, "refused", True),
        (0xA900, "refused", False),
        (0x0122, "refused", False),
    ],
)
def test_what_a_status_of_c_store_means(status: int | None, outcome: str, again: bool) -> None:
    found = of_status(status)
    assert (found.outcome, found.again) == (outcome, again)


@pytest.mark.parametrize(
    ("address", "options", "told"),
    [
        ("dicomweb://host/x", {"password": "hunter2"}, "does not belong in a pipeline file"),
        ("dicomweb://host/x", {"commitment": True}, "unknown option 'commitment'"),
        ("dimse://A@host:104", {"commitment": "yes"}, "commitment is true or false"),
        ("dimse://A@host:104", {"port": 11112}, "port without commitment"),
        ("dimse://A@host:104", {"commitment": True, "port": 70000}, "up to 65535"),
        ("dimse://host:104", {}, "no application entity"),
    ],
)
def test_options_that_are_wrong(address: str, options: dict[str, Any], told: str) -> None:
    kind = DicomWebSender if address.startswith("dicomweb") else DimseSender
    with pytest.raises(ConfigError, match=told) as caught:
        kind(address, options)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_option_names_those_of_the_sender_that_was_chosen() -> None:
    with pytest.raises(ConfigError, match="'committment'") as caught:
        DimseSender("dimse://A@host:104", {"committment": True})
    assert {"ae_title", "commitment", "port"} <= set(caught.value.remedy.removeprefix("use one of: ").split(", "))
    with pytest.raises(ConfigError, match="'committment'") as caught:
        DicomWebSender("dicomweb://host/x", {"committment": True})
    assert "commitment" not in caught.value.remedy


def test_what_is_missing_is_told_before_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    web = "dicomweb://host/x"
    with pytest.raises(ConfigError, match="NOT_SET is not set"):
        DicomWebSender(web, {"token_env": "NOT_SET"}).check()
    with pytest.raises(ConfigError, match="cannot be read"):
        DicomWebSender(web, {"ca_file": str(tmp_path / "none.pem")}).check()
    with pytest.raises(ConfigError, match="needs a certificate"):
        DimseSender("dimse://A@host:104", {"commitment": True, "port": 11112}).check()
    monkeypatch.setattr("hdm_dicom.pacs.failures.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="is not installed") as caught:
        DicomWebSender(web).check()
    assert "hdm-pipeline[pacs]" in caught.value.remedy


class Peer(BaseHTTPRequestHandler):
    """Takes one part of a multipart body and answers as its server says."""

    def do_POST(self) -> None:
        left, size = int(self.headers["Content-Length"]), 0
        first = b""
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            first = first or piece
            left, size = left - len(piece), size + len(piece)
        self.server.seen.append((self.path, dict(self.headers), size, first))  # type: ignore[attr-defined]
        status, body = self.server.answers.pop(0)  # type: ignore[attr-defined]
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def peer(*answers: tuple[int, Any]) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.answers, server.seen = list(answers), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_series(tmp_path / "series")
    return sorted(p for p in (tmp_path / "series").rglob("*") if p.is_file())[:2]


def test_a_file_is_one_part_and_arrives_as_it_is(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "abc")
    uid = pydicom.dcmread(files[0]).SOPInstanceUID
    with peer((200, answer([item(uid)]))) as server:
        sender = DicomWebSender(WEB.format(server.server_port), {"plain": True, "token_env": "TOKEN"})
        (found,) = sender.send([files[0]])
    assert found.outcome == "stored"
    ((path, headers, size, first),) = server.seen
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    boundary = headers["Content-Type"].rpartition("=")[2].encode()
    data = files[0].read_bytes()
    body = b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--" + boundary + b"--\r\n"
    assert (size, first) == (len(body), body[: len(first)])


def test_one_that_is_refused_keeps_no_other_back_and_a_peer_that_takes_nothing_is_left_alone(
    files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("no DICOM")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in files]
    with peer((409, answer(failed=[item(uids[0], reason=0x0122)])), (200, answer([item(uids[1])]))) as server:
        sender = DicomWebSender(WEB.format(server.server_port), {"plain": True})
        found = sender.send([files[0], tmp_path / "note.txt", files[1]])
    assert [one.outcome for one in found] == ["refused", "refused", "stored"]
    with peer((403, {})) as server:
        sender = DicomWebSender(WEB.format(server.server_port), {"plain": True})
        found = sender.send(files)
    assert [one.outcome for one in found] == ["unavailable"] * 2
    assert len(server.seen) == 1
    # Nobody listens there any more.
    assert [(one.outcome, one.again) for one in sender.send(files)] == [("unavailable", True)] * 2


def test_a_token_that_was_renewed_and_a_connection_that_was_closed_are_taken_anew(
    files: list[Path], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    stored = [(200, answer([item(pydicom.dcmread(path).SOPInstanceUID)])) for path in files]
    with peer(stored[0], (401, {}), stored[1], stored[0]) as server:
        sender = DicomWebSender(WEB.format(server.server_port), {"plain": True, "token_file": str(token)})
        assert sender.send([files[0]])[0].outcome == "stored"
        token.write_text("second")
        assert sender.send([files[1]])[0].outcome == "stored"
        assert sender.send([files[0]])[0].outcome == "stored"
    sent = [headers["Authorization"] for _, headers, _, _ in server.seen]
    assert sent == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


@contextmanager
def scp(handlers: list[Any], *kinds: str) -> Iterator[int]:
    from pynetdicom import AE

    entity = AE(ae_title="PEER")
    for kind in kinds or (CT,):
        entity.add_supported_context(kind, scu_role=True, scp_role=True)
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_commitment_over_the_same_association(files: list[Path]) -> None:
    from pynetdicom import evt

    kept = pydicom.dcmread(files[0]).SOPInstanceUID

    def action(event: Any) -> tuple[int, None]:
        asked = event.action_information
        report = pydicom.Dataset()
        report.TransactionUID = asked.TransactionUID
        first = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID == kept]
        others = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID != kept]
        for one in others:
            one.FailureReason = 0x0112
        report.ReferencedSOPSequence, report.FailedSOPSequence = first, others

        def tell() -> None:
            event.assoc.send_n_event_report(report, 2, PUSH_MODEL, PUSH_MODEL + ".1")

        threading.Timer(0.2, tell).start()
        return 0x0000, None

    handlers = [(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_N_ACTION, action)]
    with scp(handlers, CT, PUSH_MODEL) as port:
        sender = DimseSender(f"dimse://PEER@127.0.0.1:{port}", {"plain": True, "commitment": True, "timeout": 5})
        found = sender.send(files)
    assert [(one.outcome, one.what) for one in found] == [
        ("stored", "stored, committed"),
        ("refused", "stored, but not committed: the PACS did not store it: no such object instance (0112H)"),
    ]


def test_a_peer_without_commitment_says_so(files: list[Path]) -> None:
    from pynetdicom import evt

    with scp([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        address = f"dimse://PEER@127.0.0.1:{port}"
        found = DimseSender(address, {"plain": True, "commitment": True}).send(files)
        plain = DimseSender(address, {"plain": True}).send(files)
    assert [one.what for one in found] == ["stored, but the PACS offers no storage commitment"] * 2
    assert [one.what for one in plain] == ["stored"] * 2


def test_a_class_that_a_peer_does_not_take(files: list[Path]) -> None:
    from pynetdicom import evt

    mr, echo = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.1"

    with scp([(evt.EVT_C_STORE, lambda event: 0)], mr, echo) as port:
        found = DimseSender(f"dimse://PEER@127.0.0.1:{port}", {"plain": True}).send(files)
    assert [one.outcome for one in found] == ["refused"] * 2
    assert found[0].what == "the PACS takes no objects of class 1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_a_large_file_is_not_held_in_memory(files: list[Path], tmp_path: Path, kind: str) -> None:
    from pynetdicom import _config, evt

    dataset = pydicom.dcmread(files[0])
    dataset.Rows = dataset.Columns = 4096
    dataset.PixelData = bytes(4096 * 4096 * 2)  # 32 MiB
    large = tmp_path / "large.dcm"
    dataset.save_as(large)
    size = large.stat().st_size
    if kind == "web":
        with peer(*[(200, answer([item(dataset.SOPInstanceUID)]))] * 2) as server:
            sender: Any = DicomWebSender(WEB.format(server.server_port), {"plain": True})
            peak = _peak(sender, large)
        assert server.seen[0][2] > size
    else:
        before = _config.STORE_RECV_CHUNKED_DATASET
        _config.STORE_RECV_CHUNKED_DATASET = True
        try:
            with scp([(evt.EVT_C_STORE, lambda event: 0)]) as port:
                peak = _peak(DimseSender(f"dimse://PEER@127.0.0.1:{port}", {"plain": True}), large)
        finally:
            _config.STORE_RECV_CHUNKED_DATASET = before
    assert peak < size / 2


def _peak(sender: Any, path: Path) -> int:
    sender.send([path])  # what is loaded once
    tracemalloc.start()
    try:
        (found,) = sender.send([path])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.outcome == "stored"
    return peak
