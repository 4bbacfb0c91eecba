"""A server that answers as the XML API of Google Cloud Storage does, on loopback and in memory.

No server that others make knows the requests of our client, so this one is ours: it shows what the client asks and what
becomes of the answers, not that Google answers so. Written after "XML API reference" of Google's manual: generations,
writes on a condition, copies, uploads in parts, listings of a thousand, errors by name. Each request must carry a token
that is signed by the key of the service account ("Service account authorization without OAuth" there).

with gcs_server(tmp_path) as server, monkeypatch.context() as patch:
    server.enter(patch)               # the file of the key, for obstore
    server.make_bucket("out")         # as the fixture `google` does once for all tests
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_PAGE = 1000
_DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class _Object:
    content: bytes
    generation: int

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": self.etag, "Last-Modified": formatdate(usegmt=True), "x-goog-generation": str(self.generation)}


class _RefusedError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass
class _Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Buckets:
    """What is kept, and what is asked of it."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, _Object]] = {}
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._numbers = itertools.count(1_767_225_600_000_000)  # generations of Google are microseconds
        self._lock = threading.Lock()

    def make(self, bucket: str) -> None:
        self._buckets.setdefault(bucket, {})

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        """One request at a time: what is asked on a condition is decided once."""
        parts = urlsplit(url)
        bucket, _, key = parts.path.removeprefix("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        with self._lock:
            if bucket not in self._buckets:
                raise _RefusedError(404, "NoSuchBucket")
            objects, key = self._buckets[bucket], unquote(key)
            if not key:
                return self._listed(objects, query)
            if "uploads" in query or "uploadId" in query:
                return self._in_parts(objects, key, method, query, body)
            if method == "PUT":
                return self._written(objects, key, headers, body)
            if key not in objects:
                raise _RefusedError(404, "NoSuchKey")
            if method == "DELETE":
                del objects[key]
                return _Answer(204)
            return _read(objects[key], headers)

    def _written(self, objects: dict[str, _Object], key: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        present = objects[key].generation if key in objects else 0  # 0: there shall be none
        if (wanted := headers.get("x-goog-if-generation-match")) is not None and int(wanted) != present:
            raise _RefusedError(412, "PreconditionFailed")
        source = headers.get("x-goog-copy-source")
        if source is None:
            return _Answer(headers=self._keep(objects, key, body).headers)
        bucket, _, name = source.removeprefix("/").partition("/")
        found = self._buckets.get(bucket, {}).get(unquote(name))
        if found is None:
            raise _RefusedError(404, "NoSuchKey")
        kept = self._keep(objects, key, found.content)
        return _Answer(headers=kept.headers, body=_xml("CopyObjectResult", f"<ETag>{escape(kept.etag)}</ETag>"))

    def _keep(self, objects: dict[str, _Object], key: str, content: bytes) -> _Object:
        objects[key] = _Object(content, next(self._numbers))
        return objects[key]

    def _in_parts(
        self, objects: dict[str, _Object], key: str, method: str, query: Mapping[str, str], body: bytes
    ) -> _Answer:
        if "uploads" in query:
            number = str(next(self._numbers))
            self._uploads[number] = {}
            return _Answer(body=_xml("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>"))
        parts = self._uploads.get(query["uploadId"])
        if parts is None:
            raise _RefusedError(404, "NoSuchUpload")
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return _Answer(headers={"ETag": _Object(body, 0).etag})
        del self._uploads[query["uploadId"]]
        if method == "DELETE":
            return _Answer(204)
        asked = re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)
        kept = self._keep(objects, key, b"".join(parts[int(number)] for number in asked))
        return _Answer(
            headers=kept.headers, body=_xml("CompleteMultipartUploadResult", f"<ETag>{escape(kept.etag)}</ETag>")
        )

    def _listed(self, objects: dict[str, _Object], query: Mapping[str, str]) -> _Answer:
        prefix, after = query.get("prefix", ""), query.get("continuation-token", query.get("start-after", ""))
        size = min(_PAGE, int(query.get("max-keys", _PAGE)))
        found = sorted(key for key in objects if key.startswith(prefix) and key > after)
        shown, more = found[:size], len(found) > size
        inner = "".join(
            f"<Contents><Key>{escape(key)}</Key><Generation>{objects[key].generation}</Generation>"
            f"<LastModified>{_DATE}</LastModified><ETag>{escape(objects[key].etag)}</ETag>"
            f"<Size>{len(objects[key].content)}</Size></Contents>"
            for key in shown
        )
        inner += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        inner += f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        return _Answer(body=_xml("ListBucketResult", inner))


def _read(one: _Object, headers: Mapping[str, str]) -> _Answer:
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range") or "")
    if wanted is None:
        return _Answer(headers=one.headers, body=one.content)
    start, end = int(wanted[1]), min(int(wanted[2] or len(one.content)), len(one.content) - 1)
    extent = {"Content-Range": f"bytes {start}-{end}/{len(one.content)}"}
    return _Answer(206, {**one.headers, **extent}, one.content[start : end + 1])


def _xml(name: str, inner: str) -> bytes:
    text = f"<?xml version='1.0' encoding='UTF-8'?><{name} xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
    return f"{text}{inner}</{name}>".encode()


@dataclass(frozen=True)
class GoogleServer:
    """A running server.

    Attributes:
        key_file: of a service account whose key it knows, as the console of Google gives it.
        stranger_file: the same of a key that it does not know.
    """

    key_file: Path
    stranger_file: Path
    _buckets: _Buckets

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the environment of this process: obstore finds the server by its file of keys."""
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(self.key_file))

    def make_bucket(self, name: str) -> None:
        """Make a bucket, as often as one likes."""
        self._buckets.make(name)


@contextmanager
def gcs_server(folder: Path) -> Iterator[GoogleServer]:
    """Run a server in a thread.

    Args:
        folder: for the files of its keys.
    """
    key, stranger = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
    buckets = _Buckets()

    class Handler(_Handler):
        kept, signer = buckets, key

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        files = [_key_file(folder / f"{name}.json", one, place) for name, one in (("ours", key), ("other", stranger))]
        yield GoogleServer(*files, buckets)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _key_file(path: Path, key: RSAPrivateKey, place: str) -> Path:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "hdm@tests.iam.gserviceaccount.com", "gcs_base_url": place}
    path.write_text(json.dumps({**account, "private_key": text, "private_key_id": "1"}))
    return path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kept: _Buckets
    signer: RSAPrivateKey

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._require_token()
            answer = self.kept.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        except _RefusedError as error:
            answer = _Answer(error.status, body=f"<Error><Code>{error.code}</Code></Error>".encode())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (the names are the library's)

    def log_message(self, *_: object) -> None:
        pass

    def _require_token(self) -> None:
        kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
        signed, _, signature = token.rpartition(".")
        try:
            found = base64.urlsafe_b64decode(signature + "==")
            self.signer.public_key().verify(found, signed.encode(), PKCS1v15(), SHA256())
        except (ValueError, InvalidSignature):
            kind = ""
        if kind != "Bearer":
            raise _RefusedError(401, "AuthenticationRequired")


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleServer]:
    """A server with a bucket `out`."""
    with gcs_server(tmp_path_factory.mktemp("google")) as running:
        running.make_bucket("out")
        yield running
