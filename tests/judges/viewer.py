"""A browser viewer as a judge: cornerstone3D with its adapters, as in OHIF, in headless Chromium on a software GPU."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.judges.node import folder_with, node_path

_SIDE = (400, 300)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # in CI we are root
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--window-size=900,700",
)
_PAGE = (
    '<!doctype html><meta charset="utf-8"><body style="margin:0">'
    f'<div id="view" style="width:{_SIDE[0]}px;height:{_SIDE[1]}px"></div><script src="app.js"></script>'
)


@dataclass(frozen=True, eq=False)
class Shot:
    """A screenshot.

    Attributes:
        pixels: [height, width, 3].
        places: [height, width, 3] where the centre of each pixel lies in the patient (LPS, mm), as the viewer says.
    """

    pixels: npt.NDArray[np.uint8]
    places: npt.NDArray[np.float64]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Shot:
        """From what the page posts."""
        file = io.BytesIO(base64.b64decode(answer["png"].split(",")[1]))
        pixels = np.asarray(Image.open(file).convert("RGB"))
        origin, right, below = np.array(answer["corners"])
        height, width = pixels.shape[:2]
        x, y = ((np.arange(size) + 0.5) / size for size in (width, height))
        places = origin + x[np.newaxis, :, np.newaxis] * (right - origin)
        return cls(pixels, places + y[:, np.newaxis, np.newaxis] * (below - origin))


def node_environment() -> dict[str, str]:
    """The environment in which node finds dcmjs; skips the test where it is not installed."""
    folder_with("dcmjs")
    return {**os.environ, "NODE_PATH": node_path()}


def bundled(out: Path) -> Path:
    """The page's script with all its packages, in the folder `out`; skips the test where there are none."""
    folder = folder_with("@cornerstonejs/adapters")
    command = [str(folder / ".bin" / "esbuild"), str(Path(__file__).with_name("show_seg.mjs")), "--bundle"]
    command += ["--format=iife", "--platform=browser", "--log-level=error", f"--outfile={out / 'app.js'}"]
    subprocess.run(command, env={**os.environ, "NODE_PATH": str(folder)}, check=True, timeout=60)
    return out / "app.js"


@contextmanager
def _serving(folder: Path, job: dict[str, Any], posted: list[dict[str, Any]], done: threading.Event) -> Iterator[str]:
    made = {"/": _PAGE.encode(), "/case.json": json.dumps(job).encode()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = folder / self.path.lstrip("/")
            body = made.get(self.path) or (file.read_bytes() if file.is_file() else b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path == "/" else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def opened(chromium: str, folder: Path, job: dict[str, Any], seconds: float = 120.0) -> dict[str, Any]:
    """What the viewer found: by name of the segmentation ``labels``, ``names``, ``images``, or its ``error``.

    Args:
        chromium: the program.
        folder: with `app.js` (see `bundled`) and the files that the job names.
        job: ``series`` and ``segmentations`` (file names), ``draw`` (those of the latter to show), ``slices`` and
            ``planes`` to show, ``colors`` of the segments.
        seconds: until the viewer counts as hung.
    """
    posted: list[dict[str, Any]] = []
    done = threading.Event()
    log = folder / "chromium.log"
    with _serving(folder, job, posted, done) as address, log.open("wb") as errors:
        command = [chromium, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            answered = done.wait(seconds)
        finally:
            browser.terminate()
            browser.wait(30)
    assert answered, "\n".join(line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line)
    assert "error" not in posted[0], posted[0]["error"]
    return posted[0]


def label_volumes(answer: dict[str, Any], shape: tuple[int, int, int]) -> list[npt.NDArray[np.uint8]]:
    """[z, y, x] segment numbers; several volumes where segments overlap."""
    return [
        np.stack([np.frombuffer(base64.b64decode(plane), np.uint8) for plane in volume]).reshape(shape)
        for volume in answer["labels"]
    ]
