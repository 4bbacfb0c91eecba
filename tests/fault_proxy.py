"""A proxy before an S3 server that does wrong what it is told to, at requests that are counted: no chance in it.

A process of its own (`python -m tests.fault_proxy --to HOST:PORT`), as GDAL waits for answers with Python's lock held.
It is told its rules and asked for its log under ``/-/``, which is no bucket's name. It reads every request whole before
it passes it on, one connection each, so that "before the server saw it" and "after it was done" are exact.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

FAULTS = ("slow_down", "expired", "delay", "hold", "cut", "lose", "drip", "refuse", "bare")
"""What a rule may do: answer 503 SlowDown; answer 403 ExpiredToken; wait `seconds` and go on; wait till other rules are
set and go on, also where the client has given up; end the connection in the middle of the answer's body; do the request
and end the connection without an answer; give the body in small pieces over `seconds`; end the connection before the
server sees the request; leave out the body of an answer that is a refusal."""

_LIMIT = 1 << 30


@dataclass
class Rule:
    """One fault, at certain requests of those that it looks at; the first rule that fits a request is the one.

    Attributes:
        fault: one of `FAULTS`.
        kind: regular expression of a request's whole kind (`kind_of`).
        key: regular expression found in ``bucket/key``.
        first: number of the first request concerned, of those that fit, from 1.
        every: that one and each of so many after it.
        times: how often at most; None: without end.
        seconds: for `delay` and `drip`.
        seen: how many requests fitted.
        done: how many were concerned.
    """

    fault: str
    kind: str = ".*"
    key: str = ""
    first: int = 1
    every: int = 1
    times: int | None = None
    seconds: float = 1.0
    seen: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"no fault: {self.fault}")

    def fits(self, kind: str, key: str) -> bool:
        return re.fullmatch(self.kind, kind) is not None and re.search(self.key, key) is not None

    def counts(self) -> bool:
        """Count one more request that fits; whether it is one of those that go wrong."""
        self.seen += 1
        turn = self.seen >= self.first and (self.seen - self.first) % self.every == 0
        if turn and (self.times is None or self.done < self.times):
            self.done += 1
            return True
        return False


@dataclass
class Request:
    """One request, read whole."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """``bucket/key``."""
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def kind(self) -> str:
        return kind_of(self.method, self.target, self.headers)


def kind_of(method: str, target: str, headers: dict[str, str]) -> str:
    """get, range, head, list, put, create, replace, start, part, complete, abort, delete, or bucket."""
    parts = urlsplit(target)
    asked = parse_qs(parts.query, keep_blank_values=True)
    if "/" not in parts.path.strip("/"):
        return {"GET": "list", "HEAD": "bucket", "PUT": "bucket"}.get(method, "delete")
    if method == "GET":
        return "range" if "range" in headers else "get"
    if method == "POST":
        return "start" if "uploads" in asked else "complete"
    if method == "DELETE":
        return "abort" if "uploadId" in asked else "delete"
    if method == "PUT":
        if "uploadId" in asked:
            return "part"
        return "create" if "if-none-match" in headers else "replace" if "if-match" in headers else "put"
    return method.lower()


@dataclass
class Proxy:
    """What the process knows."""

    host: str
    port: int
    rules: list[Rule] = field(default_factory=list)
    log: list[dict[str, object]] = field(default_factory=list)
    # moto reads the object, then writes it: two writes on a condition that come together would both be done.
    turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while (request := await read_request(reader, writer)) is not None:
                if request.target.startswith("/-/"):
                    writer.write(whole(200, json.dumps(self.told(request)).encode(), "application/json"))
                elif not await self.pass_on(request, writer):
                    return
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def told(self, request: Request) -> object:
        """Do what a test asks: set the rules, forget the log, give both."""
        given = json.loads(request.body or b"null")
        if request.method == "PUT":
            self.rules = [Rule(**one) for one in given]
        if request.method == "DELETE":
            self.log.clear()
        return {"rules": [asdict(rule) for rule in self.rules], "log": self.log}

    def rule_for(self, request: Request) -> Rule | None:
        for rule in self.rules:
            if rule.fits(request.kind, request.key):
                # One rule looks at each request, so that counts do not depend on the other rules' turns.
                return rule if rule.counts() else None
        return None

    async def pass_on(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Let the server answer, or do what the rule says; whether the connection lives on."""
        rule = self.rule_for(request)
        fault = rule.fault if rule else ""
        entry: dict[str, object] = {"kind": request.kind, "key": request.key, "fault": fault, "status": 0}
        entry["sent"] = len(request.body)
        entry["authorized"] = "authorization" in request.headers
        self.log.append(entry)
        if fault == "refuse":
            return False
        if fault in ("slow_down", "expired"):
            status, answer = _SAYS[fault]
            entry["status"] = status
            writer.write(whole(status, b"" if request.method == "HEAD" else answer, "application/xml"))
            return True
        if rule and fault == "delay":
            await asyncio.sleep(rule.seconds)
        while fault == "hold" and any(one is rule for one in self.rules):
            await asyncio.sleep(0.05)
        if request.kind in ("create", "replace", "put", "delete", "complete"):
            async with self.turns[request.key]:
                head, body = await self.asked(request)
        else:
            head, body = await self.asked(request)
        entry["status"], entry["given"] = int(head.split(b" ", 2)[1]), len(body)
        if fault == "lose":
            return False
        if fault == "cut":
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            return False
        if fault == "bare" and int(head.split(b" ", 2)[1]) >= 400:
            head, body = head_for(head, request.method, 0), b""
        if rule and fault == "drip":
            await drip(writer, head, body, rule.seconds)
        else:
            writer.write(head + body)
        return True

    async def asked(self, request: Request) -> tuple[bytes, bytes]:
        """(head, body) of the server's answer."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            headers = {**request.headers, "connection": "close", "content-length": str(len(request.body))}
            lines = [f"{request.method} {request.target} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
            await writer.drain()
            first = await reader.readuntil(b"\r\n\r\n")
            answered = fields(first)
            if request.method == "HEAD" or first.split(b" ", 2)[1] in (b"204", b"304"):
                body = b""
            elif answered.get("transfer-encoding", "").lower() == "chunked":
                body = await read_chunks(reader)
            elif "content-length" in answered:
                body = await reader.readexactly(int(answered["content-length"]))
            else:
                body = await reader.read(_LIMIT)
        finally:
            writer.close()
        return head_for(first, request.method, len(body)), body


def head_for(first: bytes, method: str, length: int) -> bytes:
    """The server's head, for a connection that stays open and a body of known length."""
    lines = first.decode("latin-1").split("\r\n")[:-2]
    left_out = ("connection", "transfer-encoding") + (() if method == "HEAD" else ("content-length",))
    kept = [line for line in lines[1:] if line.partition(":")[0].lower() not in left_out]
    if method != "HEAD" and lines[0].split(" ")[1] not in ("204", "304"):
        kept.append(f"content-length: {length}")
    return "\r\n".join([lines[0].replace("HTTP/1.0", "HTTP/1.1", 1), *kept, "", ""]).encode("latin-1")


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection, with its body; None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    headers = fields(head)
    if headers.pop("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.pop("transfer-encoding", "").lower() == "chunked":
        body = await read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def fields(head: bytes) -> dict[str, str]:
    """Header fields, names in small letters."""
    found = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name.lower()] = value.strip()
    return found


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks, put together; trailing fields are dropped."""
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    while await reader.readline() not in (b"\r\n", b""):
        pass
    return b"".join(pieces)


async def drip(writer: asyncio.StreamWriter, head: bytes, body: bytes, seconds: float) -> None:
    """Give an answer in ten pieces over so many seconds."""
    writer.write(head)
    size = len(body) // 10 + 1
    for start in range(0, len(body), size):
        writer.write(body[start : start + size])
        await writer.drain()
        await asyncio.sleep(seconds / 10)


def whole(status: int, body: bytes, kind: str) -> bytes:
    """An answer of our own."""
    reason = {200: "OK", 403: "Forbidden", 503: "Slow Down"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _says(status: int, code: str, text: str) -> tuple[int, bytes]:
    return status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'.encode()


_SAYS = {
    "slow_down": _says(503, "SlowDown", "Please reduce your request rate."),
    "expired": _says(403, "ExpiredToken", "The provided token has expired."),
}


async def main() -> None:
    """Serve on a free port of loopback, or of the address given, and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True, help="HOST:PORT of the server")
    parser.add_argument("--host", default="127.0.0.1")
    given = parser.parse_args()
    host, port = given.to.rsplit(":", 1)
    proxy = Proxy(host, int(port))
    server = await asyncio.start_server(proxy.serve, given.host, 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
