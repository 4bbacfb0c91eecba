"""What a hostile or broken peer can do to the C-STORE provider: nothing that others notice."""

from __future__ import annotations

import io
import re
import resource
import socket
import ssl
import struct
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from hdm_dicom.pacs.receiver import DicomReceiver
from hdm_pipeline.errors import ConfigError, OutputError
from hdm_pipeline.listening.inbox import FileInbox
from tests.dicom_series import make_slice
from tests.judges.orthanc import certificate
from tests.listening import free_port

OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
HEAD = 6
"""Bytes of the head of a message unit: type, a reserved one, length."""


@dataclass
class Bench:
    """A receiver that listens, and its inbox."""

    inbox: FileInbox
    port: int

    @property
    def files(self) -> list[Path]:
        return [path for path in self.inbox.root.rglob("*") if path.is_file()]

    @contextmanager
    def association(self, *, called: str = "HDM", caller: str = "TEST", classes: tuple[str, ...] = ()) -> Iterator[Any]:
        entity = AE(ae_title=caller)
        for sop_class in classes or (CTImageStorage,):
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        entity.add_requested_context(CTImageStorage, DeflatedExplicitVRLittleEndian)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 10
        made = entity.associate("127.0.0.1", self.port, ae_title=called)
        try:
            yield made
        finally:
            if made.is_established:
                made.release()

    def takes(self, caller: str) -> bool:
        """Whether it takes an association now."""
        with self.association(caller=caller) as made:
            return bool(made.is_established)

    def send(self, dataset: Dataset) -> int:
        with self.association() as made:
            assert made.is_established
            return int(made.send_c_store(dataset).Status)

    def connect(self) -> socket.socket:
        wire = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        wire.settimeout(20)
        return wire


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Start a receiver with options."""
    contexts = []

    def start(max_inbox: int = 10**8, **options: Any) -> Bench:
        inbox = FileInbox(tmp_path / "inbox", max_inbox)
        context = DicomReceiver({"port": 0, "plain": True, "timeout": 2, **options}).receive(inbox)
        place = context.__enter__()
        contexts.append(context)
        (port,) = re.findall(r"^dimse://HDM@127.0.0.1:(\d+)", place)
        return Bench(inbox, int(port))

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def image(index: int = 0, side: int = 16) -> Dataset:
    return make_slice(index, np.full((side, side), index, np.uint16))


def closed(wire: socket.socket) -> bool:
    """Whether the other side ends the connection; what it says before does not count."""
    try:
        while wire.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_path_as_uid_leads_nowhere(listening: Callable[..., Bench], tmp_path: Path) -> None:
    bench = listening()
    for name in ("../../../escaped", "/tmp/escaped", "..", "1.2/../../3", "1.2\0.3"):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            bad = image()
            bad[keyword].value = name
            assert bench.send(bad) == CANNOT_UNDERSTAND
    assert bench.files == []
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]
    assert bench.send(image()) == 0
    assert len(bench.files) == 1


def test_what_cannot_be_read_is_not_acknowledged(listening: Callable[..., Bench]) -> None:
    bench = listening()

    def send(data: bytes, context: int = 0, announced: str = "1.2.3") -> int:
        with bench.association() as made:
            message = C_STORE()
            message.MessageID, message.Priority = 1, 2
            message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = CTImageStorage, announced
            message.DataSet = io.BytesIO(data)
            made._reactor_checkpoint.clear()
            made.dimse.send_msg(message, made.accepted_contexts[context].context_id)
            _, answer = made.dimse.get_msg(block=True)
            made._reactor_checkpoint.set()
            return int(answer.Status)

    sound = encode(image(), False, True)
    assert sound is not None
    for data in (b"x", b"\xff" * 5000, sound[:200], b"\x08\x00\x18\x00UI\xff\xff" + b"1" * 50, b"\0" * 100):
        assert send(data) == CANNOT_UNDERSTAND
    assert send(sound) == DOES_NOT_MATCH
    deep = b"".join(b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" for _ in range(5000))
    assert send(deep) == CANNOT_UNDERSTAND
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(33)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert send(bomb, context=1) == CANNOT_UNDERSTAND
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB
    assert bench.files == []
    assert bench.inbox.used == 0
    assert send(sound, announced=image().SOPInstanceUID) == 0


def test_an_instance_that_is_too_large_is_refused_and_the_next_is_taken(listening: Callable[..., Bench]) -> None:
    bench = listening(max_bytes=50_000)
    with bench.association() as made:
        assert made.send_c_store(image(0, 400)).Status == OUT_OF_RESOURCES
        assert made.send_c_store(image(1)).Status == 0
    assert len(bench.files) == 1
    assert bench.inbox.used == bench.files[0].stat().st_size


def test_one_uid_for_several_images_and_a_corrected_header(listening: Callable[..., Bench]) -> None:
    bench = listening()
    other = image(1)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = image(0).SOPInstanceUID
    assert [bench.send(one) for one in (image(0), other, image(0))] == [0, 0, 0]
    assert len(bench.files) == 2  # both images: nothing that was acknowledged is gone
    corrected = image(0)
    corrected.PatientName = "Right^Name"
    assert bench.send(corrected) == 0
    assert sorted(str(pydicom.dcmread(path).PatientName) for path in bench.files) == ["Right^Name", "Test^Case"]


def test_a_full_inbox_refuses_and_loses_nothing(listening: Callable[..., Bench]) -> None:
    bench = listening(max_inbox=30_000)
    statuses = [bench.send(image(index, 64)) for index in range(5)]
    assert statuses == [0, 0, 0, OUT_OF_RESOURCES, OUT_OF_RESOURCES]
    assert sum(path.stat().st_size for path in bench.files) == bench.inbox.used <= 30_000
    (waiting,) = bench.inbox.waiting()
    bench.inbox.spare(waiting.id, waiting.version)  # it was worked on
    assert bench.send(image(5, 64)) == 0
    assert len(bench.files) == 1


def test_who_may_call(listening: Callable[..., Bench]) -> None:
    bench = listening(callers=["SCANNER"], max_associations=2)
    for titles in ({"called": "OTHER", "caller": "SCANNER"}, {"called": "HDM", "caller": "STRANGER"}):
        with bench.association(**titles) as made:
            assert made.is_rejected
    with bench.association(caller="SCANNER") as one, bench.association(caller="SCANNER") as two:
        assert one.is_established
        assert two.is_established
        with bench.association(caller="SCANNER") as three:
            assert three.is_rejected
    end = time.monotonic() + 60
    while not bench.takes("SCANNER"):  # that the others have ended it notices when it looks
        assert time.monotonic() < end
    with bench.association(
        caller="SCANNER", classes=(CTImageStorage, "1.2.3.4.5", "1.2.840.10008.5.1.4.1.2.2.1")
    ) as made:
        assert {context.abstract_syntax for context in made.accepted_contexts} == {CTImageStorage}
        assert made.send_c_store(image()).Status == 0


def test_addresses_that_are_not_allowed_are_not_heard(listening: Callable[..., Bench]) -> None:
    bench = listening(allow_ips=["10.0.0.0/8", "::1/128"])
    with bench.connect() as wire:
        assert closed(wire)
    assert bench.inbox.counts == {"refused: address not allowed": 1}


def test_slow_and_broken_peers_hold_up_nobody(listening: Callable[..., Bench]) -> None:
    bench = listening()
    silent, half, trickle, endless = (bench.connect() for _ in range(4))
    half.sendall(b"\x01\x00" + struct.pack(">L", 200) + bytes(50))
    endless.sendall(b"\x01\x00" + struct.pack(">L", 0xFFFFFFF0))
    stop = threading.Event()

    def drip() -> None:
        trickle.sendall(b"\x01\x00" + struct.pack(">L", 200))
        try:
            while not stop.wait(0.2):
                trickle.sendall(b"\0")
        except OSError:
            return

    thread = threading.Thread(target=drip)
    thread.start()
    assert bench.send(image()) == 0
    for wire in (endless, silent, half, trickle):
        assert closed(wire)
    stop.set()
    thread.join()
    assert bench.send(image(1)) == 0


def test_half_an_association_leaves_nothing(listening: Callable[..., Bench]) -> None:
    bench = listening()
    with bench.association() as made:
        assert made.send_c_store(image(0)).Status == 0
        data = encode(image(1, 400), False, True)
        assert data is not None
        context = made.accepted_contexts[0].context_id
        message = C_STORE()
        message.MessageID, message.Priority = 2, 2
        message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = CTImageStorage, image(1).SOPInstanceUID
        message.DataSet = io.BytesIO(data)
        send, sent = made.dul.send_pdu, []

        def half(unit: Any) -> None:
            if len(sent) < 2:  # the command, and the first piece of the data set
                sent.append(unit)
                send(unit)

        made.dul.send_pdu = half
        made.dimse.send_msg(message, context)
        end = time.monotonic() + 60
        while len(list((bench.inbox.root / "incoming").iterdir())) == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert len(list((bench.inbox.root / "incoming").iterdir())) == 1
        assert bench.inbox.waiting()[0].busy
        made.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    end = time.monotonic() + 60
    while bench.inbox.waiting()[0].busy and time.monotonic() < end:
        time.sleep(0.05)
    assert not bench.inbox.waiting()[0].busy
    assert len(bench.files) == 1
    assert bench.inbox.used == bench.files[0].stat().st_size


@pytest.mark.long
def test_a_peer_that_never_shakes_hands(listening: Callable[..., Bench], tmp_path: Path) -> None:
    made, key = certificate(tmp_path / "tls")
    bench = listening(plain=False, certificate_file=str(made), key_file=str(key), timeout=15)
    silent = bench.connect()
    time.sleep(0.3)  # it is accepted first
    start = time.monotonic()
    context = ssl.create_default_context(cafile=str(made))
    entity = AE(ae_title="TEST")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", bench.port, ae_title="HDM", tls_args=(context, "localhost"))
    assert association.send_c_store(image()).Status == 0
    assert time.monotonic() - start < 14  # it did not wait for the other
    association.release()
    assert closed(silent)


def test_the_hook_wants_its_token(listening: Callable[..., Bench], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    port = free_port()
    bench = listening(hook_port=port, token_file=str(tmp_path / "token"))
    bench.send(image())

    def call(query: str, token: str = "secret", method: str = "POST", path: str = "complete") -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}?{query}", method=method, data=b"")
        request.add_header("Authorization", f"Bearer {token}")
        try:
            return int(urllib.request.urlopen(request, timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    known = f"StudyInstanceUID={image().StudyInstanceUID}"
    assert call(known, token="secre") == call(known, token="") == call(known, token="ü") == 401
    assert bench.inbox.waiting()[0].quiet < 60
    assert call("StudyInstanceUID=1.2.3") == 404
    assert call("") == call("StudyInstanceUID=" + "1" * 65) == call(known, path="other") == 400
    assert call(known, method="GET") == 501
    assert call(known) == 202
    assert bench.inbox.waiting()[0].quiet == float("inf")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no port"),
        ({"port": "11112"}, "whole number"),
        ({"port": 70000}, "0 to 65535"),
        ({"port": True}, "whole number"),
        ({"port": 1, "allow_ips": "10.0.0.1"}, "list of texts"),
        ({"port": 1, "allow_ips": ["10.0.0.1/8"]}, "no address or network"),
        ({"port": 1, "callers": ["A TITLE THAT IS TOO LONG"]}, "AE title"),
        ({"port": 1, "plain": True, "hook_port": 2}, "needs a token"),
        ({"port": 1, "password_env": "X"}, "unknown option"),
        ({"port": 1}, "needs a certificate"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DicomReceiver(options)


def test_a_port_that_is_taken_is_told(listening: Callable[..., Bench], tmp_path: Path) -> None:
    bench = listening()
    context = DicomReceiver({"port": bench.port, "plain": True}).receive(bench.inbox)
    with pytest.raises(OutputError, match="cannot listen"), context:
        pass
