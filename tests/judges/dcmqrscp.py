"""dcmtk's dcmqrscp on loopback: a second PACS, which speaks DIMSE only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.judges.orthanc import free_port


@contextmanager
def running(program: str, storescu: str, folder: Path, files: Path, move_port: int) -> Iterator[int]:
    """Start dcmqrscp as JUDGE with every file below `files`; gives its port. It knows HDM at `move_port`."""
    (folder / "files").mkdir(parents=True)
    port = free_port()
    config = [
        f"NetworkTCPPort = {port}",
        "MaxPDUSize = 16384",
        "MaxAssociations = 16",
        "HostTable BEGIN",
        f"hdm = (HDM, localhost, {move_port})",
        "HostTable END",
        "VendorTable BEGIN",
        "VendorTable END",
        "AETable BEGIN",
        f"JUDGE {folder / 'files'} RW (200, 1024mb) ANY",
        "AETable END",
    ]
    (folder / "dcmqrscp.cfg").write_text("\n".join(config) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "dcmqrscp.cfg")], stdout=log, stderr=log)
        try:
            store = [storescu, "-aet", "HDM", "-aec", "JUDGE", "+sd", "+r", "127.0.0.1", str(port), str(files)]
            for _ in range(50):
                if subprocess.run(store, capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.2)
            else:
                raise AssertionError((folder / "log").read_text()[-2000:])
            yield port
        finally:
            process.terminate()
            process.wait(20)
