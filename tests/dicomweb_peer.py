"""A DICOMweb peer that answers as a test has it: well, too little, too slowly, or with lies."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileDataset

from hdm_dicom.reader import DicomReader
from tests.dicom_series import make_slice, uid

STUDY, SERIES = uid("study"), uid("series")
TAGS = {
    "study": "0020000D",
    "series": "0020000E",
    "instance": "00080018",
    "modality": "00080060",
    "count": "00201209",
    "sop_class": "00080016",
}


def encoded(index: int, **change: Any) -> bytes:
    made: FileDataset = make_slice(index, np.full((8, 9), index, np.uint16), position=(0, 0, index))
    for name, value in change.items():
        setattr(made, name, value)
    made.save_as(file := io.BytesIO(), enforce_file_format=True)
    return file.getvalue()


def item(**values: Any) -> dict[str, Any]:
    return {TAGS[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


@dataclass
class Plan:
    """What the peer answers.

    Attributes:
        listed: UIDs of the instances that it lists.
        parts: files that it sends for the series.
        pages: whether it knows offsets.
        raw: the body of a series instead of parts, in pieces.
        wait: seconds between two pieces.
        modality: of the series.
        study: UID that it lists.
        broken: how often it breaks off before it sends.
        nothing: it lists nothing.
        sop_class: of the instances, as it lists them.
        asked: paths that were asked for.
        queries: of these.
        said: more of the series, by keyword.
    """

    listed: list[str] = field(default_factory=lambda: [uid("series", index) for index in range(3)])
    parts: list[bytes] = field(default_factory=lambda: [encoded(index) for index in range(3)])
    pages: bool = True
    raw: list[bytes] | None = None
    wait: float = 0.0
    modality: str = "CT"
    study: str = STUDY
    broken: int = 0
    nothing: bool = False
    sop_class: str = "1.2.840.10008.5.1.4.1.1.2"
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)


@contextmanager
def peer(plan: Plan) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            plan.asked.append(path)
            plan.queries.append(query)
            last = path.rpartition("/")[2]
            if last in ("studies", "series", "instances"):
                rows = {
                    "studies": [item(study=plan.study)],
                    "series": [
                        {
                            **item(study=STUDY, series=SERIES, modality=plan.modality, count=len(plan.listed)),
                            **{
                                f"{tag_for_keyword(key):08X}": {"vr": "LO", "Value": [v]}
                                for key, v in plan.said.items()
                            },
                        },
                    ],
                    "instances": [
                        item(study=STUDY, series=SERIES, instance=one, sop_class=plan.sop_class) for one in plan.listed
                    ],
                }[last]
                self.answer(
                    "application/dicom+json",
                    [json.dumps(rows if ("offset=0" in query or not plan.pages) and not plan.nothing else []).encode()],
                )
                return
            if plan.broken:
                plan.broken -= 1
                self.connection.close()
                return
            one = {uid("series", index): part for index, part in enumerate(plan.parts)}
            parts = [one[last]] if last in one else plan.parts
            body = [b"--xx\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts] + [b"--xx--"]
            self.answer('multipart/related; boundary="xx"', plan.raw if plan.raw is not None else body)

        def answer(self, kind: str, pieces: list[bytes]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if plan.wait and kind.startswith("multi"):
                    time.sleep(plan.wait)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"dicomweb://127.0.0.1:{server.server_port}/web"
    finally:
        server.shutdown()
        server.server_close()


def reader(**options: Any) -> DicomReader:
    return DicomReader({"allow_network": True, "connection": {"plain": True, "timeout": 1}, **options})
