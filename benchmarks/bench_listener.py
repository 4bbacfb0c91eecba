"""A listener under load and under `kill -9`: instances a second, and whether one is acknowledged and lost.

    python -m benchmarks.bench_listener [--senders 20] [--instances 2000] [--kills 3] [--json FILE]

Senders are pynetdicom's, in this process, so they share the machine with the listener. The time includes its restarts.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks._table import Row, arguments, show
from tests.listener_soak import soak
from tests.listening import free_port

_PATIENCE = 540.0


def pipeline_file(folder: Path, port: int) -> Path:
    """A pipeline that receives and never gets to run: the quiet time is too long."""
    for name in ("chip.png", "mask.png"):
        (folder / name).write_bytes(b"")  # named, not read
    content = {
        "name": "bench",
        "input": {"reader": "dicom", "scale": {"fixed": [-160, 240]}},
        "support": {"classes": [{"name": "c", "examples": [{"image": "chip.png", "mask": "mask.png"}]}]},
        "execution": {"executor": "inline"},
        "output": {"directory": "out", "products": ["nifti"]},
        "listen": {"quiet": 3600, "inbox": "inbox", "receive": {"dicom": {"port": port, "plain": True}}},
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        pipeline = pipeline_file(Path(name), port)
        seen = soak(
            pipeline,
            Path(name) / "inbox",
            port,
            senders=options.senders,
            count=options.instances,
            kills=options.kills,
            seconds=_PATIENCE,
        )
    rows = [
        Row("associations at once", options.senders, ""),
        Row("kills of the listener", seen.kills, ""),
        Row("associations altogether", seen.associations, ""),
        Row("instances sent", seen.sent, ""),
        Row("acknowledged", seen.acknowledged, "", f"== {seen.sent}", seen.acknowledged == seen.sent),
        Row("found whole", seen.found, "", f">= {seen.acknowledged}", seen.found >= seen.acknowledged),
        Row("acknowledged and lost", seen.lost, "", "== 0", seen.lost == 0),
        Row("found twice", seen.twice, "", "== 0", seen.twice == 0),
        Row("time", seen.seconds, "s"),
        Row("rate", seen.acknowledged / seen.seconds, "1/s"),
    ]
    return show("Listener: received through kill -9", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
