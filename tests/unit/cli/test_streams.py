"""A name of a file that the locale cannot write is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.config.test_file import GOOD


def test_a_locale_without_the_characters_of_a_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "flood.yaml").write_text(GOOD)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import os, sys; from hdm_pipeline.cli.main import main; sys.argv = ['x', 'status', 'flood.yaml', '--set', "
    code += "'output.directory=\\u00fc']; main()"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | plain, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    assert "LC_ALL=C.UTF-8" in said.stderr
