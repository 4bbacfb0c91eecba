"""The command line within the process of the tests: the libraries are imported once, and not for every command."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

from hdm_pipeline.cli.main import main


def hdm(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `python -m hdm_pipeline WORDS` prints, given in `folder`, and its exit code."""
    argv = ["hdm_pipeline", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())
