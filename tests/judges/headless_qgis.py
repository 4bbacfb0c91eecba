"""Starting QGIS without a screen, and away from our own Python: its libraries and a virtual environment do not mix."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.judges.conftest import missing

SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL = "apt-get install --no-install-recommends qgis qgis-providers python3-qgis"


class Qgis:
    """QGIS with a profile of its own.

    Args:
        home: an empty folder; settings and enabled plug-ins are kept there.
        more: further environment variables.
    """

    def __init__(self, home: Path, more: Mapping[str, str] | None = None) -> None:
        self.home = home
        base = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "LANG": "C.UTF-8"}
        self.environment = {**base, "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1", **(more or {})}

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in QGIS's environment."""
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, check=False, timeout=300, cwd=self.home
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def process(self, *arguments: str) -> dict[str, Any]:
        """`qgis_process`, whose answer is JSON."""
        return dict(json.loads(self.call("qgis_process.bin", "--json", *arguments).stdout))

    def run(self, algorithm: str, **parameters: str | Path | int) -> dict[str, Any]:
        """The results of a Processing algorithm."""
        pairs = (f"{name}={value}" for name, value in parameters.items())
        return dict(self.process("run", algorithm, "--", *pairs)["results"])

    def look(self, picture: Path, *files: Path) -> list[dict[str, Any]]:
        """See `look_in_qgis.py`."""
        script = Path(__file__).with_name("look_in_qgis.py")
        return list(json.loads(self.call(SYSTEM_PYTHON, str(script), str(picture), *map(str, files)).stdout))


def find_qgis(home: Path, **more: str) -> Qgis:
    """QGIS, if it is installed; skips or fails the test otherwise."""
    if not Path("/usr/bin/qgis_process.bin").exists():
        missing(f"qgis_process (install: {INSTALL})")
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], capture_output=True, env={}, check=False)
    if probe.returncode != 0:
        missing(f"PyQGIS (install: {INSTALL})")
    home.mkdir(parents=True, exist_ok=True)
    return Qgis(home, more)
